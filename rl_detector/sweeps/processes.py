"""Start the processes of a sweep, interrupt them together, and wait for them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rl_detector.errors import RunFolderError
from rl_detector.records.run_folder import RunFolder
from rl_detector.reproducible import ONE_THREAD
from rl_detector.safety.supervisor import POLL_SECONDS

Task = TypeVar("Task")


Result = TypeVar("Result")


_GOOD_BYE = 30.0
"""Seconds that interrupted runs have to end by themselves."""


class Processes:
    """Running trainings, so that an interruption ends them and waits for them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path, one_thread: bool) -> int:
        """Exit code of a command whose output goes to a file."""
        if self._stopped:
            return -signal.SIGINT
        threads = ONE_THREAD if one_thread else {}
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **threads}
            )
            self._running.add(process)
            try:
                return process.wait()
            finally:
                self._running.discard(process)

    def stop(self) -> None:
        """Interrupt all, wait, then kill what is left."""
        self._stopped = True
        deadline = time.monotonic() + _GOOD_BYE
        for process in list(self._running):
            process.send_signal(signal.SIGINT)
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in list(self._running):
            process.kill()


class Pool:
    """Threads that wait for trainings."""

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)
        self._processes = Processes()

    def submit(self, task: Callable[[Task, Processes], Result], run: Task) -> Future[Result]:
        """Do it in a thread."""
        return self._threads.submit(task, run, self._processes)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._processes.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)


def wait_until_free(folder: RunFolder) -> None:
    """Wait for a training that outlived its sweep."""
    while True:
        try:
            with folder.locked():
                return
        except RunFolderError:
            time.sleep(POLL_SECONDS)


def failure_reason(code: int, log: Path) -> str:
    """Reason why a training ended without a result: the last lines of its log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:")] or lines
    return f"exit code {code}: {told[-1] if told else 'no message'}"
