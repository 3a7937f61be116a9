"""What evaluators add to a simulation, and what a second worker gains, as ratios within one run.

Overhead: an empty simulator, one design per task, one worker, all tasks under way; the time per task minus that of bare
calls of the problem, in the same round (median of the rounds), and between the best rounds, which other work on the
machine disturbs least; next to what dask needs for empty tasks of its own. Speed-up: evaluations of 50 ms that sleep,
and that compute, two workers against one in the same round; the latter depends on what is left of the cores.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from distributed import Client, LocalCluster

from rl_detector.execution.cluster import DaskEvaluator
from rl_detector.execution.evaluator import ParallelEvaluator, SerialEvaluator
from rl_detector.execution.local import LocalEvaluator
from rl_detector.parameters import Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import Group, Measurement, Readout

TASKS, ROUNDS = 50, 25
GROUPS, SPEED_ROUNDS, SECONDS = 32, 3, 0.05


@dataclass(frozen=True)
class Waiting:
    """Does nothing, sleeps, or computes for so many seconds of its own time."""

    kind: str = "empty"

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        if self.kind == "sleep":
            time.sleep(SECONDS)
        end = time.thread_time() + (SECONDS if self.kind == "busy" else 0)
        while time.thread_time() < end:
            pass
        return Readout({}, np.zeros((events, 1)))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": self.kind}


class Nothing:
    """A reach without computation."""

    def measure(self, readout: Readout) -> Measurement:
        return Measurement(0.0, 1.0, 1.0, 1.0)


def problem(kind: str) -> DesignProblem:
    return DesignProblem(kind, DesignSpace((Continuous("x", 0.0, 1.0),)), Waiting(kind), Nothing())


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def overhead(evaluators: Mapping[str, ParallelEvaluator | SerialEvaluator]) -> None:
    empty = problem("empty")
    calls: dict[str, Callable[[], object]] = {"bare": lambda: [empty.evaluate({"x": 0.5}, 1, n) for n in range(TASKS)]}
    calls |= {
        name: lambda e=evaluator: list(e.evaluate(empty, Group([{"x": 0.5}] * TASKS, 1, range(TASKS))))  # type: ignore[misc]
        for name, evaluator in evaluators.items()
    }
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=40
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        calls["dask itself"] = lambda: client.gather([client.submit(abs, i, pure=False) for i in range(TASKS)])
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS + 1):
            for name, call in calls.items():
                times[name].append(1e3 * seconds(call) / TASKS)
    bare = times.pop("bare")[1:]
    for name, values in times.items():
        extra = [value - without for value, without in zip(values[1:], bare, strict=True)]
        best = min(values[1:]) - min(bare)
        print(f"{name:22} {statistics.median(extra):+.3f} ms per task, best round {best:+.3f}")


def speed_up(kind: str, make: Callable[[int], ParallelEvaluator]) -> tuple[float, list[float]]:
    work, designs = problem(kind), [{"x": 0.5}] * GROUPS
    with closing(make(1)) as one, closing(make(2)) as two:
        ratios = []
        for _ in range(SPEED_ROUNDS + 1):
            times = [seconds(lambda e=e: list(e.evaluate(work, Group(designs, 1, range(GROUPS))))) for e in (one, two)]  # type: ignore[misc]
            ratios.append(times[0] / times[1])
    return statistics.median(ratios[1:]), ratios[1:]


def main() -> None:
    logging.getLogger("distributed").setLevel(logging.ERROR)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {ROUNDS} rounds of {TASKS} tasks")
    local, dask = LocalEvaluator(1, group=1), DaskEvaluator(1, group=1)
    with closing(local), closing(dask):
        overhead({"serial": SerialEvaluator(group=1), "local": local, "dask, cluster=local": dask})
    for kind in ("sleep", "busy"):
        for name, make in {"local": LocalEvaluator, "dask": DaskEvaluator}.items():
            median, ratios = speed_up(kind, lambda workers, make=make: make(workers, group=1))  # type: ignore[misc]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"two workers against one, {kind:5} 50 ms, {name:5}: {median:.2f} x ({spread})")
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
