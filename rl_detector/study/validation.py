"""Simulates designs side by side on fresh events: same seeds, paired differences, error bars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rl_detector.errors import SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import RECOMMENDED, DesignProblem, Evaluation
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.terms import Group, Measurement


@dataclass(frozen=True)
class Difference:
    """Difference of two reaches measured on the same events, and its standard error."""

    value: float
    error: float

    @property
    def significance(self) -> float:
        """The difference in units of its error; of an exact one infinite, or 0 if there is none."""
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


@dataclass(frozen=True)
class HeldOutDesign:
    """A design on held-out events.

    Attributes:
        metric, metric_error: the figure behind the reach.
        reach, reach_error: against the first baseline on the same events (0 +- 0 for itself); without baselines as the
            problem defines it.
        costs, violations: in their own units.
        reward: with that reach; its error is that of the reach.
    """

    design: Design
    metric: float
    metric_error: float
    reach: float
    reach_error: float
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    reward: float

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
    best = measurement_of(evaluations[RECOMMENDED])
    return [
        ValidatedDesign(
            **measured_on(problem, evaluation, zero),
            name=name,
            simulator=dict(problem.simulator.describe()),
            events=evaluation.events,
            seed=evaluation.seed,
            difference=None if name == RECOMMENDED else paired_difference(best, measurement_of(evaluation)),
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
    reach = own if zero is None else paired_difference(measured, measurement_of(zero))
    return {
        "design": evaluation.design,
        "metric": measured.metric,
        "metric_error": measured.metric_error,
        "reach": reach.value,
        "reach_error": reach.error,
        "costs": evaluation.costs,
        "violations": evaluation.violations,
        "reward": reach.value - problem.charge(evaluation.costs, evaluation.violations),
    }


def paired_difference(first: Measurement, second: Measurement) -> Difference:
    """Reach of the first minus reach of the second.

    Where the metrics m are means of per-event losses l on the same events, the difference is ln(m2 / m1) and its
    error that of the mean of l1 / m1 - l2 / m2 (delta method); otherwise the errors are added in quadrature.
    """
    if first.losses is None or second.losses is None:
        return Difference(first.reach - second.reach, math.hypot(first.error, second.error))
    terms = first.losses / first.metric - second.losses / second.metric
    return Difference(math.log(second.metric / first.metric), float(terms.std(ddof=1) / math.sqrt(len(terms))))


def measurement_of(evaluation: Evaluation) -> Measurement:
    """The measurement of an evaluation that did not fail.

    Raises:
        SimulationError: it failed.
    """
    if evaluation.measurement is None:
        raise SimulationError(f"the design could not be measured: {evaluation.failure}")
    return evaluation.measurement


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
    better = paired_difference(measurement_of(evaluation), measurement_of(fixed))
    saved = problem.charge(fixed.costs, fixed.violations) - problem.charge(evaluation.costs, evaluation.violations)
    gain = Difference(better.value + saved, better.error)
    return FamilyMember(**measured_on(problem, evaluation, zero), cost_weight=problem.cost_weight, gain=gain)
