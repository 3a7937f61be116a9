"""Stacks of layers in Geant4, parent process: check the input, send chunks to workers, check their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.physics.materials import material
from rl_detector.simulators.geant4 import worker
from rl_detector.simulators.geant4.checks import violation
from rl_detector.simulators.geant4.geometry import Layer
from rl_detector.simulators.geant4.physics_lists import DATA_FREE, HADRON_LIMITS, choose
from rl_detector.simulators.geant4.workers import Workers, check_sizes, chunk_seeds, failure
from rl_detector.simulators.stack import PARTICLES, Primaries, Stack

MINIMUM_THICKNESS = 1e-6
"""Thickness in cm below which a layer is not built and its deposit is zero.

Geant4's surface tolerance is 1e-10 cm.
"""

CUT = 0.7
"""Production cut in mm, Geant4's own default."""


class Geant4Simulator(Workers):
    """Stacks of flat layers in Geant4, in persistent worker processes.

    Deposits are equal bit by bit for equal (stack, primaries, seed), on any worker and in any batch. This needs equal
    `chunk`, `cut`, `width` and physics list.

    Args:
        physics_list: "data-free" needs no data sets; "data-free-ftfp" needs none either, for pions above 30 GeV.
            "auto" is FTFP_BERT if its data sets are found, else data-free. Or the name of a reference physics list of
            Geant4, such as "FTFP_BERT_EMZ".
        workers: number of processes; None for one per core.
        cut: production cut in mm; None for CUT.
        width: full transverse size of the layers in cm.
        timeout: seconds that a chunk may take at any energy.
        timeout_per_gev: seconds that a chunk may take in addition, per GeV of its primaries.
        chunk: events per task; it also fixes the random numbers.
    """

    def __init__(  # one argument per line of the configuration
        self,
        physics_list: str = DATA_FREE,
        workers: int | None = None,
        cut: float | None = None,
        width: float = 200.0,
        timeout: float = 60.0,
        timeout_per_gev: float = 0.5,
        chunk: int = 25,
    ) -> None:
        cut = CUT if cut is None else cut
        check_sizes(cut=cut, width=width, timeout=timeout, timeout_per_gev=timeout_per_gev)
        super().__init__(workers, chunk, worker.Settings(choose(physics_list), cut, width))
        self.timeout, self.timeout_per_gev = timeout, timeout_per_gev

    def deposits(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int]
    ) -> list[NDArray[np.float64] | SimulationError]:
        """Simulate stacks; return one array [events, layers] in GeV per stack, or the error that stopped it."""
        jobs = [self._chunks(*job) for job in zip(stacks, primaries, seeds, strict=True)]
        flat = [chunk for chunks in jobs for chunk in chunks]
        results = iter(self._run(flat))
        return [
            self._assemble(index, stack, sent, chunks, [next(results) for _ in chunks])
            for index, (stack, sent, chunks) in enumerate(zip(stacks, primaries, jobs, strict=True))
        ]

    def _chunks(self, stack: Stack, primaries: Primaries, seed: int) -> list[worker.Chunk]:
        _check_primaries(primaries)
        if self.physics.name in HADRON_LIMITS:
            _check_data_free(self.physics.name, stack, primaries)
        layers = tuple(
            Layer(column, material(name).geant4, float(thickness))
            for column, (name, thickness) in enumerate(zip(stack.materials, stack.thicknesses, strict=True))
            if thickness >= MINIMUM_THICKNESS
        )
        if not layers:
            return []
        starts = range(0, len(primaries), self.chunk)
        return [self._chunk(layers, stack, primaries, start, chunk_seeds(seed, k)) for k, start in enumerate(starts)]

    def _chunk(
        self, layers: tuple[Layer, ...], stack: Stack, primaries: Primaries, start: int, seeds: tuple[int, ...]
    ) -> worker.Chunk:
        events = slice(start, start + self.chunk)
        energies = tuple(map(float, primaries.energies[events]))
        limit = self.timeout + self.timeout_per_gev * sum(energies)
        return worker.Chunk(layers, len(stack.materials), primaries.particles[events], energies, seeds, limit)

    def _assemble(
        self,
        index: int,
        stack: Stack,
        primaries: Primaries,
        chunks: Sequence[worker.Chunk],
        results: Sequence[Any],
    ) -> NDArray[np.float64] | SimulationError:
        where = f"stack {index} ({len(stack.materials)} layers, {stack.length:.4g} cm, {len(primaries)} events)"
        deposits = np.zeros((len(primaries), len(stack.materials)))
        for number, (chunk, result) in enumerate(zip(chunks, results, strict=True)):
            problem = failure(result, chunk.limit) or violation(result, chunk)
            if problem is not None:
                return SimulationError(f"geant4: {where}, chunk {number + 1} of {len(chunks)}: {problem}")
            deposits[number * self.chunk : number * self.chunk + len(chunk.particles)] = result
        return deposits


def _check_primaries(primaries: Primaries) -> None:
    unknown = sorted(set(primaries.particles) - set(PARTICLES))
    if unknown:
        raise ConfigError(f"geant4: unknown particles {unknown}: known are {', '.join(PARTICLES)}")
    energies = np.asarray(primaries.energies)
    if energies.shape != (len(primaries),) or not np.all(np.isfinite(energies) & (energies > 0)):
        raise ConfigError(f"geant4: need one finite energy > 0 GeV per particle, got {energies} for {len(primaries)}")


def _check_data_free(name: str, stack: Stack, primaries: Primaries) -> None:
    """Refuse pions that the data-free hadronic physics would simulate wrongly without a warning."""
    pions = np.asarray(primaries.energies)[[particle == "pi+" for particle in primaries.particles]]
    if np.any(pions > HADRON_LIMITS[name]):
        problem = f"pions only up to {HADRON_LIMITS[name]} GeV, got {pions.max():.4g} GeV"
    elif pions.size and "U" in stack.materials:
        problem = "no pions in uranium (fission by slow neutrons needs cross-section data)"
    else:
        return
    raise ConfigError(f"geant4: physics_list={name} simulates {problem}; use physics_list=FTFP_BERT with its data sets")
