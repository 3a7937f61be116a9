"""Groups at a dask scheduler: sent, sent again when it comes back after a loss, given up when it is gone."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, NamedTuple

from rl_detector.errors import ConfigError, DetectorError, SimulationError
from rl_detector.execution.evaluator import Evaluations, WorkerLost
from rl_detector.execution.futures import settle
from rl_detector.execution.parcel import Parcel
from rl_detector.safety.supervisor import POLL_SECONDS
from rl_detector.terms import Group

NO_WORKERS = 60.0
"""Seconds without any worker after which a warning says so."""


class Task(NamedTuple):
    """One group for a dask worker.

    Attributes:
        limits: seconds per design and MB, None for no limit.
        parcel, group: the problem, and the designs to evaluate.
        folders: of the user's own modules, see `safe_path.named_folders`.
    """

    limits: tuple[float | None, int | None]
    parcel: Parcel
    group: Group
    folders: tuple[str, ...] = ()


class SchedulerConnection:
    """A dask client and the groups it has sent, which are sent again when a lost scheduler comes back.

    Args:
        client: of dask; closed with this connection, as is the cluster that it started.
        run: called on a worker; returns the evaluations, or the error that prevented them.
        on_close: called before the cluster is closed, with the cluster or None.
    """

    def __init__(
        self, client: Any, run: Callable[[Task], Evaluations | Exception], on_close: Callable[[Any], None]
    ) -> None:
        self._client, self._run, self._on_close = client, run, on_close
        self._under_way: dict[Future[Evaluations], tuple[Task, Any]] = {}
        self._again: list[Future[Evaluations]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="rl_detector scheduler").start()

    def submit(self, task: Task) -> Future[Evaluations]:
        """The future of a group; it fails with WorkerLost, or with SimulationError when the scheduler is gone."""
        future: Future[Evaluations] = Future()
        self._send(future, task)
        return future

    def close(self) -> None:
        """Cancel all groups, leave the scheduler and end the cluster."""
        self._closed.set()
        for future in list(self._under_way):
            future.cancel()
        cluster = self._client.cluster
        self._on_close(cluster)
        for thing in (self._client, cluster):
            if thing is not None:
                with suppress(Exception):  # it may be gone already
                    thing.close(timeout=10)

    def _send(self, future: Future[Evaluations], task: Task) -> None:
        if self._closed.is_set() or future.cancelled():
            return
        try:
            remote = self._client.submit(self._run, task, pure=False)
        except Exception as error:  # whatever dask raises with a closed client
            settle(future, error=_scheduler_gone(str(error)))
            return
        with self._lock:
            self._under_way[future] = task, remote
        future.add_done_callback(self._forget)
        remote.add_done_callback(lambda done: self._on_done(future, done))

    def _forget(self, future: Future[Evaluations]) -> None:
        with self._lock:
            entry = self._under_way.pop(future, None)
        if entry is not None and future.cancelled() and not self._closed.is_set():
            with suppress(Exception):
                entry[1].cancel()

    def _on_done(self, future: Future[Evaluations], remote: Any) -> None:
        if remote.status == "cancelled":
            with self._lock:
                self._again.append(future)
            return
        try:
            found = remote.result()
            settle(future, error=found) if isinstance(found, Exception) else settle(future, found)
        except Exception as error:
            if (
                isinstance(error, (CancelledError, OSError)) and remote.status != "error"
            ):  # lost on its way to this process
                with self._lock:
                    self._again.append(future)
            else:
                settle(future, error=_as_loss(error))

    def _watch(self) -> None:
        """Send lost groups again once the scheduler is back, or give up."""
        self._patience = time.monotonic() + NO_WORKERS
        while not self._closed.wait(POLL_SECONDS):
            if self._client.status == "running":
                self._send_again()
                self._say_if_nobody_works()
            elif self._client.status != "connecting":
                for future in list(self._under_way):
                    settle(future, error=_scheduler_gone(f"its connection is {self._client.status}"))

    def _send_again(self) -> None:
        with self._lock:
            lost, self._again = self._again, []
            tasks = [(future, self._under_way[future][0]) for future in lost if future in self._under_way]
        for future, task in tasks:
            self._send(future, task)

    def _say_if_nobody_works(self) -> None:
        if time.monotonic() < self._patience:
            return
        self._patience = math.inf
        with suppress(Exception):  # the scheduler may be lost in this moment
            if not self._client.nthreads():
                message = (
                    f"the dask scheduler at {self._client.scheduler_info()['address']} has had no worker for "
                    f"{NO_WORKERS:.0f} s. Do the jobs still wait in the queue? Can the nodes reach that address "
                    "(evaluator.listen)? This study waits."
                )
                warnings.warn(message, RuntimeWarning, stacklevel=1)


def _scheduler_gone(reason: str) -> SimulationError:
    return SimulationError(
        f"the dask scheduler is gone ({reason}). Finished simulations are kept. Start a scheduler, "
        "then continue with `rl-detector resume`."
    )


def _as_loss(error: Exception) -> Exception:
    """An error of dask, said for the physicist."""
    if isinstance(error, (WorkerLost, DetectorError)):
        return error
    if type(error).__name__ == "KilledWorker":
        return WorkerLost("every dask worker that had it died")
    return ConfigError(
        f"a dask worker could not run a group ({type(error).__name__}: {error}). The workers need the same versions of "
        "Python, rl_detector and the environment as this process."
    )
