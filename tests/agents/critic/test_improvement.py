"""Worth of choices to a critic: coordinates coupled to pairs of choices, smooth parts, lower confidence bounds."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.improvement import Improvement
from rl_detector.agents.critic.kernels import Points, pairs_of
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.strengths import Variances
from rl_detector.space import FloatArray, IntArray

CHOICES = Choices((2, 2, 2))
C = 2


def design_points(rng: np.random.Generator, n: int, choices: IntArray | None = None) -> Points:
    z = rng.standard_normal((n, C))
    discrete = rng.integers(0, 2, (n, 3)) if choices is None else choices
    return Points(z, np.eye(C), z, CHOICES.columns(discrete), np.ones(n), np.arange(n) // 4, 3)


def fitted(points: Points, y: FloatArray, noise: float = 1e-6, **strengths: float) -> Critic:
    critic = Critic(Variances(dict(strengths), noise, 0.0), evidence=False)
    critic.fit(points, y)
    return critic


def improvement(critic: Critic, choices: tuple[int, ...] = (0, 0, 0)) -> Improvement:
    own = CHOICES.columns(np.array([choices]))[0]
    return Improvement(critic, np.zeros(C), 0.1 * np.eye(C), own, bounded=True)


def test_gradients_that_depend_on_pairs_of_choices_are_found() -> None:
    """y = 1 + sum_i z_i sum_{j<k} C_ijk w_j w_k without noise: gradients at every assignment, also those left out."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((C, 15))
    points = design_points(rng, 200)
    y = 1 + ((pairs_of(points.w) @ weights.T) * points.z).sum(axis=1)
    every = CHOICES.columns(np.array(list(np.ndindex(2, 2, 2))))
    seen = fitted(points, y, coupled=1.0, linear=0.1).taylor(every[0])
    np.testing.assert_allclose(seen.gradients(every), pairs_of(every) @ weights.T, atol=1e-3)


def test_draws_of_couplings_have_the_mean_and_covariance_of_the_posterior() -> None:
    """Against dense Bayesian regression on the features z_i w_j w_k, 4000 draws: 5 standard errors."""
    rng, n, strength, noise = np.random.default_rng(1), 4000, 0.5, 0.3
    points = design_points(rng, 12)
    y = rng.standard_normal(12)
    pairs = pairs_of(points.w)
    features = np.concatenate([points.z[:, [i]] * pairs for i in range(C)], axis=1)
    draws = np.array([draw.coupling.ravel() for draw in fitted(points, y, noise, coupled=strength).draw(rng, n)])
    covariance_y = strength * features @ features.T + 1 + noise * np.eye(12)
    gain = strength * features.T @ np.linalg.inv(covariance_y)
    mean, covariance = gain @ y, strength * np.eye(30) - gain @ features * strength
    spread = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * spread / np.sqrt(n))
    assert np.all(np.abs(draws.std(axis=0) / spread - 1) < 5 / np.sqrt(2 * n))


def test_smooth_gradients_are_those_of_the_taylor_expansion() -> None:
    """At the choices of the expansion; elsewhere they differ."""
    rng = np.random.default_rng(2)
    points = design_points(rng, 60)
    critic = fitted(points, np.sin(points.z[:, 0] + points.w[:, 0]), noise=0.01, remainder=1.0, landscape=0.5)
    w = CHOICES.columns(np.array([[0, 0, 0], [1, 0, 1]]))
    gradients = critic.smooth_at(w)[1]
    for row, expected in zip(w, gradients, strict=True):
        np.testing.assert_allclose(critic.taylor(row).gradient[:C], expected, atol=1e-12)
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-3


@pytest.mark.parametrize("choices", [(0, 0, 0), (1, 0, 1)])
def test_own_choices_are_worth_what_the_best_step_reaches(choices: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    points = design_points(rng, 150)
    bend = points.z[:, 0] - 0.5 * points.w[:, 0]
    critic = fitted(points, -(bend**2) + 0.2 * points.z[:, 1], linear=1.0, quadratic=1.0)
    fit = improvement(critic, choices)
    step = (fit.mean(fit.w) - 0) / 0.1
    reached = fit.taylor.gradients(fit.w[None])[0] @ step + step @ fit.hessian @ step / 2
    value = fit.value(fit.w[None])[0] - fit.taylor.values(fit.w[None])[0]
    assert value == pytest.approx(reached, rel=1e-6)


def test_caution_stands_back_from_what_was_never_seen() -> None:
    """Eighty evaluations with the first choices, two with the others: the bound is far lower there."""
    rng = np.random.default_rng(4)
    choices = np.zeros((82, 3), dtype=np.int64)
    choices[:2] = 1
    points = design_points(rng, 82, choices)
    critic = fitted(points, rng.standard_normal(82), noise=1.0, linear=0.3, quadratic=0.1, coupled=0.05)
    fit = improvement(critic)
    w = CHOICES.columns(np.array([[0, 0, 0], [1, 1, 1]]))
    known, strange = fit.value(w) - fit.cautious_values(w)  # both without the same constant
    assert strange - known > 0.3


def test_other_choices_are_sought_farther_with_foresight() -> None:
    """Other choices have their best coordinates 2 away, 20 standard deviations of a policy a fifth as wide."""
    rng = np.random.default_rng(7)
    z = 4 * rng.standard_normal((200, C))
    w = CHOICES.columns(rng.integers(0, 2, (200, 3)))
    points = Points(0.4 * z, 0.4 * np.eye(C), z, w, np.ones(200), np.arange(200) // 4, 3)
    wanted = np.where(w[:, [0]] > 0, -10.0, 10.0)
    critic = fitted(points, -((z - wanted) ** 2).sum(axis=1) / 200, linear=1.0, choices=1.0, quadratic=1.0)
    own, other = CHOICES.columns(np.array([[0, 0, 0], [1, 0, 0]]))
    start = np.full(C, -0.5)
    steps = [
        np.linalg.norm(Improvement(critic, start, 0.05 * np.eye(C), own, True, foresight).mean(other) - start) / 0.05
        for foresight in (0.0, 0.5, 1.0)
    ]
    diagonal = 2 * np.sqrt(C) / 0.05
    np.testing.assert_allclose(steps[:2], [3, np.sqrt(3 * diagonal)], rtol=1e-6)
    assert steps[2] > 1.05 * steps[1]
