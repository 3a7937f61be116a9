"""Longitudinal profiles against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.physics.profiles import electromagnetic_fraction, gamma_density, shower_shape

EVENTS = 40_000


@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.5), (4.0, 0.5), (9.0, 0.8)])
def test_the_gamma_profile(alpha: float, beta: float) -> None:
    """Integral 1, mean alpha / beta, variance alpha / beta^2, maximum at (alpha - 1) / beta, nothing in front of it."""
    depth = np.linspace(-5, 120, 250_001)
    density = gamma_density(depth[:, None], np.array([alpha]), np.array([beta]))[:, 0]
    step = depth[1] - depth[0]
    mean = (depth * density).sum() * step
    assert density.sum() * step == pytest.approx(1, rel=1e-3)
    assert mean == pytest.approx(alpha / beta, rel=1e-3)
    assert ((depth - mean) ** 2 * density).sum() * step == pytest.approx(alpha / beta**2, rel=1e-3)
    assert depth[density.argmax()] == pytest.approx((alpha - 1) / beta, abs=2 * step)
    assert (density[depth <= 0] == 0).all()


def test_the_gamma_profile_in_single_precision() -> None:
    depth = np.linspace(0.1, 30, 300)[:, None]
    alpha, beta = np.array([2.0, 6.0]), np.array([0.4, 0.6])
    single = gamma_density(depth.astype(np.float32), alpha, beta)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, gamma_density(depth, alpha, beta), rtol=1e-4)


def test_shapes_fluctuate_as_published() -> None:
    """ln y = 7: means, widths and correlation of ln T and ln alpha within four errors (hep-ex/0001020, A.1)."""
    normal = np.random.default_rng(0).standard_normal((2, EVENTS))
    alpha, beta = shower_shape(np.full(EVENTS, 7.0), 26.0, normal)
    logs = np.log(np.stack([(alpha - 1) / beta, alpha]))
    widths = np.array([1 / (1.26 * 7 - 1.4), 1 / (0.86 * 7 - 0.58)])
    means = np.log([7 - 0.812, 0.81 + (0.458 + 2.26 / 26) * 7])
    np.testing.assert_allclose(logs.mean(axis=1), means, atol=4 * widths.max() / math.sqrt(EVENTS))
    np.testing.assert_allclose(logs.std(axis=1), widths, rtol=4 / math.sqrt(2 * EVENTS))
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.705 - 0.023 * 7, abs=4 / math.sqrt(EVENTS))


def test_shapes_of_hardly_any_energy_are_finite() -> None:
    alpha, beta = shower_shape(np.array([-20.0, 0.0, 2.0]), 26.0, np.full((2, 3), -3.0))
    assert (np.isfinite(alpha) & (alpha > 1) & np.isfinite(beta) & (beta > 0)).all()


def test_the_share_of_neutral_pions() -> None:
    """1 - 100^-0.18 = 0.5635; nothing below the scale."""
    np.testing.assert_allclose(electromagnetic_fraction(np.array([0.5, 1.0, 100.0])), [0.0, 0.0, 0.56349], atol=1e-5)
