"""State files that survive a kill in the middle of writing: temporary file, flush to disk, rename."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole: readers see the old or the new content, never a part.

    Raises:
        RunFolderError: the folder is not writable or the disk is full; the old file is intact.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write {path}: {error}. The previous file is intact; make room and resume."
        ) from error


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values with torch.save, atomically."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without executing anything in it; None when it is absent or damaged (the ledger suffices)."""
    import torch

    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and {"agent", "batch", "trials", "failed"} <= state.keys() else None
