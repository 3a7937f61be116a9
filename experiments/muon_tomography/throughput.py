"""Muons per second of simulation and reconstruction, here and in the released TomOpt, and what both say of layouts.

python throughput.py PYTHON     # PYTHON: of an environment with tomopt==0.1.0; writes throughput.json

Same furnace, same layouts (published start, two by hand), 1000 muons per volume, one thread
each, one after the other; processor time, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from rl_detector.envs.muon_tomography.layout import BUDGET_UNITS, built
from rl_detector.envs.muon_tomography.problem import muon_tomography

FOLDER = Path(__file__).parent
MUONS, REPEATS, SEED = 1000, 7, 1
EVENTS = 2_000_000
"""Muons from which this package's squared error is taken."""

BOOTSTRAPS = 2000


def layouts() -> dict[str, Any]:
    """The published start and the layouts by hand, as they are built.

    Found layouts are left out: TomOpt drops every muon that misses one of the eight panels, however small it is.
    """
    return {name: built(each, BUDGET_UNITS) for name, each in muon_tomography().baselines.items()}


def other(python: str, designs: dict[str, Any], volumes: int, momentum: float | None) -> dict[str, Any]:
    """Rows (height, raw height, processor seconds) of every volume, by layout."""
    task = {"layouts": designs, "volumes": volumes, "muons": MUONS, "seed": SEED, "momentum": momentum}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-W", "ignore", str(FOLDER / "tomopt_side.py")]
    done = subprocess.run(command, input=json.dumps(task), text=True, stdout=subprocess.PIPE, env=environment)
    done.check_returncode()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ours(designs: dict[str, Any], volumes: int) -> tuple[list[float], dict[str, Any]]:
    """Muons per processor second of repeats, each all volumes of one layout, and the squared error of every layout."""
    problem = muon_tomography(muons_per_volume=MUONS)
    problem.evaluate(problem.start, volumes * MUONS, 0)
    rates = []
    for seed in range(REPEATS):
        started = time.process_time()
        problem.evaluate(problem.baselines["even"], volumes * MUONS, seed)
        rates.append(volumes * MUONS / (time.process_time() - started))
    found = {n: problem.reach.measure(problem.simulator.simulate(d, EVENTS, SEED)) for n, d in designs.items()}
    return rates, {name: [each.metric, each.metric_error] for name, each in found.items()}


def squared_error(rows: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Squared error in m2 of heights after a fitted line, corrected for its two parameters, and bootstrap error."""
    heights, raw = rows[np.isfinite(rows[:, 1])].T[:2]

    def left(chosen: np.ndarray) -> float:
        x, y = raw[chosen], heights[chosen]
        return float(((np.polyval(np.polyfit(x, y, 1), x) - y) ** 2).sum() / (len(x) - 2))

    count = len(heights)
    again = [left(rng.integers(count, size=count)) for _ in range(BOOTSTRAPS)]
    return [left(np.arange(count)), float(np.std(again))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python that has TomOpt")
    parser.add_argument("--volumes", type=int, default=96, help="per layout")
    parser.add_argument(
        "--momentum", type=float, default=None, help="GeV of all muons in TomOpt (default: its spectrum)"
    )
    options = parser.parse_args()
    designs, rng = layouts(), np.random.default_rng(0)
    rates, errors = ours(designs, options.volumes)
    theirs = other(options.python, designs, options.volumes, options.momentum)
    table = {
        name: {"ours": errors[name], "tomopt": squared_error(np.array(rows), rng)} for name, rows in theirs.items()
    }
    their_rates = [float(np.median([MUONS / row[2] for row in rows])) for rows in theirs.values()]
    speeds = {"ours": rates, "tomopt": their_rates, "ratio": float(np.median(rates) / np.median(their_rates))}
    settings = {"volumes": options.volumes, "muons": MUONS, "momentum": options.momentum, "events": EVENTS}
    results = {**settings, "speeds": speeds, "squared_error": table}
    (FOLDER / "throughput.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"muons per second of processor time: ours {np.median(rates):.3g}, TomOpt {np.median(their_rates):.3g}")
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"  {k} {1e3 * v:.2f} +- {1e3 * e:.2f}e-3 m2" for k, (v, e) in row.items()))


if __name__ == "__main__":
    main()
