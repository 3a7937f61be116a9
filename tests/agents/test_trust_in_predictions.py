"""Trust in predictions, against correlations by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.agents.critic.foresight import DOUBTED, FORGETTING, TRUSTED, Trust


def test_full_before_anything_is_known() -> None:
    assert Trust().value == 1


@pytest.mark.parametrize(("skill", "expected"), [(0.0, 0.0), (0.3, 0.0), (0.6, 0.5), (0.9, 1.0)])
def test_correlation_between_its_bounds(skill: float, expected: float) -> None:
    """Units and offsets do not matter; with 100 000 designs the standard error does not either."""
    rng = np.random.default_rng(0)
    p, other = rng.standard_normal((2, 100_000))
    trust = Trust()
    trust.score(3 + 2 * p, skill * p + math.sqrt(1 - skill**2) * other, 0.0)
    assert trust.value == pytest.approx(expected, abs=0.02)


def test_stated_errors_are_no_fault_of_the_predictions() -> None:
    """Signal of variance 1 and noise of variance 8: a correlation of 1/3, all of it explained."""
    rng = np.random.default_rng(1)
    p, noise = rng.standard_normal((2, 100_000))
    values = []
    for error in (0.0, 8.0):
        trust = Trust()
        trust.score(p, p + math.sqrt(8) * noise, error)
        values.append(trust.value)
    assert values == [0, 1]


def test_old_batches_are_forgotten_and_few_designs_prove_little() -> None:
    rng = np.random.default_rng(2)
    batches = [rng.standard_normal((2, 10)) for _ in range(3)]
    trust, sums = Trust(), np.zeros(4)
    for age, (p, r) in zip((2, 1, 0), batches, strict=True):
        trust.score(p, p + r, 0.0)
        p, r = p - p.mean(), p + r - (p + r).mean()
        sums += FORGETTING**age * np.array([p @ r, p @ p, r @ r, 10])
    correlation = sums[0] / math.sqrt(sums[1] * sums[2]) + 1 / math.sqrt(sums[3] + 1)
    assert trust.value == pytest.approx(np.clip((correlation - DOUBTED) / (TRUSTED - DOUBTED), 0, 1))


def test_equal_predictions_or_rewards() -> None:
    """No spread, no correlation; one single design has neither."""
    for predicted, rewards in ((np.zeros(500), np.arange(500.0)), (np.arange(500.0), np.zeros(500))):
        trust = Trust()
        trust.score(predicted, rewards, 0.1)
        assert trust.value == 0
    trust = Trust()
    trust.score(np.ones(1), np.ones(1), 0.1)
    assert 0 <= trust.value <= 1
