"""Training on Geant4 itself, and on workers that die."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.processes import children
from rl_detector.records.ledger import Ledger

pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="needs the geant4 extra"),
]

WORDS = [
    "train", "simulator=geant4", "simulator.physics_list=data-free", "simulator.workers=2", "env.energy_high=3",
    "budget.events=320", "budget.events_per_design=20", "budget.designs_per_batch=8", "held_out.events=20",
    "evaluator.group=2",
]  # fmt: skip


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "rl_detector", *WORDS]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finished(folder: Path, process: subprocess.Popen[bytes]) -> tuple[list[tuple], dict]:
    assert process.wait(200) == 0
    (path,) = folder.glob("runs/*/ledger.sqlite")
    ledger = Ledger(path)
    rows = ledger.reproducible_rows()
    ledger.close()
    return rows, json.loads((path.parent / "validation.json").read_text())["geant4"]


def trials(folder: Path) -> int:
    for path in folder.glob("runs/*/ledger.sqlite"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()
    return 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the workers under /proc")
def test_killed_workers_change_nothing(tmp_path):
    """16 designs x 20 events of 1-3 GeV; three workers are killed on the way."""
    whole = finished(tmp_path / "whole", start(tmp_path / "whole"))
    process = start(tmp_path / "killed")
    killed, deadline = 0, time.monotonic() + 120
    while process.poll() is None and killed < 3 and time.monotonic() < deadline:
        if trials(tmp_path / "killed") >= 4 * killed + 2 and (found := children(process.pid, "spawn_main")):
            os.kill(found[0], signal.SIGKILL)
            killed += 1
        time.sleep(0.02)
    again = finished(tmp_path / "killed", process)
    assert killed == 3
    assert again == whole
    assert "data-free" in whole[1][0]["simulator"]["physics_list"]
