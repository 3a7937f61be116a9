"""Events x layers per second of the fast simulator on one core, 64 designs x 400 events, mixed beam.

The unit of comparison within the run is a NumPy gamma draw per event and layer, so that a slow machine shows as such.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from rl_detector.envs.calorimeter.problem import calorimeter

DESIGNS, EVENTS, LAYERS, REPEATS = 64, 400, 6, 9


def seconds(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    problem = calorimeter()
    rng = np.random.default_rng(0)
    designs = [problem.space.sample(rng) for _ in range(DESIGNS)]
    seeds = list(range(DESIGNS))
    size = (DESIGNS, EVENTS, LAYERS)
    simulate, draw = [], []
    problem.simulator.simulate_batch(designs, EVENTS, seeds)
    for _ in range(REPEATS):
        simulate.append(seconds(lambda: problem.simulator.simulate_batch(designs, EVENTS, seeds)))
        draw.append(seconds(lambda: rng.standard_gamma(2.0, size)))
    rate = DESIGNS * EVENTS * LAYERS / statistics.median(simulate)
    ratio = statistics.median(a / b for a, b in zip(simulate, draw, strict=True))
    print(f"fast simulator: {rate:.3g} events x layers per second of CPU (median of {REPEATS})")
    print(f"cost of one event and layer: {ratio:.1f} gamma draws")


if __name__ == "__main__":
    main()
