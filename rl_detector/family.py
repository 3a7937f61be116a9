"""What one training for a family of problems has learned: designs over the price of cost, on held-out events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rl_detector.errors import SimulationError
from rl_detector.evaluate import SerialEvaluator
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.space import Design
from rl_detector.terms import Measurement
from rl_detector.validation import Difference, held_out_seed, paired_difference


@dataclass(frozen=True)
class FamilyMember:
    """The design that is recommended for one cost weight.

    Attributes:
        cost_weight: reward per unit of relative cost.
        metric, metric_error: the figure behind the reach.
        reach, reach_error: against the first baseline on the same events; without baselines as the problem defines it.
        costs, violations: in their own units.
        reward: with that reach, at this cost weight; its error is that of the reach.
        gain: reward at this cost weight minus that of the design recommended for the problem's own, paired.
    """

    cost_weight: float
    design: Design
    metric: float
    metric_error: float
    reach: float
    reach_error: float
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    reward: float
    gain: Difference

    def to_json(self) -> dict[str, Any]:
        """The row as JSON-ready data."""
        return asdict(self)


def judge_family(
    problem: DesignProblem, recommended: Design, designs: Mapping[float, Design], events: int, seed: int
) -> list[FamilyMember]:
    """Simulate the designs for some cost weights, the recommended one and the first baseline with the same seed.

    Args:
        problem: with its own cost weight.
        recommended: design for that.
        designs: cost weight -> design.
        events: per design.
        seed: root of the held-out seed, as for `validate`.

    Raises:
        SimulationError: one of the designs could not be simulated.
    """
    baselines = [problem.start] if problem.start is not None else []
    shown = [recommended, *designs.values(), *baselines]
    groups = SerialEvaluator(len(shown)).evaluate(problem, shown, events, [held_out_seed(seed)] * len(shown))
    fixed, *found = [evaluation for group in groups for evaluation in group]
    zero = _measured(found[-1]) if baselines else None
    return [
        _member(problem.with_cost_weight(weight), evaluation, fixed, zero)
        for weight, evaluation in zip(designs, found, strict=False)
    ]


def _measured(evaluation: Evaluation) -> Measurement:
    if evaluation.measurement is None:
        raise SimulationError(f"a design of the family could not be judged: {evaluation.failure}")
    return evaluation.measurement


def _member(
    problem: DesignProblem, evaluation: Evaluation, fixed: Evaluation, zero: Measurement | None
) -> FamilyMember:
    measured = _measured(evaluation)
    reach = Difference(measured.reach, measured.error) if zero is None else paired_difference(measured, zero)
    better = paired_difference(measured, _measured(fixed))
    charge = problem.charge(evaluation.costs, evaluation.violations)
    return FamilyMember(
        cost_weight=problem.cost_weight,
        design=evaluation.design,
        metric=measured.metric,
        metric_error=measured.metric_error,
        reach=reach.value,
        reach_error=reach.error,
        costs=evaluation.costs,
        violations=evaluation.violations,
        reward=reach.value - charge,
        gain=Difference(better.value - charge + problem.charge(fixed.costs, fixed.violations), better.error),
    )
