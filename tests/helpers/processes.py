"""Processes as /proc shows them."""

from __future__ import annotations

from pathlib import Path


def children(parent: int, word: str) -> list[int]:
    """Children of a process whose command line holds a word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (entry / "status").read_text(), (entry / "cmdline").read_text()
        except OSError:
            continue
        if f"\nPPid:\t{parent}\n" in status and word in command:
            found.append(int(entry.name))
    return found
