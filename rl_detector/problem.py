"""A detector-design problem: a pure function of (design, events, seed)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, DesignError, MissingDependency, SimulationError
from rl_detector.space import Design, DesignSpace, FloatArray
from rl_detector.terms import (
    BatchReach,
    BatchSimulator,
    Component,
    Constraint,
    Cost,
    Measurement,
    Reach,
    Readout,
    Simulator,
    penalty,
)


@dataclass(frozen=True)
class Evaluation:
    """One evaluated design; its terms stay apart.

    Attributes:
        design: in physical units.
        events, seed: what was simulated.
        costs: name -> amount in the cost's unit.
        violations: name -> amount beyond the limit in the constraint's unit.
        measurement: None when the simulation failed.
        reward: reach - cost_weight * cost - penalties; None when the simulation failed.
        failure: why the simulation failed, else None.
    """

    design: Design
    events: int
    seed: int
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    measurement: Measurement | None
    reward: float | None
    failure: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no measurement."""
        return self.measurement is None


@dataclass(frozen=True)
class DesignProblem:
    """What can be built, how it is measured, what it is worth and what it takes.

    Attributes:
        name: short name for folders and tables.
        space: what can be built.
        simulator: how it is measured.
        reach: what it is worth.
        costs, constraints: what it takes and what is not allowed.
        baselines: named designs to compare with; the first one is the zero of the reach and the start of a search.
        cost_weight: reward per unit of relative cost (sum of amount / reference).
        penalty_weight: reward per unit of `penalty(relative violation)`.
        conditions: name -> number, further facts of the task shown to the agent (beam, budget).
        layout: design -> components, for pictures.
        metric: name of the figure behind the reach, with unit.
        minimum_events: fewest events per design from which the reach can be judged.
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

    def __post_init__(self) -> None:
        for name, baseline in self.baselines.items():
            try:
                self.space.check(baseline)
            except DesignError as error:
                raise ConfigError(f"baseline {name!r} of {self.name} cannot be built: {error}") from error

    @property
    def context(self) -> Mapping[str, float]:
        """What an agent may know of the task: weights of the reward and the conditions, name -> number."""
        return {"cost_weight": self.cost_weight, "penalty_weight": self.penalty_weight, **self.conditions}

    @property
    def observation(self) -> FloatArray:
        """The context as numbers, [context]."""
        return np.array(list(self.context.values()), dtype=np.float64)

    @property
    def start(self) -> Design | None:
        """The design at which a search begins: the first baseline."""
        return next(iter(self.baselines.values()), None)

    def with_cost_weight(self, cost_weight: float) -> DesignProblem:
        """The same problem with another price of cost."""
        return replace(self, cost_weight=cost_weight)

    def check_events(self, events: Any) -> None:
        """Raise DesignError unless so many events per design can be judged."""
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
        if len(designs) != len(seeds):
            raise DesignError(f"each design needs a seed: got {len(designs)} designs and {len(seeds)} seeds")
        for design in designs:
            self.space.check(design)
        outcomes = self._measure(self._simulate(designs, events, seeds))
        return [
            self._evaluation(design, events, seed, outcome)
            for design, seed, outcome in zip(designs, seeds, outcomes, strict=True)
        ]

    def _simulate(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        if isinstance(self.simulator, BatchSimulator):
            try:
                readouts = self.simulator.simulate_batch(designs, events, seeds)
                return [_checked(readout, events) for _, readout in zip(designs, readouts, strict=True)]
            except Exception:  # one by one then, so that one design does not take the others with it
                pass
        return [self._simulate_one(design, events, seed) for design, seed in zip(designs, seeds, strict=True)]

    def _simulate_one(self, design: Design, events: int, seed: int) -> Readout | SimulationError:
        try:
            return _checked(self.simulator.simulate(design, events, seed), events)
        except _MISTAKES:
            raise
        except Exception as error:  # whatever a user's simulator raises is a failed trial, not the end of a study
            return _as_failure(error)

    def _measure(self, readouts: Sequence[Readout | SimulationError]) -> list[Measurement | SimulationError]:
        good = [readout for readout in readouts if isinstance(readout, Readout)]
        measured = iter(self._measure_good(good))
        return [next(measured) if isinstance(readout, Readout) else readout for readout in readouts]

    def _measure_good(self, readouts: Sequence[Readout]) -> list[Measurement | SimulationError]:
        if isinstance(self.reach, BatchReach) and readouts:
            try:
                measured = self.reach.measure_batch(readouts)
                return [_finite(measurement) for _, measurement in zip(readouts, measured, strict=True)]
            except Exception:  # as for simulators
                pass
        return [self._measure_one(readout) for readout in readouts]

    def _measure_one(self, readout: Readout) -> Measurement | SimulationError:
        try:
            return _finite(self.reach.measure(readout))
        except _MISTAKES:
            raise
        except Exception as error:  # as for simulators
            return _as_failure(error)

    def _evaluation(self, design: Design, events: int, seed: int, outcome: Measurement | SimulationError) -> Evaluation:
        costs = {cost.name: cost.amount(design) for cost in self.costs}
        violations = {constraint.name: constraint.violation(design) for constraint in self.constraints}
        if isinstance(outcome, SimulationError):
            return Evaluation(design, events, seed, costs, violations, None, None, str(outcome))
        reward = outcome.reach - self.charge(costs, violations)
        return Evaluation(design, events, seed, costs, violations, outcome, reward)

    def relative_cost(self, costs: Mapping[str, float]) -> float:
        """Sum of the costs over their references."""
        return sum(costs[cost.name] / cost.reference for cost in self.costs)

    def charge(self, costs: Mapping[str, float], violations: Mapping[str, float]) -> float:
        """What cost and violations take from the reward: cost_weight * cost + penalty_weight * sum of penalties."""
        penalties = sum(penalty(violations[limit.name] / limit.limit) for limit in self.constraints)
        return self.cost_weight * self.relative_cost(costs) + self.penalty_weight * penalties


_MISTAKES = (ConfigError, MissingDependency)
"""What no other design would escape: it ends a study with its message instead of failing every trial."""


def _as_failure(error: Exception) -> SimulationError:
    return error if isinstance(error, SimulationError) else SimulationError(f"{type(error).__name__}: {error}")


def _checked(readout: Readout | SimulationError, events: int) -> Readout | SimulationError:
    """A readout only if it is complete and finite."""
    if isinstance(readout, SimulationError):
        return readout
    arrays: dict[str, Any] = {"signals": readout.signals, **readout.truth}
    for name, values in arrays.items():
        if len(values) != events:
            return SimulationError(f"the simulator returned {len(values)} events of {name}, expected {events}")
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            return SimulationError(f"the simulator returned {bad} NaN or infinite values of {name}")
    return readout


def _finite(measurement: Measurement) -> Measurement | SimulationError:
    numbers = (measurement.reach, measurement.error, measurement.metric, measurement.metric_error)
    if all(math.isfinite(number) for number in numbers):
        return measurement
    return SimulationError(f"reach, error, metric and metric error must be finite, got {numbers}")
