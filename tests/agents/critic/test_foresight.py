"""Foresight of the critic, against correlations by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.agents.critic.foresight import CORRELATION_OF_FULL, CORRELATION_OF_NONE, FORGETTING, Foresight


def test_full_before_anything_is_known() -> None:
    assert Foresight().value == 1


@pytest.mark.parametrize(("skill", "expected"), [(0.0, 0.0), (0.3, 0.0), (0.6, 0.5), (0.9, 1.0)])
def test_correlation_between_its_bounds(skill: float, expected: float) -> None:
    """Units and offsets do not matter; with 100 000 designs the standard error does not either."""
    rng = np.random.default_rng(0)
    p, other = rng.standard_normal((2, 100_000))
    foresight = Foresight()
    foresight.score(3 + 2 * p, skill * p + math.sqrt(1 - skill**2) * other, 0.0)
    assert foresight.value == pytest.approx(expected, abs=0.02)


def test_stated_errors_are_no_fault_of_the_predictions() -> None:
    """Signal of variance 1 and noise of variance 8: a correlation of 1/3, all of it explained."""
    rng = np.random.default_rng(1)
    p, noise = rng.standard_normal((2, 100_000))
    values = []
    for error in (0.0, 8.0):
        foresight = Foresight()
        foresight.score(p, p + math.sqrt(8) * noise, error)
        values.append(foresight.value)
    assert values == [0, 1]


def test_old_batches_are_forgotten_and_few_designs_prove_little() -> None:
    rng = np.random.default_rng(2)
    batches = [rng.standard_normal((2, 10)) for _ in range(3)]
    foresight, sums = Foresight(), np.zeros(4)
    for age, (p, r) in zip((2, 1, 0), batches, strict=True):
        foresight.score(p, p + r, 0.0)
        p, r = p - p.mean(), p + r - (p + r).mean()
        sums += FORGETTING**age * np.array([p @ r, p @ p, r @ r, 10])
    correlation = sums[0] / math.sqrt(sums[1] * sums[2]) + 1 / math.sqrt(sums[3] + 1)
    width = CORRELATION_OF_FULL - CORRELATION_OF_NONE
    assert foresight.value == pytest.approx(np.clip((correlation - CORRELATION_OF_NONE) / width, 0, 1))


def test_equal_predictions_or_rewards() -> None:
    """No spread, no correlation; one single design has neither."""
    for predicted, rewards in ((np.zeros(500), np.arange(500.0)), (np.arange(500.0), np.zeros(500))):
        foresight = Foresight()
        foresight.score(predicted, rewards, 0.1)
        assert foresight.value == 0
    foresight = Foresight()
    foresight.score(np.ones(1), np.ones(1), 0.1)
    assert 0 <= foresight.value <= 1
