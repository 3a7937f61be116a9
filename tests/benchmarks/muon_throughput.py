"""Muons per second of simulation, reconstruction and reach on one core: one design, and 32 designs with common events,
of the ladle furnace and of the map of X0.

The unit of comparison within the run is a NumPy normal draw, so that a slow machine shows as such.
"""

from __future__ import annotations

import os
import statistics
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from rl_detector.envs.muon_map.problem import muon_map
from rl_detector.envs.muon_tomography.problem import muon_tomography
from rl_detector.problem import DesignProblem

EVENTS, DESIGNS, REPEATS = 100_000, 32, 5


def seconds(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    report(muon_tomography(), "even")
    report(muon_map(), "rpc")


def report(problem: DesignProblem, baseline: str) -> None:
    rng = np.random.default_rng(0)
    designs = [problem.space.sample(rng) for _ in range(DESIGNS)]
    chosen = problem.baselines[baseline]
    one, many, draw = [], [], []
    problem.evaluate(chosen, EVENTS, 0)
    for seed in range(REPEATS):
        one.append(seconds(lambda seed=seed: problem.evaluate(chosen, EVENTS, seed)))
        many.append(seconds(lambda seed=seed: problem.evaluate_batch(designs, EVENTS // 10, [seed] * DESIGNS)))
        draw.append(seconds(lambda: rng.standard_normal(EVENTS)))
    print(f"{problem.name}, {baseline}: {EVENTS / statistics.median(one):.3g} muons per second of CPU")
    rate = DESIGNS * (EVENTS // 10) / statistics.median(many)
    print(f"{problem.name}, {DESIGNS} random designs with common muons: {rate:.3g} muons per second of CPU")
    ratio = statistics.median(a / b for a, b in zip(one, draw, strict=True))
    print(f"cost of one muon in one design: {ratio:.0f} normal draws")


if __name__ == "__main__":
    main()
