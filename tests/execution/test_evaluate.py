"""Groups, their order and the second try, with fakes instead of worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from functools import partial

import numpy as np
import pytest

from rl_detector.errors import ConfigError, DesignError
from rl_detector.execution.evaluator import ParallelEvaluator, SerialEvaluator, WorkerLost, in_parts, with_second_try
from rl_detector.execution.futures import finished, gathered, then
from rl_detector.execution.parcel import Parcel
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.space import Design
from rl_detector.terms import Group

KILLER, UNLUCKY, SHY = 13, 10, 14
"""Seeds: kills its worker, fails by itself (see FailingBowl), kills its worker the first time only."""


class Workers:
    """Evaluates here; a seed may kill the worker, which loses the whole group."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.shy = {SHY}

    def __call__(self, problem: DesignProblem, group: Group) -> Future[list[Evaluation]]:
        self.groups.append(list(group.seeds))
        killers = {KILLER, *self.shy} & set(group.seeds)
        self.shy -= killers
        if killers:
            future: Future[list[Evaluation]] = Future()
            future.set_exception(WorkerLost("the worker process ended with exit code 3"))
            return future
        return finished(problem.evaluate_batch(group.designs, group.events, group.seeds))


def designs(problem: DesignProblem, number: int) -> list[Design]:
    rng = np.random.default_rng(0)
    return [problem.space.sample(rng) for _ in range(number)]


def group_of(problem: DesignProblem, seeds: Sequence[int], events: int = 10) -> Group:
    return Group(designs(problem, len(seeds)), events, seeds)


def outcomes(problem: DesignProblem, group: int, seeds: Sequence[int]) -> list[Evaluation]:
    call = Workers()

    parts = in_parts(partial(with_second_try, call, problem), group_of(problem, seeds), group, ahead=len(seeds))
    return [evaluation for found in parts for evaluation in found]


@pytest.mark.parametrize("group", [1, 2, 3, 4, 12])
def test_outcomes_and_reasons_do_not_depend_on_the_group(failing_bowl, group):
    seeds = [1, 2, UNLUCKY, KILLER, 4, 6, 7, 15, 8, SHY, 9, 11]
    found = outcomes(failing_bowl, group, seeds)
    assert [evaluation.seed for evaluation in found] == seeds
    assert {e.seed: e.failure for e in found if e.failed} == {
        UNLUCKY: "failed twice: this seed is unlucky; then: this seed is unlucky",
        15: "failed twice: this seed is unlucky; then: this seed is unlucky",
        KILLER: "failed twice: the worker process ended with exit code 3; "
        "then: the worker process ended with exit code 3",
    }
    alone = [failing_bowl.evaluate(e.design, 10, e.seed) for e in found]
    assert [one for one in alone if not one.failed and one.seed != KILLER] == [e for e in found if not e.failed]


def test_a_lost_group_is_tried_design_by_design(bowl):
    call = Workers()
    with_second_try(call, bowl, group_of(bowl, [1, KILLER, 2])).result(0)
    assert call.groups == [[1, KILLER, 2], [1], [KILLER], [KILLER], [2]]


def test_a_design_that_succeeds_the_second_time_counts(bowl):
    (found,) = with_second_try(Workers(), bowl, group_of(bowl, [SHY])).result(0)
    assert found == bowl.evaluate(designs(bowl, 1)[0], 10, SHY)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_the_loss_of_a_group_is_no_try_of_its_designs(bowl, group):
    """Two designs that kill their worker once each: both succeed, whether or not they were together."""
    call, seeds = Workers(), [KILLER + 2, SHY, SHY + 2]
    call.shy = {SHY, SHY + 2}
    groups = [seeds[first : first + group] for first in range(0, 3, group)]
    made = [with_second_try(call, bowl, group_of(bowl, each)).result(0) for each in groups]
    assert not any(evaluation.failed for found in made for evaluation in found)
    shy_alone = with_second_try(call, bowl, group_of(bowl, [KILLER, SHY])).result(0)
    assert [evaluation.failed for evaluation in shy_alone] == [True, False]


def test_a_lost_design_has_its_costs(bowl):
    (found,) = with_second_try(Workers(), bowl, group_of(bowl, [KILLER])).result(0)
    assert found.failed and found.reward is None
    assert found.costs == bowl.evaluate(found.design, 10, 1).costs


def test_errors_that_no_design_escapes_pass_through(bowl):
    def call(*arguments: object) -> Future[list[Evaluation]]:
        raise ConfigError("no data sets")

    with pytest.raises(ConfigError, match="no data sets"):
        with_second_try(call, bowl, group_of(bowl, [1])).result(0)
    with pytest.raises(DesignError, match="whole number"):
        list(SerialEvaluator().evaluate(bowl, group_of(bowl, [1, 2], events=0)))


def test_serial_groups_are_simulated_when_they_are_awaited(bowl):
    calls = []

    class Watched(SerialEvaluator):
        def submit(self, *arguments):
            calls.append(len(arguments[1]))
            return super().submit(*arguments)

    groups = Watched(4).evaluate(bowl, group_of(bowl, range(10)))
    assert len(next(groups)) == 4 and calls == [4]
    assert [len(group) for group in groups] == [4, 2] and calls == [4, 4, 2]


class Waiting(ParallelEvaluator):
    """Never finishes; after so many groups the first one fails."""

    def __init__(self, workers: int, group: int, stops_after: int = 0) -> None:
        super().__init__(workers, group)
        self.stops_after = stops_after
        self.futures: list[Future[list[Evaluation]]] = []
        self.sizes: list[int] = []

    def start(self, parcel: Parcel, group: Group):
        self.futures.append(Future())
        self.sizes.append(len(group))
        if len(self.futures) == self.stops_after:
            self.futures[0].set_exception(ConfigError("stop"))
        return self.futures[-1]

    def close(self) -> None:
        for future in self.futures:
            future.cancel()


@pytest.mark.parametrize(
    ("workers", "group", "sizes"), [(2, 64, [2] * 8), (3, 64, [2] * 8), (1, 64, [4] * 4), (2, 1, [1] * 16)]
)
def test_every_worker_gets_something_and_what_nobody_awaits_is_cancelled(bowl, workers, group, sizes):
    evaluator = Waiting(workers, group, stops_after=len(sizes))
    groups = evaluator.evaluate(bowl, group_of(bowl, range(16)))
    assert not evaluator.futures
    with pytest.raises(ConfigError, match="stop"):
        next(groups)
    assert evaluator.sizes == sizes
    assert all(future.cancelled() for future in evaluator.futures[1:])


def test_cancelling_a_group_cancels_its_work(bowl):
    evaluator = Waiting(1, 4)
    future = evaluator.submit(bowl, group_of(bowl, [1, 2]))
    assert future.cancel() and evaluator.futures[0].cancelled()
    evaluator.submit(bowl, group_of(bowl, [1, 2]))
    late = evaluator.submit(bowl, group_of(bowl, [1, 2]))
    evaluator.close()
    with pytest.raises(CancelledError):
        late.result(0)


def test_futures_that_follow():
    first: Future[int] = Future()
    double = then(first, lambda done: finished(2 * done.result()))
    both = gathered([double, finished(1)])
    assert not both.done()
    first.set_result(3)
    assert both.result(0) == [6, 1]
    assert gathered([]).result(0) == []
    wrong: Future[int] = Future()
    wrong.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        gathered([finished(1), then(wrong, lambda done: finished(done.result()))]).result(0)


def test_a_group_needs_a_design():
    with pytest.raises(ConfigError, match="at least 1 design, got 0"):
        SerialEvaluator(0)
    with pytest.raises(ConfigError, match="at least 1 worker, got 0"):
        Waiting(0, 4)
