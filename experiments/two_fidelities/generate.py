"""Geant4 events of two designs, as the calorimeter problem would simulate them: `python generate.py` -> events.npz."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.assembly import build_problem
from rl_detector.problem import DesignProblem
from rl_detector.space import Design
from rl_detector.terms import Readout

FOLDER = Path(__file__).parent
OPTIMISED = FOLDER.parent / "calorimeter" / "runs" / "calorimeter-policy_gradient-20261122-021735-4055"
ENV = {"name": "calorimeter"}
EVENTS, SAMPLES = 25, 160
"""Events of a sample, and samples per design: what an evaluation of a search takes, so many times."""

FIRST_SEED = 7000


def designs(problem: DesignProblem) -> dict[str, Design]:
    """The published start, and the recommended design of the first training of experiments/calorimeter."""
    recommended = json.loads((OPTIMISED / "recommended.json").read_text())["design"]
    return {"published_start": problem.baselines["published_start"], "optimised": recommended}


def main() -> None:
    problem = build_problem(ENV, {"name": "geant4"})
    seeds = list(range(FIRST_SEED, FIRST_SEED + SAMPLES))
    arrays: dict[str, Any] = {}
    seconds = {}
    for name, design in designs(problem).items():
        problem.simulator.simulate(design, EVENTS, 1)  # starts the workers
        start = time.monotonic()
        readouts = problem.simulator.simulate_batch([design] * SAMPLES, EVENTS, seeds)
        seconds[name] = time.monotonic() - start
        good = [readout for readout in readouts if isinstance(readout, Readout)]
        arrays[f"energy_{name}"] = np.stack([readout.truth["energy"] for readout in good])
        arrays[f"signals_{name}"] = np.stack([readout.signals for readout in good]).astype(np.float32)
        print(name, len(good), f"samples, {seconds[name]:.0f} s", flush=True)
    facts = {"simulator": dict(problem.simulator.describe()), "seconds": seconds, "workers": 2}
    np.savez_compressed(FOLDER / "events.npz", header=np.array(json.dumps(facts)), **arrays)
    problem.simulator.engine.close()


if __name__ == "__main__":
    main()
