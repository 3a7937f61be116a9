"""A pool of worker processes that may be killed, time out or crash while the parent lives on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from typing import Any

from pebble import ProcessPool

from rl_detector.safety.child_processes import SafeContext, SafeProcess, safely_spawned

GRACE = 60.0
"""Seconds beyond the longest time limit after which a pool that has finished no task is given up."""

_STOP_LIMIT = 10.0
"""Seconds that stopping a pool may take."""

_GIVEN_UP = TimeoutError("the worker pool stopped answering")


class _WorkerProcess(SafeProcess):
    """A spawned process that does not import the user's script: workers need nothing from it."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        with safely_spawned(main=False):
            return SpawnProcess._Popen(process)


class WorkerContext(SafeContext):
    """The spawn context with workers that never import `__main__`."""

    Process = _WorkerProcess


class WorkerPool:
    """Worker processes that live until closed, and restart when one dies."""

    def __init__(self, workers: int, initializer: Callable[[], None]) -> None:
        self._pool = ProcessPool(max_workers=workers, initializer=initializer, context=WorkerContext())

    @property
    def usable(self) -> bool:
        """False after an internal failure: make a new pool."""
        return bool(self._pool.active)

    def run(self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], limits: Sequence[float]) -> list[Any]:
        """Run the task once per tuple of arguments; return values or exceptions in this order.

        Args:
            task: function that the workers can import.
            arguments: one tuple of arguments per run.
            limits: time limit of each run in seconds.
        """
        futures: list[Future[Any]] = [
            self._pool.schedule(task, args=args, timeout=limit) for args, limit in zip(arguments, limits, strict=True)
        ]
        abandoned = _await(futures, max(limits, default=0.0) + GRACE)
        results = [_GIVEN_UP if future in abandoned else _outcome(future) for future in futures]
        if abandoned:
            self.stop()
        return results

    def stop(self) -> None:
        """End all workers at once; return within seconds, even if a worker hangs."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        joiner = threading.Thread(target=self._join, daemon=True)
        joiner.start()
        joiner.join(_STOP_LIMIT)

    def _join(self) -> None:
        with suppress(Exception):
            self._pool.join()


def _await(futures: Sequence[Future[Any]], patience: float) -> set[Future[Any]]:
    """Wait for all tasks; return those still pending after `patience` seconds in which none finished."""
    pending, finished = set(futures), set(futures)
    while pending and finished:
        finished, pending = wait(pending, timeout=patience, return_when=FIRST_COMPLETED)
    return pending


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    return future.result() if error is None else error
