"""Training on Geant4 with at most 3000 events, photons only, against the best design known from 100 times the events.

python run.py train      # three trainings on Geant4 with 3000 events each
python run.py known      # candidates for the best design: trainings with 300,000 events of the fast simulator
python run.py judge      # all of them in Geant4 on the same fresh events

Every part adds to results.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.envs.calorimeter import calorimeter

FOLDER = Path(__file__).parent
RUNS = FOLDER / "runs"
RESULTS = FOLDER / "results.json"
SCREENING, FINAL = 500, 3000
"""Geant4 events per design: for all, and for the best ones."""

FINALISTS = 2


def rl_detector(*words: str) -> Path:
    """The new run's folder."""
    before = set(RUNS.glob("*/config.yaml"))
    command = [sys.executable, "-m", "rl_detector", "train", f"runs={RUNS}", "env.photon_fraction=1.0", *words]
    subprocess.run(command, check=True)
    (new,) = set(RUNS.glob("*/config.yaml")) - before
    return new.parent


def recommended(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "recommended.json").read_text())["design"])


def train() -> dict[str, Any]:
    """Name -> design, from 3000 events in Geant4 each."""
    found = {}
    for seed in range(3):
        started = time.monotonic()
        run = rl_detector("simulator=geant4", f"seed={seed}", "budget.events=3000", "held_out.events=50")
        seconds = round(time.monotonic() - started)
        found[f"geant4, 3000 events, seed {seed}"] = {"design": recommended(run), "seconds": seconds}
    return found


def known() -> dict[str, Any]:
    """Name -> design: 300,000 events of the fast simulator by several agents, and the hand-made designs."""
    budget = ["budget.events=300000", "budget.events_per_design=100", "budget.designs_per_batch=32"]
    found: dict[str, Any] = {}
    for agent in ("policy_gradient", "cma_es", "reinforce"):
        for seed in range(2):
            run = rl_detector(f"agent={agent}", f"seed={seed}", *budget)
            found[f"fast, 300000 events, {agent}, seed {seed}"] = {"design": recommended(run)}
    for name, design in calorimeter(photon_fraction=1.0).baselines.items():
        found[name] = {"design": design}
    return found


def judge(stored: dict[str, Any]) -> dict[str, Any]:
    """Metric in Geant4 of every design, and of the best known and the trained ones with more events."""
    problem = calorimeter(simulator="geant4", photon_fraction=1.0)
    everything = {**stored["known"], **stored["train"]}
    first = measured(problem, {name: row["design"] for name, row in everything.items()}, SCREENING, 11)
    best = sorted(stored["known"], key=lambda name: first[name]["metric"])[:FINALISTS]
    chosen = {name: everything[name]["design"] for name in [*best, *stored["train"]]}
    final = measured(problem, chosen, FINAL, 12)
    reference = min(best, key=lambda name: final[name]["metric"])
    for name in stored["train"]:
        final[name]["ratio"], final[name]["ratio_error"] = ratio(final[name], final[reference])
    for row in (*first.values(), *final.values()):
        del row["losses"]
    return {"screening": first, "final": final, "reference": reference}


def measured(problem: Any, designs: dict[str, Any], events: int, seed: int) -> dict[str, Any]:
    rows = {}
    for name, design in designs.items():
        evaluation = problem.evaluate(design, events, seed)
        m = evaluation.measurement
        rows[name] = {"metric": m.metric, "error": m.metric_error, "costs": dict(evaluation.costs), "losses": m.losses}
        print(f"{name:45} {events} events: {m.metric:.6f} +- {m.metric_error:.6f}", flush=True)
    return rows


def ratio(row: dict[str, Any], reference: dict[str, Any]) -> tuple[float, float]:
    """Ratio of metrics, with its standard error from paired events: delta method for a ratio of means."""
    a, b = np.asarray(row["losses"]), np.asarray(reference["losses"])
    value = a.mean() / b.mean()
    return float(value), float((a - value * b).std(ddof=1) / b.mean() / math.sqrt(len(a)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=("train", "known", "judge"))
    job = parser.parse_args().job
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = judge(stored) if job == "judge" else {"train": train, "known": known}[job]()
    RESULTS.write_text(json.dumps({**stored, job: found}, indent=1) + "\n")
    if job == "judge":
        for name, row in found["final"].items():
            over = f"  over the best known {row['ratio']:.3f} +- {row['ratio_error']:.3f}" if "ratio" in row else ""
            print(f"{name:45} {row['metric']:.6f} +- {row['error']:.6f}{over}")


if __name__ == "__main__":
    main()
