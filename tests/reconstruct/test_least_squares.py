"""Least squares against closed forms, and against refitting without each event."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.reconstruct.least_squares import RIDGE, fit, leave_one_out, shower_features
from rl_detector.space import FloatArray


def data(designs: int = 3, events: int = 40, layers: int = 3, seed: int = 0) -> tuple[FloatArray, ...]:
    """Features [designs, events, features], targets and weights [designs, events]."""
    rng = np.random.default_rng(seed)
    signals = rng.exponential(1.0, (designs, events, layers))
    energy = rng.uniform(1, 20, (designs, events))
    return shower_features(signals), energy, 1 / (energy + 1)


def refitted(features: FloatArray, target: FloatArray, weights: FloatArray, ridge: float, free: int = 0) -> FloatArray:
    """Predictions of one design by n fits, each without one event."""
    mean = np.average(features, axis=0, weights=weights)
    ridges = np.full(features.shape[1], ridge)
    ridges[len(ridges) - free :] = 0
    penalty = np.diag(ridges * weights.mean() * np.average((features - mean) ** 2, axis=0, weights=weights))
    predictions = []
    for left_out in range(len(target)):
        kept = np.arange(len(target)) != left_out
        f, w = features[kept], weights[kept]
        coefficients = np.linalg.solve((f.T * w) @ f + penalty, (f.T * w) @ target[kept])
        predictions.append(features[left_out] @ coefficients)
    return np.array(predictions)


@pytest.mark.parametrize(("ridge", "free"), [(0.5, 0), (RIDGE, 0), (100.0, 0), (RIDGE, 1), (100.0, 2)])
def test_one_fit_gives_what_n_fits_without_each_event_give(ridge: float, free: int) -> None:
    features, target, weights = data()
    fast = leave_one_out(features, target, weights, ridge, free)
    for design in range(3):
        slow = refitted(features[design], target[design], weights[design], ridge, free)
        np.testing.assert_allclose(fast[design], slow, rtol=1e-6)


def test_linear_data_without_noise_are_recovered_exactly() -> None:
    features, _, weights = data(events=60)
    target = features @ np.linspace(-1, 2, features.shape[2])
    np.testing.assert_allclose(leave_one_out(features, target, weights, ridge=0.0), target, rtol=1e-6)


def test_a_constant_target_is_recovered_with_any_ridge() -> None:
    features, _, weights = data()
    target = np.full(weights.shape, 7.0)
    np.testing.assert_allclose(leave_one_out(features, target, weights, ridge=50.0), target, rtol=1e-8)


def test_what_is_linear_in_a_free_feature_is_recovered_with_any_ridge() -> None:
    features, _, weights = data()
    target = 1 + 3 * features[..., -1]
    found = leave_one_out(features, target, weights, ridge=50.0, free=1)
    np.testing.assert_allclose(found, target, rtol=1e-6)
    assert np.abs(leave_one_out(features, target, weights, ridge=50.0) - target).max() > 0.1


def test_no_event_is_judged_by_a_fit_that_saw_it() -> None:
    features, target, weights = data()
    before = leave_one_out(features, target, weights)
    corrupted = target.copy()
    corrupted[1, 17] += 1000.0
    after = leave_one_out(features, corrupted, weights)
    np.testing.assert_allclose(after[1, 17], before[1, 17], rtol=1e-9)
    assert np.abs(np.delete(after[1] - before[1], 17)).min() > 0.01
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


def test_pure_noise_is_not_predicted() -> None:
    """With targets independent of the features the loss is that of the mean, or worse; a fit that cheats is better."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 30, 12))
    features[..., 0] = 1
    target = rng.normal(size=(200, 30))
    assert np.mean((leave_one_out(features, target, np.ones((200, 30)), 0.0) - target) ** 2) > 1.3


def test_residuals_inside_times_outside_show_the_noise_whatever_the_number_of_events() -> None:
    """Noise of variance 1 and 12 features: 30 events and 120 give 1, known to 0.02; inside is less, outside more."""
    rng = np.random.default_rng(1)
    for events in (30, 120):
        features = rng.normal(size=(200, events, 12))
        target = features @ rng.normal(size=12) + rng.normal(size=(200, events))
        inside, outside = (each - target for each in fit(features, target, np.ones((200, events)), 0.0))
        assert np.mean(inside * outside) == pytest.approx(1.0, abs=0.05)
        assert np.mean(inside**2) == pytest.approx(1 - 12 / events, abs=0.05)
        assert np.mean(outside**2) > 1 + 12 / events - 0.05


def test_a_batch_gives_what_single_designs_give_bit_for_bit() -> None:
    features, target, weights = data(designs=7, events=203)
    batch = leave_one_out(features, target, weights)
    for i in range(7):
        single = leave_one_out(features[i : i + 1], target[i : i + 1], weights[i : i + 1])
        np.testing.assert_array_equal(batch[i], single[0])
    np.testing.assert_array_equal(leave_one_out(features[::-1], target[::-1], weights[::-1]), batch[::-1])


def test_the_unit_of_the_signals_does_not_matter() -> None:
    features, target, weights = data()
    scale = np.geomspace(1e-6, 1e6, features.shape[2])
    in_other_units = leave_one_out(features * scale, target, weights)
    np.testing.assert_allclose(in_other_units, leave_one_out(features, target, weights), rtol=1e-6)


def test_the_order_of_events_does_not_matter() -> None:
    features, target, weights = data()
    order = np.random.default_rng(2).permutation(40)
    shuffled = leave_one_out(features[:, order], target[:, order], weights[:, order])
    np.testing.assert_allclose(shuffled, leave_one_out(features, target, weights)[:, order], rtol=1e-9)


def test_dead_layers_and_copies_of_layers_are_harmless() -> None:
    rng = np.random.default_rng(3)
    signals = rng.exponential(1.0, (2, 50, 1))
    target = 3 * signals[..., 0] + 1
    alone = leave_one_out(shower_features(signals), target, np.ones((2, 50)))
    dead = leave_one_out(shower_features(np.concatenate([signals, 0 * signals], axis=2)), target, np.ones((2, 50)))
    np.testing.assert_allclose(dead, alone, rtol=1e-7)
    copied = leave_one_out(shower_features(np.concatenate([signals, signals], axis=2)), target, np.ones((2, 50)), 0.0)
    np.testing.assert_allclose(copied, target, rtol=1e-4)
    nothing = leave_one_out(shower_features(np.zeros((2, 50, 3))), target, np.ones((2, 50)))
    np.testing.assert_allclose(nothing, (target.sum(axis=1, keepdims=True) - target) / 49, rtol=1e-8)


def test_a_layer_that_one_event_reached_gets_no_wild_weight() -> None:
    rng = np.random.default_rng(4)
    energy = rng.uniform(1, 20, (1, 200))
    signals = np.stack([0.05 * energy * rng.normal(1, 0.1, energy.shape), np.zeros_like(energy)], axis=2)
    signals[0, :2, 1] = [1e-6, 0.3]
    predictions = leave_one_out(shower_features(signals), energy, 1 / (energy + 1))
    assert np.abs(predictions - energy).max() < 10


def test_shower_features() -> None:
    features = shower_features(np.array([[[0.0, 4.0, 5.0]]]))
    np.testing.assert_allclose(features[0, 0], [1, 0, 4, 5, 0, 2, np.sqrt(5), 3])
    assert shower_features(np.ones((2, 9, 6))).shape == (2, 9, 14)
