"""Studies in this process whose simulations fail: in worker processes, through dask, and in a user's program."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "simulators"))  # workers get this path, too

from fault_plan import Fault, Plan
from fault_table import Table
from faulty_oracle import FaultyBatches, FaultyOracle

from rl_detector.agents import make_agent
from rl_detector.envs.oracles.problem import oracle
from rl_detector.execution.cluster import DaskEvaluator
from rl_detector.execution.evaluator import Evaluations, Evaluator, SerialEvaluator
from rl_detector.execution.local import LocalEvaluator
from rl_detector.execution.parcel import Parcel
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.records.ledger_rows import NAMES, REPRODUCIBLE
from rl_detector.simulators.command.needs import Needs
from rl_detector.simulators.command.simulator import CommandSimulator, _seed
from rl_detector.study import Budget, Study
from rl_detector.terms import Group

HERE = Path(__file__).parent

Rows = dict[int, tuple[Any, ...]]
"""Trial number -> its reproducible columns."""

EVENTS = 8
SEED = REPRODUCIBLE.index("seed")
STATE = NAMES.index("state")
REASON = NAMES.index("reason")


class ReturnedGroup(NamedTuple):
    """A group that came back: time on the monotonic clock, seeds of its trials, seed -> reason of each failure."""

    time: float
    seeds: tuple[int, ...]
    failed: dict[int, str]


class Watched:
    """An evaluator that remembers when each group came back."""

    returned: list[ReturnedGroup]

    def start(self, parcel: Parcel, group: Group) -> Future[Evaluations]:
        """Start a group with the evaluator, and note when it comes back."""
        future: Future[Evaluations] = super().start(parcel, group)  # type: ignore[misc]
        future.add_done_callback(lambda done: self._note(done, tuple(group.seeds)))
        return future

    def _note(self, done: Future[Evaluations], seeds: tuple[int, ...]) -> None:
        now = time.monotonic()
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            self.returned.append(ReturnedGroup(now, seeds, dict.fromkeys(seeds, str(error))))
            return
        pairs = zip(seeds, done.result(), strict=True)
        self.returned.append(ReturnedGroup(now, seeds, {seed: found.failure for seed, found in pairs if found.failure}))


class WatchedLocal(Watched, LocalEvaluator):
    """An evaluator of worker processes that remembers its groups."""


class WatchedDask(Watched, DaskEvaluator):
    """An evaluator of dask workers that remembers its groups."""


def watched(name: str, group: int, timeout: float, memory_mb: int | None) -> Any:
    """Make an evaluator with two workers that remembers its groups."""
    evaluator = {"local": WatchedLocal, "dask": WatchedDask}[name](2, group, timeout, memory_mb)
    evaluator.returned = []
    return evaluator


def rows_of(problem: DesignProblem, folder: Path, evaluator: Evaluator, agent: str, batches: int) -> Rows:
    """Run a study; return the rows of its ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Ledger(folder / "ledger.sqlite", {})) as ledger:
        budget = Budget(batches * 32 * EVENTS, EVENTS, 32)
        made = make_agent(agent, problem.space, 3, problem.start)
        Study(problem, made, ledger, budget, evaluator=evaluator, checkpoint=folder / "checkpoint.pt").run()
        return {row[0]: row for row in ledger.reproducible_rows()}


@dataclass(frozen=True)
class FaultyStudy:
    """A study with faults.

    Attributes:
        folder: folder of all its files.
        problem, honest: problem with and without faults.
        plan: plan of the faults.
        where: name in the table.
        limit: seconds within which every fault must be noticed.
        seed_bits: bits of a trial's seed that the simulator sees; 64 for all.
    """

    folder: Path
    problem: DesignProblem
    honest: DesignProblem
    plan: Plan
    where: str
    limit: float
    seed_bits: int = 64

    def seen(self, seed: int) -> int:
        """Return a seed as the simulator sees it."""
        return seed if self.seed_bits == 64 else _seed(seed, self.seed_bits)

    def run(self, table: Table, evaluator: Any, agent: str, batches: int) -> int:
        """Run the study, compare it with the one without faults, and count the faults.

        Returns:
            Number of faults that were noticed too late.
        """
        expected = rows_of(self.honest, self.folder / "honest", SerialEvaluator(), agent, batches)
        with closing(evaluator):
            found = rows_of(self.problem, self.folder / "faulty", evaluator, agent, batches)
        seeds = {self.seen(row[SEED]): (number, row[SEED]) for number, row in expected.items()}
        faults = sorted(self.plan.injected(), key=lambda fault: fault.time)
        for fault in faults:
            number, seed = seeds[fault.trial]
            self._count(table, fault, seed, evaluator.returned, (expected[number], found.get(number)))
        touched = {seeds[fault.trial][0] for fault in faults}
        others = [n for n in expected if n not in touched and found.get(n) != expected[n]]
        if others:
            table.note("innocent trials", self.where, "lost", lost=len(others))
        delays = [least_delay(fault, seeds[fault.trial][1], evaluator.returned)[0] or 0.0 for fault in faults]
        return sum(delay > self.limit for delay in delays)

    def _count(
        self, table: Table, fault: Fault, seed: int, returned: list[ReturnedGroup], rows: tuple[tuple[Any, ...], Any]
    ) -> None:
        noticed, said = least_delay(fault, seed, returned)
        expected, found = rows
        if self.plan.fails_always(fault.trial):
            failed = found is not None and found[STATE] == "FAILED" and str(found[REASON]).startswith("failed twice: ")
            happened, lost = ("FAILED with the reason, as it never succeeds", 0) if failed else ("wrong", 1)
        else:
            happened = "succeeded at the next try" if noticed is not None else "went on"
            happened, lost = (happened, 0) if found == expected else ("lost", 1)
        if fault.attempt > 0:  # the trial's first fault has counted it
            lost = 0
        table.note(fault.kind, self.where, happened, lost=lost, noticed=noticed, said=said)


def least_delay(fault: Fault, seed: int, returned: list[ReturnedGroup]) -> tuple[float | None, str]:
    """Return the seconds from a fault until the evaluator noticed it, and its message; None if it saw no failure."""
    after = [each for each in returned if seed in each.seeds and each.time >= fault.time]
    first = min(after, key=lambda each: each.time, default=None)
    if first is None or seed not in first.failed:
        return None, ""
    lost_with_others = len(first.failed) > 1 and len(set(first.failed.values())) == 1
    return first.time - fault.time, "" if lost_with_others else first.failed[seed]


def with_faults(folder: Path, seed: int, share: float, lasting: float, kinds: Sequence[str]) -> Plan:
    """Make a plan of faults with an empty folder."""
    (folder / "faults").mkdir(parents=True)
    return Plan(str(folder / "faults"), seed, share, lasting, tuple(kinds))


def faulty_oracle(folder: Path, plan: Plan, where: str, limit: float, batches: bool = False) -> FaultyStudy:
    """Make a study of an oracle with faults."""
    honest = oracle("mixed")
    make = FaultyBatches if batches else FaultyOracle
    return FaultyStudy(folder, replace(honest, simulator=make(honest.simulator, plan)), honest, plan, where, limit)


def faulty_program(folder: Path, plan: Plan, where: str, timeout: float, limit: float) -> FaultyStudy:
    """Make a study of a program with faults as simulator=command."""
    base = oracle("quadratic", dimensions=3)
    honest, faulty = (
        replace(base, simulator=CommandSimulator(_description(folder, each, timeout), Needs(base.space)))
        for each in (plan._replace(share=0.0), plan)
    )
    return FaultyStudy(folder, faulty, honest, plan, where, limit, seed_bits=31)


def _description(folder: Path, plan: Plan, timeout: float) -> Path:
    path = folder / f"program-{plan.share}.yaml"
    program = str(HERE / "simulators" / "faulty_program.py")
    path.write_text(json.dumps({
        "name": "faulty program",
        "command": [sys.executable, "-I", "-S", program, "{design}", "{output}", "{events}", "{seed}"],
        "parameters": {f"x{i}": "number" for i in range(3)},
        "output": {"file": "out.csv", "truth": {"spread": "number"}, "signals": {"gain": "number"}},
        "environment": {"FAULT_PLAN": json.dumps(plan)},
        "limits": {"timeout": timeout, "megabytes": 20.0, "kept_failures": 0},
        "scratch": str(folder),
        "workers": os.cpu_count() or 1,
    }))  # fmt: skip
    return path
