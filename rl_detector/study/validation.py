"""Simulates designs side by side on fresh events: same seeds, paired differences, error bars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rl_detector.errors import SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import RECOMMENDED, DesignProblem, Evaluation
from rl_detector.reach.paired import Difference, difference, measurement_of
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.terms import Group


@dataclass(frozen=True)
class HeldOutDesign:
    """A design on held-out events.

    Attributes:
        metric, metric_error: the figure behind the reach.
        reach, reach_error: against the first baseline on the same events (0 +- 0 for itself); without baselines as the
            problem defines it.
        costs, violations: in their own units.
        reward: with that reach; its error is that of the reach.
        diagnostics: further results of the reach, such as the share of tracks that were measured.
    """

    design: Design
    metric: float
    metric_error: float
    reach: float
    reach_error: float
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    reward: float
    diagnostics: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The row as JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True)
class ValidatedDesign(HeldOutDesign):
    """One row of a validation.

    Attributes:
        name: "recommended" or the name of a baseline.
        simulator: facts of the simulator, its physics list among them.
        events, seed: what was simulated; equal for all rows.
        difference: reach of the recommended design minus that of this one, paired; None for the recommended one.
    """

    name: str
    simulator: Mapping[str, str]
    events: int
    seed: int
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        """The row as JSON-ready data, with the significance of the difference (None if that is exact)."""
        row = super().to_json()
        if self.difference is not None:
            significance = self.difference.significance
            row["difference"]["significance"] = significance if math.isfinite(significance) else None
        return row


def validate(problem: DesignProblem, recommended: Design, events: int, seed: int) -> list[ValidatedDesign]:
    """Simulate the recommended design and all baselines with the same seed.

    Raises:
        SimulationError: one of the designs could not be simulated.
    """
    evaluations = held_out(problem, {RECOMMENDED: recommended, **problem.baselines}, events, seed)
    zero = evaluations.get(next(iter(problem.baselines), ""))
    best = evaluations[RECOMMENDED]
    return [
        ValidatedDesign(
            **measured_on(problem, evaluation, zero),
            name=name,
            simulator=dict(problem.simulator.describe()),
            events=evaluation.events,
            seed=evaluation.seed,
            difference=None if name == RECOMMENDED else difference(best, evaluation),
        )
        for name, evaluation in evaluations.items()
    ]


def held_out(problem: DesignProblem, designs: Mapping[str, Design], events: int, seed: int) -> dict[str, Evaluation]:
    """Evaluations of named designs, all with the same held-out seed.

    Raises:
        SimulationError: one of the designs could not be simulated.
    """
    held_out = Group(list(designs.values()), events, [held_out_seed(seed)] * len(designs))
    groups = SerialEvaluator(len(designs)).evaluate(problem, held_out)
    evaluations = dict(zip(designs, (evaluation for group in groups for evaluation in group), strict=True))
    for name, evaluation in evaluations.items():
        if evaluation.failed:
            raise SimulationError(f"the design {name!r} could not be validated: {evaluation.failure}")
    return evaluations


def measured_on(problem: DesignProblem, evaluation: Evaluation, zero: Evaluation | None) -> dict[str, Any]:
    """Attributes of a HeldOutDesign at the problem's cost weight; the reach is over `zero` where there is one."""
    measured = measurement_of(evaluation)
    own = Difference(measured.reach, measured.error)
    reach = own if zero is None else difference(evaluation, zero)
    return {
        "design": evaluation.design,
        "metric": measured.metric,
        "metric_error": measured.metric_error,
        "reach": reach.value,
        "reach_error": reach.error,
        "costs": evaluation.costs,
        "violations": evaluation.violations,
        "reward": reach.value - problem.charge(evaluation.costs, evaluation.violations),
        "diagnostics": dict(measured.diagnostics),
    }


@dataclass(frozen=True)
class FamilyMember(HeldOutDesign):
    """The design that is recommended for one cost weight.

    Attributes:
        cost_weight: reward per unit of relative cost; the reward is at this one.
        gain: reward at this cost weight minus that of the design recommended for the problem's own, paired.
    """

    cost_weight: float
    gain: Difference


def validate_family(
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
    better = difference(evaluation, fixed)
    saved = problem.charge(fixed.costs, fixed.violations) - problem.charge(evaluation.costs, evaluation.violations)
    gain = Difference(better.value + saved, better.error)
    return FamilyMember(**measured_on(problem, evaluation, zero), cost_weight=problem.cost_weight, gain=gain)
