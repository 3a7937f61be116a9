"""Muons per second of simulation, reconstruction and reach on one core: one design, and 32 designs with common events.

The unit of comparison within the run is a NumPy normal draw, so that a slow machine shows as such.
"""

from __future__ import annotations

import os
import statistics
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from rl_detector.envs.muon_tomography import muon_tomography

EVENTS, DESIGNS, REPEATS = 100_000, 32, 5


def seconds(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    problem = muon_tomography()
    rng = np.random.default_rng(0)
    designs = [problem.space.sample(rng) for _ in range(DESIGNS)]
    even = problem.baselines["even"]
    one, many, draw = [], [], []
    problem.evaluate(even, EVENTS, 0)
    for seed in range(REPEATS):
        one.append(seconds(lambda seed=seed: problem.evaluate(even, EVENTS, seed)))
        many.append(seconds(lambda seed=seed: problem.evaluate_batch(designs, EVENTS // 10, [seed] * DESIGNS)))
        draw.append(seconds(lambda: rng.standard_normal(EVENTS)))
    print(f"one design: {EVENTS / statistics.median(one):.3g} muons per second of CPU (median of {REPEATS})")
    rate = DESIGNS * (EVENTS // 10) / statistics.median(many)
    print(f"{DESIGNS} random designs with common muons: {rate:.3g} muons per second of CPU")
    ratio = statistics.median(a / b for a, b in zip(one, draw, strict=True))
    print(f"cost of one muon in one design: {ratio:.0f} normal draws")


if __name__ == "__main__":
    main()
