"""Outcomes of the faults, counted by kind, as JSON and as a table for people."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEAD = "| fault | where | injected | what happened | lost | again | noticed after (s) | said |\n"
LINE = "|---|---|---:|---|---:|---:|---:|---|\n"

PLACEHOLDERS = {r"-\d{8}-\d{6}-\w{4}": "-*", r"0x\w+": "0x*", r"127\.0\.0\.1:\d+": "127.0.0.1:*"}
"""Pattern of text that differs between runs -> text in its place in messages."""


@dataclass
class Kind:
    """One kind of fault in one place.

    Attributes:
        name, where: the fault, and the part of the system that it hits.
        injected: number of faults.
        happened: outcome -> number of faults.
        lost: evaluations that could succeed and are absent, or differ from those of the run without faults.
        again: evaluations that had been stored and had to be simulated again.
        noticed: seconds from the fault to the reaction, where one can be seen.
        said: one of the messages.
    """

    name: str
    where: str
    injected: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    again: int = 0
    noticed: list[float] = field(default_factory=list)
    said: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with a summary of the times."""
        times = {"median": statistics.median(self.noticed), "most": max(self.noticed)} if self.noticed else None
        rounded = times and {name: round(value, 3) for name, value in times.items()}
        return {
            "fault": self.name, "where": self.where, "injected": self.injected, "happened": dict(self.happened),
            "lost": self.lost, "again": self.again, "noticed": rounded, "said": self.said,
        }  # fmt: skip


class Table:
    """All kinds of a campaign."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str], Kind] = {}

    def kind(self, name: str, where: str) -> Kind:
        """Return the entry of a kind; make it if it is new."""
        return self.kinds.setdefault((name, where), Kind(name, where))

    def note(self, name: str, where: str, happened: str, **found: Any) -> None:
        """Count one fault; `lost`, `again`, `noticed` and `said` are optional, see Kind."""
        kind = self.kind(name, where)
        kind.injected += 1
        kind.happened[happened] += 1
        kind.lost += found.get("lost", 0)
        kind.again += found.get("again", 0)
        if found.get("noticed") is not None:
            kind.noticed.append(found["noticed"])
        kind.said = kind.said or readable(found.get("said", ""))

    @property
    def injected(self) -> int:
        """Number of faults of all kinds."""
        return sum(kind.injected for kind in self.kinds.values())

    @property
    def lost(self) -> int:
        """Number of lost evaluations of all kinds."""
        return sum(kind.lost for kind in self.kinds.values())

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain data of all kinds."""
        return [kind.to_json() for kind in self.kinds.values()]


def readable(text: str, length: int = 160) -> str:
    """Shorten a message to one line without folders, process addresses and other text that differs between runs."""
    line = " ".join(re.sub(r"(/[\w.@-]+)+/([\w.-]+)", r".../\2", text).split())
    for pattern, short in PLACEHOLDERS.items():
        line = re.sub(pattern, short, line)
    return line if len(line) <= length else f"{line[:length]} ..."


def write(folder: Path, part: str, facts: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put one part into results.json and results.md and keep the other parts; return the totals."""
    path = folder / "results.json"
    before = json.loads(path.read_text()) if path.exists() else {"parts": {}, "kinds": []}
    parts = {**before["parts"], part: {**facts, "cores": os.cpu_count()}}
    kinds = [row for row in before["kinds"] if row["part"] != part] + [{"part": part, **row} for row in rows]
    kinds.sort(key=lambda row: (row["where"], row["fault"], row["part"]))
    totals = {name: sum(row[name] for row in kinds) for name in ("injected", "lost", "again")}
    totals |= {name: sum(each[name] for each in parts.values()) for name in ("hangs", "seconds")}
    path.write_text(f"{json.dumps({**totals, 'parts': parts, 'kinds': kinds}, indent=1)}\n")
    (folder / "results.md").write_text(_page(totals, parts, kinds))
    return totals


def _page(totals: Mapping[str, Any], parts: Mapping[str, Any], kinds: list[dict[str, Any]]) -> str:
    names = len({kind["fault"] for kind in kinds})
    lines = "".join(_line(kind) for kind in kinds)
    loads = [part["load"] for part in parts.values()]
    (cores,) = {part["cores"] for part in parts.values()}
    return (
        "# Faults\n\n"
        f"{totals['injected']} faults of {names} kinds: {totals['lost']} evaluations lost, {totals['hangs']} hangs "
        f"beyond the time limit. Made by `make faults` in {totals['seconds'] / 60:.0f} minutes of all parts together "
        f"on {cores} cores with loads of {min(loads)} to {max(loads)}.\n\n"
        "*lost*: evaluations that could succeed and are absent from the ledger at the end, or differ from those of the "
        "run without faults. *again*: evaluations that had been stored, were destroyed by the fault, and were "
        "simulated again with the same result. *noticed*: from the fault to the reaction, median and longest; where "
        "only the time limit can tell, that is the limit of the group. A fault is decided by a seeded function of "
        "(trial, attempt).\n\n"
        f"{HEAD}{LINE}{lines}"
    )


def _line(kind: Mapping[str, Any]) -> str:
    happened = "; ".join(f"{number} {what}" for what, number in kind["happened"].items())
    noticed = "" if not kind["noticed"] else f"{kind['noticed']['median']:.2f}, {kind['noticed']['most']:.2f}"
    said = kind["said"].replace("|", "/")
    cells = (kind["fault"], kind["where"], kind["injected"], happened, kind["lost"], kind["again"], noticed, said)
    return f"| {' | '.join(map(str, cells))} |\n"
