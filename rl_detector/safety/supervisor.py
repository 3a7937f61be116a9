"""A process between rl_detector and a command that may start processes; a script that needs only Python.

It starts the command in its own process group. When the command ends, when the parent has gone, or at SIGTERM it ends
all processes that the command has started. On Linux these include processes that left the group or lost their parent.

Arguments: process id of the parent, file descriptor of the report, largest file in bytes (0: no limit), command.
The report is the exit code (negative: the signal), or the reason why the command could not be started. With -1 for the
descriptor there is no report. Then this process ends as the command did, and keeps no other file open.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

POLL_SECONDS = 0.5
"""Seconds between checks of things that send no notice: a parent, a silent worker, a scheduler, a locked run."""

PATIENCE = 5.0
"""Longest time in seconds for ending all processes. Some cannot be ended, for example processes of another user."""

_SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2): orphans among the descendants become children of this process."""

_NO_REPORT = -1
"""File descriptor that stands for no report."""


def main(arguments: list[str]) -> None:
    """Run the command until it ends or the parent has gone."""
    parent, report, largest = (int(word) for word in arguments[:3])
    adopt_orphans()
    signal.signal(signal.SIGTERM, _give_up)
    signal.signal(signal.SIGALRM, lambda *_: _follow(parent))
    signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS, POLL_SECONDS)
    if report != _NO_REPORT:
        os.set_inheritable(report, False)
    if largest:
        _limit(resource.RLIMIT_FSIZE, largest)
        _limit(resource.RLIMIT_CORE, 0)
    word = _run(arguments[3:], report)
    end_descendants()
    if report == _NO_REPORT:
        _end_like(word)
    os.write(report, word.encode())


def adopt_orphans() -> None:
    """Become the parent of all descendants that lose their parent (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """Kill all descendants in every session (Linux). Elsewhere the parent kills the process group."""
    deadline = time.monotonic() + PATIENCE
    while sys.platform == "linux" and _any_child() and time.monotonic() < deadline:
        for process in _descendants():
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:  # it has ended already, or belongs to another user
                continue
        time.sleep(0.002)


def _run(command: list[str], report: int) -> str:
    try:  # Python ignores these two signals, and the command would inherit that
        child = os.posix_spawn(command[0], command, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        return f"cannot start {command[0]}: {error.strerror}"
    if report == _NO_REPORT:
        _close_files()
    while True:
        process, status = os.waitpid(-1, 0)  # collects adopted orphans, too
        if process == child:
            return str(os.waitstatus_to_exitcode(status))


def _close_files() -> None:
    """Close inherited files, so that a reader at the other end of a pipe sees when the command ends."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  (starts faster without pathlib)
        try:
            if int(name) > 2:
                os.close(int(name))
        except OSError:  # the file of the list itself is closed already
            continue


def _any_child() -> bool:
    """Collect the children that have ended; return whether one is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            children.setdefault(_parent_of(name), []).append(int(name))
    found, new = list[int](), [os.getpid()]
    while new:
        new = [child for process in new for child in children.get(process, [])]
        found += new
    return found


def _parent_of(process: str) -> int:
    """Return the process id of the parent, or -1 if the process has ended meanwhile."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def _follow(parent: int) -> None:
    if os.getppid() != parent:
        _give_up()


def _give_up(*signal_and_frame: object) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_descendants()
    os.killpg(0, signal.SIGKILL)


def _end_like(word: str) -> None:
    """End with the exit code of the command, or by the signal that ended it."""
    code = int(word) if word.lstrip("-").isdigit() else 127
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        _limit(resource.RLIMIT_CORE, 0)
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1:])
