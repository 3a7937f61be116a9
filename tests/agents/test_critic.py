"""The critic against closed forms, dense linear algebra and synthetic data of known noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.kernels import KERNELS, MISFIT_POWER, Points, draw_smooth
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.relevance import Relevance
from rl_detector.agents.critic.strengths import LEAST_MISFIT, Variances
from rl_detector.agents.critic.taylor import Taylor, quadratic_values
from rl_detector.space import FloatArray, IntArray

DENSE = {"linear": 0.4, "choices": 0.25, "bowl": 0.3, "quadratic": 0.1, "interaction": 0.15}
STRENGTHS = {**DENSE, "batch": 0.2}
SMOOTH = ("remainder", "landscape")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_points(
    rng: np.random.Generator, n: int, c: int, choices: tuple[int, ...] = (), noise: FloatArray | None = None
) -> Points:
    """n designs around a policy of any covariance, in batches of 4."""
    root = rng.standard_normal((c, c))
    values, vectors = np.linalg.eigh(root @ root.T + 0.1 * np.eye(c)) if c else (np.zeros(0), root)
    scale = (vectors * np.sqrt(values)) @ vectors.T
    z = rng.standard_normal((n, c))
    discrete = np.array([rng.integers(0, m, n) for m in choices], dtype=np.int64).reshape(len(choices), n).T
    relative = np.ones(n) if noise is None else noise
    return Points(z @ scale.T, scale, z, Choices(choices).columns(discrete), relative, np.arange(n) // 4, len(choices))


def symmetric(rng: np.random.Generator, c: int) -> FloatArray:
    root = rng.standard_normal((c, c))
    return root + root.T


def fitted(points: Points, y: FloatArray, without: tuple[str, ...] = (), steps: int = 60) -> Critic:
    """The critic with strengths that the evidence has chosen."""
    names = tuple(name for name in KERNELS if name not in without)
    critic = Critic(Variances.initial(points.size, points.choice_count, points.w.shape[1], names))
    critic.fit(points, y, steps)
    return critic


def critic_of(strengths: dict[str, float], noise: float, misfit: float = 0.0) -> Critic:
    """The critic with given strengths."""
    return Critic(Variances(dict(strengths), noise, misfit), evidence=False)


def total(critic: Critic, kernels: tuple[str, ...], points: Points) -> float:
    """Prior variance of the rewards that these kernels explain."""
    v = critic.variances.kernels
    return float(sum(v[name] * np.diag(KERNELS[name](points, points)).mean() for name in kernels))


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


def test_a_quadratic_is_found_with_all_kernels_and_the_evidence() -> None:
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
    """Posterior mean of the smooth kernels over z ~ N(0, 1/4) by quadrature, for one coordinate and a choice."""
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
    w = Choices((3,)).columns(np.array([[0], [1], [2]]))
    np.testing.assert_allclose(critic.smooth_at(w)[0], expected, atol=1e-6)
    assert np.ptp(expected) > 0.01


def test_without_smooth_kernels_there_is_nothing_smooth() -> None:
    rng = np.random.default_rng(13)
    points = make_points(rng, 20, 2, (3,))
    critic = critic_of({"linear": 0.5}, 0.2)
    critic.fit(points, rng.standard_normal(20))
    np.testing.assert_array_equal(critic.smooth_at(points.w)[0], np.zeros(20))
    assert critic.nonquadratic_variance(5, points.w[0]) == 0


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
    w = points.w[0]
    mean, covariance = posterior(points, y, STRENGTHS)
    np.testing.assert_allclose(flat(critic.taylor(w), 2), mean, atol=1e-6)
    draws = np.array([flat(taylor, 2) for taylor in critic.draw(rng, 6000)])
    check_draws(draws, mean, covariance)
    prior = posterior(points, y, STRENGTHS, noise=1e9)[1]
    assert np.trace(covariance) < 0.8 * np.trace(prior)  # the data matter


def test_posterior_draws_beside_smooth_kernels() -> None:
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
def test_the_evidence_finds_the_kernel_that_is_there(name: str) -> None:
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
    """gamma of MacKay 1992, by dense algebra: 9 of 3 coordinates times 3 binary choices if exact, 0 in noise."""
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
    """30 batches of 4 with offsets of variance 1 and noise 0.01: with the kernel, the slope is exact.

    The strength of the offsets is theirs within 4 standard errors sqrt(2 / 30).
    """
    rng = np.random.default_rng(20)
    points = make_points(rng, 120, 3)
    slope = np.array([0.5, -0.5, 0.2])
    offsets = rng.standard_normal(30)
    y = points.z @ slope + offsets[points.batch] + 0.1 * rng.standard_normal(120)
    errors, found = [], []
    for without in ((), ("batch",)):
        critic = fitted(points, y, without)
        errors.append(np.linalg.norm(critic.taylor(np.zeros(0)).gradient - slope))
        found.append(critic.variances)
    assert abs(found[0].kernels["batch"] - offsets.var()) < 4 * math.sqrt(2 / 30)
    assert found[0].noise == pytest.approx(0.01, rel=0.6)
    assert errors[0] < 0.05 and errors[0] < 0.3 * errors[1]


def test_stated_errors_weight_the_rewards() -> None:
    """Half of the designs have a hundred times the variance and the opposite slope: only told errors discount them."""
    rng = np.random.default_rng(21)
    noise = np.tile([0.05, 5.0], 30)
    sign = np.tile([1.0, -1.0], 30)
    points = make_points(rng, 60, 2, noise=noise)
    y = sign * points.z[:, 0] + 0.1 * rng.standard_normal(60)
    blind = make_points(np.random.default_rng(21), 60, 2)
    slopes = []
    for known in (points, blind):
        critic = critic_of({"linear": 1.0}, 0.2)
        critic.fit(known, y)
        slopes.append(critic.taylor(np.zeros(0)).gradient[0])
    assert slopes[0] > 0.9 and abs(slopes[1]) < 0.4
    weights = 1 / (0.2 * noise)
    phi = np.column_stack([np.ones(60), points.z])
    ridge = np.linalg.solve((phi.T * weights) @ phi + np.eye(3), (phi.T * weights) @ y)
    assert slopes[0] == pytest.approx(ridge[1], rel=1e-5)


def test_far_designs_count_less() -> None:
    """A cubic reward seen to three sigma: misfit lets the slope be that near the centre."""
    rng = np.random.default_rng(22)
    near, far = rng.standard_normal((60, 1)), 3 * rng.standard_normal((60, 1))
    z = np.concatenate([near, far])
    points = Points(z, np.eye(1), z, np.zeros((120, 0)), np.ones(120), np.zeros(120, dtype=np.int64), 0)
    y = z[:, 0] - 0.2 * z[:, 0] ** 3
    slopes = []
    for misfit in (1.0, 0.0):
        critic = critic_of({"linear": 1.0}, 0.2, misfit)
        critic.fit(points, y)
        slopes.append(critic.taylor(np.zeros(0)).gradient[0])
    assert slopes[0] > 0.4 and slopes[1] < 0


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
    """F^-1 grad mean(A log pi) for coordinates mu + L z and 3 equally likely options: mean, T + T' and logits in a row.

    In the coordinates T of L (1 + T), T lower triangular, the Fisher information is 2 for T_ii and 1 for the others
    (Glasmachers et al. 2010, sec. 3). With the score z z' - 1 by T and z by L^-1 mu, T + T' = mean(A (z z' - 1)).
    For logits it is (indicator - p) / p.
    """
    products = z[:, :, None] * z[:, None, :] - np.eye(2)
    made = 3.0 * (choices[:, None] == np.arange(3)) - 1
    return advantages @ np.concatenate([z, products.reshape(len(z), -1), made], axis=1) / len(z)


def test_the_expansion_is_the_natural_gradient() -> None:
    """The score-function estimate F^-1 mean(A grad log pi) of the critic's own advantages A has the mean g and H.

    2 coordinates with a full covariance L L' and 3 equally likely options; 60 estimates from 500 samples each, within 5
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


def test_draws_leave_out_smooth_functions_of_their_own() -> None:
    """Drawn smooth functions only serve the data: a process that explains all of it leaves the weights near 0."""
    rng = np.random.default_rng(26)
    points = make_points(rng, 25, 1)
    y = draw_smooth(rng, 1, points, points.z, 1.0)[:, 0]
    critic = critic_of({"linear": 1e-9, "quadratic": 1e-9, "remainder": 1.0}, 1e-3)
    critic.fit(points, y)
    assert all(np.abs(taylor.gradient).max() < 1e-3 for taylor in critic.draw(rng, 20))
