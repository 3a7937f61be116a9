"""Tracks per second of the spectrometer on one core, simulation and fit, 64 designs x 400 tracks and one x 100,000.

The unit of comparison within the run is a normal number of NumPy, so that a slow machine shows as such.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from rl_detector.envs.spectrometer.problem import spectrometer

REPEATS = 9
TARGET = 200_000


def seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    problem = spectrometer()
    rng = np.random.default_rng(0)
    designs = [problem.space.sample(rng) for _ in range(64)]
    cases = {"64 random designs x 400": (designs, 400), "8 stations x 100,000": ([problem.start], 100_000)}
    normal = statistics.median(seconds(lambda: rng.standard_normal(1_000_000)) for _ in range(REPEATS)) / 1e6
    for name, (batch, events) in cases.items():
        seeds = list(range(len(batch)))
        times = [seconds(lambda: problem.simulator.simulate_batch(batch, events, seeds)) for _ in range(REPEATS)]  # noqa: B023
        each = statistics.median(times) / len(batch) / events
        print(
            f"{name}: {1 / each:.3g} tracks per second of CPU (target {TARGET:,}), {each / normal:.0f} normal numbers"
        )


if __name__ == "__main__":
    main()
