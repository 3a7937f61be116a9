"""Designs of the slab per second of processor time, cut out of 2000 stored events, simulation and reach; one core.

The unit of comparison within the run is a million normal numbers of NumPy, so that a slow machine shows as such.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from rl_detector.envs.slab_calorimeter.fast import FastLibrary
from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter

EVENTS, DESIGNS, REPEATS, TARGET = 2000, 64, 9, 200


def seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    problem, rng = slab_calorimeter(), np.random.default_rng(0)
    normal = statistics.median(seconds(lambda: rng.standard_normal(1_000_000)) for _ in range(REPEATS))
    cases = {"56 sensors (beta)": [problem.start] * DESIGNS}
    cases["random designs of 10-60 sensors"] = [problem.space.sample(rng) for _ in range(DESIGNS)]
    for name, designs in cases.items():
        problem.evaluate_batch(designs, EVENTS, [0] * DESIGNS)  # stores the events
        times = [seconds(lambda: problem.evaluate_batch(designs, EVENTS, [0] * DESIGNS)) for _ in range(REPEATS)]  # noqa: B023
        each = statistics.median(times) / DESIGNS
        print(f"{name}: {1 / each:.0f} designs per second of CPU (target {TARGET}), {each / normal:.2f} units")
    books = [seconds(lambda: FastLibrary().book(seed, EVENTS)) for seed in range(1, 1 + REPEATS)]  # noqa: B023
    print(f"a book of {EVENTS} events: {statistics.median(books):.3f} s of CPU")
    print(f"a unit, 1,000,000 normal numbers: {normal:.4f} s of CPU")


if __name__ == "__main__":
    main()
