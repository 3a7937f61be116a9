"""Evaluate designs in small groups, so that little is lost when a worker dies.

An evaluator implements `submit` for one group; this module adds order, a second try and FAILED results. Evaluations
depend on (design, events, seed) alone, never on the evaluator, its workers or the grouping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

from rl_detector.errors import ConfigError
from rl_detector.execution.futures import finished, gathered, then
from rl_detector.execution.parcel import Packer, Parcel
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.reproducible import one_thread
from rl_detector.terms import Group

Evaluations = list[Evaluation]


class Evaluator(Protocol):
    """Evaluates designs somewhere."""

    @property
    def workers(self) -> int:
        """How many groups can run at once."""
        ...

    def submit(self, problem: DesignProblem, group: Group) -> Future[Evaluations]:
        """Evaluate one group; its future has the evaluations in order. What failed was tried twice.

        The future itself fails only with errors that every design would meet: a wrong configuration, a lost cluster.
        """
        ...

    def evaluate(self, problem: DesignProblem, group: Group) -> Iterator[Evaluations]:
        """Evaluations in the order of the designs, in groups as they become ready."""
        ...

    def close(self) -> None:
        """End the workers at once; the next group starts new ones."""
        ...


@dataclass(frozen=True)
class SerialEvaluator:
    """Calls the simulator from this process; a simulator with its own workers spreads each group over them.

    A failed evaluation is tried once more with its seed. Simulators replace dead workers before that.

    Attributes:
        group: designs per call of the simulator. An interruption loses at most one group.
    """

    group: int = 64

    def __post_init__(self) -> None:
        check_group(self.group)

    @property
    def workers(self) -> int:
        """One: this process."""
        return 1

    def submit(self, problem: DesignProblem, group: Group) -> Future[Evaluations]:
        """Evaluate one group now; its future is finished."""
        return with_second_try(_run_here, problem, group)

    def evaluate(self, problem: DesignProblem, group: Group) -> Iterator[Evaluations]:
        """Evaluations in the order of the designs, in groups as they become ready."""
        return in_parts(partial(self.submit, problem), group, self.group, ahead=1)

    def close(self) -> None:
        """Do nothing: the caller ends the simulator."""


def check_group(group: int) -> None:
    """Raise ConfigError unless a group has at least one design."""
    if group < 1:
        raise ConfigError(f"the evaluator needs a group of at least 1 design, got {group}")


def in_parts(
    submit: Callable[[Group], Future[Evaluations]], group: Group, size: int, ahead: int
) -> Iterator[Evaluations]:
    """Evaluations in the order of the designs, in parts of `size` designs.

    Args:
        submit: starts the evaluation of one part.
        group: all designs.
        size: designs per part; the last part may be smaller.
        ahead: parts that are submitted before the first of them is awaited.
    """
    futures = (submit(group[first : first + size]) for first in range(0, len(group), size))
    waiting = deque(islice(futures, ahead))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(islice(futures, 1))
    finally:
        for future in waiting:
            future.cancel()


class ParallelEvaluator(ABC):
    """Base of evaluators with workers: sends them the problem as a parcel and divides a batch among them.

    Args:
        workers: groups that can run at once.
        group: designs per task at most. A dead worker delays at most one group.

    Attributes:
        packer: makes parcels of problems; give it a recipe for problems from a configuration.
    """

    def __init__(self, workers: int, group: int) -> None:
        check_group(group)
        if workers < 1:
            raise ConfigError(f"the evaluator needs at least 1 worker, got {workers}")
        self.workers, self.group = workers, group
        self.packer = Packer()

    @abstractmethod
    def start(self, parcel: Parcel, group: Group) -> Future[Evaluations]:
        """Send one group to a worker; its future fails with WorkerLost when the worker dies or takes too long."""

    @abstractmethod
    def close(self) -> None:
        """End the workers at once; the next group starts new ones."""

    def submit(self, problem: DesignProblem, group: Group) -> Future[Evaluations]:
        """Evaluate one group on a worker, and each design that failed once more.

        Raises:
            ConfigError: the problem cannot be sent to a worker.
            DesignError: the problem needs more events per design.
        """
        problem.check_events(group.events)
        return with_second_try(self._call, problem, group)

    def evaluate(self, problem: DesignProblem, group: Group) -> Iterator[Evaluations]:
        """Evaluations in the order of the designs, in groups as they become ready."""
        size = min(self.group, -(-len(group) // (GROUPS_PER_WORKER * self.workers)) or 1)
        return in_parts(partial(self.submit, problem), group, size, ahead=len(group))

    def _call(self, problem: DesignProblem, group: Group) -> Future[Evaluations]:
        return self.start(self.packer.pack(problem), group)


GROUPS_PER_WORKER = 4
"""Groups per worker into which a batch is cut, at least, so that all workers end at about one time."""


Call = Callable[[DesignProblem, Group], Future[Evaluations]]


class WorkerLost(Exception):
    """A group has no evaluations because its worker died or took too long. Any of its designs may be the cause."""


def with_second_try(call: Call, problem: DesignProblem, group: Group) -> Future[Evaluations]:
    """Run one group with `call`; designs that failed or were lost run once more, each alone with its seed.

    The loss of a larger group counts as no try: each of its designs then has two tries alone. So the outcome of a
    design and its reason do not depend on its group.
    """
    attempts = _Attempts(call, problem)
    first = attempts.run(group)
    return then(first, lambda done: gathered([attempts.second(outcome, len(group)) for outcome in done.result()]))


class _Outcome(NamedTuple):
    """Evaluation of a design, and whether it failed because its worker was lost."""

    evaluation: Evaluation
    lost: bool


class _Attempts(NamedTuple):
    call: Call
    problem: DesignProblem

    def run(self, group: Group) -> Future[list[_Outcome]]:
        """One attempt at a group; the loss of the worker is an outcome of each design."""

        def outcomes(done: Future[Evaluations]) -> Future[list[_Outcome]]:
            try:
                return finished([_Outcome(evaluation, False) for evaluation in done.result()])
            except WorkerLost as loss:
                fail = partial(self.problem.failure, events=group.events, reason=str(loss))
                return finished([_Outcome(fail(design, seed=seed), True) for design, seed in group.pairs()])

        return then(self.call(self.problem, group), outcomes)

    def second(self, first: _Outcome, group_size: int) -> Future[Evaluation]:
        """Try a design again if it failed in a group of this size, and give its last evaluation."""
        if not first.evaluation.failed:
            return finished(first.evaluation)

        def outcome(done: Future[list[_Outcome]]) -> Future[Evaluation]:
            (again,) = done.result()
            if first.lost and group_size > 1:
                return self.second(again, 1)  # the whole group was lost, so this was the design's first try alone
            return finished(_failed_twice(first.evaluation, again.evaluation))

        failed = first.evaluation
        return then(self.run(Group([failed.design], failed.events, [failed.seed])), outcome)


def _failed_twice(first: Evaluation, again: Evaluation) -> Evaluation:
    reason = f"failed twice: {first.failure}; then: {again.failure}"
    return replace(again, failure=reason) if again.failed else again


def _run_here(problem: DesignProblem, group: Group) -> Future[Evaluations]:
    with one_thread():
        return finished(problem.evaluate_batch(group.designs, group.events, group.seeds))
