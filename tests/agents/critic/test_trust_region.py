"""Steps in the trust region and the box against the conditions of optimality, random search and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint, minimize  # type: ignore[import-untyped]

from rl_detector.agents.critic.trust_region import Solution, TrustRegion
from rl_detector.space import FloatArray

KINDS = {"indefinite": (-2.0, 1.5), "negative definite": (-3.0, -0.2), "positive definite": (0.2, 2.0)}


def hessian_of(rng: np.random.Generator, c: int, low: float, high: float) -> FloatArray:
    vectors = np.linalg.qr(rng.standard_normal((c, c)))[0]
    values = np.linspace(low, high, c)
    result: FloatArray = (vectors * values) @ vectors.T
    return result


def value(hessian: FloatArray, gradient: FloatArray, step: FloatArray) -> FloatArray:
    """b . d + d . H . d / 2 of steps [..., c]."""
    result: FloatArray = step @ gradient + ((step @ hessian) * step).sum(axis=-1) / 2
    return result


def free(hessian: FloatArray) -> TrustRegion:
    """A trust region far from the faces of the box."""
    c = len(hessian)
    return TrustRegion(hessian, np.zeros(c), 1e-3 * np.eye(c))


def solve(hessian: FloatArray, gradient: FloatArray, radius: float) -> Solution:
    return free(hessian).solve(gradient, radius)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("radius", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("c", [1, 2, 7])
def test_conditions_of_optimality(kind: str, radius: float, c: int) -> None:
    """(m - H) d = b, m >= 0 and m - H >= 0, |d| <= radius, and m (radius - |d|) = 0: necessary and sufficient."""
    rng = np.random.default_rng(c)
    hessian, gradient = hessian_of(rng, c, *KINDS[kind]), rng.standard_normal(c)
    solution = solve(hessian, gradient, radius)
    step, damping = solution.step, solution.damping
    np.testing.assert_allclose((damping * np.eye(c) - hessian) @ step, gradient, rtol=1e-7, atol=1e-9)
    assert damping >= 0 and np.linalg.eigvalsh(damping * np.eye(c) - hessian)[0] > 0
    assert np.linalg.norm(step) <= radius * (1 + 1e-9)
    assert damping * (radius - np.linalg.norm(step)) < 1e-6


@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_no_other_step_is_better(kind: str) -> None:
    """Neither of 20000 random ones in the ball, nor what scipy finds from 5 starts."""
    rng = np.random.default_rng(3)
    hessian, gradient = hessian_of(rng, 3, *KINDS.get(kind, (0.0, 0.0))), rng.standard_normal(3)
    best = value(hessian, gradient, solve(hessian, gradient, 0.8).step)
    others = rng.standard_normal((20000, 3))
    others *= 0.8 * rng.random((20000, 1)) ** (1 / 3) / np.linalg.norm(others, axis=1, keepdims=True)
    values = value(hessian, gradient, others)
    assert values.max() <= best * (1 + 1e-9)
    ball = NonlinearConstraint(lambda d: d @ d, -np.inf, 0.8**2)
    found = [minimize(lambda d: -value(hessian, gradient, d), x, constraints=[ball]).fun for x in others[:5]]
    assert best == pytest.approx(-min(found), rel=1e-5)


def test_a_maximum_inside_is_the_newton_step() -> None:
    hessian = hessian_of(np.random.default_rng(4), 4, -3, -1)
    gradient = np.array([0.1, 0.2, -0.1, 0.3])
    solution = solve(hessian, gradient, 1.0)
    assert solution.damping == 0
    np.testing.assert_allclose(solution.step, -np.linalg.solve(hessian, gradient), rtol=1e-10)


def test_without_curvature_the_step_follows_the_gradient_to_the_edge() -> None:
    gradient = np.array([3.0, -4.0])
    np.testing.assert_allclose(solve(np.zeros((2, 2)), gradient, 0.5).step, [0.3, -0.4], rtol=1e-8)


@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_without_a_gradient_nothing_moves(kind: str) -> None:
    """Also where the centre is a minimum: which way to leave it is for the sampling to find out."""
    solution = solve(hessian_of(np.random.default_rng(5), 3, *KINDS.get(kind, (0.0, 0.0))), np.zeros(3), 1.0)
    np.testing.assert_array_equal(solution.step, np.zeros(3))
    assert solution.gain(np.zeros((2, 3)), 1.0).tolist() == [0, 0]


def test_gain_inside_is_what_the_newton_steps_gain() -> None:
    rng = np.random.default_rng(6)
    hessian, gradients = hessian_of(rng, 3, -3, -1), 0.1 * rng.standard_normal((5, 3))
    expected = [value(hessian, b, solve(hessian, b, 1.0).step) for b in gradients]
    np.testing.assert_allclose(solve(hessian, gradients[0], 1.0).gain(gradients, 1.0), expected, rtol=1e-10)


@pytest.mark.parametrize("radius", [0.05, 0.5])
def test_gain_is_that_of_steps_within_the_radius(radius: float) -> None:
    """Of the own gradient: all that the best step gains; of others no more than their own best steps."""
    rng = np.random.default_rng(7)
    hessian, gradients = hessian_of(rng, 3, -1, 1), 3 * rng.standard_normal((20, 3))
    gains = solve(hessian, gradients[0], radius).gain(gradients, radius)
    bests = [float(value(hessian, b, solve(hessian, b, radius).step)) for b in gradients]
    assert gains[0] == pytest.approx(bests[0], rel=1e-7)
    assert np.all(gains <= np.array(bests) * (1 + 1e-7))


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_tiny_and_huge_numbers(size: float) -> None:
    step = solve(size * np.diag([1.0, -1.0]), size * np.array([1.0, 1.0]), 1.0).step
    assert np.isfinite(step).all() and np.linalg.norm(step) <= 1 + 1e-6


def boxed(seed: int, kind: str, c: int = 4) -> tuple[TrustRegion, FloatArray]:
    """A trust region whose scale ties all coordinates together, near faces of the box, and a gradient."""
    rng = np.random.default_rng(seed)
    scale = hessian_of(rng, c, 0.1, 0.8)
    return TrustRegion(hessian_of(rng, c, *KINDS[kind]), rng.uniform(-1, 1, c), scale), 2 * rng.standard_normal(c)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("seed", range(10))
def test_steps_end_in_the_box_and_in_the_ball(kind: str, seed: int) -> None:
    region, gradient = boxed(seed, kind)
    step = region.solve(gradient, 1.0).step
    assert np.abs(region.start + region.scale @ step).max() <= 1 + 1e-6
    assert np.linalg.norm(step) <= 1 + 1e-6


def test_steps_in_the_box_are_close_to_the_best() -> None:
    """Faces are never released, so a better step may exist: of 20 cases most have none, the others lose little."""
    shares = []
    for seed in range(20):
        region, gradient = boxed(seed, "negative definite")
        limits = [
            NonlinearConstraint(lambda d: d @ d, -np.inf, 1.0),
            NonlinearConstraint(lambda d, r=region: r.start + r.scale @ d, -1, 1),
        ]
        found = minimize(lambda d: -value(region.hessian, gradient, d), np.zeros(4), constraints=limits)  # noqa: B023
        own = float(value(region.hessian, gradient, region.solve(gradient, 1.0).step))
        shares.append(own / -found.fun)
    assert np.median(shares) > 0.9999 and np.min(shares) > 0.8 and np.max(shares) < 1 + 1e-5


def test_a_face_does_not_drag_the_others_along() -> None:
    """x wants out of the box, y is at its best; clipping the step would move y with x, to which the scale ties it."""
    scale = np.array([[0.5, 0.3], [0.3, 0.5]])
    inverse = np.linalg.inv(scale)
    slope, curvature = np.array([-5.0, 0.0]), np.diag([0.0, -4.0])  # in coordinates of the box
    region = TrustRegion(scale @ curvature @ scale, np.array([-1.0, 0.2]), scale)
    step = region.solve(scale @ slope, 1.0).step
    np.testing.assert_allclose(scale @ step, [0, 0], atol=1e-9)
    unbounded = TrustRegion(region.hessian, region.start, scale, bounded=False).solve(scale @ slope, 1.0).step
    clipped = np.clip(region.start + scale @ unbounded, -1, 1) - region.start
    assert np.linalg.norm(inverse @ clipped) > 0.1 and abs(clipped[1]) > 0.05
