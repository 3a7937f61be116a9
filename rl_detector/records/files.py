"""Writing files so that a crash leaves the old or the new content, never half of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rl_detector.errors import RunFolderError


def refuse_links(*paths: Path) -> None:
    """Refuse symbolic links inside a run folder: a write through one would change a file elsewhere.

    Raises:
        RunFolderError: one of the paths is a symbolic link.
    """
    for path in paths:
        if path.is_symlink():
            raise RunFolderError(
                f"{path} is a symbolic link, which a run folder never has: it could lead a write to any file. "
                "Put the file itself there (the run folder as a whole may be a link)."
            )


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole: readers see the old or the new content, never a part, also after a power cut.

    Temporary file, flush to disk, rename, flush the folder; symbolic links are replaced, not followed.

    Raises:
        RunFolderError: the folder is not writable or the disk is full; the old file is intact.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # "x" makes a new file, so no planted link is followed
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write {path}: {error}. The previous file is intact; make room and resume."
        ) from error


def flush_folder(folder: Path) -> None:
    """Make renames and new files of a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems have no fsync of folders; they store names at once
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
