"""Shower physics against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from rl_detector.physics import showers

ONE = np.ones(1)


def test_age_solves_its_differential_equation() -> None:
    """dv/dt = s v (1 - v), d ln R/dt = -b v^3 from v = 0.2, integrated numerically."""
    growth, absorption, depth = 0.5, 0.3, 12.0
    exact = solve_ivp(
        lambda _, y: [growth * y[0] * (1 - y[0]), -absorption * y[0] ** 3],
        (0, depth),
        [0.2, 0.0],
        rtol=1e-10,
        atol=1e-12,
    ).y[:, -1]
    after, share = showers.age(0.2 * ONE, depth * ONE, growth * ONE, absorption * ONE)
    assert after[0] == pytest.approx(exact[0], rel=1e-7)
    assert share[0] == pytest.approx(1 - np.exp(exact[1]), rel=1e-7)


@given(st.floats(0.01, 3.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_cutting_a_slab_changes_nothing(start: float, first: float, second: float) -> None:
    growth, absorption = 0.5 * ONE, 0.3 * ONE
    middle, share_1 = showers.age(start * ONE, first * ONE, growth, absorption)
    end, share_2 = showers.age(middle, second * ONE, growth, absorption)
    whole, share = showers.age(start * ONE, (first + second) * ONE, growth, absorption)
    np.testing.assert_allclose(end, whole, rtol=1e-9)
    np.testing.assert_allclose((1 - share_1) * (1 - share_2), 1 - share, rtol=1e-7, atol=1e-12)


def test_no_thickness_no_deposit() -> None:
    after, share = showers.age(np.array([0.1, 2.0]), np.zeros(2), 0.5 * np.ones(2), 0.3 * np.ones(2))
    np.testing.assert_array_equal(share, 0.0)
    np.testing.assert_allclose(after, [0.1, 2.0], rtol=1e-15)


def test_a_very_thick_slab_takes_everything() -> None:
    for depth in (100.0, 1e6):
        _, share = showers.age(np.array([0.05, 3.0]), depth * np.ones(2), 0.5 * np.ones(2), 0.3 * np.ones(2))
        np.testing.assert_allclose(share, 1.0, atol=1e-9)


def test_equilibrium_is_an_exponential() -> None:
    """At v = 1 the shower stays at v = 1 and R falls as exp(-b t)."""
    depth = np.linspace(0, 20, 9)
    after, share = showers.age(np.ones(9), depth, 0.5 * np.ones(9), 0.3 * np.ones(9))
    np.testing.assert_allclose(after, 1.0)
    np.testing.assert_allclose(share, 1 - np.exp(-0.3 * depth))


def test_shower_maximum_is_where_the_profile_peaks() -> None:
    start = np.array([0.05, 0.15, 0.3])
    depth = np.linspace(0, 20, 40001)
    for v, expected in zip(start, showers.shower_maximum(start, 0.5, 0.3), strict=True):
        _, share = showers.age(np.full(depth.shape, v), depth, np.full(depth.shape, 0.5), np.full(depth.shape, 0.3))
        assert depth[np.argmax(np.diff(share))] == pytest.approx(expected, abs=0.002)


def test_shower_maximum_moves_with_the_logarithm_of_the_energy() -> None:
    """v^3 is proportional to 1 / E, so t_max grows by about ln(10) / (3 s) per decade while v is small."""
    energies = np.array([1e3, 1e4])
    low, high = showers.shower_maximum(np.cbrt(0.1 / energies), 0.5, 0.3)
    assert high - low == pytest.approx(np.log(10) / 1.5, rel=0.05)


def test_fluctuations_keep_the_mean_and_have_the_variance() -> None:
    """400,000 numbers: the mean is known to 1e-4 and the width to 0.2 %; the logit-normal is first order in both."""
    normal = np.random.default_rng(0).standard_normal(400_000)
    for mean, width in ((0.5, 0.05), (0.2, 0.04), (0.9, 0.02)):
        values = showers.fluctuate(np.full(normal.shape, mean), np.full(normal.shape, width**2), normal)
        assert values.mean() == pytest.approx(mean, rel=0.005)
        assert values.std() == pytest.approx(width, rel=0.03)


@given(st.floats(0, 1), st.floats(0, 1e6), st.floats(-6, 6))
def test_a_fluctuated_fraction_stays_a_fraction(mean: float, variance: float, normal: float) -> None:
    value = showers.fluctuate(mean * ONE, variance * ONE, normal * ONE)
    assert 0 <= value[0] <= 1


def test_nothing_and_everything_do_not_fluctuate() -> None:
    values = showers.fluctuate(np.array([0.0, 1.0]), np.array([0.1, 0.1]), np.array([2.0, -2.0]))
    np.testing.assert_allclose(values, [0.0, 1.0], atol=1e-12)


def test_kumaraswamy_quantiles() -> None:
    """The cumulative distribution 1 - (1 - x^a)^b takes the quantiles back; a = b = 1 is uniform."""
    uniform = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(showers.kumaraswamy(uniform, 1.0, 1.0), uniform, rtol=1e-8)
    x = showers.kumaraswamy(uniform, 1.7, 4.2)
    np.testing.assert_allclose(1 - (1 - x**1.7) ** 4.2, uniform, rtol=1e-8)


def test_locate_and_interpolate() -> None:
    """Layers of 2, 0 and 3 units: an empty layer holds nothing; beyond the last one the index is their number."""
    depth = np.array([0.0, 1.0, 2.0, 3.5, 5.0, 9.0])
    edges = np.repeat(np.array([0.0, 2.0, 2.0, 5.0])[:, None], len(depth), axis=1)
    layer, before = showers.locate(depth, edges)
    np.testing.assert_array_equal(layer, [0, 0, 2, 2, 3, 3])
    np.testing.assert_allclose(before, [0, 0.5, 0, 0.5, 1, 1])
    np.testing.assert_allclose(showers.interpolate(layer, before, edges), [0, 1, 2, 3.5, 5, 5])


def test_track_deposits_add_up_to_the_loss() -> None:
    edges = np.repeat(np.array([0.0, 0.1, 0.1, 0.6])[:, None], 3, axis=1)
    deposits = showers.track_deposits(np.array([0.05, 0.3, 0.6]), edges)
    np.testing.assert_allclose(deposits, np.array([[0.05, 0, 0], [0.1, 0, 0.2], [0.1, 0, 0.5]]).T)
