"""Posterior draws of the critic against dense linear algebra."""

from __future__ import annotations

import math

import numpy as np

from helpers.critics import DENSE, STRENGTHS, critic_of, make_points
from rl_detector.agents.critic.kernels import KERNELS, MISFIT_POWER, Points, draw_smooth
from rl_detector.agents.critic.taylor import Taylor
from rl_detector.space import FloatArray


def features(points: Points) -> tuple[FloatArray, FloatArray]:
    """Of the dense terms: [designs, f], and the strengths that they have in `STRENGTHS`, [f]."""
    u, c = points.u, points.size
    first, second = np.triu_indices(u.shape[1], 1)
    bowl = ((points.z**2).sum(axis=1) - c) / math.sqrt(2 * c)
    parts = [points.z, points.w, u[:, first] * u[:, second], (points.z**2 - 1) / math.sqrt(2), bowl[:, None]]
    pairs = np.where(first < c, STRENGTHS["quadratic"], STRENGTHS["interaction"])
    linear = np.repeat([STRENGTHS["linear"], STRENGTHS["choices"]], [c, points.w.shape[1]])
    squares = np.full(c, STRENGTHS["quadratic"])
    return np.concatenate(parts, axis=1), np.concatenate([linear, pairs, squares, [STRENGTHS["bowl"]]])


def flat(taylor: Taylor, size: int) -> FloatArray:
    """Gradient, Hessian above its diagonal, and its diagonal for the coordinates."""
    above = np.triu_indices(len(taylor.gradient), 1)
    return np.concatenate([taylor.gradient, taylor.hessian[above], np.diag(taylor.hessian)[:size]])


def posterior(
    points: Points, y: FloatArray, strengths: dict[str, float], noise: float = 0.2
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of `flat` of gradient and Hessian by dense linear algebra, with a misfit of 0.01."""
    phi, prior = features(points)
    covariance = np.ones((len(y), len(y))) + (phi * prior) @ phi.T
    covariance += sum(strengths[name] * KERNELS[name](points, points) for name in strengths if name not in DENSE)
    covariance += np.diag(noise * points.noise + 0.01 * points.distances**MISFIT_POWER)
    gain = np.linalg.solve(covariance, phi * prior).T
    mean, spread = gain @ y, np.diag(prior) - gain @ (phi * prior)
    size, c = len(prior) - 1, points.size
    to_flat = np.eye(size, size + 1)
    to_flat[-c:] *= math.sqrt(2)  # a weight of (z^2 - 1) / sqrt(2) is a second derivative over sqrt(2)
    to_flat[-c:, -1] = math.sqrt(2 / c)
    return to_flat @ mean, to_flat @ spread @ to_flat.T


def check_draws(draws: FloatArray, mean: FloatArray, covariance: FloatArray) -> None:
    """Mean and second moments within 5 standard errors."""
    error = np.sqrt(np.diag(covariance) / len(draws))
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean), 5 * error)
    off = draws - mean
    products = off[:, :, None] * off[:, None]
    errors = products.std(axis=0) / math.sqrt(len(draws))
    np.testing.assert_array_less(np.abs(products.mean(axis=0) - covariance), 5 * errors)


def test_posterior_draws_of_linear_and_quadratic_weights() -> None:
    """20 designs for 20 weights: prior, data, stated errors, batches and misfit all matter."""
    rng = np.random.default_rng(14)
    points, y = make_points(rng, 20, 2, (3,), rng.uniform(0.3, 3, 20)), rng.standard_normal(20)
    critic = critic_of(STRENGTHS, 0.2, 0.01)
    critic.fit(points, y)
    mean, covariance = posterior(points, y, STRENGTHS)
    np.testing.assert_allclose(flat(critic.taylor(points.w[0]), 2), mean, atol=1e-6)
    draws = np.array([flat(taylor, 2) for taylor in critic.draw(rng, 6000)])
    check_draws(draws, mean, covariance)
    prior = posterior(points, y, STRENGTHS, noise=1e9)[1]
    assert np.trace(covariance) < 0.8 * np.trace(prior)  # the data matter


def test_posterior_draws_beside_smooth_components() -> None:
    """Their doubt widens that of the weights; 2000 separate draws, for each has random frequencies of its own."""
    rng = np.random.default_rng(15)
    points, y = make_points(rng, 12, 1, (3,)), rng.standard_normal(12)
    strengths = {**STRENGTHS, "remainder": 0.5, "landscape": 0.3}
    critic = critic_of(strengths, 0.2, 0.01)
    critic.fit(points, y)
    mean, covariance = posterior(points, y, strengths)
    draws = np.array([flat(critic.draw(rng, 1)[0], 1) for _ in range(2000)])
    check_draws(draws, mean, covariance)
    narrower = posterior(points, y, STRENGTHS)[1]
    assert np.diag(covariance).sum() > 1.05 * np.diag(narrower).sum()


def test_draws_leave_out_smooth_functions_of_their_own() -> None:
    """Drawn smooth functions only serve the data: a process that explains all of it leaves the weights near 0."""
    rng = np.random.default_rng(26)
    points = make_points(rng, 25, 1)
    y = draw_smooth(rng, 1, points, points.z, 1.0)[:, 0]
    critic = critic_of({"linear": 1e-9, "quadratic": 1e-9, "remainder": 1.0}, 1e-3)
    critic.fit(points, y)
    assert all(np.abs(taylor.gradient).max() < 1e-3 for taylor in critic.draw(rng, 20))
