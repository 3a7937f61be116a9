"""Geant4 from the outside: validates, cuts into chunks, spreads them over workers, checks what comes back."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired

from rl_detector.errors import ConfigError, DetectorError, SimulationError
from rl_detector.physics.materials import material
from rl_detector.simulators.geant4 import worker
from rl_detector.simulators.geant4.checks import violation
from rl_detector.simulators.geant4.geometry import Layer
from rl_detector.simulators.geant4.physics_lists import (
    DATA_FREE,
    GEANT4_VERSIONS,
    HADRON_LIMIT,
    Physics,
    choose,
    require_geant4,
)
from rl_detector.simulators.geant4.pool import WorkerPool
from rl_detector.simulators.stack import PARTICLES, Primaries, Stack

MINIMUM_THICKNESS = 1e-6
"""Layers thinner than this (cm) are not built; their deposit is zero. Geant4's surface tolerance is 1e-10 cm."""


class Geant4Simulator:
    """Stacks of flat layers in Geant4, in persistent worker processes.

    The same (stack, primaries, seed) gives the same deposits bit by bit on any worker, in any batch, for the same
    `chunk`, `cut`, `width` and physics list.

    Args:
        physics_list: "data-free" (needs no data sets), a reference physics list of Geant4 such as "FTFP_BERT_EMZ", or
            "auto" (FTFP_BERT when its data sets are found, else data-free).
        workers: number of processes; None for one per core.
        cut: production cut in mm.
        width: full transverse size of the layers in cm.
        timeout: seconds that a chunk may take, whatever its energy.
        timeout_per_gev: further seconds per GeV of its primaries.
        chunk: events per task; also fixes the random numbers.
    """

    name = "geant4"

    def __init__(  # one argument per line of the configuration
        self,
        physics_list: str = DATA_FREE,
        workers: int | None = None,
        cut: float = 0.7,
        width: float = 200.0,
        timeout: float = 60.0,
        timeout_per_gev: float = 0.5,
        chunk: int = 25,
    ) -> None:
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        self.chunk, self.timeout, self.timeout_per_gev = chunk, timeout, timeout_per_gev
        for label, value in (("workers", self.workers), ("chunk", chunk)):
            if value < 1:
                raise ConfigError(f"geant4: {label} must be at least 1, got {value}")
        for label, size in (("cut", cut), ("width", width), ("timeout", timeout), ("timeout_per_gev", timeout_per_gev)):
            if not 0 < size < math.inf:
                raise ConfigError(f"geant4: {label} must be positive and finite, got {size}")
        self._version = require_geant4()
        self._settings = worker.Settings(choose(physics_list), cut, width)
        self._pool: WorkerPool | None = None
        self._finalizer: Any = None

    @property
    def physics(self) -> Physics:
        """The physics list in use."""
        return self._settings.physics

    def describe(self) -> Mapping[str, str]:
        """Facts that every result must state."""
        return {
            "simulator": self.name,
            "version": f"Geant4 {GEANT4_VERSIONS.get(self._version, 'unknown')} (geant4_pybind {self._version})",
            "physics_list": self.physics.label,
            "cut": f"{self._settings.cut} mm",
        }

    def deposits(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int]
    ) -> list[NDArray[np.float64] | SimulationError]:
        """Energy deposits in GeV, one array [events, layers] per stack, or the error that stopped this stack."""
        jobs = [self._chunks(*job) for job in zip(stacks, primaries, seeds, strict=True)]
        flat = [chunk for chunks in jobs for chunk in chunks]
        results = iter(self._run(flat))
        return [
            self._assemble(index, stack, sent, chunks, [next(results) for _ in chunks])
            for index, (stack, sent, chunks) in enumerate(zip(stacks, primaries, jobs, strict=True))
        ]

    def close(self) -> None:
        """End the workers; the next call of `deposits` starts new ones."""
        if self._finalizer is not None:
            self._finalizer()
        self._pool = self._finalizer = None

    def __enter__(self) -> Geant4Simulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self, stack: Stack, primaries: Primaries, seed: int) -> list[worker.Chunk]:
        _check_primaries(primaries)
        if self.physics.name == DATA_FREE:
            _check_data_free(stack, primaries)
        layers = tuple(
            Layer(column, material(name).geant4, float(thickness))
            for column, (name, thickness) in enumerate(zip(stack.materials, stack.thicknesses, strict=True))
            if thickness >= MINIMUM_THICKNESS
        )
        if not layers:
            return []
        starts = range(0, len(primaries), self.chunk)
        return [self._chunk(layers, stack, primaries, start, _seeds(seed, k)) for k, start in enumerate(starts)]

    def _chunk(
        self, layers: tuple[Layer, ...], stack: Stack, primaries: Primaries, start: int, seeds: tuple[int, ...]
    ) -> worker.Chunk:
        events = slice(start, start + self.chunk)
        energies = tuple(map(float, primaries.energies[events]))
        limit = self.timeout + self.timeout_per_gev * sum(energies)
        return worker.Chunk(layers, len(stack.materials), primaries.particles[events], energies, seeds, limit)

    def _run(self, chunks: Sequence[worker.Chunk]) -> list[Any]:
        if not chunks:
            return []
        try:
            return self._ready_pool().run(
                worker.run_chunk, [(self._settings, chunk) for chunk in chunks], [chunk.limit for chunk in chunks]
            )
        except BaseException:
            self.close()
            raise

    def _ready_pool(self) -> WorkerPool:
        if self._pool is None or not self._pool.usable:
            self.close()
            self._pool = WorkerPool(self.workers, worker.start)
            self._finalizer = weakref.finalize(self, self._pool.stop)
        return self._pool

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
            problem = _problem(result, chunk)
            if problem is not None:
                return SimulationError(f"geant4: {where}, chunk {number + 1} of {len(chunks)}: {problem}")
            deposits[number * self.chunk : number * self.chunk + len(chunk.particles)] = result
        return deposits


def _problem(result: Any, chunk: worker.Chunk) -> str | None:
    """What is wrong with the outcome of a chunk; None if nothing.

    Raises:
        DetectorError: the worker could not start at all, which no other stack would survive either.
    """
    if isinstance(result, DetectorError) and not isinstance(result, SimulationError):
        raise result
    if isinstance(result, ProcessExpired):
        return f"the worker process died with exit code {result.exitcode}"
    if isinstance(result, TimeoutError):
        return f"no result within {chunk.limit:.0f} s ({result.args[0] if result.args else 'timeout'})"
    if isinstance(result, BrokenExecutor):
        return "all worker processes ended before they took the task; does `import rl_detector` work in a fresh python?"
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    return violation(result, chunk)


def _check_primaries(primaries: Primaries) -> None:
    unknown = sorted(set(primaries.particles) - set(PARTICLES))
    if unknown:
        raise ConfigError(f"geant4: unknown particles {unknown}: known are {', '.join(PARTICLES)}")
    energies = np.asarray(primaries.energies)
    if energies.shape != (len(primaries),) or not np.all(np.isfinite(energies) & (energies > 0)):
        raise ConfigError(f"geant4: need one finite energy > 0 GeV per particle, got {energies} for {len(primaries)}")


def _check_data_free(stack: Stack, primaries: Primaries) -> None:
    """Refuse what the data-free hadronic physics gets wrong without a word."""
    pions = np.asarray(primaries.energies)[[particle == "pi+" for particle in primaries.particles]]
    if np.any(pions > HADRON_LIMIT):
        problem = f"pions only up to {HADRON_LIMIT} GeV, got {pions.max():.4g} GeV"
    elif pions.size and "U" in stack.materials:
        problem = "no pions in uranium (fission by slow neutrons needs cross-section data)"
    else:
        return
    raise ConfigError(
        f"geant4: physics_list={DATA_FREE} simulates {problem}; use physics_list=FTFP_BERT with its data sets"
    )


def _seeds(seed: int, chunk: int) -> tuple[int, ...]:
    """Four positive 31-bit seeds of Geant4's MixMax engine; 0 is not allowed."""
    state = np.random.SeedSequence(seed, spawn_key=(chunk,)).generate_state(4)
    return tuple(int(word >> 1) + 1 for word in state)
