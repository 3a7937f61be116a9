"""The process between `command_process` and somebody's executable; a script of its own that needs nothing but Python.

Arguments: process id of the parent, file descriptor of the report, largest file in bytes, command. It starts the
command in its own process group, ends the whole group when the parent has gone, and reports the exit code (negative:
the signal), or why the command could not be started.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

PARENT_CHECK = 0.2
"""Seconds between two looks whether the parent is still there."""


def main(arguments: list[str]) -> None:
    """Run the command until it ends, or until the parent has gone."""
    parent, report, largest = (int(word) for word in arguments[:3])
    os.set_inheritable(report, False)
    signal.signal(signal.SIGALRM, lambda *_: _follow(parent))
    signal.setitimer(signal.ITIMER_REAL, PARENT_CHECK, PARENT_CHECK)
    _limit(resource.RLIMIT_FSIZE, largest)
    _limit(resource.RLIMIT_CORE, 0)
    os.write(report, _run(arguments[3:]).encode())


def _run(command: list[str]) -> str:
    try:  # Python ignores these two signals, and the command would inherit that
        child = os.posix_spawn(command[0], command, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        return f"cannot start {command[0]}: {error.strerror}"
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _follow(parent: int) -> None:
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1:])
