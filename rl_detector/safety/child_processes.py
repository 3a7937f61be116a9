"""Processes that this one starts: from a safe path, in a group that is ended as a whole, and gone with their parent."""

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

from rl_detector.safety import supervisor as command_supervisor
from rl_detector.safety.safe_path import FLAG, worker_path

_END_POLL_SECONDS = 0.005
"""Seconds between looks whether a supervisor has ended."""


util: Any = _util  # the types of the standard library leave out what is changed here


_start_lock = threading.Lock()


def supervised(command: Sequence[str], report: int = -1, largest: int = 0) -> list[str]:
    """The command that starts another one under a supervisor, see command_supervisor."""
    words = (os.getpid(), report, largest)
    return [sys.executable, "-I", "-S", command_supervisor.__file__, *map(str, words), *command]


def end_supervised(process: subprocess.Popen[bytes], patience: float = command_supervisor.PATIENCE + 1) -> None:
    """End a supervisor, the leader of its process group, and all that it has started."""
    if process.returncode is None:  # else its number may be another process's
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        _await_end(process.pid, time.monotonic() + patience)
    with suppress(ProcessLookupError, PermissionError):  # not waited for, so its number is still that of its group
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)


def _await_end(number: int, deadline: float) -> None:
    """Wait until a child has ended, and leave it to be waited for."""
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            time.sleep(_END_POLL_SECONDS)


def follow_parent() -> None:
    """End this process when its parent has gone, however that ended."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(command_supervisor.POLL_SECONDS)
    os._exit(1)


class SafeProcess(SpawnProcess):
    """A spawned process that imports nothing from a current folder that nobody named."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        with safely_spawned():
            return SpawnProcess._Popen(process)


class SafeContext(SpawnContext):
    """The spawn context with safe processes; make it where its first queue or lock is made."""

    Process = SafeProcess

    def __init__(self) -> None:
        super().__init__()
        with safely_spawned():
            resource_tracker.ensure_running()  # else the first lock starts this process, from the current folder


@contextmanager
def safely_spawned(main: bool = True) -> Iterator[None]:
    """Start what multiprocessing spawns meanwhile from a safe path; without `main` it does not import the script."""
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
