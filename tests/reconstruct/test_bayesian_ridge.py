"""The ridge regression that learns its penalties: closed-form leave-out equals refitting, and it finds variances."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.reconstruct.bayesian_ridge import RidgeFit, _posterior, fit_ridge, members


def data(events: int = 120, features: int = 6, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(events, features))
    weights = rng.uniform(0.5, 2, events)
    target = phi[:, :3] @ np.array([1.0, -2.0, 0.5]) + 0.3 * rng.normal(size=events) / np.sqrt(weights)
    return phi, target, weights, rng.integers(0, 25, events)


def test_without_a_group_is_a_fit_to_the_others_with_the_same_variances() -> None:
    phi, target, weights, groups = data()
    fit = fit_ridge(phi, target, weights, (3, 3))
    predicted = fit.without_group(phi, target, weights, groups)
    for group in np.unique(groups):
        rest, own = groups != group, groups == group
        scaled = phi[rest] * weights[rest, None]
        prior = np.repeat(fit.variances, (3, 3))
        mean, _ = _posterior(scaled.T @ phi[rest], scaled.T @ target[rest], prior, fit.noise)
        np.testing.assert_allclose(predicted[own], phi[own] @ mean, rtol=1e-9, atol=1e-11)


def test_the_event_itself_does_not_enter_its_prediction() -> None:
    phi, target, weights, groups = data()
    fit = fit_ridge(phi, target, weights, (6,))
    other = target.copy()
    other[groups == 3] += 100.0
    scaled = phi * weights[:, None]
    mean, covariance = _posterior(scaled.T @ phi, scaled.T @ other, np.repeat(fit.variances, 6), fit.noise)
    changed = RidgeFit(mean, covariance, fit.noise, fit.variances)
    before = fit.without_group(phi, target, weights, groups)[groups == 3]
    after = changed.without_group(phi, other, weights, groups)[groups == 3]
    np.testing.assert_allclose(before, after, rtol=1e-8)


def test_noise_and_useless_features_are_recognised() -> None:
    phi, target, weights, _ = data(events=3000)
    fit = fit_ridge(phi, target, weights, (3, 3))
    assert fit.noise == pytest.approx(0.09, rel=0.1)
    assert fit.variances[0] == pytest.approx((1 + 4 + 0.25) / 3, rel=0.05)
    assert fit.variances[1] < 1e-3


def test_groups_need_not_be_neighbours() -> None:
    found = members(np.array([2, 0, 2, 1, 0]))
    assert [list(index) for index in found] == [[1, 4], [3], [0, 2]]
