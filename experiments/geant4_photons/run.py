"""Training on Geant4 with at most 3000 events, photons only, against the best design known from 100 times the events.

python run.py train      # six trainings on Geant4 with 3000 events each
python run.py known      # candidates for the best design: trainings with 300,000 events of the fast simulator
python run.py validate   # all of them in Geant4 on the same fresh events
python run.py fast       # how sure that is: forty searches with 3000 events of the fast simulator each

Every part adds to results.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from rl_detector.agents import make_agent
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.reconstruct.least_squares import leave_one_out, shower_features
from rl_detector.records import Ledger
from rl_detector.study import Budget, Study

FOLDER = Path(__file__).parent
RUNS = FOLDER / "runs"
RESULTS = FOLDER / "results.json"
SCREENING = 40_000
"""Events of the fast simulator per design, to choose the best known designs."""

FINAL = 2000
"""Geant4 events per design."""

FINALISTS = 2
TRAININGS = 6
FAST_SEARCHES = 40
FAST_EVENTS = (900, 1500, 3000)
RIDGE = 0.01
"""Penalty of the regression in events, for the validation in Geant4: 2000 events need hardly any."""


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
    for seed in range(TRAININGS):
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


def validate(stored: dict[str, Any]) -> dict[str, Any]:
    """Metric in Geant4 of the trained designs and of those that are best in the fast simulator with many events."""
    fast = calorimeter(photon_fraction=1.0)
    screening = {
        name: fast.evaluate(row["design"], SCREENING, 11).measurement.metric
        for name, row in {**stored["known"], **stored["train"]}.items()
    }
    best = sorted(stored["known"], key=lambda name: screening[name])[:FINALISTS]
    chosen = {name: {**stored["known"], **stored["train"]}[name]["design"] for name in [*best, *stored["train"]]}
    losses = measured(chosen)
    reference = min(best, key=lambda name: losses[name].mean())
    final = {}
    for name, terms in losses.items():
        value, error = ratio(terms, losses[reference])
        row = {
            "metric": terms.mean(),
            "error": terms.std(ddof=1) / math.sqrt(FINAL),
            "ratio": value,
            "ratio_error": error,
        }
        final[name] = {key: float(number) for key, number in row.items()}
    return {"screening": screening, "final": final, "reference": reference}


def measured(designs: dict[str, Any]) -> dict[str, Any]:
    """`losses_of` designs in Geant4, name -> [events]."""
    simulator = calorimeter(simulator="geant4", photon_fraction=1.0).simulator
    found = {}
    for name, design in designs.items():
        found[name] = losses_of(simulator.simulate(design, FINAL, 12))
        print(f"{name:45} {FINAL} events: {found[name].mean():.6f}", flush=True)
    return found


def fast() -> dict[str, Any]:
    """Metrics of the designs found from so many events of the fast simulator over that of all_pbwo4, sorted."""
    problem = calorimeter(photon_fraction=1.0)
    reference = fast_metric(problem.baselines["all_pbwo4"])
    ratios: dict[int, list[float]] = {events: [] for events in FAST_EVENTS}
    for seed in range(FAST_SEARCHES):
        agent = make_agent("policy_gradient", problem.space, seed, problem.start)
        with closing(Ledger(Path(":memory:"))) as ledger:
            study = Study(problem, agent, ledger, Budget(max(ratios), 25, 12), seed=seed, common_events=True)
            while (size := study.budget.batch_size(spent := 25 * study.trials)) > 1:
                study.step(size)
                if spent + 25 * size in ratios:
                    ratios[spent + 25 * size].append(fast_metric(study.recommended()) / reference)
    found: dict[str, Any] = {}
    for events, values in ratios.items():
        near = {f"within {share:.0%}": sum(value <= 1 + share for value in values) for share in (0.05, 0.1, 0.3)}
        print(f"{events} events, of {FAST_SEARCHES} searches: {near}")
        found[f"{events} events"] = {**near, "ratios": sorted(values)}
    return found


def fast_metric(design: Any) -> float:
    """In the fast simulator, as `measured` does it in Geant4."""
    return float(losses_of(calorimeter(photon_fraction=1.0).simulator.simulate(design, SCREENING, 12)).mean())


def losses_of(readout: Any) -> Any:
    """Per-event terms (E_rec - E)^2 / (E + 1 GeV), [events], each from a fit to the others."""
    energy = readout.truth["energy"]
    weights = 1 / (energy + 1)
    predicted = leave_one_out(shower_features(readout.signals[None]), energy[None], weights[None], RIDGE)[0]
    return weights * (predicted - energy) ** 2


def ratio(a: Any, b: Any) -> tuple[float, float]:
    """Ratio of metrics, with its standard error from paired events: delta method for a ratio of means."""
    value = a.mean() / b.mean()
    return float(value), float((a - value * b).std(ddof=1) / b.mean() / math.sqrt(len(a)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=("train", "known", "validate", "fast"))
    job = parser.parse_args().job
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = validate(stored) if job == "validate" else {"train": train, "known": known, "fast": fast}[job]()
    RESULTS.write_text(json.dumps({**stored, job: found}, indent=1) + "\n")
    if job == "validate":
        for name, row in found["final"].items():
            over = f"over the best known {row['ratio']:.3f} +- {row['ratio_error']:.3f}"
            print(f"{name:45} {row['metric']:.6f} +- {row['error']:.6f}  {over}")


if __name__ == "__main__":
    main()
