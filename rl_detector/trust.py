"""Programs that a configuration would start: the user's own are remembered, a stranger's are refused.

A run folder is data and may come from anybody; a command or a batch job that it names is a program. Whoever types
`rl-detector train` asks for what it starts, and it is remembered. What is read from a file later may start only what is
remembered, until `--trust` is given. What a trusted program itself reads and starts is not looked at.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rl_detector.checkpoint import write_atomically
from rl_detector.errors import TrustError
from rl_detector.untrusted import read_bytes

FORMAT = 1

LARGEST = 16_000_000
"""Most bytes of what is remembered."""


@dataclass(frozen=True)
class Claim:
    """A program that would be started.

    Attributes:
        digest: SHA-256 of everything that decides what is started.
        lines: what a person needs to judge it.
    """

    digest: str
    lines: tuple[str, ...]

    @staticmethod
    def of(facts: Any, *lines: str) -> Claim:
        """The claim of JSON-ready facts; the lines are shown in printable characters."""
        text = json.dumps(facts, sort_keys=True, default=str)
        return Claim(hashlib.sha256(text.encode()).hexdigest(), tuple(map(_printable, lines)))


@runtime_checkable
class StartsPrograms(Protocol):
    """A simulator that starts programs which a setting chooses."""

    def claims(self) -> Sequence[Claim]:
        """What it would start; tells without starting anything."""
        ...


def claims_of(simulator: Any) -> list[Claim]:
    """What a simulator would start."""
    return list(simulator.claims()) if isinstance(simulator, StartsPrograms) else []


def simulator_claims(env: Any, chosen: Any, simulator: Any) -> list[Claim]:
    """What the simulator that was built from settings would start.

    Args:
        env, chosen: the groups `env` and `simulator` of a configuration.
        simulator: that of the problem built from them. One that hides a command behind another class is a claim too.
    """
    found = claims_of(simulator)
    if not found and (hidden := [node for group in (env, chosen) for node in _commands(group)]):
        named = f"{type(simulator).__name__} with a program of its own: {json.dumps(hidden, default=str)}"
        return [Claim.of([_with_files(node) for node in hidden], named)]
    return found


def evaluator_claims(evaluator: Any) -> list[Claim]:
    """What an evaluator would start or let in: jobs of a batch system, or a scheduler of somebody's choice.

    Settings of jobs are text of shell scripts, and who controls a scheduler can run programs in its clients.
    """
    settings = dict(evaluator) if isinstance(evaluator, Mapping) else {}
    filled = [part for part in dict(settings.get("settings") or {}).values() if part]
    if settings.get("name") != "dask" or (settings.get("cluster", "local") == "local" and not filled):
        return []
    lines = [f"{name}: {json.dumps(value, default=str)}" for name, value in settings.items() if name != "name"]
    return [Claim.of(_with_files(settings), "evaluator: dask", *lines)]


def accept(claims: Sequence[Claim], trusted: bool) -> None:
    """Let programs be started, or not.

    Args:
        claims: what would be started.
        trusted: the user asks for it, and it is remembered; else all of it must be remembered already.

    Raises:
        TrustError: it is not; nothing was started.
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
    """Where it is remembered: under XDG_STATE_HOME if that is an absolute path, else under ~/.local/state."""
    chosen = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = chosen if chosen.is_absolute() else Path.home() / ".local" / "state"
    return base / "rl_detector" / "trusted.json"


def _read() -> dict[str, Any]:
    """Digest -> what it was; empty where there is no file of ours, or others can write it."""
    path = trust_file()
    try:
        state = path.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            warnings.warn(f"{path} is ignored: it belongs to somebody else, or others can write it", stacklevel=3)
            return {}
        data = json.loads(read_bytes(path, LARGEST, links=True))
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
    """One process at a time reads and writes."""
    folder = trust_file().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _commands(node: Any) -> Iterator[Any]:
    """Settings that name a command simulator, however deep."""
    if isinstance(node, Mapping):
        if node.get("name") == "command":
            yield node
        for name, value in node.items():
            if name == "simulator" and value == "command":
                yield {name: value}
            yield from _commands(value)


def _with_files(node: Any) -> Any:
    """Settings with the full path behind everything that is the name of a file here."""
    if isinstance(node, Mapping):
        return {str(name): _with_files(value) for name, value in node.items()}
    if isinstance(node, str) and "\0" not in node and len(node) < 4096 and Path(node).is_file():
        return [node, str(Path(node).resolve())]
    return node


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
