"""The critic's expansion and values against closed forms and dense linear algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.critics import DENSE, STRENGTHS, critic_of, fitted, make_points, symmetric
from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.kernels import KERNELS, MISFIT_POWER, Points
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.taylor import quadratic_values
from rl_detector.space import FloatArray, IntArray

SMOOTH = ("remainder", "landscape")


@pytest.mark.parametrize("c", [1, 3, 6])
def test_exact_gradient_and_hessian_of_a_quadratic(c: int) -> None:
    """b . x + x . B . x / 2 for x = L z, without noise: L' b and L' B L."""
    rng = np.random.default_rng(c)
    points = make_points(rng, 80, c)
    b, curvature = rng.standard_normal(c), symmetric(rng, c)
    y = 0.7 + points.x @ b + ((points.x @ curvature) * points.x).sum(axis=1) / 2
    critic = critic_of({"linear": 1.0, "bowl": 1.0, "quadratic": 1.0}, 1e-9)
    critic.fit(points, y)
    taylor = critic.taylor(np.zeros(0))
    np.testing.assert_allclose(taylor.gradient, points.scale @ b, atol=1e-5)
    np.testing.assert_allclose(taylor.hessian, points.scale @ curvature @ points.scale, atol=1e-5)


def prediction(critic: Critic, points: Points, y: FloatArray, new: Points) -> FloatArray:
    """Posterior mean at new designs, from the kernels, dense."""
    v = critic.variances
    kernel, cross = np.ones((len(y), len(y))), np.ones((len(new.noise), len(y)))
    for name, variance in v.kernels.items():
        kernel += variance * KERNELS[name](points, points)
        cross += variance * KERNELS[name](new, points)
    kernel += np.diag(v.noise * points.noise + v.misfit * points.distances**MISFIT_POWER)
    result: FloatArray = cross @ np.linalg.solve(kernel, y)
    return result


@pytest.mark.parametrize(("c", "choices"), [(3, ()), (2, (3, 2)), (0, (3, 2))])
def test_the_expansion_is_the_critic_itself(c: int, choices: tuple[int, ...]) -> None:
    """Without smooth kernels const + g . u + u . H . u / 2 holds at every design, misfit and stated errors too."""
    rng = np.random.default_rng(11)
    points, new = (make_points(rng, 30, c, choices, rng.uniform(0.3, 3, 30)) for _ in range(2))
    y = rng.standard_normal(30)
    critic = critic_of(DENSE, 0.3, 0.02)
    critic.fit(points, y)
    expected = prediction(critic, points, y, new)
    taylor = critic.taylor(np.zeros(points.w.shape[1]))
    values = new.u @ taylor.gradient + quadratic_values(new, taylor.hessian[None])[:, 0]
    np.testing.assert_allclose(values - values.mean(), expected - expected.mean(), atol=1e-6)
    assert np.ptp(expected) > 0.1


def average_over_policy(critic: Critic, points: Points, y: FloatArray, discrete: int) -> float:
    """Of the posterior mean of the smooth kernels, over z ~ N(0, 1/4) by quadrature: one coordinate and a choice."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    w = np.tile(Choices((3,)).columns(np.array([[discrete]])), (30, 1))
    z = nodes[:, None] / 2
    new = Points(z @ points.scale.T, points.scale, z, w, np.ones(30), np.zeros(30, dtype=np.int64), 1)
    v = critic.variances
    kernel = np.ones((len(y), len(y))) + v.noise * np.eye(len(y))
    kernel += sum(v.kernels[name] * KERNELS[name](points, points) for name in v.kernels)
    alpha = np.linalg.solve(kernel, y)
    values = sum(v.kernels[name] * KERNELS[name](new, points) @ alpha for name in SMOOTH)
    return float(weights @ values / weights.sum())


def test_smooth_values_at_choices() -> None:
    rng = np.random.default_rng(12)
    points, y = make_points(rng, 30, 1, (3,)), rng.standard_normal(30)
    critic = critic_of(dict.fromkeys(KERNELS, 0.3), 0.2)
    critic.fit(points, y)
    expected = [average_over_policy(critic, points, y, discrete) for discrete in range(3)]
    np.testing.assert_allclose(
        critic.smooth_at(Choices((3,)).columns(np.array([[0], [1], [2]])))[0], expected, atol=1e-6
    )
    assert np.ptp(expected) > 0.01


def test_without_smooth_components_there_is_nothing_smooth() -> None:
    rng = np.random.default_rng(13)
    points = make_points(rng, 20, 2, (3,))
    critic = critic_of({"linear": 0.5}, 0.2)
    critic.fit(points, rng.standard_normal(20))
    np.testing.assert_array_equal(critic.smooth_at(points.w)[0], np.zeros(20))
    assert critic.nonquadratic_variance(5, points.w[0]) == 0


def test_values_at_designs_and_of_evaluated_ones() -> None:
    """Against conditioning by hand, with batches, misfit, unequal errors; 0.1 of the noise belongs to the designs."""
    rng = np.random.default_rng(18)
    points, y = make_points(rng, 20, 2, (3,), rng.uniform(0.3, 3, 20)), rng.standard_normal(20)
    strengths, lack = {**STRENGTHS, "remainder": 0.3, "landscape": 0.2}, 0.1
    critic = critic_of(strengths, 0.4, 0.01)
    critic.fit(points, y)
    kernels = {name: strength * KERNELS[name](points, points) for name, strength in strengths.items()}
    signal = 1 + sum(kernel for name, kernel in kernels.items() if name != "batch")
    noise = 0.4 * points.noise + 0.01 * points.distances**MISFIT_POWER + 1e-8
    inverse = np.linalg.inv(signal + kernels["batch"] + np.diag(noise))
    values, deviations = critic.values_at(points)
    np.testing.assert_allclose(values, signal @ inverse @ y, atol=1e-9)
    np.testing.assert_allclose(deviations**2, np.diag(signal - signal @ inverse @ signal), atol=1e-9)
    error, share, alpha = 0.3 * points.noise, 0.1 * points.noise, inverse @ y
    own = np.where(alpha < 0, noise - error, share)
    known = critic.known_values(lack)
    np.testing.assert_allclose(known, signal @ alpha + own * alpha, atol=1e-9)
    below = 2 * np.sqrt(share * error / (share + error))
    np.testing.assert_allclose(known - critic.known_values(lack, 2), below)
    explained, told = signal @ alpha, y - kernels["batch"] @ alpha
    assert ((known - explained) * (known - told) <= 1e-12).all()  # between what the critic explains and what was told


def test_a_far_design_that_was_bad_is_not_good_because_the_critic_says_so() -> None:
    """Far from the policy a linear critic errs, and knows it: there the reward of the design itself counts."""
    rng = np.random.default_rng(19)
    near = rng.standard_normal((30, 1))
    z = np.concatenate([near, [[12.0]]])
    y = np.append(near[:, 0] + 0.1 * rng.standard_normal(30), -3.0)
    points = Points(z, np.eye(1), z, np.zeros((31, 0)), np.ones(31), np.arange(31), 0)
    critic = critic_of({"linear": 1.0}, 0.02, 1e-3)
    critic.fit(points, y)
    assert critic.values_at(points)[0][30] > 8
    assert critic.known_values(0.01)[30] < -2.5


def test_an_evaluation_far_above_the_critic_is_not_believed() -> None:
    rng = np.random.default_rng(19)
    points, y = make_points(rng, 40, 2), rng.normal(0, 0.3, 40)
    y[3], y[7] = 9.0, -9.0
    critic = critic_of({"linear": 0.1}, 0.5)
    critic.fit(points, y)
    assert np.flatnonzero(np.isinf(critic.known_values(0.2))).tolist() == [3]


def test_stated_errors_weight_the_rewards() -> None:
    """Half of the designs have a hundred times the variance and the opposite gradient: told errors discount them."""
    rng = np.random.default_rng(21)
    noise = np.tile([0.05, 5.0], 30)
    sign = np.tile([1.0, -1.0], 30)
    points = make_points(rng, 60, 2, noise=noise)
    y = sign * points.z[:, 0] + 0.1 * rng.standard_normal(60)
    blind = make_points(np.random.default_rng(21), 60, 2)
    gradients = []
    for known in (points, blind):
        critic = critic_of({"linear": 1.0}, 0.2)
        critic.fit(known, y)
        gradients.append(critic.taylor(np.zeros(0)).gradient[0])
    assert gradients[0] > 0.9 and abs(gradients[1]) < 0.4
    weights = 1 / (0.2 * noise)
    phi = np.column_stack([np.ones(60), points.z])
    ridge = np.linalg.solve((phi.T * weights) @ phi + np.eye(3), (phi.T * weights) @ y)
    assert gradients[0] == pytest.approx(ridge[1], rel=1e-5)


def test_far_designs_count_less() -> None:
    """A cubic reward seen to three sigma: misfit lets the gradient be that near the centre."""
    rng = np.random.default_rng(22)
    near, far = rng.standard_normal((60, 1)), 3 * rng.standard_normal((60, 1))
    z = np.concatenate([near, far])
    points = Points(z, np.eye(1), z, np.zeros((120, 0)), np.ones(120), np.zeros(120, dtype=np.int64), 0)
    y = z[:, 0] - 0.2 * z[:, 0] ** 3
    gradients = []
    for misfit in (1.0, 0.0):
        critic = critic_of({"linear": 1.0}, 0.2, misfit)
        critic.fit(points, y)
        gradients.append(critic.taylor(np.zeros(0)).gradient[0])
    assert gradients[0] > 0.4 and gradients[1] < 0


@pytest.mark.parametrize(("c", "choices"), [(3, ()), (2, (3, 2)), (0, (3, 2))])
def test_refitted_is_bit_identical(c: int, choices: tuple[int, ...]) -> None:
    rng = np.random.default_rng(23)
    points = make_points(rng, 30, c, choices, rng.uniform(0.3, 3, 30))
    critic = fitted(points, rng.standard_normal(30), steps=3)
    again = Critic.refitted(critic.variances, critic.data())
    w = points.w[0]
    for first, second in zip(
        [critic.taylor(w), *critic.draw(np.random.default_rng(0), 3)],
        [again.taylor(w), *again.draw(np.random.default_rng(0), 3)],
        strict=True,
    ):
        np.testing.assert_array_equal(first.gradient, second.gradient)
        np.testing.assert_array_equal(first.hessian, second.hessian)
    np.testing.assert_array_equal(critic.smooth_at(points.w)[0], again.smooth_at(points.w)[0])
    assert critic.nonquadratic_variance(9, w) == again.nonquadratic_variance(9, w)


def test_hidden_variance_is_that_of_the_remainder_and_shrinks_with_the_policy() -> None:
    """v (1 - e^-1) for c coordinates at the length sqrt(c), times the policy's variance over the first one's."""
    rng = np.random.default_rng(25)
    points = make_points(rng, 30, 3)
    found = []
    for factor in (1.0, 0.5):
        narrow = Points(points.x, points.scale * factor, points.z, points.w, points.noise, points.batch, 0)
        critic = critic_of({"linear": 0.1, "remainder": 0.7}, 0.1)
        critic.fit(narrow, rng.standard_normal(30))
        found.append(critic.hidden_variance())
    assert found[0] == pytest.approx(0.7 * (1 - np.exp(-1)) * (points.scale**2).sum() / 12)
    assert found[1] == pytest.approx(found[0] / 4)
    critic = critic_of(DENSE, 0.1)
    critic.fit(points, rng.standard_normal(30))
    assert critic.hidden_variance() == 0


def natural_gradient(z: FloatArray, choices: IntArray, advantages: FloatArray) -> FloatArray:
    """F^-1 grad mean(A log pi) for coordinates mu + L z and 3 equally likely choices: mean, T + T' and logits in a row.

    In the coordinates T of L (1 + T), T lower triangular, the Fisher information is 2 for T_ii and 1 for the others
    (Glasmachers et al. 2010, sec. 3). With the score z z' - 1 by T and z by L^-1 mu, T + T' = mean(A (z z' - 1)).
    For logits it is (indicator - p) / p.
    """
    products = z[:, :, None] * z[:, None, :] - np.eye(2)
    made = 3.0 * (choices[:, None] == np.arange(3)) - 1
    return advantages @ np.concatenate([z, products.reshape(len(z), -1), made], axis=1) / len(z)


def test_the_expansion_is_the_natural_gradient() -> None:
    """The score-function estimate F^-1 mean(A grad log pi) of the critic's own advantages A has the mean g and H.

    2 coordinates with a full covariance L L' and 3 equally likely choices; 60 estimates from 500 samples each, within 5
    standard errors. In units of the policy, L^-1 dmu = g, T + T' = H for dL = L T, and the logits change by g less its
    mean.
    """
    rng = np.random.default_rng(25)
    factor, one_hot = np.exp([[-1.0], [-0.5]]) * np.array([[1.0, 0.0], [0.8, 1.0]]), Choices((3,))

    def seen(n: int) -> tuple[Points, IntArray]:
        z, choices = rng.standard_normal((n, 2)), rng.integers(3, size=(n, 1))
        plain = np.ones(n), np.zeros(n, dtype=np.int64)
        return Points(z @ factor.T, factor, z, one_hot.columns(choices), *plain, 1), choices[:, 0]

    points, _ = seen(40)
    critic = critic_of(DENSE, 0.1)
    critic.fit(points, points.z[:, 0] - points.z.prod(axis=1) - points.z[:, 1] ** 2 + points.w[:, 1])
    taylor = critic.taylor(np.zeros(3))
    estimates = []
    for _ in range(60):
        new, choices = seen(500)
        advantages = new.u @ taylor.gradient + quadratic_values(new, taylor.hessian[None])[:, 0]
        estimates.append(natural_gradient(new.z, choices, advantages))
    mean, error = np.mean(estimates, axis=0), np.std(estimates, axis=0) / math.sqrt(60)
    g = taylor.gradient
    expected = np.concatenate([g[:2], taylor.hessian[:2, :2].ravel(), g[2:] - g[2:].mean()])
    np.testing.assert_array_less(np.abs(mean - expected), 5 * error)
    assert np.all(error < 0.1) and np.abs(expected).max() > 0.5
