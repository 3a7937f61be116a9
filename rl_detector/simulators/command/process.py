"""One run of an executable: without a shell, in its own folder and process group, with limits on time and output."""

from __future__ import annotations

import io
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rl_detector.errors import SimulationError
from rl_detector.safety.child_processes import end_supervised, supervised

STDOUT, STDERR = "stdout.txt", "stderr.txt"
"""Files of the scratch folder that take what the executable prints."""


_LIMITS_CHECK_SECONDS = 0.2
"""Seconds between checks of the time limit, the size of the folder and the request to stop."""


_STDERR_TAIL_BYTES = 1500
"""Bytes at the end of stderr that go into the reason of a failure."""


@dataclass(frozen=True)
class Job:
    """A command to run, and its limits on time and output.

    Attributes:
        command: executable with full path, and its arguments.
        folder: scratch folder; the command runs in it.
        environment: all environment variables.
        seconds: time limit.
        size: limit on the bytes of all files in the folder.
        stop: ends the command when it is set.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    seconds: float
    size: int
    stop: threading.Event


def run(job: Job) -> None:
    """Run a command, and end all processes that it has started, whether it succeeds or fails.

    On Linux these include processes that left its process group; elsewhere such processes may go on.

    Raises:
        SimulationError: the command could not start, exited with a code other than 0, was killed, or reached a limit.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as report, os.fdopen(writer, "wb", 0) as end:
        process = _start(job, writer)
        try:
            end.close()
            word = _watch(job, report)
        finally:
            end_supervised(process)
    _check_size(job)
    _check_exit(word, job)


def tail(path: Path) -> str:
    """Return the end of a text file as one printable line; empty if there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(-min(_STDERR_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        return printable(file.read(_STDERR_TAIL_BYTES))


def printable(data: bytes) -> str:
    """Decode text, keep its printable characters, and join its lines to one."""
    text = data.decode(errors="replace")
    return " | ".join("".join(filter(str.isprintable, line)).strip() for line in text.splitlines() if line.strip())


def _start(job: Job, report: int) -> subprocess.Popen[bytes]:
    with (job.folder / STDOUT).open("wb") as stdout, (job.folder / STDERR).open("wb") as stderr:
        return subprocess.Popen(
            supervised(job.command, report, job.size),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=job.folder,
            env=dict(job.environment),
            start_new_session=True,
            pass_fds=(report,),
        )


def _watch(job: Job, report: io.RawIOBase) -> str:
    """Wait for the report of the supervisor: an exit code, a reason, or nothing if the supervisor was killed."""
    end = time.monotonic() + job.seconds
    with selectors.DefaultSelector() as selector:
        selector.register(report, selectors.EVENT_READ)
        while not selector.select(max(min(_LIMITS_CHECK_SECONDS, end - time.monotonic()), 0)):
            if job.stop.is_set():
                raise SimulationError("stopped with the rest of its batch")
            if time.monotonic() >= end:
                raise SimulationError(f"no end within {job.seconds:g} s; make limits.timeout longer if it needs more")
            _check_size(job)
    return (report.read(1000) or b"").decode(errors="replace")


def _check_size(job: Job) -> None:
    size = folder_size(job.folder)
    if size > job.size:
        raise SimulationError(
            f"it has written {size / 1e6:.3g} MB, the limit is {job.size / 1e6:g} MB (limits.megabytes)"
        )


def folder_size(folder: Path) -> int:
    """Add up the bytes of all files under a folder; a file that vanishes counts 0, links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  (thousands of files a second)
    return total


def _check_exit(word: str, job: Job) -> None:
    if word == "0":
        return
    if not word:
        raise SimulationError("it was killed from outside, together with its supervisor (out of memory?)")
    if not word.lstrip("-").isdigit():
        raise SimulationError(word)
    code = int(word)
    if code == -signal.SIGXFSZ:
        raise SimulationError(f"it wanted to write a file of more than {job.size / 1e6:g} MB (limits.megabytes)")
    raise SimulationError(f"exit code {code}" if code > 0 else f"it was killed by {_signal_name(-code)}")


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
