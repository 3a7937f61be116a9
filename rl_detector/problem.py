"""A detector-design problem: a pure function of (design, events, seed)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.measure import as_failure, finite, measure, simulate
from rl_detector.space import Design, DesignSpace, FloatArray
from rl_detector.terms import (
    Component,
    Constraint,
    Cost,
    Features,
    Group,
    Measurement,
    Reach,
    Readout,
    Simulator,
    check_terms,
    penalty,
)

RECOMMENDED = "recommended"
"""Name of the agent's design next to the baselines in a validation."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluated design; its terms stay apart.

    Attributes:
        design: in physical units.
        events, seed: what was simulated.
        costs: name -> amount in the cost's unit.
        violations: name -> amount beyond the limit in the constraint's unit.
        measurement: None when the simulation failed, or before a judge has scored it.
        reward: reach - cost_weight * cost - penalties; None where there is no measurement.
        failure: why the simulation failed, else None.
        readout: of the simulator, kept only for a judge.

    Examples:
        >>> import rl_detector as rd
        >>> evaluation = rd.Evaluation({"x": 1.0}, 100, 0, {}, {}, None, None, failure="timeout")
        >>> evaluation.failed, evaluation.reward
        (True, None)
    """

    design: Design
    events: int
    seed: int
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    measurement: Measurement | None
    reward: float | None
    failure: str | None = None
    readout: Readout | None = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> bool:
        """Whether the simulation or its measurement failed."""
        return self.failure is not None


@dataclass(frozen=True)
class DesignProblem:
    """Joins what can be built, its simulator, its reach, its costs and its constraints.

    Attributes:
        name: short name for folders and tables.
        space: what can be built.
        simulator: simulates events in a design.
        reach: figure of merit of a readout.
        costs, constraints: terms that lower the reward.
        baselines: named designs to compare with; the first one is the zero of the reach and the start of a search.
        cost_weight: reward per unit of relative cost (sum of amount / reference).
        penalty_weight: reward per unit of `penalty(relative violation)`.
        conditions: name -> value, further facts of the task shown to the agent (beam, budget).
        layout: design -> components, for pictures.
        metric: name of the figure behind the reach, with unit.
        minimum_events: fewest events per design from which the reach can be measured.
        features: how a reconstruction shared by designs sees them; None: by the encoding and the signals as they are.
        keeps_readouts: whether evaluations keep their readouts for a judge instead of being measured, see `for_judge`.

    Examples:
        >>> import rl_detector as rd
        >>> import gymnasium as gym
        >>> problem = gym.make("rl_detector/Oracle-v0", kind="quadratic", dimensions=2).unwrapped.problem
        >>> first = problem.evaluate(problem.start, events=100, seed=1)
        >>> first.reward == problem.evaluate(problem.start, events=100, seed=1).reward
        True
        >>> round(first.measurement.error, 3)
        0.03
    """

    name: str
    space: DesignSpace
    simulator: Simulator
    reach: Reach
    costs: tuple[Cost, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    baselines: Mapping[str, Design] = field(default_factory=dict)
    cost_weight: float = 0.0
    penalty_weight: float = 5.0
    conditions: Mapping[str, float] = field(default_factory=dict)
    layout: Callable[[Design], Sequence[Component]] | None = None
    metric: str = "metric"
    minimum_events: int = 1
    features: Features | None = None
    keeps_readouts: bool = False

    def __post_init__(self) -> None:
        check_terms(self.costs, self.constraints)
        for name, weight in (("cost_weight", self.cost_weight), ("penalty_weight", self.penalty_weight)):
            if not 0 <= weight < math.inf:
                raise ConfigError(f"{name} of {self.name} must be finite and >= 0, got {weight}")
        for name, baseline in self.baselines.items():
            if name == RECOMMENDED:
                raise ConfigError(f"a baseline of {self.name} is named {RECOMMENDED!r}, which means the agent's design")
            try:
                self.space.check(baseline)
            except DesignError as error:
                raise ConfigError(f"baseline {name!r} of {self.name} cannot be built: {error}") from error

    @property
    def context(self) -> Mapping[str, float]:
        """Facts of the task that an agent may know: weights of the reward and conditions, name -> value."""
        return {"cost_weight": self.cost_weight, "penalty_weight": self.penalty_weight, **self.conditions}

    @property
    def observation(self) -> FloatArray:
        """Values of the context, [context]."""
        return np.array(list(self.context.values()), dtype=np.float64)

    @property
    def start(self) -> Design | None:
        """The design at which a search begins: the first baseline."""
        return next(iter(self.baselines.values()), None)

    def with_cost_weight(self, cost_weight: float) -> DesignProblem:
        """This problem with another weight of the cost."""
        return replace(self, cost_weight=cost_weight)

    def for_judge(self) -> DesignProblem:
        """This problem for a study with a judge: evaluations keep their readouts, of any number of events."""
        return replace(self, keeps_readouts=True, minimum_events=1)

    def check_events(self, events: Any) -> None:
        """Raise DesignError unless the reach can be measured from this number of events per design."""
        if isinstance(events, bool) or not isinstance(events, int) or events < self.minimum_events:
            raise DesignError(
                f"events per design must be a whole number >= {self.minimum_events} for {self.name}, got {events!r}"
            )

    def evaluate(self, design: Design, events: int, seed: int) -> Evaluation:
        """Measure one design with a number of events; pure: equal arguments give equal results.

        Raises:
            DesignError: the design cannot be built, or `events` is not a positive whole number.
        """
        return self.evaluate_batch([design], events, [seed])[0]

    def evaluate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Evaluation]:
        """Measure many designs, each with its own seed; equals `evaluate` for each of them.

        A simulation that fails becomes a failed Evaluation with its reason and does not touch the others.
        """
        self.check_events(events)
        group = Group(designs, events, seeds)
        for design in designs:
            self.space.check(design)
        readouts = simulate(self.simulator, group)
        outcomes: Sequence[Measurement | Readout | SimulationError] = (
            readouts if self.keeps_readouts else measure(self.reach, readouts)
        )
        return [
            self._evaluation(design, events, seed, outcome)
            for (design, seed), outcome in zip(group.pairs(), outcomes, strict=True)
        ]

    def _evaluation(
        self, design: Design, events: int, seed: int, outcome: Measurement | Readout | SimulationError
    ) -> Evaluation:
        try:
            costs = {cost.name: finite(cost.name, cost.amount(design)) for cost in self.costs}
            violations = {limit.name: finite(limit.name, limit.violation(design)) for limit in self.constraints}
        except Exception as error:  # a user's cost may raise anything: the trial fails, the study goes on
            return Evaluation(design, events, seed, {}, {}, None, None, str(as_failure(error)))
        if isinstance(outcome, SimulationError):
            return Evaluation(design, events, seed, costs, violations, None, None, str(outcome))
        plain = Evaluation(design, events, seed, costs, violations, None, None)
        return (
            replace(plain, readout=outcome) if isinstance(outcome, Readout) else self.with_measurement(plain, outcome)
        )

    def failure(self, design: Design, events: int, seed: int, reason: str) -> Evaluation:
        """The failed evaluation of a design, with the reason."""
        return self._evaluation(design, events, seed, SimulationError(reason))

    def with_measurement(self, evaluation: Evaluation, measurement: Measurement) -> Evaluation:
        """The evaluation with this measurement and the reward that follows from it."""
        reward = measurement.reach - self.charge(evaluation.costs, evaluation.violations)
        return replace(evaluation, measurement=measurement, reward=reward)

    def relative_cost(self, costs: Mapping[str, float]) -> float:
        """Sum of the costs over their references."""
        return sum(costs[cost.name] / cost.reference for cost in self.costs)

    def charge(self, costs: Mapping[str, float], violations: Mapping[str, float]) -> float:
        """What cost and violations take from the reward: cost_weight * cost + penalty_weight * sum of penalties."""
        penalties = sum(penalty(violations[limit.name] / limit.limit) for limit in self.constraints)
        return self.cost_weight * self.relative_cost(costs) + self.penalty_weight * penalties
