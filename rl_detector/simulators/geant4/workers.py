"""Shared base of the Geant4 simulators, parent process: settings, worker processes, failures and seeds of chunks."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
from pebble import ProcessExpired

from rl_detector.errors import ConfigError, DetectorError, SimulationError
from rl_detector.simulators.geant4 import worker
from rl_detector.simulators.geant4.physics_lists import GEANT4_VERSIONS, Physics, require_geant4
from rl_detector.simulators.geant4.pool import WorkerPool


class Workers:
    """Worker processes for one kind of geometry, started when needed."""

    name = "geant4"

    def __init__(self, workers: int | None, chunk: int, settings: worker.AnySettings) -> None:
        """Take the number of processes (None: one per core), events per task, and settings of the workers."""
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        self.chunk = chunk
        for label, value in (("workers", self.workers), ("chunk", chunk)):
            if value < 1:
                raise ConfigError(f"geant4: {label} must be at least 1, got {value}")
        self._version = require_geant4()
        self._settings = settings
        self._pool: WorkerPool | None = None
        self._finalizer: Any = None

    @property
    def physics(self) -> Physics:
        """The physics list in use."""
        return self._settings.physics

    def describe(self) -> Mapping[str, str]:
        """Return the facts that every result must state."""
        return {
            "simulator": self.name,
            "version": f"Geant4 {GEANT4_VERSIONS.get(self._version, 'unknown')} (geant4_pybind {self._version})",
            "physics_list": self.physics.label,
            "cut": f"{self._settings.cut} mm",
        }

    def close(self) -> None:
        """End the workers; the next simulation starts new ones."""
        if self._finalizer is not None:
            self._finalizer()
        self._pool = self._finalizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, chunks: Sequence[worker.AnyChunk]) -> list[Any]:
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


def check_sizes(**sizes: float) -> None:
    """Check settings that must be positive and finite.

    Raises:
        ConfigError: one is not.
    """
    for label, size in sizes.items():
        if not 0 < size < math.inf:
            raise ConfigError(f"geant4: {label} must be positive and finite, got {size}")


def failure(result: Any, limit: float) -> str | None:
    """Return the reason why a chunk has no result, or None if it has one.

    Args:
        result: value or exception from the worker pool.
        limit: seconds that the chunk could take.

    Raises:
        DetectorError: the worker could not start; every other geometry would fail too.
    """
    if isinstance(result, DetectorError) and not isinstance(result, SimulationError):
        raise result
    if isinstance(result, ProcessExpired):
        return f"the worker process died with exit code {result.exitcode}"
    if isinstance(result, TimeoutError):
        return f"no result within {limit:.0f} s ({result.args[0] if result.args else 'timeout'})"
    if isinstance(result, BrokenExecutor):
        return "all worker processes ended before they took the task; does `import rl_detector` work in a fresh python?"
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    return None


def chunk_seeds(seed: int, chunk: int) -> tuple[int, ...]:
    """Derive four positive 31-bit seeds of Geant4's MixMax engine, which does not allow 0."""
    state = np.random.SeedSequence(seed, spawn_key=(chunk,)).generate_state(4)
    return tuple(int(word >> 1) + 1 for word in state)
