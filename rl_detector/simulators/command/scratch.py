"""Scratch folders of trials: make them, keep those of failures, and prune those of all processes in one place."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rl_detector.simulators.command.process import folder_size

PREFIX = "rl_detector-command-"
"""Begin of the name of every scratch folder."""


MARK = ".kept"
"""File that marks the folder of a failure; its time stamp is the time of the failure."""


LONGEST = 7 * 86_400.0
"""Longest time in seconds for which a folder is kept."""


LARGEST = 500_000_000
"""Most bytes of all kept folders in one place; the newest folder stays at any size."""


ABANDONED = 3600.0
"""Seconds after which the folder of a process that has ended is removed."""


class _Kept(NamedTuple):
    """A kept folder: the time of its failure, its path, and its size in bytes."""

    since: float
    folder: Path
    size: int


def make(parent: Path | None) -> Path:
    """Make a scratch folder in `parent`, or in the system's folder; its name holds the computer and the process."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_computer()}-{os.getpid()}-", dir=parent))


def keep(folder: Path, most: int) -> bool:
    """Mark the folder of a failed trial as kept, and prune all kept folders; return whether it is still there."""
    if most == 0:
        return False
    with suppress(OSError):
        (folder / MARK).touch()
    prune(folder.parent, most)
    return folder.exists()


def prune(place: Path, most: int) -> None:
    """Remove kept folders beyond the limits on number, age and size, and folders that dead processes have left."""
    for folder in _own(place):
        if not (folder / MARK).exists() and _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    total, now = 0, time.time()
    for number, kept in enumerate(sorted(_kept(place), reverse=True)):
        total += kept.size
        if number >= most or now - kept.since > LONGEST or (number and total > LARGEST):
            shutil.rmtree(kept.folder, ignore_errors=True)


def _own(place: Path) -> Iterator[Path]:
    """Yield the scratch folders of this user."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if not folder.is_symlink() and folder.is_dir() and folder.lstat().st_uid == os.getuid():
                yield folder


def _kept(place: Path) -> Iterator[_Kept]:
    for folder in _own(place):
        with suppress(OSError):
            yield _Kept((folder / MARK).lstat().st_mtime, folder, folder_size(folder))


def _is_abandoned(folder: Path) -> bool:
    """Return whether a folder is old and its process, on this computer, has ended; those of other computers stay."""
    computer, _, rest = folder.name.removeprefix(PREFIX).partition("-")
    number = rest.partition("-")[0]
    with suppress(OSError):
        old = time.time() - folder.lstat().st_mtime > ABANDONED
        return old and computer == _computer() and number.isdigit() and not _lives(int(number))
    return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _computer() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
