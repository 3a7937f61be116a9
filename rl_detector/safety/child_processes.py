"""Child processes: started from a safe path, in a group that is ended as a whole, and ended with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, spawn
from multiprocessing import util as _util
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from rl_detector.safety import supervisor
from rl_detector.safety.safe_path import FLAG, worker_path

_END_POLL_SECONDS = 0.005
"""Seconds between checks whether a supervisor has ended."""

util: Any = _util  # Any: type stubs lack the private function that `safely_spawned` replaces

_start_lock = threading.Lock()


def supervised(command: Sequence[str], report: int = -1, largest: int = 0) -> list[str]:
    """Return the command that starts another one under a supervisor (`rl_detector.safety.supervisor`).

    Args:
        command: program and its arguments.
        report: file descriptor of the supervisor's report; -1 for none.
        largest: largest file in bytes that the command may write; 0 for no limit.
    """
    words = (os.getpid(), report, largest)
    return [sys.executable, "-I", "-S", supervisor.__file__, *map(str, words), *command]


def end_supervised(process: subprocess.Popen[bytes], patience: float = supervisor.PATIENCE + 1) -> None:
    """End a supervisor, the leader of its process group, and all processes that it has started."""
    if process.returncode is None:  # else its process id may belong to another process
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        _await_end(process.pid, time.monotonic() + patience)
    with suppress(ProcessLookupError, PermissionError):  # not waited for, so its process id still names its group
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)


def _await_end(number: int, deadline: float) -> None:
    """Wait until a child has ended, or until the deadline; keep its exit status for a later wait."""
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            time.sleep(_END_POLL_SECONDS)


def follow_parent() -> None:
    """End this process when its parent has ended for any reason."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(supervisor.POLL_SECONDS)
    os._exit(1)


class SafeProcess(SpawnProcess):
    """A spawned process that imports nothing from the current folder unless the user named it."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        with safely_spawned():
            return SpawnProcess._Popen(process)


class SafeContext(SpawnContext):
    """The spawn context with safe processes; make it before its first queue or lock."""

    Process = SafeProcess

    def __init__(self) -> None:
        super().__init__()
        with safely_spawned():
            resource_tracker.ensure_running()  # else the first lock would start it from the current folder


@contextmanager
def safely_spawned(main: bool = True) -> Iterator[None]:
    """Let multiprocessing start processes from a safe path inside this context.

    Args:
        main: whether processes that this thread starts import the user's script.
    """
    with _start_lock:
        options, facts, thread = util._args_from_interpreter_flags, spawn.get_preparation_data, threading.get_ident()

        def prepare(name: str) -> dict[str, Any]:
            data: dict[str, Any] = {**facts(name), "sys_path": worker_path()}
            if threading.get_ident() == thread and not main:
                data = {key: value for key, value in data.items() if not key.startswith("init_main")}
            return data

        util._args_from_interpreter_flags = lambda: [*options(), *([] if FLAG in options() else [FLAG])]
        spawn.get_preparation_data = prepare
        try:
            yield
        finally:
            util._args_from_interpreter_flags, spawn.get_preparation_data = options, facts
