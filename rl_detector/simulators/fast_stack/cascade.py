"""Showers in batches of stacks: the state of every event travels through the layers, one layer at a time.

Arrays join the events of several stacks; `owners` [events] gives the stack of each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.physics.materials import material
from rl_detector.physics.showers import FloatArray, IntArray, age, fluctuate
from rl_detector.simulators.fast_stack.parameters import FastParameters
from rl_detector.simulators.stack import Stack

_TINY = 1e-9
"""Energy in GeV added to denominators against a division by 0."""

_PADDING_MATERIAL = "Fe"
"""Material of the layers without thickness that pad shorter stacks."""


@dataclass(frozen=True)
class Slabs:
    """Properties of layers. Every field is [layers, stacks] for a batch, or [events] after `pick`."""

    radiation: FloatArray
    interaction: FloatArray
    loss: FloatArray
    growth: FloatArray
    relaxation: FloatArray
    absorption: FloatArray
    age_scale: FloatArray
    quantum: FloatArray
    visible: FloatArray
    local: FloatArray
    pool_depth: FloatArray
    pool_visible: FloatArray

    def pick(self, layer: int | IntArray, owners: IntArray) -> Slabs:
        """Select one layer per event, [events]."""
        return Slabs(*(getattr(self, name)[layer, owners] for name in self.__dataclass_fields__))

    def edges(self, name: str, owners: IntArray) -> FloatArray:
        """Sum a field over the layers in front of every edge, in the unit of the field, [layers + 1, events]."""
        values: FloatArray = getattr(self, name)
        total = np.zeros((values.shape[0] + 1, values.shape[1]))
        np.cumsum(values, axis=0, out=total[1:])
        return np.take(total, owners, axis=1)


def slabs(stacks: Sequence[Stack], layers: int, parameters: FastParameters) -> Slabs:
    """Tabulate stacks; pad those with fewer than `layers` layers behind, with layers of no thickness."""
    columns = [[_slab(stack, layer, parameters) for stack in stacks] for layer in range(layers)]
    table = np.array(columns, dtype=np.float64)
    return Slabs(*(np.ascontiguousarray(table[:, :, field]) for field in range(table.shape[2])))


def _slab(stack: Stack, layer: int, parameters: FastParameters) -> tuple[float, ...]:
    present = layer < len(stack.materials)
    substance = material(stack.materials[layer] if present else _PADDING_MATERIAL)
    thickness = stack.thicknesses[layer] if present else 0.0
    response = parameters.response(substance)
    loss = thickness * substance.mip_loss * response.ionisation
    return (
        thickness / substance.radiation_length,
        thickness / (substance.interaction_length * response.path),
        loss,
        response.growth,
        response.relaxation,
        response.absorption,
        (response.criticality / response.absorption) ** (1 / 3),
        response.quantum * loss / (response.quantum + loss) if loss > 0 else 0.0,
        response.visible,
        response.local,
        response.pool_rate * thickness / substance.interaction_length,
        response.pool_visible,
    )


@dataclass(frozen=True)
class Injection:
    """Energy that enters the cascade inside a layer; fields are [events].

    Attributes:
        layer: index of the layer; for an event without this injection, the number of layers.
        before: fraction of the layer in front of the injection.
        energy: electromagnetic energy in GeV.
        particles: particles per GeV at that point (age^3).
        normal: random numbers of the deposit in the rest of the layer.
        hadron_normal: as `normal`, for the hadrons that travel on.
        local: hadronic energy deposited in the layer, in GeV.
        hadronic: energy of the hadrons that travel on, in GeV.
    """

    layer: IntArray
    before: FloatArray
    energy: FloatArray
    particles: FloatArray
    normal: FloatArray
    hadron_normal: FloatArray
    local: FloatArray
    hadronic: FloatArray


@dataclass(frozen=True)
class Arrival:
    """Injections at the end of their own layer; fields are [injections], `events` gives the event of each."""

    layer: IntArray
    events: IntArray
    energy: FloatArray
    particles: FloatArray
    hadronic: FloatArray


class Cascade:
    """Energy still to be deposited in every event, [events], and its deposits, [layers, events]."""

    def __init__(self, table: Slabs, owners: IntArray, tempo: FloatArray, parameters: FastParameters) -> None:
        self.table, self.owners, self.tempo, self.parameters = table, owners, tempo, parameters
        self.deposits = np.zeros((table.radiation.shape[0], len(owners)))
        self.energy = np.zeros(len(owners))
        self.age = np.zeros(len(owners))
        self.pool = np.zeros(len(owners))
        self.softness = np.ones(len(owners))

    def run(
        self, injections: Sequence[Injection], normals: FloatArray, hadron_normals: FloatArray | None
    ) -> FloatArray:
        """Go through the layers; return the deposits in GeV, [layers, events].

        Args:
            injections: energy that enters the cascade.
            normals: standard normal numbers of the electromagnetic deposits, [layers, events].
            hadron_normals: those of the hadronic deposits, [layers, events]; None if there are no hadrons.
        """
        inside = [self._partial(injection) for injection in injections]
        for layer in range(self.deposits.shape[0]):
            slab = self.table.pick(layer, self.owners)
            self._develop(layer, slab, normals[layer])
            if hadron_normals is not None:
                self._drain(layer, slab, hadron_normals[layer])
            for injection in inside:
                self._merge(layer, injection)
        return self.deposits

    def _develop(self, layer: int, slab: Slabs, normal: FloatArray) -> None:
        """Deposit the electromagnetic energy of one whole layer."""
        share, self.age = self._shower(slab, slab.radiation, self.energy, self.age, normal, self.tempo)
        deposit = self.energy * share
        self.deposits[layer] += deposit
        self.energy -= deposit

    def _shower(
        self,
        slab: Slabs,
        depth: FloatArray,
        energy: FloatArray,
        start: FloatArray,
        normal: FloatArray,
        tempo: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the fluctuated share of `energy` deposited in a slab, and the age behind the slab."""
        scaled = start * slab.age_scale
        growth = np.where(scaled < 1.0, slab.growth * tempo, slab.relaxation)
        after, share = age(scaled, depth, growth, slab.absorption)
        variance = share * (1.0 - share) * slab.quantum / (energy + _TINY)
        return fluctuate(share, variance, normal), after / slab.age_scale

    def _drain(self, layer: int, slab: Slabs, normal: FloatArray) -> None:
        """Deposit the energy of low-energy hadrons in one whole layer."""
        lost = self._absorbed(self.pool, slab.pool_depth * self.softness, normal)
        self.deposits[layer] += lost * slab.pool_visible
        self.pool -= lost

    def _absorbed(self, energy: FloatArray, depth: FloatArray, normal: FloatArray) -> FloatArray:
        """Return the fluctuated energy that low-energy hadrons lose over a depth."""
        share = -np.expm1(-depth)
        variance = share * (1.0 - share) * self.parameters.hadronic.quantum / (energy + _TINY)
        return energy * fluctuate(share, variance, normal)

    def _partial(self, injection: Injection) -> Arrival:
        """Develop an injection to the end of its own layer; return its state there."""
        layers = self.deposits.shape[0]
        events = np.flatnonzero(injection.layer < layers)
        layer, energy = injection.layer[events], injection.energy[events]
        slab = self.table.pick(layer, self.owners[events])
        rest = 1.0 - injection.before[events]
        start = np.cbrt(injection.particles[events])
        share, end = self._shower(
            slab, slab.radiation * rest, energy, start, injection.normal[events], self.tempo[events]
        )
        pool = injection.hadronic[events]
        depth = slab.pool_depth * rest * self.softness[events]
        drained = self._absorbed(pool, depth, injection.hadron_normal[events])
        self.deposits[layer, events] += energy * share + injection.local[events] + drained * slab.pool_visible
        return Arrival(layer, events, energy * (1.0 - share), end**3, pool - drained)

    def _merge(self, layer: int, state: Arrival) -> None:
        """Add the injections of this layer to the shower that leaves it; energies and particle counts add up."""
        here = np.flatnonzero(state.layer == layer)
        events, energy = state.events[here], state.energy[here]
        old = self.energy[events]
        particles = self.age[events] ** 3 * old + state.particles[here] * energy
        self.energy[events] = old + energy
        self.age[events] = np.cbrt(particles / (old + energy + _TINY))
        self.pool[events] += state.hadronic[here]
