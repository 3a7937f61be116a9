"""Worker processes of this computer; a worker that dies, hangs or is killed is replaced.

A worker that dies cannot block the others, and every exit is noticed, even with code 0. Each worker has a connection
and a thread of its own. Pools of libraries fail at this. A worker that is killed while it reads leaves a common queue
locked, and pebble waits for ever after exit code 0.
"""

from __future__ import annotations

import json
import math
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

from rl_detector.execution.evaluator import Evaluations, WorkerLost
from rl_detector.execution.futures import settle
from rl_detector.execution.parcel import Parcel
from rl_detector.execution.worker import Answer, Work
from rl_detector.execution.worker_reasons import ended_with, for_people, no_answer
from rl_detector.problem import Evaluation
from rl_detector.reproducible import ONE_THREAD
from rl_detector.safety.child_processes import end_supervised, supervised
from rl_detector.safety.safe_path import FLAG, worker_path
from rl_detector.safety.supervisor import POLL_SECONDS
from rl_detector.terms import Group

START_LIMIT = 300.0
"""Seconds in which a worker must start, and then build its problem."""


STALL_SECONDS = 10
"""Seconds for which a worker may pause in the middle of a message."""


_STOP_LIMIT = 10.0
"""Seconds that stopping the workers may take."""


_WORKER_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from rl_detector.execution.worker import main; "
)


_WORKER_PROGRAM += "main(*map(int, sys.argv[2:]))"


class Job(NamedTuple):
    """One group and the future that waits for it."""

    parcel: Parcel
    group: Group
    future: Future[Evaluations]


class _Limits(NamedTuple):
    """Seconds per design and address space in MB of a worker; None: no limit."""

    timeout: float | None
    memory_mb: int | None


class WorkerProcesses:
    """Processes that take jobs from one queue until they are stopped.

    Args:
        workers: number of processes.
        timeout: seconds per design after which a worker is ended; None: no limit.
        memory_mb: address space of each worker in MB; None: no limit.
        folders: searched last for modules, such as those that a user on another computer wrote.
    """

    def __init__(
        self,
        workers: int,
        timeout: float | None = None,
        memory_mb: int | None = None,
        folders: Sequence[str] = (),
    ) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        limits = _Limits(timeout, memory_mb)
        self._workers = [_Worker(self._jobs, self._stopped, limits, folders) for _ in range(workers)]
        for worker in self._workers:
            worker.thread.start()

    def submit(self, parcel: Parcel, group: Group) -> Future[Evaluations]:
        """Queue a group; its future fails with WorkerLost when the worker died or took too long."""
        future: Future[Evaluations] = Future()
        self._jobs.put(Job(parcel, group, future))
        return future

    def stop(self) -> None:
        """End all workers at once and cancel the jobs that are not done."""
        self._stopped.set()
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            if worker.thread is not threading.current_thread():
                worker.thread.join(_STOP_LIMIT)
        with suppress(queue.Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job.future.cancel()


class _Worker:
    """One worker process, replaced when it dies, and the thread that talks with it."""

    def __init__(
        self,
        jobs: queue.SimpleQueue[Job | None],
        stopped: threading.Event,
        limits: _Limits,
        folders: Sequence[str],
    ) -> None:
        self._jobs, self._stopped, self._folders = jobs, stopped, folders
        self._timeout, self._memory_mb = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._known: set[str] = set()
        self._starting = threading.Lock()
        self.thread = threading.Thread(target=self._serve, daemon=True, name="rl_detector evaluator")

    def _serve(self) -> None:
        """Take jobs until None comes. This thread starts the process, which ends with the thread that started it."""
        with suppress(WorkerLost):  # the first job will meet it again
            self._ensure_started()
        while (job := self._jobs.get()) is not None:
            if self._stopped.is_set():
                job.future.cancel()
            elif not job.future.cancelled():
                self._do(job)
        self.kill()

    def _do(self, job: Job) -> None:
        try:
            evaluations = self._evaluated(job)
        except WorkerLost as error:
            self.kill()
            if self._stopped.is_set():
                job.future.cancel()
            settle(job.future, error=error)
        except Exception as error:
            settle(job.future, error=error)
        else:
            settle(job.future, evaluations)

    def _evaluated(self, job: Job) -> list[Evaluation]:
        connection = self._ensure_started()
        if job.parcel.key not in self._known:
            self._ask(connection, job.parcel, START_LIMIT, f"it did not build the problem within {START_LIMIT:.0f} s")
            self._known.add(job.parcel.key)
        limit = None if self._timeout is None else self._timeout * len(job.group)
        return self._ask(
            connection, Work(job.parcel.key, job.group), limit, f"no result within {self._timeout or 0:g} s per design"
        )

    def _ask(self, connection: Connection, message: Parcel | Work, limit: float | None, late: str) -> list[Evaluation]:
        try:
            connection.send(message)
            self._await(connection, limit, late)
            answer = connection.recv()  # pickled by our own child
        except WorkerLost:
            raise
        except BlockingIOError as error:
            raise WorkerLost(f"the worker process stopped within a message, for {STALL_SECONDS} s") from error
        except (EOFError, OSError) as error:
            raise WorkerLost(self._how_it_ended()) from error
        except Exception as error:  # a simulation wrote to the connection
            raise WorkerLost(no_answer(error)) from error
        if not isinstance(answer, Answer):
            raise WorkerLost(no_answer(answer))
        if answer.error is not None:
            raise for_people(answer.error)
        return answer.evaluations

    def _await(self, connection: Connection, limit: float | None, late: str) -> None:
        """Return when there is something to read.

        Only the time spent waiting here counts. A study that was paused (Ctrl-Z, a suspended batch job) or whose
        clock jumped does not take its workers for slow.

        Raises:
            WorkerLost: the time is up, or the worker has ended.
        """
        left = math.inf if limit is None else limit
        while not connection.poll(waited := min(POLL_SECONDS, left)):
            if not self._lives() and not connection.poll(0):
                raise WorkerLost(self._how_it_ended())
            left -= waited
            if left <= 0:
                raise WorkerLost(late)

    def _lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _ensure_started(self) -> Connection:
        """Connection to a living process; one that died while it was idle is replaced without a message."""
        if self._connection is None or not self._lives():
            self.kill()
            self._connection = self._started()
        return self._connection

    def _started(self) -> Connection:
        with self._starting:
            if self._stopped.is_set():
                raise WorkerLost("the evaluator was closed")
            try:
                connection = self._start()
            except OSError as error:
                raise WorkerLost(f"no worker process can be started: {error}") from error
        self._known = set()
        try:
            self._await(connection, START_LIMIT, f"the worker did not start within {START_LIMIT:.0f} s")
            connection.recv_bytes()
        except (EOFError, OSError) as error:
            reason = f"{self._how_it_ended()} before it began; does `import rl_detector` work in a fresh python?"
            connection.close()
            raise WorkerLost(reason) from error
        return connection

    def _start(self) -> Connection:
        """Start a process in its own session, which Ctrl-C does not reach; its supervisor ends all that it started."""
        parent_end, child_end = socket.socketpair()
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            parent_end.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", STALL_SECONDS, 0))
        with child_end:
            command = [sys.executable, FLAG, "-c", _WORKER_PROGRAM, json.dumps([*worker_path(), *self._folders])]
            command += [str(child_end.fileno()), str(self._memory_mb or 0)]
            self._process = subprocess.Popen(
                supervised(command),
                stdin=subprocess.DEVNULL,
                pass_fds=[child_end.fileno()],
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        return Connection(parent_end.detach())

    def _how_it_ended(self) -> str:
        code = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(POLL_SECONDS)
        return ended_with(code)

    def kill(self) -> None:
        """End the process and its children now."""
        with self._starting:
            process = self._process
            if process is not None:
                end_supervised(process)
            if threading.current_thread() is self.thread and self._connection is not None:
                self._connection.close()
                self._connection = self._process = None
