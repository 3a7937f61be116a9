"""Decides which programs a configuration may start: the user's own are remembered, a stranger's are refused.

A run folder is data and may come from anybody, but it may name programs: a command or a batch job. `train` remembers
what it starts. Later commands, which read a file, start only that, unless --trust is given. What a trusted program
itself reads and starts is not checked.
"""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_detector.claims import Claim
from rl_detector.errors import TrustError
from rl_detector.records.files import write_atomically
from rl_detector.safety.untrusted import read_bytes

FORMAT = 1
"""Version of the file of trusted programs; a file of another one is ignored."""


LARGEST_TRUST_FILE_BYTES = 16_000_000
"""A larger file of trusted programs is ignored."""


def accept(claims: Sequence[Claim], trusted: bool) -> None:
    """Let programs be started, or refuse them.

    Args:
        claims: what would be started.
        trusted: the user asks for them, and they are remembered; else all must be remembered already.

    Raises:
        TrustError: one is not remembered; nothing was started.
    """
    if not claims:
        return
    if trusted:
        _remember(claims)
        return
    known = _read()
    if unknown := [claim for claim in claims if claim.digest not in known]:
        shown = "\n".join(f"  {line}" for claim in unknown for line in (*claim.lines, f"digest: {claim.digest[:16]}"))
        raise TrustError(
            f"this would start what nobody with this account has asked for, or what has changed since:\n{shown}\n"
            "Nothing was started. Read it and the files that it names; if you trust it, repeat the command with "
            f"--trust, which is then remembered in {trust_file()}."
        )


def trust_file() -> Path:
    """The file of trusted programs, under XDG_STATE_HOME if that is an absolute path, else under ~/.local/state."""
    chosen = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = chosen if chosen.is_absolute() else Path.home() / ".local" / "state"
    return base / "rl_detector" / "trusted.json"


def _read() -> dict[str, Any]:
    """Digest -> lines that describe the program; empty where there is no valid file, or others can write it."""
    path = trust_file()
    try:
        state = path.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            warnings.warn(f"{path} is ignored: it belongs to somebody else, or others can write it", stacklevel=3)
            return {}
        data = json.loads(read_bytes(path, LARGEST_TRUST_FILE_BYTES, links=True))
    except (OSError, ValueError, RecursionError):
        return {}
    known = data.get("trusted") if isinstance(data, dict) and data.get("format") == FORMAT else None
    return known if isinstance(known, dict) else {}


def _remember(claims: Sequence[Claim]) -> None:
    try:
        with _locked():
            known = _read()
            new = {claim.digest: list(claim.lines) for claim in claims if claim.digest not in known}
            if new:
                content = {"format": FORMAT, "trusted": {**known, **new}}
                write_atomically(trust_file(), (json.dumps(content, indent=1) + "\n").encode())
                trust_file().chmod(0o600)
    except OSError as error:  # a read-only home must not stop a training that was asked for
        warnings.warn(f"not remembered as trusted ({error}): `rl-detector resume` will ask for --trust", stacklevel=3)


@contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time read and write."""
    folder = trust_file().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
