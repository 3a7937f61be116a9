"""Simulations in processes of this computer."""

from __future__ import annotations

import math
import os
import weakref
from concurrent.futures import Future
from typing import Any

from rl_detector.errors import ConfigError
from rl_detector.execution.evaluator import Evaluations, ParallelEvaluator
from rl_detector.execution.parcel import Parcel
from rl_detector.execution.worker_processes import WorkerProcesses
from rl_detector.terms import Group


class LocalEvaluator(ParallelEvaluator):
    """Simulates in worker processes that start with the first group, and are replaced when they die or hang.

    Each uses one thread. They live until `close`, and end with this process, however it ends.

    Args:
        workers: number of processes; None for one per core that this process may use.
        group: designs per task at most.
        timeout: seconds per design after which a worker is ended; None: no limit. A group of n designs has n times as
            long.
        memory_mb: address space of each worker in MB; None: no limit. Beyond it a simulation fails with a MemoryError.
            Reserved memory counts, too (RLIMIT_AS): torch reserves several GB.
    """

    def __init__(
        self,
        workers: int | None = None,
        group: int = 64,
        timeout: float | None = None,
        memory_mb: int | None = None,
    ) -> None:
        super().__init__(available_cores() if workers is None else workers, group)
        check_limits(timeout, memory_mb)
        self.timeout, self.memory_mb = timeout, memory_mb
        self._processes: WorkerProcesses | None = None
        self._finalizer: Any = None

    def start(self, parcel: Parcel, group: Group) -> Future[Evaluations]:
        """Queue one group."""
        if self._processes is None:
            self._processes = WorkerProcesses(self.workers, self.timeout, self.memory_mb)
            self._finalizer = weakref.finalize(self, self._processes.stop)
        return self._processes.submit(parcel, group)

    def close(self) -> None:
        """End the workers at once; the next group starts new ones."""
        if self._finalizer is not None:
            self._finalizer()
        self._processes = self._finalizer = None


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_limits(timeout: float | None, memory_mb: int | None) -> None:
    """Raise ConfigError unless time and memory are positive, or None."""
    if timeout is not None and not 0 < timeout < math.inf:
        raise ConfigError(f"evaluator.timeout must be a positive number of seconds per design or null, got {timeout}")
    if memory_mb is not None and memory_mb < 1:
        raise ConfigError(f"evaluator.memory_mb must be a positive number of MB or null, got {memory_mb}")
