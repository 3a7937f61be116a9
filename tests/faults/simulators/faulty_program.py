#!/usr/bin/env python3
"""A program for simulator=command with the faults of a plan: DESIGN OUTPUT EVENTS SEED, the plan in $FAULT_PLAN."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fault_plan import Plan

SPREAD = 0.1


def table(design: dict[str, float], events: int, seed: int) -> str:
    """Draw gains around a function of the design; return them as CSV."""
    noise = random.Random(seed)
    gain = -sum((value - 0.3) ** 2 for value in design.values())
    lines = [f"{gain + noise.gauss(0, SPREAD)!r},{SPREAD}" for _ in range(events)]
    return "\n".join(["gain,spread", *lines, ""])


def deaf() -> None:
    """Hang until SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def fill(output: Path) -> None:
    """Write to the output until the process is ended."""
    with output.open("wb") as file:
        while True:
            file.write(b"0" * 1_000_000)


def scream() -> None:
    """Print until the process is ended."""
    while True:
        sys.stdout.write("the same warning again\n" * 10_000)


def with_a_child() -> None:
    """Fail and leave a process behind that holds stdout open."""
    subprocess.Popen(["sleep", "50"])
    sys.exit(6)


ENDS: dict[str, Callable[[], object]] = {
    "program: exit code 3": lambda: sys.exit(3),
    "program: segmentation fault": lambda: ctypes.string_at(0),
    "program: abort": os.abort,
    "program: killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "program: supervisor killed": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(1000)),
    "program: leaves a child": with_a_child,
    "program: hang": lambda: time.sleep(1000),
    "program: hang, deaf to SIGTERM": deaf,
    "program: slow": lambda: time.sleep(0.5),
    "program: huge output on stdout": scream,
    "program: exit 0 without output": lambda: sys.exit(0),
}

SPOILS: dict[str, Callable[[str], str]] = {
    "program: empty output": lambda text: "",
    "program: output cut": lambda text: text[: 2 * len(text) // 3],
    "program: output cut at a line": lambda text: text[: text.rindex("\n", 0, len(text) // 2) + 1],
    "program: garbage": lambda text: "".join(chr(random.randrange(1, 5000)) for _ in range(500)),
    "program: NaN": lambda text: text[: text.rindex("\n", 0, -1)] + "\nnan,0.1\n",
    "program: infinity": lambda text: text[: text.rindex("\n", 0, -1)] + "\n-inf,0.1\n",
    "program: other columns": lambda text: text.replace("gain", "loss"),
    "program: too many events": lambda text: text + "0.5,0.1\n",
    "program: text instead of numbers": lambda text: text.replace("0.", "zero point "),
}

KINDS = (*ENDS, *SPOILS, "program: huge output", "program: good output, exit code 1")


def main(design: str, output: str, events: str, seed: str) -> None:
    """Simulate, with the fault that the plan chooses."""
    folder, *rest, kinds = json.loads(os.environ["FAULT_PLAN"])
    kind = Plan(folder, *rest, tuple(kinds)).next(int(seed))
    if kind in ENDS:
        ENDS[kind]()
    if kind == "program: huge output":
        fill(Path(output))
    text = table(json.loads(Path(design).read_text()), int(events), int(seed))
    Path(output).write_text(SPOILS[kind](text) if kind in SPOILS else text)
    sys.exit(kind == "program: good output, exit code 1")


if __name__ == "__main__":
    main(*sys.argv[1:])
