"""What one training for a family of problems has learned: designs over the price of cost, on held-out events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl_detector.problem import RECOMMENDED, DesignProblem, Evaluation
from rl_detector.space import Design
from rl_detector.validation import Difference, JudgedDesign, held_out, judged, measurement_of, paired_difference


@dataclass(frozen=True)
class FamilyMember(JudgedDesign):
    """The design that is recommended for one cost weight.

    Attributes:
        cost_weight: reward per unit of relative cost; the reward is at this one.
        gain: reward at this cost weight minus that of the design recommended for the problem's own, paired.
    """

    cost_weight: float
    gain: Difference


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
    names = {weight: f"recommended for the cost weight {weight!r}" for weight in designs}
    shown = {RECOMMENDED: recommended, **{names[weight]: design for weight, design in designs.items()}}
    start = {} if problem.start is None else {next(iter(problem.baselines)): problem.start}
    found = held_out(problem, {**shown, **start}, events, seed)
    zero = next((found[name] for name in start), None)
    return [
        _member(problem.with_cost_weight(weight), found[names[weight]], found[RECOMMENDED], zero) for weight in designs
    ]


def _member(problem: DesignProblem, evaluation: Evaluation, fixed: Evaluation, zero: Evaluation | None) -> FamilyMember:
    better = paired_difference(measurement_of(evaluation), measurement_of(fixed))
    saved = problem.charge(fixed.costs, fixed.violations) - problem.charge(evaluation.costs, evaluation.violations)
    gain = Difference(better.value + saved, better.error)
    return FamilyMember(**judged(problem, evaluation, zero), cost_weight=problem.cost_weight, gain=gain)
