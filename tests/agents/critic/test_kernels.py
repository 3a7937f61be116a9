"""The kernels of the critic against explicit features, numerical averages and moments of their draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.kernels import (
    AVERAGED,
    KERNELS,
    Points,
    SmoothProcess,
    draw_smooth,
    nonquadratic_share,
    pairs_of,
    similarity,
)
from rl_detector.agents.critic.taylor import draw_hessians, quadratic_values
from rl_detector.space import FloatArray


def make_points(rng: np.random.Generator, n: int, c: int, choices: tuple[int, ...] = ()) -> Points:
    """n designs around a policy of any covariance, in batches of 4."""
    root = rng.standard_normal((c, c))
    values, vectors = np.linalg.eigh(root @ root.T + 0.1 * np.eye(c)) if c else (np.zeros(0), root)
    scale = (vectors * np.sqrt(values)) @ vectors.T
    z = rng.standard_normal((n, c))
    discrete = np.array([rng.integers(0, m, n) for m in choices], dtype=np.int64).reshape(len(choices), n).T
    w = Choices(choices).columns(discrete)
    return Points(z @ scale.T, scale, z, w, rng.uniform(0.5, 2, n), np.arange(n) // 4, len(choices))


def pair_features(points: Points) -> FloatArray:
    """u_i u_j of all pairs i < j but those of two choices, and (z_i^2 - 1) / sqrt(2): [designs, features]."""
    u = points.u
    pairs = [u[:, i] * u[:, j] for i, j in itertools.combinations(range(u.shape[1]), 2) if i < points.size]
    return np.stack([*pairs, *((points.z**2 - 1) / math.sqrt(2)).T], axis=1)


def triple_features(points: Points) -> FloatArray:
    """z_i w_j w_k for j < k: [designs, features]."""
    pairs = pairs_of(points.w)
    return (points.z[:, :, None] * pairs[:, None]).reshape(len(pairs), -1)


FEATURES = {
    "linear": lambda p: p.z,
    "choices": lambda p: p.w,
    "bowl": lambda p: (((p.z**2).sum(axis=1) - p.size) / math.sqrt(2 * p.size))[:, None],
    "quadratic": pair_features,
    "interaction": lambda p: pairs_of(p.w),
    "coupled": triple_features,
    "batch": lambda p: np.eye(100)[p.batch],
}


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize(("c", "choices"), [(3, ()), (2, (3, 2)), (1, (4,))])
def test_kernels_are_products_of_features(name: str, c: int, choices: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = make_points(rng, 13, c, choices), make_points(rng, 9, c, choices)
    expected = FEATURES[name](a) @ FEATURES[name](b).T
    np.testing.assert_allclose(KERNELS[name](a, b), expected, rtol=1e-10, atol=1e-10)


def test_smooth_kernels_fall_with_the_distance_in_their_coordinates() -> None:
    rng = np.random.default_rng(1)
    a, b = make_points(rng, 13, 2, (3, 2)), make_points(rng, 9, 2, (3, 2))
    for name, (left, right) in {"remainder": (a.z, b.z), "landscape": (a.x, b.x)}.items():
        squares = cdist(np.hstack([left, a.w]), np.hstack([right, b.w])) ** 2
        np.testing.assert_allclose(KERNELS[name](a, b), np.exp(-squares / (2 * (2 + 2))), rtol=1e-10)


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize(("c", "choices"), [(3, ()), (2, (3, 2)), (0, (3, 3)), (1, ())])
def test_kernels_are_covariances(name: str, c: int, choices: tuple[int, ...]) -> None:
    """Symmetric and positive semi-definite, to rounding, also with more designs than features."""
    points = make_points(np.random.default_rng(2), 40, c, choices)
    kernel = KERNELS[name](points, points)
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-12)
    values = np.linalg.eigvalsh(kernel)
    assert values[0] > -1e-9 * max(values[-1], 1)


def test_the_bowl_is_standardised_under_the_policy() -> None:
    """Mean 0 and variance 1, within 5 standard errors of 20000 designs."""
    bowl = make_points(np.random.default_rng(3), 20000, 3).bowl()
    assert abs(bowl.mean()) < 5 * bowl.std() / math.sqrt(len(bowl))
    assert abs(bowl.var() - 1) < 5 * (bowl**2).std() / math.sqrt(len(bowl))


def test_without_numbers_every_design_is_at_the_centre() -> None:
    points = make_points(np.random.default_rng(4), 5, 0, (3,))
    np.testing.assert_array_equal(points.distances, np.zeros(5))
    np.testing.assert_array_equal(points.bowl(), np.zeros(5))
    assert (points.size, points.length_squared) == (0, 1.0)


def make_process(rng: np.random.Generator, n: int = 12) -> tuple[SmoothProcess, Points, FloatArray]:
    """A process in two coordinates and one choice, like the landscape of the critic, and weights of its designs."""
    points = make_points(rng, n, 2, (3,))
    spread, axes = np.linalg.eigh(points.scale)
    process = SmoothProcess(points.x @ axes, spread, axes, points.w, 0.7, points.length_squared)
    return process, points, rng.standard_normal(n)


def smooth_function(points: Points, alpha: FloatArray, z: FloatArray, w: FloatArray) -> FloatArray:
    """The process itself at whitened coordinates z [n, c] and choices w [m], [n]."""
    designs = np.hstack([z @ points.scale.T, np.tile(w, (len(z), 1))])
    known = np.hstack([points.x, points.w])
    result: FloatArray = 0.7 * np.exp(-(cdist(designs, known) ** 2) / (2 * points.length_squared)) @ alpha
    return result


def average(points: Points, alpha: FloatArray, mean: FloatArray, w: FloatArray) -> float:
    """Over z ~ N(mean, AVERAGED), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = np.array(list(itertools.product(nodes, nodes)))
    mass = np.outer(weights, weights).ravel() / weights.sum() ** 2
    return float(mass @ smooth_function(points, alpha, mean + math.sqrt(AVERAGED) * grid, w))


def test_values_of_a_smooth_process_are_averages_over_the_policy() -> None:
    process, points, alpha = make_process(np.random.default_rng(5))
    w = Choices((3,)).columns(np.array([[0], [1], [2]]))
    expected = [average(points, alpha, np.zeros(2), row) for row in w]
    np.testing.assert_allclose(process.values(alpha, process.alike(w)), expected, rtol=1e-9)
    assert np.ptp(expected) > 1e-3


def test_values_of_a_smooth_process_by_monte_carlo() -> None:
    """The same with 40000 samples of z, within 5 standard errors."""
    rng = np.random.default_rng(6)
    process, points, alpha = make_process(rng)
    w = Choices((3,)).columns(np.array([[1]]))
    samples = smooth_function(points, alpha, math.sqrt(AVERAGED) * rng.standard_normal((40000, 2)), w[0])
    error = samples.std() / math.sqrt(len(samples))
    assert abs(process.values(alpha, process.alike(w))[0] - samples.mean()) < 5 * error < 0.05


def numerical(points: Points, alpha: FloatArray, w: FloatArray, step: float = 1e-3) -> tuple[FloatArray, FloatArray]:
    """Gradient and Hessian of the average in the mean of z, by central differences."""
    at = lambda *shift: average(points, alpha, step * np.array(shift), w)  # noqa: E731
    gradient = np.array([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)]) / (2 * step)
    mixed = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    twice = [at(1, 0) - 2 * at(0, 0) + at(-1, 0), at(0, 1) - 2 * at(0, 0) + at(0, -1)]
    return gradient, np.array([[twice[0], mixed], [mixed, twice[1]]]) / step**2


def test_derivatives_of_a_smooth_process() -> None:
    """Those of the average, damped along every axis; the curvature's own term is damped like one gradient."""
    process, points, alpha = make_process(np.random.default_rng(7))
    w = Choices((3,)).columns(np.array([[2]]))[0]
    gradient, hessian = np.ones(5), np.ones((5, 5))
    process.add(gradient, hessian, alpha, w)
    exact_gradient, exact_hessian = numerical(points, alpha, w)
    narrow, wide = (process.length_squared + share * process.spread**2 for share in (AVERAGED, 1.0))
    damping, axes = narrow / wide, process.axes
    np.testing.assert_allclose(axes.T @ (gradient[:2] - 1), damping * (axes.T @ exact_gradient), rtol=1e-4, atol=1e-6)
    own = np.diag(process.spread**2 / narrow) * process.values(alpha, process.alike(w[None]))[0]
    pulls = axes.T @ exact_hessian @ axes + own
    expected = np.outer(damping, damping) * pulls - damping[:, None] * own
    np.testing.assert_allclose(axes.T @ (hessian[:2, :2] - 1) @ axes, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(gradient[2:], 1)
    np.testing.assert_array_equal(hessian[2:], 1)
    np.testing.assert_array_equal(hessian[:, 2:], 1)


def exact_share(rng: np.random.Generator, c: int, width: float) -> float:
    """Share of the variance beyond second order, by Monte Carlo over the frequencies of a smooth process.

    The process is a sum of waves cos(f . x + phase) with normal f, of which |f|^2 has the mean `width`. The variance of
    one wave over x ~ N(0, 1) at the Hermite order k is exp(-|f|^2) |f|^2k / k! / 2: a Poisson distribution each.
    """
    squares = width / c * rng.chisquare(c, 20000)
    beyond = 1 - np.exp(-squares) * (1 + squares + squares**2 / 2)
    return float(beyond.mean() / (1 - np.exp(-squares)).mean())


@pytest.mark.parametrize(("c", "lowest", "highest"), [(1, 0.2, 0.8), (6, 0.55, 0.97), (40, 0.88, 1.01)])
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_share_beyond_second_order(c: int, lowest: float, highest: float, width: float) -> None:
    """The Poisson distribution is exact for many coordinates; for one it may give less than half of the share."""
    exact = exact_share(np.random.default_rng(8), c, width)
    assert lowest < nonquadratic_share(width) / exact < highest


def test_one_wave_shares_its_variance_like_a_poisson_distribution() -> None:
    """cos(f x + phase), averaged over the phase, against its Hermite coefficients by quadrature."""
    x, weights = np.polynomial.hermite_e.hermegauss(60)
    weights /= weights.sum()
    waves = [np.cos(1.3 * x + phase) for phase in np.arange(8) * np.pi / 8]
    low = [sum((weights @ (wave * h)) ** 2 for h in (x, (x**2 - 1) / math.sqrt(2))) for wave in waves]
    varying = [weights @ wave**2 - (weights @ wave) ** 2 for wave in waves]
    assert 1 - np.mean(low) / np.mean(varying) == pytest.approx(nonquadratic_share(1.3**2), rel=1e-9)


def test_share_beyond_second_order_at_the_ends() -> None:
    assert nonquadratic_share(0.0) == 0.0
    assert nonquadratic_share(50.0) == pytest.approx(1.0)
    shares = [nonquadratic_share(width) for width in np.geomspace(1e-12, 1e3, 200)]
    assert np.all(np.diff(shares) >= -1e-6) and min(shares) >= 0


def within(values: FloatArray, expected: FloatArray) -> None:
    """The mean of the first axis is as expected, within 5 standard errors."""
    error = values.std(axis=0) / math.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(axis=0) - expected), 5 * error + 1e-12)


def test_moments_of_drawn_hessians() -> None:
    """pairs, interaction for two choices; on the diagonal 2 pairs + 2 bowl / c, of which 2 bowl / c in common."""
    points = make_points(np.random.default_rng(9), 2, 3, (2,))
    drawn = draw_hessians(np.random.default_rng(10), 20000, points, 0.3, 0.6, 0.2)
    np.testing.assert_array_equal(drawn, drawn.transpose(0, 2, 1))
    np.testing.assert_array_equal(drawn[:, [3, 4], [3, 4]], 0)
    upper, diagonal = drawn[:, *np.triu_indices(5, 1)], drawn[:, range(3), range(3)]
    within(upper[:, :, None] * upper[:, None], np.diag([0.3] * 9 + [0.2]))
    within(diagonal[:, :, None] * diagonal[:, None], 0.6 * np.eye(3) + 0.4)
    within(np.concatenate([upper, diagonal], axis=1), np.zeros(13))


def test_values_of_drawn_hessians_have_the_covariance_of_the_kernels() -> None:
    points = make_points(np.random.default_rng(11), 5, 2, (3,))
    rng = np.random.default_rng(12)
    values = quadratic_values(points, draw_hessians(rng, 20000, points, 0.3, 0.6, 0.2)).T
    variances = {"quadratic": 0.3, "bowl": 0.6, "interaction": 0.2}
    expected = sum(variance * KERNELS[name](points, points) for name, variance in variances.items())
    within(values[:, :, None] * values[:, None], expected)


def test_drawn_smooth_functions_have_the_covariance_of_the_kernel() -> None:
    """Over 3000 sets of random frequencies; draws of one set share them and are not independent."""
    points = make_points(np.random.default_rng(13), 5, 2, (3,))
    rng = np.random.default_rng(14)
    draws = np.concatenate([draw_smooth(rng, 1, points, points.x, 0.7, waves=8).T for _ in range(3000)])
    within(draws[:, :, None] * draws[:, None], 0.7 * KERNELS["landscape"](points, points))
    assert draw_smooth(rng, 4, points, points.z, 0.7).shape == (5, 4)


def test_similarity_of_equal_points_is_one() -> None:
    """Also where rounding would make a squared distance negative."""
    a = 1e6 + np.random.default_rng(15).standard_normal((20, 3))
    assert np.all(similarity(a, a, 1.0) <= 1)
    np.testing.assert_allclose(np.diag(similarity(a - 1e6, a - 1e6, 1.0)), 1)
