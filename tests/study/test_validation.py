from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.errors import SimulationError
from rl_detector.reach.paired import paired_difference
from rl_detector.study.validation import validate
from rl_detector.terms import Measurement


def measurement(losses) -> Measurement:
    metric, error = losses.mean(), losses.std(ddof=1) / math.sqrt(len(losses))
    return Measurement(-math.log(metric), error / metric, float(metric), float(error), losses=losses)


def test_paired_difference_sees_through_what_designs_share():
    """1000 repetitions of 400 events: the spread of the difference is its stated error within 4 x 2.2 %."""
    rng = np.random.default_rng(0)
    shared = rng.exponential(1.0, (1000, 400))
    first, second = shared * rng.uniform(0.9, 1.1, (1000, 400)), 1.5 * shared * rng.uniform(0.9, 1.1, (1000, 400))
    found = [paired_difference(measurement(a), measurement(b)) for a, b in zip(first, second, strict=True)]
    values, errors = np.array([d.value for d in found]), np.array([d.error for d in found])
    assert values.mean() == pytest.approx(math.log(1.5), abs=4 * values.std() / math.sqrt(1000))
    assert values.std() / errors.mean() == pytest.approx(1.0, abs=4 * 0.022)
    assert errors.mean() < 0.2 * measurement(first[0]).error


def test_unpaired_errors_are_added_in_quadrature():
    difference = paired_difference(Measurement(0.5, 0.3, 1, 0.1), Measurement(0.1, 0.4, 1, 0.1))
    assert (difference.value, difference.error) == pytest.approx((0.4, 0.5))
    assert difference.significance == pytest.approx(0.8)


def test_rows_of_the_calorimeter():
    problem = calorimeter()
    rows = validate(problem, problem.baselines["homogeneous"], 2000, 5)
    assert [row.name for row in rows] == ["recommended", *problem.baselines]
    recommended, start, _, homogeneous, _ = rows
    assert (start.reach, start.reach_error) == (0.0, 0.0)
    assert (homogeneous.difference.value, homogeneous.difference.error) == (0.0, 0.0)
    assert recommended.difference is None and recommended.metric == homogeneous.metric
    assert recommended.reach == pytest.approx(start.difference.value)
    assert len({row.seed for row in rows}) == 1
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_without_baselines_the_reach_is_the_problems_own(bowl):
    (row,) = validate(replace(bowl, baselines={}), {"x": 0.3, "y": -0.5, "material": "good"}, 4000, 0)
    assert row.reach == pytest.approx(0.0, abs=5 * row.reach_error)
    assert row.reach_error == pytest.approx(0.5 / math.sqrt(4000), rel=0.1)


def test_a_design_compared_with_itself_differs_by_nothing_even_without_losses(bowl):
    """The bowl's reach has no losses: errors of different designs are added in quadrature."""
    other = {"x": 0.3, "y": -0.5, "material": "good"}
    best, start, again = validate(replace(bowl, baselines={"start": bowl.start, "again": other}), other, 400, 0)
    assert (start.reach, start.reach_error) == (again.difference.value, again.difference.error) == (0.0, 0.0)
    assert best.reach_error > 0 and start.difference.error > 0


def test_diagnostics_of_held_out_designs_are_kept():
    (row, *_) = validate(calorimeter(), calorimeter().start, 50, 0)
    assert row.to_json()["diagnostics"].keys() == {"stochastic_term", "bias"}


def test_a_design_that_cannot_be_simulated_is_named(failing_bowl, monkeypatch):
    monkeypatch.setattr("rl_detector.study.validation.held_out_seed", lambda root: 5)
    with pytest.raises(SimulationError, match="'recommended' could not be validated: failed twice"):
        validate(failing_bowl, failing_bowl.start, 100, 0)
