"""Relevant groups of weights against dense linear algebra, and whether the evidence finds those that matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.kernels import Points, pairs_of
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.relevance import NEW_GROUPS, Relevance
from rl_detector.agents.critic.strengths import Variances
from rl_detector.agents.critic.taylor import quadratic_values
from rl_detector.reproducible import one_thread
from rl_detector.space import FloatArray

C = 3
CHOICES = (2, 3, 2)
GROUPS = {(0, 1): 0.4, (2, 0): 0.2, (1, 4): 0.3}
"""(coordinate, choice or pair of choices) -> variance; pair 4 is of the first and the last choice."""


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


def make_points(rng: np.random.Generator, n: int, choices: tuple[int, ...] = CHOICES, c: int = C) -> Points:
    root = rng.standard_normal((c, c))
    values, vectors = np.linalg.eigh(root @ root.T + 0.1 * np.eye(c))
    scale = (vectors * np.sqrt(values)) @ vectors.T
    z = rng.standard_normal((n, c))
    discrete = np.array([rng.integers(0, m, n) for m in choices]).T
    return Points(
        z @ scale.T, scale, z, Choices(choices).columns(discrete), np.ones(n), np.arange(n) // 4, len(choices)
    )


def some_relevance(groups: dict[tuple[int, int], float]) -> Relevance:
    relevance = Relevance(C, np.array(CHOICES), True)
    for group, variance in groups.items():
        relevance.variances[group] = variance
    return relevance


def features(points: Points) -> tuple[FloatArray, FloatArray]:
    """Terms of the three groups and their variances, written out: columns of the choices are 0-1, 2-4 and 5-6."""
    x, w = points.x, points.w
    parts = [x[:, [0]] * w[:, 2:5], x[:, [2]] * w[:, :2]]
    parts += [x[:, [1]] * w[:, [a]] * w[:, [b]] for a in (0, 1) for b in (5, 6)]
    columns = np.concatenate(parts, axis=1)
    return columns, np.repeat([0.4, 0.2, 0.3], [3, 2, 4])


def critic_with(relevance: Relevance, strengths: dict[str, float], noise: float) -> Critic:
    return Critic(Variances(dict(strengths), noise, 0.0, relevance), evidence=False)


def test_covariance_is_that_of_the_terms() -> None:
    rng = np.random.default_rng(0)
    a, b = make_points(rng, 20), make_points(rng, 15)
    (left, variances), (right, _) = features(a), features(b)
    relevance = some_relevance(GROUPS)
    np.testing.assert_allclose(relevance.covariance(a, b), (left * variances) @ right.T, atol=1e-12)
    np.testing.assert_allclose(relevance.diagonal(a), (left**2) @ variances, atol=1e-12)


def test_the_expansion_is_the_critic_itself() -> None:
    """const + g . u + u . H . u / 2 + sum z_i C_ijk w_j w_k holds at every design, in the policy's coordinates."""
    rng = np.random.default_rng(1)
    points, y = make_points(rng, 60), rng.standard_normal(60)
    z = rng.standard_normal((40, C))
    new = Points(z @ points.scale.T, points.scale, z, make_points(rng, 40).w, np.ones(40), np.full(40, -1), 3)
    critic = critic_with(some_relevance(GROUPS), {"linear": 0.3, "choices": 0.2, "coupled": 0.05}, 0.2)
    critic.fit(points, y)
    taylor = critic.taylor(points.w[0])
    values = new.u @ taylor.gradient + quadratic_values(new, taylor.hessian[None])[:, 0]
    values += ((pairs_of(new.w) @ taylor.coupling.T) * new.z).sum(axis=1)
    expected = critic.means_at(new)
    np.testing.assert_allclose(values - values.mean(), expected - expected.mean(), atol=1e-9)
    assert np.ptp(expected) > 0.1


def test_draws_have_the_mean_and_variance_of_the_posterior() -> None:
    """Gradients at some choices, against dense Bayesian regression on the terms, 4000 draws: 5 standard errors."""
    rng, n, noise = np.random.default_rng(2), 4000, 0.3
    points, y = make_points(rng, 12), rng.standard_normal(12)
    critic = critic_with(some_relevance(GROUPS), {"coupled": 1e-12}, noise)
    critic.fit(points, y)
    w = make_points(rng, 1).w
    drawn = np.array([draw.gradients(w)[0] for draw in critic.draw(rng, n)])
    phi, prior = features(points)
    gain = (prior * phi).T @ np.linalg.inv((phi * prior) @ phi.T + 1 + (noise + 1e-8) * np.eye(12))
    mean, covariance = gain @ y, np.diag(prior) - gain @ (phi * prior)
    unit = Points(np.eye(C), points.scale, np.eye(C), np.repeat(w, C, axis=0), np.ones(C), np.zeros(C, dtype=int), 3)
    gradients = points.scale @ features(unit)[0]
    spread = np.sqrt(np.diag(gradients @ covariance @ gradients.T))
    assert np.all(np.abs(drawn.mean(axis=0) - gradients @ mean) < 5 * spread / np.sqrt(n))
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=5 / np.sqrt(2 * n))


def test_values_at_designs_against_dense_linear_algebra() -> None:
    rng = np.random.default_rng(3)
    points, new, y = make_points(rng, 25), make_points(rng, 10), rng.standard_normal(25)
    critic = critic_with(some_relevance(GROUPS), {}, 0.3)
    critic.fit(points, y)
    (phi, prior), (psi, _) = features(points), features(new)
    cross = 1 + (psi * prior) @ phi.T
    inverse = np.linalg.inv(1 + (phi * prior) @ phi.T + (0.3 + 1e-8) * np.eye(25))
    values, deviations = critic.values_at(new)
    np.testing.assert_allclose(values, cross @ inverse @ y, atol=1e-9)
    variances = 1 + psi**2 @ prior - ((cross @ inverse) * cross).sum(axis=1)
    np.testing.assert_allclose(deviations, np.sqrt(variances), atol=1e-7)


def one_group(predictive: bool, opaque: bool = True) -> FloatArray:
    """Three steps on y = x_0 w_0 + little noise, which a strong coupled kernel and a landscape explain, too."""
    rng, choices = np.random.default_rng(0), (2,) * 4
    z = rng.standard_normal((150, 4))
    w = Choices(choices).columns(rng.integers(0, 2, (150, 4)))
    points = Points(z, np.eye(4), z, w, np.ones(150), np.arange(150) // 20, 4)
    strengths = {"coupled": 2.0, "landscape": 2.0} if opaque else {"linear": 0.1}
    variances = Variances(strengths, 0.05, 1e-7, Relevance(4, np.array(choices), True))
    y = 2 * z[:, 0] * w[:, 0] + 0.2 * rng.standard_normal(150)
    Critic(variances, predictive=predictive).fit(points, y, steps=3)
    return variances.relevance.variances


def test_what_anything_can_explain_hides_no_group() -> None:
    variances = one_group(predictive=True)
    assert variances[0, 0] == variances.max() > 0


def test_a_critic_that_predicts_nothing_gets_no_groups() -> None:
    assert one_group(predictive=True, opaque=False)[0, 0] > 0
    assert not one_group(predictive=False, opaque=False).any()


def learned(seed: int, signal: float, n: int = 300, steps: int = 40) -> Relevance:
    """12 coordinates and 12 choices, 936 groups: y = signal (x_3 w_3 + x_5 w_4 w_5) + noise of variance 1/4."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 12))
    choices = (2,) * 12
    w = Choices(choices).columns(rng.integers(0, 2, (n, 12)))
    points = Points(z, np.eye(12), z, w, np.ones(n), np.arange(n) // 20, 12)
    signs = 2 * w[:, ::2]
    y = signal * (z[:, 3] * signs[:, 3] + z[:, 5] * signs[:, 4] * signs[:, 5]) + 0.5 * rng.standard_normal(n)
    variances = Variances.initial(12, 12, 24, ("linear", "choices", "quadratic", "interaction", "coupled"))
    variances.relevance = Relevance(12, np.array(choices), True)
    Critic(variances).fit(points, y, steps=steps)
    return variances.relevance


def test_the_groups_that_matter_are_found_among_many() -> None:
    """300 evaluations, amplitudes 0.5 at a noise of 0.5, that is 17 standard errors; four seeds, no other group with a
    tenth of their variance. 4 x 12 + pair (4, 5) of 66: choices come first, then the pairs in order."""
    pair = 12 + int(
        np.flatnonzero([one == 4 and two == 5 for one, two in zip(*np.triu_indices(12, 1), strict=True)])[0]
    )
    for seed in range(4):
        variances = learned(seed, 0.5).variances
        found = {(int(i), int(g)) for i, g in np.argwhere(variances > 0.1 * variances.max())}
        assert found == {(3, 3), (5, pair)}


def test_in_noise_hardly_anything_is_relevant() -> None:
    """By chance a group becomes relevant in one step of five; what does stays weak."""
    relevant = [learned(seed, 0.0).variances for seed in range(6)]
    assert np.mean([(variances > 0).sum() for variances in relevant]) < 5
    shares = [variances.sum() / 0.25 for variances in relevant]
    assert np.median(shares) < 0.05


def test_what_stops_to_matter_is_forgotten() -> None:
    relevance = Relevance(2, np.array([2, 2]), True)
    relevance.variances[0, 0] = 0.5
    rng = np.random.default_rng(4)
    points = make_points(rng, 100, (2, 2), 2)
    critic = Critic(Variances({"linear": 0.1}, 1.0, 1e-7, relevance))
    terms = np.column_stack([np.ones(100), points.x[:, [0]] * points.w[:, :2]])
    y = rng.standard_normal(100)
    critic.fit(points, y - terms @ np.linalg.lstsq(terms, y)[0], steps=10)
    assert relevance.variances[0, 0] == 0


def test_few_groups_at_a_time() -> None:
    """Terms that agree in the few evaluations must not all become relevant from one effect."""
    rng = np.random.default_rng(5)
    points = make_points(rng, 16, (2,) * 6, 6)
    relevance = Relevance(6, np.array((2,) * 6), True)
    inverse = np.eye(16) * 4
    solution = inverse @ (40 * points.x[:, 0] * points.w[:, 0]), inverse
    relevance.follow_evidence(points, solution, solution, fresh=False)
    assert not relevance.variances.any()
    relevance.follow_evidence(points, solution, solution)
    assert 0 < (relevance.variances > 0).sum() <= NEW_GROUPS
    assert (
        relevance.diagonal(points).mean() < NEW_GROUPS + 1e-9
    )  # each explains no more than the variance of the rewards


def test_a_single_group_needs_a_gain_too() -> None:
    """One coordinate and one choice: with hardly any noise, nothing is relevant whose variance would be negative."""
    points = make_points(np.random.default_rng(8), 40, (2,), 1)
    relevance = Relevance(1, np.array([2]), False)
    for seed in range(20):
        solution = np.random.default_rng(seed).standard_normal(40), np.eye(40)
        relevance.follow_evidence(points, solution, solution)
        assert relevance.variances.min() >= 0


def test_coordinates_and_choices_come_first() -> None:
    """Twelve evaluations of six coordinates and six choices tell nothing about what depends on what."""
    points = make_points(np.random.default_rng(5), 12, (2,) * 6, 6)
    relevance = Relevance(6, np.array((2,) * 6), True)
    solution = np.full(12, 40.0), np.eye(12)
    relevance.follow_evidence(points, solution, solution)
    assert not relevance.variances.any()


@pytest.mark.parametrize("relevance", [Relevance(), Relevance(2, np.array([2, 3]), False), Relevance(0, np.array([2]))])
def test_nothing_relevant_adds_nothing(relevance: Relevance) -> None:
    points = make_points(np.random.default_rng(6), 5, (2, 3), 2)
    np.testing.assert_array_equal(relevance.covariance(points, points), np.zeros((5, 5)))
    np.testing.assert_array_equal(relevance.diagonal(points), np.zeros(5))
    assert relevance.moments(points, np.ones((1, 5))).size == 0
    assert relevance.draw(np.random.default_rng(0), 3, points).size == 0
