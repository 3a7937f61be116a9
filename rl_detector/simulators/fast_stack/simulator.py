"""The fast calorimeter simulator: parametrised showers in stacks of flat layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.physics.showers import FloatArray
from rl_detector.simulators.fast_stack.cascade import slabs
from rl_detector.simulators.fast_stack.events import NORMALS, UNIFORMS, Numbers, photon_or_electron, pion
from rl_detector.simulators.fast_stack.parameters import FITTED, FastParameters
from rl_detector.simulators.stack import Primaries, Stack

VERSION = "1"
"""Version of the results; it changes whenever an equal (stack, primaries, seed) gives another result."""

_CHUNK_EVENTS = 8192
"""Events simulated at once: the arrays of one layer then fit into the processor's cache."""


class FastStackSimulator:
    """Vectorised showers in layers, fitted to Geant4; see `rl_detector.physics.showers` for the formulas.

    Stacks of a batch with equal seeds and equal numbers of events share their random numbers.
    """

    name = "fast"

    def __init__(self, parameters: FastParameters = FITTED) -> None:
        self.parameters = parameters

    def describe(self) -> Mapping[str, str]:
        """Return the version and the origin of the parameters."""
        origin = "fitted to Geant4, experiments/fast_vs_geant4" if self.parameters is FITTED else "given by the caller"
        return {"simulator": self.name, "version": VERSION, "parameters": origin}

    def deposits(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int]
    ) -> list[FloatArray | SimulationError]:
        """Simulate stacks; return one array [events, layers] in GeV per stack."""
        compact = [_present(stack) for stack in stacks]
        layers = max([1, *(len(stack.materials) for stack in compact)])
        results: list[FloatArray | SimulationError] = []
        for chunk in _chunks([len(beam) for beam in primaries]):
            found = self._simulate(compact[chunk], primaries[chunk], seeds[chunk], layers)
            results += [_scatter(stack, values) for stack, values in zip(stacks[chunk], found, strict=True)]
        return results

    def close(self) -> None:
        """Do nothing: there are no workers to free."""

    def _simulate(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int], layers: int
    ) -> list[FloatArray]:
        """Simulate one chunk of a batch; return the deposits [layers, events] of every stack."""
        counts = [len(beam) for beam in primaries]
        owners = np.repeat(np.arange(len(stacks)), counts)
        particles = np.concatenate([np.asarray(beam.particles, dtype="U8") for beam in primaries])
        energies = np.concatenate([np.asarray(beam.energies, dtype=np.float64) for beam in primaries])
        numbers = _numbers(seeds, counts, layers)
        table = slabs(stacks, layers, self.parameters)
        deposits = np.zeros((layers, len(owners)))
        showers, hadrons = np.flatnonzero(particles != "pi+"), np.flatnonzero(particles == "pi+")
        photons = particles[showers] == "gamma"
        deposits[:, showers] = photon_or_electron(
            table, owners[showers], energies[showers], photons, numbers.take(showers), self.parameters
        )
        deposits[:, hadrons] = pion(table, owners[hadrons], energies[hadrons], numbers.take(hadrons), self.parameters)
        return np.split(deposits, np.cumsum(counts)[:-1], axis=1)


def _present(stack: Stack) -> Stack:
    """Leave out the absent layers of a stack."""
    kept = [index for index, thickness in enumerate(stack.thicknesses) if thickness > 0]
    return Stack(tuple(stack.materials[i] for i in kept), tuple(stack.thicknesses[i] for i in kept))


def _scatter(stack: Stack, deposits: FloatArray) -> FloatArray:
    """Put the deposits of the present layers, [layers, events], in their columns: [events, layers]."""
    result = np.zeros((deposits.shape[1], len(stack.materials)))
    kept = [index for index, thickness in enumerate(stack.thicknesses) if thickness > 0]
    result[:, kept] = deposits[: len(kept)].T
    return result


def _chunks(counts: Sequence[int]) -> list[slice]:
    """Cut a batch into sequences of stacks with about _CHUNK_EVENTS events each."""
    slices, start, events = [], 0, 0
    for index, count in enumerate(counts):
        events += count
        if events >= _CHUNK_EVENTS or index == len(counts) - 1:
            slices.append(slice(start, index + 1))
            start, events = index + 1, 0
    return slices


def _numbers(seeds: Sequence[int], counts: Sequence[int], layers: int) -> Numbers:
    """Draw the random numbers of a chunk; rows have a fixed order, so a longer stack only adds rows at the end."""
    drawn = {pair: _draw(*pair, layers) for pair in set(zip(seeds, counts, strict=True))}
    parts = [drawn[pair] for pair in zip(seeds, counts, strict=True)]
    uniform, normal = (np.concatenate([part[kind] for part in parts], axis=1) for kind in (0, 1))
    return Numbers(uniform, normal[:NORMALS], normal[NORMALS::2], normal[NORMALS + 1 :: 2])


def _draw(seed: int, events: int, layers: int) -> tuple[FloatArray, FloatArray]:
    """Draw uniform [UNIFORMS, events] and normal [NORMALS + 2 layers, events] numbers of one stack."""
    rng = np.random.default_rng(seed)
    return rng.random((UNIFORMS, events)), rng.standard_normal((NORMALS + 2 * layers, events))
