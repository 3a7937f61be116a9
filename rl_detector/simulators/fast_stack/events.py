"""Events of the fast simulator: where photons, electrons and pions inject energy into the cascade.

Arrays join the events of several stacks; `owners` [events] gives the stack of each event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.showers import (
    PHOTON_CONVERSION,
    FloatArray,
    IntArray,
    fluctuate,
    interpolate,
    kumaraswamy,
    locate,
    track_deposits,
)
from rl_detector.simulators.fast_stack.cascade import Cascade, Injection, Slabs
from rl_detector.simulators.fast_stack.parameters import FastParameters, Hadronic

GENERATIONS = 4
"""Number of hadronic vertices along the leading particle. At the last one, it shares out all of its energy."""

UNIFORMS = 3 * GENERATIONS
"""Uniform random numbers per event."""

NORMALS = 4 * GENERATIONS + 1
"""Standard normal random numbers per event, besides those of the layers."""

_TINY = 1e-9
"""Energy in GeV added to denominators and bases of powers against a division by 0."""


@dataclass(frozen=True)
class Numbers:
    """Random numbers per event, [UNIFORMS or NORMALS, events], and per layer of every event, [layers, events]."""

    uniform: FloatArray
    normal: FloatArray
    layers: FloatArray
    hadron_layers: FloatArray

    def exponential(self, row: int) -> FloatArray:
        """Turn one row of uniform numbers into standard exponential ones, [events]."""
        numbers: FloatArray = -np.log1p(-self.uniform[row])
        return numbers

    def take(self, events: IntArray) -> Numbers:
        """Select the numbers of some events."""
        return Numbers(*(values[:, events] for values in (self.uniform, self.normal, self.layers, self.hadron_layers)))


def photon_or_electron(
    table: Slabs,
    owners: IntArray,
    energies: FloatArray,
    is_photon: NDArray[np.bool_],
    numbers: Numbers,
    parameters: FastParameters,
) -> FloatArray:
    """Simulate electromagnetic primaries; return their deposits in GeV, [layers, events]."""
    constants = parameters.electromagnetic
    depth = np.where(is_photon, numbers.exponential(0) * (PHOTON_CONVERSION * constants.conversion), 0.0)
    layer, before = locate(depth, table.edges("radiation", owners))
    spread = np.where(is_photon, constants.photon_spread, constants.electron_spread)
    start = np.where(is_photon, constants.photon_start, 1.0) * np.exp(spread * numbers.normal[0]) / energies
    tempo = np.exp(constants.growth_spread * numbers.normal[1])
    none = np.zeros(len(owners))
    lost = constants.albedo * np.sqrt(energies) * numbers.exponential(1)
    inside = np.maximum(energies - lost, 0.0)
    shower = Injection(layer, before, inside, start, numbers.normal[2], none, none, none)
    return Cascade(table, owners, tempo, parameters).run([shower], numbers.layers, None)


def pion(
    table: Slabs, owners: IntArray, energies: FloatArray, numbers: Numbers, parameters: FastParameters
) -> FloatArray:
    """Simulate charged pions; return their deposits in GeV, [layers, events]."""
    edges = table.edges("interaction", owners), _straggled(table, owners, numbers, parameters)
    layers = table.radiation.shape[0]
    kinetic, track, depth = energies.copy(), np.zeros(len(owners)), np.zeros(len(owners))
    alive = np.ones(len(owners), dtype=np.bool_)
    injections = []
    for generation in range(GENERATIONS):
        depth += numbers.exponential(3 * generation)
        layer, before = locate(depth, edges[0])
        need = np.where(alive, interpolate(layer, before, edges[1]) - track, 0.0)
        track += np.minimum(need, kinetic)
        alive &= (layer < layers) & (kinetic > need)
        kinetic = np.where(alive, kinetic - need, 0.0)
        if generation == 0:
            kinetic += np.where(alive, parameters.hadronic.rest_energy, 0.0)
        vertex = np.where(alive, layer, layers), before
        injection, kinetic = _vertex(table, owners, vertex, kinetic, numbers, generation, parameters)
        injections.append(injection)
    tempo = np.exp(parameters.electromagnetic.growth_spread * numbers.normal[0])
    cascade = Cascade(table, owners, tempo, parameters)
    cascade.softness = energies**-parameters.hadronic.pool_slope
    return cascade.run(injections, numbers.layers, numbers.hadron_layers) + track_deposits(track, edges[1])


def _straggled(table: Slabs, owners: IntArray, numbers: Numbers, parameters: FastParameters) -> FloatArray:
    """Sum the ionisation loss with straggling in front of every edge, in GeV, [layers + 1, events].

    The relative width does not depend on the thickness (Landau). The random numbers are those of the electromagnetic
    shower in the layer, which does not exist yet while the pion is alone.
    """
    width = parameters.hadronic.straggling
    factor = np.exp(width * numbers.layers - 0.5 * width * width)
    losses = table.loss[:, owners] * factor[: table.loss.shape[0]]
    return np.concatenate([np.zeros((1, len(owners))), np.cumsum(losses, axis=0)])


def _vertex(
    table: Slabs,
    owners: IntArray,
    place: tuple[IntArray, FloatArray],
    kinetic: FloatArray,
    numbers: Numbers,
    generation: int,
    parameters: FastParameters,
) -> tuple[Injection, FloatArray]:
    """Share the energy of a hadronic interaction among neutral pions, the leading hadron and the rest.

    Returns:
        The injection of neutral pions and the rest, and the energy of the leading hadron in GeV, [events].
    """
    constants, normal = parameters.hadronic, numbers.normal[1 + 4 * generation :]
    slab = table.pick(np.minimum(place[0], table.radiation.shape[0] - 1), owners)
    neutral = kinetic * _neutral_share(kinetic, numbers.uniform[3 * generation + 1], constants)
    charged = kinetic - neutral
    leading = np.zeros(len(owners))
    if generation < GENERATIONS - 1:
        carried = constants.leading_shape_a * (kinetic + _TINY) ** constants.leading_slope
        leading = charged * kumaraswamy(numbers.uniform[3 * generation + 2], carried, constants.leading_shape_b)
    odds = slab.visible / (1.0 - slab.visible) * (kinetic + _TINY) ** constants.visible_slope
    mean_visible = odds / (1.0 + odds)
    variance = constants.visible_spread**2 * np.ones(len(owners))
    visible = (charged - leading) * fluctuate(mean_visible, variance, normal[0])
    start = parameters.electromagnetic.pion_start * np.exp(parameters.electromagnetic.pion_spread * normal[1])
    local = slab.local / (slab.local + (1.0 - slab.local) * (kinetic + _TINY) ** constants.local_slope)
    soft = visible * (1.0 - local)
    injection = Injection(*place, neutral, start / (neutral + _TINY), normal[2], normal[3], visible * local, soft)
    return injection, leading


def _neutral_share(kinetic: FloatArray, uniform: FloatArray, constants: Hadronic) -> FloatArray:
    """Return the energy share of neutral pions at a vertex: mostly small, nearly all in a charge exchange."""
    exchange = constants.exchange
    shape_a = constants.fraction_shape_a * (kinetic + _TINY) ** constants.fraction_slope
    shape_b = np.where(uniform < exchange, constants.exchange_shape_b, constants.fraction_shape_b)
    rescaled = np.where(uniform < exchange, uniform / exchange, (uniform - exchange) / (1.0 - exchange))
    return kumaraswamy(rescaled, shape_a, shape_b)
