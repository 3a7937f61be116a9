"""Claims: the programs, batch systems and schedulers that a configuration would start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Claim:
    """A program that would be started.

    Attributes:
        digest: SHA-256 of everything that decides what is started.
        lines: description for the person who decides whether to start it.
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
        """Describe what it would start, without starting anything."""
        ...


def claims_of(simulator: Any) -> list[Claim]:
    """What a simulator would start."""
    return list(simulator.claims()) if isinstance(simulator, StartsPrograms) else []


def simulator_claims(env: Any, chosen: Any, simulator: Any) -> list[Claim]:
    """What the simulator that was built from settings would start.

    Args:
        env, chosen: the groups `env` and `simulator` of a configuration.
        simulator: the one of the problem built from them. A command hidden behind another class is a claim, too.
    """
    found = claims_of(simulator)
    if not found and (hidden := [node for group in (env, chosen) for node in _commands(group)]):
        named = f"{type(simulator).__name__} with its own program: {json.dumps(hidden, default=str)}"
        return [Claim.of([_with_files(node) for node in hidden], named)]
    return found


def evaluator_claims(evaluator: Any) -> list[Claim]:
    """What an evaluator would start or connect to: jobs of a batch system, or a scheduler that a setting names.

    Settings of jobs are text of shell scripts. Whoever controls a scheduler can run programs in its clients.
    """
    settings = dict(evaluator) if isinstance(evaluator, Mapping) else {}
    filled = [part for part in dict(settings.get("settings") or {}).values() if part]
    if settings.get("name") != "dask" or (settings.get("cluster", "local") == "local" and not filled):
        return []
    lines = [f"{name}: {json.dumps(value, default=str)}" for name, value in settings.items() if name != "name"]
    return [Claim.of(_with_files(settings), "evaluator: dask", *lines)]


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
    """Settings with the full path added to every name of an existing file."""
    if isinstance(node, Mapping):
        return {str(name): _with_files(value) for name, value in node.items()}
    if isinstance(node, str) and "\0" not in node and len(node) < 4096 and Path(node).is_file():
        return [node, str(Path(node).resolve())]
    return node


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
