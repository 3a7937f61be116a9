"""Compare the stated errors of an environment with repeated simulations; see README.md.

python run.py calorimeter 25,200,1000 --repeats 300 --many 100000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.checks.error_bars import ErrorBars, measure_error_bars
from rl_detector.problem import DesignProblem
from rl_detector.registry import load_factory, registered
from rl_detector.space import Design

HERE = Path(__file__).parent
RANDOM_SEED = 11
MOST = {"baselines": 4, "recommended": 2, "random": 2}
"""Designs of each kind."""

HEADER = """\
| design | events | reach of many events | spread | stated | bias | coverage | difference |
|---|---|---|---|---|---|---|---|"""


def recommended(results: Any) -> Iterator[Design]:
    """All designs within the results of an experiment, in order."""
    if isinstance(results, dict):
        if isinstance(results.get("design"), dict):
            yield results["design"]
        results = list(results.values())
    if isinstance(results, list):
        for each in results:
            yield from recommended(each)


def designs_of(name: str, problem: DesignProblem) -> dict[str, Design]:
    """Baselines, what trainings recommended (experiments/NAME/results*.json), and random designs."""
    found = dict(list(problem.baselines.items())[: MOST["baselines"]])
    files = sorted((HERE.parent / name).glob("results*.json"))
    trained = (each for file in files for each in recommended(json.loads(file.read_text())))
    new = [each for each in trained if problem.space.contains(each) and each not in list(problem.baselines.values())]
    rng = np.random.default_rng(RANDOM_SEED)
    found |= {f"recommended_{number}": each for number, each in enumerate(new[: MOST["recommended"]])}
    return found | {f"random_{number}": problem.space.sample(rng) for number in range(MOST["random"])}


def line(row: ErrorBars) -> str:
    paired = "" if row.paired is None else f"{row.paired:.2f}"
    cells = [row.name, str(row.events), f"{row.reach:+.3f} +- {row.reach_error:.3f}", f"{row.spread:.3f}"]
    return f"| {' | '.join(cells)} | {row.stated:.2f} | {row.bias:+.2f} | {row.coverage:.2f} | {paired} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=sorted(registered()))
    parser.add_argument("events", help="per repeat, for example 25,200")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--many", type=int, default=100_000, help="events of the truth")
    parser.add_argument("--arguments", type=json.loads, default={}, help='of the factory, as {"layers": 12}')
    options = parser.parse_args()
    problem = load_factory(registered()[options.env].factory)(**options.arguments)
    designs = designs_of(options.env, problem)
    print(HEADER)
    rows = []
    for events in map(int, options.events.split(",")):
        for row in measure_error_bars(problem, designs, events, options.repeats, options.many):
            print(line(row), flush=True)
            rows.append(asdict(row))
    name = "-".join([options.env, *map(str, options.arguments.values())])
    (HERE / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
