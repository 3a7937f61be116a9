"""State files that survive a kill in the middle of writing: temporary file, flush to disk, rename."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError

DIGEST = hashlib.sha256().digest_size
"""Bytes of the checksum in front of a checkpoint."""


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
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write {path}: {error}. The previous file is intact; make room and resume."
        ) from error


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values with torch.save after their checksum, atomically."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomically(path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without executing anything in it; None when it is absent or damaged (the ledger suffices)."""
    import torch

    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, payload = data[:DIGEST], data[DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    state = torch.load(io.BytesIO(payload), weights_only=True)
    return state if isinstance(state, dict) else None
