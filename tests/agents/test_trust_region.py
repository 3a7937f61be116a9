"""Steps in the trust region against the conditions of optimality, random search and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint, minimize  # type: ignore[import-untyped]

from rl_detector.agents.trust_region import TrustRegion
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


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("radius", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("c", [1, 2, 7])
def test_conditions_of_optimality(kind: str, radius: float, c: int) -> None:
    """(m - H) d = b, m >= 0 and m - H >= 0, |d| <= radius, and m (radius - |d|) = 0: necessary and sufficient."""
    rng = np.random.default_rng(c)
    hessian, gradient = hessian_of(rng, c, *KINDS[kind]), rng.standard_normal(c)
    region = TrustRegion(hessian, radius)
    step, damping = region.step(gradient), region.damping(gradient)
    np.testing.assert_allclose((damping * np.eye(c) - hessian) @ step, gradient, rtol=1e-7, atol=1e-9)
    assert damping >= 0 and np.linalg.eigvalsh(damping * np.eye(c) - hessian)[0] > 0
    assert np.linalg.norm(step) <= radius * (1 + 1e-9)
    assert damping * (radius - np.linalg.norm(step)) < 1e-6


@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_no_other_step_is_better(kind: str) -> None:
    """Neither of 20000 random ones in the ball, nor what scipy finds from 5 starts."""
    rng = np.random.default_rng(3)
    hessian, gradient = hessian_of(rng, 3, *KINDS.get(kind, (0.0, 0.0))), rng.standard_normal(3)
    best = value(hessian, gradient, TrustRegion(hessian, 0.8).step(gradient))
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
    region = TrustRegion(hessian, 1.0)
    assert region.damping(gradient) == 0
    np.testing.assert_allclose(region.step(gradient), -np.linalg.solve(hessian, gradient), rtol=1e-10)


def test_without_curvature_the_step_follows_the_gradient_to_the_edge() -> None:
    gradient = np.array([3.0, -4.0])
    np.testing.assert_allclose(TrustRegion(np.zeros((2, 2)), 0.5).step(gradient), [0.3, -0.4], rtol=1e-8)


@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_without_a_gradient_nothing_moves(kind: str) -> None:
    """Also where the centre is a minimum: which way to leave it is for the sampling to find out."""
    hessian = hessian_of(np.random.default_rng(5), 3, *KINDS.get(kind, (0.0, 0.0)))
    region = TrustRegion(hessian, 1.0)
    np.testing.assert_array_equal(region.step(np.zeros(3)), np.zeros(3))
    assert region.gain(np.zeros((2, 3)), region.damping(np.zeros(3))).tolist() == [0, 0]


def test_gain_inside_is_what_the_newton_step_gains() -> None:
    rng = np.random.default_rng(6)
    hessian, gradients = hessian_of(rng, 3, -3, -1), 0.1 * rng.standard_normal((5, 3))
    region = TrustRegion(hessian, 1.0)
    expected = [value(hessian, b, region.step(b)) for b in gradients]
    np.testing.assert_allclose(region.gain(gradients, 0.0), expected, rtol=1e-10)


def test_gain_at_the_edge_is_less_the_price_of_the_length() -> None:
    """b (m - H)^-1 b / 2 = max over all d of b . d + d . H . d / 2 - m |d|^2 / 2, so no step gains more for less."""
    rng = np.random.default_rng(7)
    hessian, gradient = hessian_of(rng, 3, -1, 1), 3 * rng.standard_normal(3)
    region = TrustRegion(hessian, 0.7)
    step, damping = region.step(gradient), region.damping(gradient)
    expected = value(hessian, gradient, step) - damping * (step @ step) / 2
    assert region.gain(gradient[None], damping)[0] == pytest.approx(expected, rel=1e-9)
    others = step + 0.5 * rng.standard_normal((1000, 3))
    assert np.all(value(hessian, gradient, others) - damping * (others**2).sum(axis=1) / 2 < expected)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_tiny_and_huge_numbers(size: float) -> None:
    hessian, gradient = size * np.diag([1.0, -1.0]), size * np.array([1.0, 1.0])
    step = TrustRegion(hessian, 1.0).step(gradient)
    assert np.isfinite(step).all() and np.linalg.norm(step) <= 1 + 1e-6
