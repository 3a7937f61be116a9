"""Problems: impossible designs are named, failures stay where they happen, the arithmetic of the reward."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.parameters import Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import PENALTY_KNEE, Constraint, Cost, Measurement, Readout, penalty

CALORIMETER = calorimeter()
START = CALORIMETER.baselines["published_start"]


def changed(**values: Any) -> dict[str, Any]:
    """The published start with other values in its second layer."""
    layers = [dict(layer) for layer in START["layer"]]
    layers[1].update(values)
    return {"layer": layers}


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (changed(absorber="Au"), r"layer\[1\].absorber: expected one of Pb, Fe, got 'Au'"),
        (changed(colour="red"), r"unknown parameter layer\[1\].colour: known are absorber, absorber_thickness"),
        (changed(absorber_thickness=-1.0), r"layer\[1\].absorber_thickness: -1 cm is below its lower bound 0 cm"),
        (changed(scintillator_thickness=50.1), r"scintillator_thickness: 50.1 cm is above its upper bound 50 cm"),
        (changed(absorber_thickness=math.nan), r"absorber_thickness: expected a finite number in cm, got nan"),
        (changed(absorber_thickness="1"), r"absorber_thickness: expected a number in cm, got '1'"),
        ({"layer": START["layer"][:2]}, r"layer.count: 2 is below its lower bound 3"),
        ({}, "missing parameter layer"),
        ([1, 2], "expected names and values"),
    ],
)
def test_impossible_designs_are_named(design: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        CALORIMETER.evaluate(design, 100, 0)


@pytest.mark.parametrize("events", [0, -1, 19, 100.5, True, "100"])
def test_impossible_numbers_of_events(events: Any) -> None:
    with pytest.raises(DesignError, match=f"must be a whole number >= 20 for calorimeter, got {events!r}"):
        CALORIMETER.evaluate(START, events, 0)


def test_each_design_needs_a_seed() -> None:
    with pytest.raises(DesignError, match="got 2 designs and 1 seeds"):
        CALORIMETER.evaluate_batch([START, START], 100, [0])


@dataclass(frozen=True)
class Line:
    """One signal per event around x; `broken` takes the place of the readout for x > 0."""

    broken: Callable[[Readout], Any] = lambda readout: readout

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        readout = Readout({"t": np.arange(events, dtype=float)}, np.full((events, 1), design["x"]))
        result: Readout = self.broken(readout) if design["x"] > 0 else readout
        return result

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "line"}


class LineInBatches(Line):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        return [self.simulate(design, events, seed) for design, seed in zip(designs, seeds, strict=True)]


class Losing(Line):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        return []


class Mean:
    def measure(self, readout: Readout) -> Measurement:
        mean = float(readout.signals.mean())
        return Measurement(mean, 0.1, mean, 0.1)


class MeanInBatches(Mean):
    def measure_batch(self, readouts: Sequence[Readout]) -> list[Measurement]:
        return [self.measure(readout) for readout in readouts]


def make_line(simulator: Line | None = None, reach: Any = None, **changes: Any) -> DesignProblem:
    space = DesignSpace((Continuous("x", -1.0, 1.0, "m"),))
    return replace(DesignProblem("line", space, simulator or Line(), reach or Mean()), **changes)


def fail(readout: Readout) -> Any:
    raise SimulationError("energy is not conserved")


def crash(readout: Readout) -> Any:
    raise ZeroDivisionError("division by zero")


BROKEN: list[tuple[Callable[[Readout], Any], str]] = [
    (fail, "energy is not conserved"),
    (crash, "ZeroDivisionError: division by zero"),
    (lambda r: Readout(r.truth, r.signals * math.nan), "8 NaN or infinite values of signals"),
    (lambda r: Readout({"t": np.full(8, math.inf)}, r.signals), "8 NaN or infinite values of t"),
    (lambda r: Readout(r.truth, r.signals[1:]), "returned 7 events of signals, expected 8"),
    (lambda r: Readout({"t": np.zeros(9)}, r.signals), "returned 9 events of t, expected 8"),
    (lambda r: Readout(r.truth, r.signals[:, 0]), "signals of shape (8,), expected [events, channels]"),
    (lambda r: Readout(r.truth, r.signals[:, :, None]), "signals of shape (8, 1, 1), expected [events, channels]"),
    (lambda r: Readout({"t": r.signals}, r.signals), "t of shape (8, 1), expected [events]"),
    (lambda r: None, "AttributeError"),
]


@pytest.mark.parametrize("kind", [Line, LineInBatches])
@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_a_failure_stays_where_it_happens(kind: type[Line], broken: Callable[[Readout], Any], reason: str) -> None:
    problem = make_line(kind(broken), costs=(Cost("mass", "kg", 1.0, lambda design: 3.0),))
    with warnings.catch_warnings(action="ignore"):  # of batches that go on one by one
        first, failed, last = problem.evaluate_batch([{"x": -0.5}, {"x": 0.5}, {"x": -0.2}], 8, [1, 2, 3])
    assert (first.reward, last.reward) == (-0.5, -0.2)
    assert failed.failed
    assert (failed.measurement, failed.reward, failed.costs) == (None, None, {"mass": 3.0})
    assert reason in str(failed.failure)


def test_a_batch_that_loses_designs_is_simulated_one_by_one() -> None:
    problem = make_line(Losing())
    with pytest.warns(RuntimeWarning, match="simulate_batch failed .* one design at a time"):
        found = problem.evaluate_batch([{"x": 0.5}, {"x": -0.5}], 8, [1, 2])
    assert [evaluation.reward for evaluation in found] == [0.5, -0.5]


@pytest.mark.parametrize("kind", [Mean, MeanInBatches])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(SimulationError("too few hits"), "too few hits"), (np.linalg.LinAlgError("singular"), "singular")],
)
def test_a_reach_that_raises_fails_its_own_design_only(kind: type[Mean], error: Exception, reason: str) -> None:
    class Picky(kind):  # type: ignore[misc, valid-type]
        def measure(self, readout: Readout) -> Measurement:
            if readout.signals[0, 0] > 0:
                raise error
            return super().measure(readout)  # type: ignore[no-any-return]

    problem = make_line(reach=Picky())
    with warnings.catch_warnings(action="ignore"):  # of batches that go on one by one
        good, failed = problem.evaluate_batch([{"x": -0.5}, {"x": 0.5}], 8, [1, 2])
    assert good.reward == -0.5
    assert reason in str(failed.failure)


def test_a_reach_that_is_not_finite_is_a_failure() -> None:
    class Infinite(Mean):
        def measure(self, readout: Readout) -> Measurement:
            return replace(super().measure(readout), reach=math.inf)

    assert "must be finite" in str(make_line(reach=Infinite()).evaluate({"x": 0.5}, 8, 0).failure)


def test_a_wrong_configuration_is_no_failure_of_a_design() -> None:
    def misconfigured(readout: Readout) -> Any:
        raise ConfigError("no such physics list")

    for kind in (Line, LineInBatches):
        with pytest.raises(ConfigError, match="no such physics list"):
            make_line(kind(misconfigured)).evaluate({"x": 0.5}, 8, 0)


def test_the_penalty_is_smooth_steep_and_zero_within_limits() -> None:
    assert penalty(0.0) == 0
    assert penalty(PENALTY_KNEE) == pytest.approx(PENALTY_KNEE / 2)
    assert penalty(1.0) == 1 - PENALTY_KNEE / 2
    x = np.linspace(0, 0.05, 2001)
    values = np.array([penalty(float(value)) for value in x])
    slopes = np.diff(values) / np.diff(x)
    assert (np.diff(slopes) > -1e-9).all(), "convex"
    assert np.abs(np.diff(slopes)).max() < 0.01, "no kink"
    assert slopes[-1] == pytest.approx(1.0)


def priced(cost_weight: float) -> DesignProblem:
    return make_line(
        costs=(Cost("price", "EUR", 200.0, lambda design: 50.0), Cost("mass", "kg", 4.0, lambda design: 1.0)),
        constraints=(Constraint("length", "cm", 100.0, lambda design: 100 + 40 * max(design["x"], 0)),),
        cost_weight=cost_weight,
        penalty_weight=3.0,
    )


def test_the_reward_is_reach_minus_costs_minus_penalties() -> None:
    evaluation = priced(0.4).evaluate({"x": 0.5}, 8, 0)
    assert evaluation.costs == {"price": 50.0, "mass": 1.0}
    assert evaluation.violations == {"length": 20.0}
    assert evaluation.reward == pytest.approx(0.5 - 0.4 * (0.25 + 0.25) - 3.0 * (0.2 - PENALTY_KNEE / 2))


def test_without_cost_weight_and_violation_the_reward_is_the_reach() -> None:
    evaluation = priced(0.0).evaluate({"x": -0.5}, 8, 0)
    assert evaluation.violations == {"length": 0.0}
    assert evaluation.measurement is not None
    assert evaluation.reward == evaluation.measurement.reach == -0.5


def test_another_cost_weight_changes_nothing_but_the_price() -> None:
    problem = priced(0.4)
    cheap = problem.with_cost_weight(0.0)
    assert cheap.context == {"cost_weight": 0.0, "penalty_weight": 3.0}
    assert problem.cost_weight == 0.4
    first, second = (p.evaluate({"x": 0.5}, 8, 0) for p in (problem, cheap))
    assert first.reward is not None
    assert second.reward == pytest.approx(first.reward + 0.2)


def test_the_context_is_the_observation() -> None:
    problem = make_line(cost_weight=0.1, penalty_weight=2.0, conditions={"beam_energy": 20.0})
    np.testing.assert_array_equal(problem.observation, [0.1, 2.0, 20.0])


def test_the_first_baseline_is_the_start() -> None:
    assert make_line().start is None
    assert make_line(baselines={"b": {"x": 0.5}, "a": {"x": 0.1}}).start == {"x": 0.5}


def test_baselines_must_be_possible() -> None:
    with pytest.raises(ConfigError, match="baseline 'far' of line cannot be built: x: 3 m is above"):
        make_line(baselines={"far": {"x": 3.0}})


def test_a_simulator_that_changes_its_design_changes_nothing_else() -> None:
    class Meddler(Line):
        def simulate(self, design: Design, events: int, seed: int) -> Readout:
            readout = super().simulate(design, events, seed)
            design["x"] = 99.0  # type: ignore[index]
            return readout

    problem = make_line(
        Meddler(), costs=(Cost("mass", "kg", 1.0, lambda design: design["x"]),), baselines={"a": {"x": 0.5}}
    )
    evaluation = problem.evaluate(problem.baselines["a"], 8, 0)
    assert (evaluation.design, evaluation.costs, problem.baselines["a"]) == ({"x": 0.5}, {"mass": 0.5}, {"x": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"costs": (Cost("mass", "kg", 1.0, lambda design: math.nan),)}, "mass must be finite, got nan"),
        ({"constraints": (Constraint("length", "m", 1.0, lambda design: math.nan),)}, "length must be finite, got nan"),
        ({"costs": (Cost("mass", "kg", 1.0, lambda design: 1 / 0),)}, "ZeroDivisionError"),
    ],
)
def test_a_cost_that_is_no_number_is_a_failure(changes: dict[str, Any], message: str) -> None:
    evaluation = make_line(**changes).evaluate({"x": 0.5}, 8, 0)
    assert evaluation.failed
    assert message in str(evaluation.failure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"constraints": (Constraint("length", "m", -1.0, lambda design: 0.0),)},
            "limit of constraint 'length'",
        ),
        ({"costs": (Cost("mass", "kg", 0.0, lambda design: 0.0),)}, "reference of cost 'mass' must be positive"),
        ({"costs": (Cost("mass", "kg", 1.0, lambda design: 0.0),) * 2}, "need distinct names"),
        ({"baselines": {"recommended": {"x": 0.0}}}, "is named 'recommended'"),
        ({"cost_weight": math.inf}, "cost_weight of line must be finite and >= 0, got inf"),
        ({"penalty_weight": -5.0}, "penalty_weight of line must be finite and >= 0, got -5.0"),
    ],
)
def test_impossible_problems_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_line(**changes)


def test_numbers_of_numpy_become_plain_ones() -> None:
    problem = make_line(costs=(Cost("mass", "kg", 1.0, lambda design: np.float32(2.0)),))
    assert type(problem.evaluate({"x": 0.5}, 8, 0).costs["mass"]) is float
