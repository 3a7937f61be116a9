"""Scratch folders of trials: made, kept after failures, and pruned over all processes that use the same place."""

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


MARK = ".kept"
"""File that says that a folder is one of a failure, and since when."""


LONGEST = 7 * 86_400.0
"""Seconds for which a kept folder stays."""


LARGEST = 500_000_000
"""Bytes of all kept folders of a place together; the newest one stays whatever its size."""


ABANDONED = 3600.0
"""Seconds after which the folder of a process that is no more is removed."""


class _Kept(NamedTuple):
    """A kept folder, since when, and its bytes."""

    since: float
    folder: Path
    size: int


def make(parent: Path | None) -> Path:
    """A new scratch folder under a place, or under the system's own; its name tells computer and process."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_computer()}-{os.getpid()}-", dir=parent))


def keep(folder: Path, most: int) -> bool:
    """Keep the folder of a failed trial and prune the place that holds it; False: it is not to be kept."""
    if most == 0:
        return False
    with suppress(OSError):
        (folder / MARK).touch()
    prune(folder.parent, most)
    return folder.exists()


def prune(place: Path, most: int) -> None:
    """Remove what is beyond the number, the age and the size of kept folders, and what dead processes have left."""
    for folder in _own(place):
        if not (folder / MARK).exists() and _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    total, now = 0, time.time()
    for number, kept in enumerate(sorted(_kept(place), reverse=True)):
        total += kept.size
        if number >= most or now - kept.since > LONGEST or (number and total > LARGEST):
            shutil.rmtree(kept.folder, ignore_errors=True)


def _own(place: Path) -> Iterator[Path]:
    """Scratch folders of this user."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if not folder.is_symlink() and folder.is_dir() and folder.lstat().st_uid == os.getuid():
                yield folder


def _kept(place: Path) -> Iterator[_Kept]:
    for folder in _own(place):
        with suppress(OSError):
            yield _Kept((folder / MARK).lstat().st_mtime, folder, folder_size(folder))


def _is_abandoned(folder: Path) -> bool:
    """Whether its process, of this computer, is no more; folders of other computers tell nothing."""
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
