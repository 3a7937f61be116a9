"""Synchronous and asynchronous studies in real time, on two workers of this computer: writes local.json.

One event takes a time that is log-normal with the standard deviation 1.5 of its logarithm, slept by the worker. All
ways simulate the same trials with the same seeds, so the workers sleep equally long in all; what differs is waiting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import rl_detector as rd
from rl_detector.agents import make_agent
from rl_detector.execution.cluster import DaskEvaluator
from rl_detector.execution.local import LocalEvaluator
from rl_detector.study import Study
from rl_detector.study.asynchronous import AsynchronousStudy

MEDIAN, SPREAD, DESIGNS, WORKERS = 0.05, 1.5, 120, 2


def seconds(seed: int) -> float:
    """How long the simulation with this seed takes."""
    return MEDIAN * float(np.exp(SPREAD * np.random.default_rng(seed).standard_normal()))


class Sleepy:
    """A bowl in six dimensions that takes its time."""

    def simulate(self, design: Any, events: int, seed: int) -> rd.Readout:
        """Signals [events, 1]."""
        time.sleep(seconds(seed))
        value = -sum((x - 0.3) ** 2 for x in design.values())
        return rd.Readout({}, value + np.random.default_rng([seed, 1]).normal(0, 0.1, (events, 1)))

    def describe(self) -> dict[str, str]:
        """Its name."""
        return {"simulator": "sleepy bowl"}


class Mean:
    """Mean of the signals."""

    def measure(self, readout: rd.Readout) -> rd.Measurement:
        """With the known standard error."""
        mean, error = float(readout.signals.mean()), 0.1 / len(readout.signals) ** 0.5
        return rd.Measurement(mean, error, mean, error)


def bowl() -> rd.DesignProblem:
    """The problem; the start is the centre."""
    space = rd.DesignSpace(tuple(rd.Continuous(f"x{i}", -1, 1) for i in range(6)))
    return rd.DesignProblem(
        "bowl", space, Sleepy(), Mean(), (), (), {"start": dict.fromkeys((p.name for p in space.parameters), 0.0)}
    )


def ways() -> Iterator[tuple[str, type[Study], int]]:
    """Name, loop, designs per batch."""
    yield "asynchronous", AsynchronousStudy, 64
    yield "synchronous, 4 designs per batch", Study, 4
    yield "synchronous, 64 designs per batch", Study, 64


def timed(evaluator: Any, loop: type[Study], per_batch: int) -> dict[str, float]:
    """Wall time of a study, and the share of the workers' time in which they sleep."""
    problem = bowl()
    agent = make_agent("policy_gradient", problem.space, 0, problem.start)
    ledger, budget = rd.Ledger(Path(":memory:")), rd.Budget(DESIGNS, 1, per_batch)
    study = loop(problem, agent, ledger, budget, evaluator=evaluator)
    started = time.monotonic()
    study.run()
    wall = time.monotonic() - started
    slept = sum(seconds(trial.evaluation.seed) for trial in ledger.trials())
    return {"wall": round(wall, 2), "slept": round(slept, 2), "utilisation": round(slept / WORKERS / wall, 3)}


def main() -> None:
    results: dict[str, Any] = {"workers": WORKERS, "designs": DESIGNS, "median": MEDIAN, "spread": SPREAD}
    for name, make in (("processes", LocalEvaluator), ("dask LocalCluster", DaskEvaluator)):
        with closing(make(workers=WORKERS, group=1)) as evaluator:
            list(evaluator.evaluate(bowl(), [bowl().start] * 4, 1, [1, 2, 3, 4]))  # start the workers
            results[name] = {way: timed(evaluator, loop, per_batch) for way, loop, per_batch in ways()}
        quick = results[name]["asynchronous"]["wall"]
        for found in results[name].values():
            found["over asynchronous"] = round(found["wall"] / quick, 2)
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    (Path(__file__).parent / "local.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
