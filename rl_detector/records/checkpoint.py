"""Write and read the state of a study: safe against a kill or a power cut, and against forged files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError
from rl_detector.records.files import write_atomically
from rl_detector.safety.untrusted import read_bytes

DIGEST = hashlib.sha256().digest_size
"""Bytes of the checksum in front of a checkpoint."""


LARGEST_CHECKPOINT = 1_000_000_000
"""Most bytes of a checkpoint, packed and unpacked."""


LARGEST_PICKLE = 20_000_000
"""Most bytes of the pickled part of a checkpoint, which holds everything but the tensors."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values with torch.save after their checksum, atomically."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomically(path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without executing anything in it; None when it is absent or damaged (the ledger suffices).

    Raises:
        RunFolderError: it is a link, no regular file, too large, or no checkpoint though its checksum is right.
    """
    import torch

    if not (path.exists() or path.is_symlink()):
        return None
    try:
        data = read_bytes(path, LARGEST_CHECKPOINT)
    except OSError as error:
        raise RunFolderError(
            f"{path} is not a checkpoint: {error}. Delete it: `rl-detector resume` then goes on from the ledger alone."
        ) from error
    digest, payload = data[:DIGEST], data[DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        _refuse_bombs(payload)
        state = torch.load(io.BytesIO(payload), weights_only=True)
    except Exception as error:  # whatever a forged file leads to; nothing in it is executed
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise RunFolderError(
            f"{path} is not a checkpoint, and nothing in it was executed ({reason}). Delete it: "
            "`rl-detector resume` then goes on from the ledger alone."
        ) from error
    return state if isinstance(state, dict) else None


def _refuse_bombs(payload: bytes) -> None:
    """Refuse an archive that unpacks to more than its bytes, or a pickle that takes long to read."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        parts = archive.infolist()
    if sum(part.file_size for part in parts) > LARGEST_CHECKPOINT or any(part.compress_type for part in parts):
        raise ValueError("it is compressed")
    if any(part.filename.endswith(".pkl") and part.file_size > LARGEST_PICKLE for part in parts):
        raise ValueError(f"its plain values have more than {LARGEST_PICKLE} bytes")
