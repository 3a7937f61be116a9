"""The strengths that the evidence gives the critic, on synthetic data of known noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.critics import fitted, make_points, symmetric, total
from rl_detector.agents.critic.kernels import KERNELS, MISFIT_POWER, Points
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.relevance import Relevance
from rl_detector.agents.critic.strengths import LEAST_MISFIT, Variances
from rl_detector.space import FloatArray


def test_a_quadratic_is_found_with_all_components_and_the_evidence() -> None:
    """The smooth kernels must not claim it: within 1 % of the largest, at the least noise there is."""
    rng = np.random.default_rng(10)
    points = make_points(rng, 120, 3)
    b, curvature = rng.standard_normal(3), symmetric(rng, 3)
    y = points.x @ b + ((points.x @ curvature) * points.x).sum(axis=1) / 2
    scale = y.std()
    taylor = fitted(points, (y - y.mean()) / scale).taylor(np.zeros(0))
    b, curvature = points.scale @ b / scale, points.scale @ curvature @ points.scale / scale
    np.testing.assert_allclose(taylor.gradient, b, atol=0.01 * np.abs(b).max())
    np.testing.assert_allclose(taylor.hessian, curvature, atol=0.01 * np.abs(curvature).max())


def test_what_a_batch_shares_has_a_limit() -> None:
    """Ten batches of four differ by one: all of it is theirs, or no more than their events can share."""
    rng = np.random.default_rng(20)
    points = make_points(rng, 40, 2)
    y = np.repeat(rng.standard_normal(10), 4) + rng.normal(0, 0.1, 40)
    found = []
    for limit in (math.inf, 0.02):
        critic = Critic(Variances.initial(2, 0, 0, tuple(KERNELS)), largest_batch=limit)
        critic.fit(points, y, 60)
        found.append(critic.variances.kernels["batch"])
    assert found[0] > 0.3 and found[1] == 0.02


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_the_evidence_finds_the_noise_and_what_is_not_there(noise: float) -> None:
    """300 designs of a linear reward: the noise within 4 standard errors noise sqrt(2 / (300 - weights)).

    The stated variances differ by a factor of 19; everything else together may keep a tenth of the noise.
    """
    rng = np.random.default_rng(16)
    points = make_points(rng, 300, 4, noise=np.tile([0.1, 1.9], 150))
    scatter = np.sqrt(noise * points.noise) * rng.standard_normal(300)
    y = points.z @ np.array([0.5, -0.5, 0.3, 0.0]) + scatter
    critic = fitted(points, y)
    assert abs(critic.variances.noise - noise) < 4 * noise * math.sqrt(2 / (300 - 5))
    assert total(critic, ("bowl", "quadratic", "remainder", "landscape", "batch"), points) < 0.1 * noise
    assert total(critic, ("linear",), points) == pytest.approx(0.59, rel=0.3)


@pytest.mark.parametrize("name", ["linear", "bowl", "quadratic", "remainder", "batch"])
def test_the_evidence_finds_the_component_that_is_there(name: str) -> None:
    """Drawn from that kernel with variance 1 and noise 0.05: it is found, and explains most."""
    rng = np.random.default_rng(17)
    points = make_points(rng, 200, 2)
    kernel = KERNELS[name](points, points)
    strength = 1 / np.diag(kernel).mean()
    y = np.linalg.cholesky(strength * kernel + 0.05 * np.eye(200)) @ rng.standard_normal(200)
    critic = fitted(points, y, without=("landscape",))
    others = tuple(other for other in critic.variances.kernels if other != name)
    assert total(critic, (name,), points) > 4 * total(critic, others, points)
    assert abs(critic.variances.noise - 0.05) < 5 * 0.05 * math.sqrt(2 / 100)


def log_evidence(critic: Critic, variances: Variances, points: Points, y: FloatArray) -> float:
    """Logarithm of the density of the rewards, but for a constant."""
    covariance = np.ones((len(y), len(y))) + np.diag(variances.noise * points.noise + 1e-8)
    covariance += np.diag(variances.misfit * points.distances**MISFIT_POWER)
    covariance += sum(v * KERNELS[name](points, points) for name, v in variances.kernels.items())
    return float(-y @ np.linalg.solve(covariance, y) / 2 - np.linalg.slogdet(covariance)[1] / 2)


def test_strengths_have_the_largest_evidence() -> None:
    """Doubling or halving any of them after 300 steps loses; it was gained from the first guess on."""
    rng = np.random.default_rng(18)
    points = make_points(rng, 60, 2, (3,), rng.uniform(0.3, 3, 60))
    offsets = rng.standard_normal(15)[points.batch]
    y = points.z[:, 0] + 0.5 * points.z[:, 1] ** 2 + points.w[:, 0] + 0.5 * offsets + 0.3 * rng.standard_normal(60)
    y = (y - y.mean()) / y.std()
    first = Variances.initial(2, points.choice_count, points.w.shape[1], tuple(KERNELS))
    guess = log_evidence(Critic(first), first, points, y)
    critic = fitted(points, y, steps=300)
    best, v = log_evidence(critic, critic.variances, points, y), critic.variances
    assert best > guess + 2
    for factor in (0.5, 2.0):
        for name in v.kernels:
            changed = Variances({**v.kernels, name: v.kernels[name] * factor}, v.noise, v.misfit)
            assert log_evidence(critic, changed, points, y) < best + 1e-3
        for noise, misfit in ((factor, 1.0), (1.0, factor)):
            changed = Variances(v.kernels, v.noise * noise, v.misfit * misfit)
            assert log_evidence(critic, changed, points, y) < best + 1e-3


@pytest.mark.parametrize(("noise", "determined"), [(1e-3, 9.0), (0.1, None), (1e5, 0.0)])
def test_weights_of_coordinates_times_choices_that_the_data_determine(noise: float, determined: float | None) -> None:
    """gamma of MacKay 1992, by dense algebra: 9 of 3 coordinates times 3 choices of two if exact, 0 in noise."""
    rng = np.random.default_rng(21)
    points = make_points(rng, 200, 3, (2, 2, 2))
    critic = Critic(Variances({"linear": 0.5, "quadratic": 0.2}, noise, 0.0))
    critic.fit(points, rng.standard_normal(200), steps=1)
    products = (points.z[:, :, None] * points.w[:, None, :]).reshape(200, -1)
    covariance = 1 + 0.5 * KERNELS["linear"](points, points) + 0.2 * KERNELS["quadratic"](points, points)
    covariance += (noise + 1e-8) * np.eye(200)
    dense = np.trace(0.2 * products @ products.T @ np.linalg.inv(covariance))
    assert critic.dependences == pytest.approx(dense, rel=1e-6)
    assert determined is None or critic.dependences == pytest.approx(determined, abs=0.1)


def test_relevant_weights_are_counted_and_none_without_choices() -> None:
    rng = np.random.default_rng(22)
    found = []
    for choices in ((), (2, 2)):
        points = make_points(rng, 200, 3, choices)
        relevance = Relevance(3, np.array(choices, dtype=np.int64))
        relevance.variances[:, :1] = 100.0  # all coordinates with the first choice, where there is one
        critic = Critic(Variances({"linear": 0.5}, 1e-4, 0.0, relevance), predictive=False)
        critic.fit(points, rng.standard_normal(200), steps=1)
        found.append(critic.dependences)
    assert found == [0, pytest.approx(3, abs=0.1)]


def test_a_complete_critic_believes_no_misfit() -> None:
    """Of a fifth-order reward without kernels for it; when no longer complete it believes it again."""
    rng = np.random.default_rng(23)
    points = make_points(rng, 200, 2)
    y = points.z[:, 0] ** 5 / 30 + 0.1 * rng.standard_normal(200)
    critic = Critic(Variances({"linear": 0.5}, 0.05))
    for complete in (False, True, False):
        critic.complete = complete
        critic.fit(points, y, steps=30)
        assert (critic.variances.misfit == LEAST_MISFIT) == complete
        assert complete or critic.variances.misfit > 1e-3


def test_without_the_evidence_strengths_stay() -> None:
    rng = np.random.default_rng(19)
    points = make_points(rng, 30, 2, (3,))
    variances = Variances.initial(2, points.choice_count, points.w.shape[1], tuple(KERNELS))
    Critic(variances, evidence=False).fit(points, rng.standard_normal(30), steps=5)
    assert variances == Variances.initial(2, points.choice_count, points.w.shape[1], tuple(KERNELS))


def test_batches_absorb_what_their_designs_share() -> None:
    """30 batches of 4 with offsets of variance 1 and noise 0.01: with the kernel, the gradient is exact.

    The strength of the offsets is theirs within 4 standard errors sqrt(2 / 30).
    """
    rng = np.random.default_rng(20)
    points = make_points(rng, 120, 3)
    gradient = np.array([0.5, -0.5, 0.2])
    offsets = rng.standard_normal(30)
    y = points.z @ gradient + offsets[points.batch] + 0.1 * rng.standard_normal(120)
    errors, found = [], []
    for without in ((), ("batch",)):
        critic = fitted(points, y, without)
        errors.append(np.linalg.norm(critic.taylor(np.zeros(0)).gradient - gradient))
        found.append(critic.variances)
    assert abs(found[0].kernels["batch"] - offsets.var()) < 4 * math.sqrt(2 / 30)
    assert found[0].noise == pytest.approx(0.01, rel=0.6)
    assert errors[0] < 0.05 and errors[0] < 0.3 * errors[1]


def test_nonquadratic_variance_grows_with_what_is_not_quadratic() -> None:
    """Next to nothing for a quadratic reward, and much of the variance for a wave of two periods."""
    rng = np.random.default_rng(24)
    points = make_points(rng, 150, 1)
    rewards = {"quadratic": points.z[:, 0] - points.z[:, 0] ** 2, "wave": np.sin(3 * points.z[:, 0])}
    found = {}
    for name, y in rewards.items():
        standardised = (y - y.mean()) / y.std() + 0.1 * rng.standard_normal(150)
        found[name] = fitted(points, standardised).nonquadratic_variance(150, np.zeros(0))
    assert found["quadratic"] < 0.01 < 0.05 < found["wave"] < 1
