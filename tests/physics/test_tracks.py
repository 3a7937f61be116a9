"""Tracks in a dipole against closed forms: Gluckstern's resolution, the best places, and two ways to fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rl_detector.errors import DesignError
from rl_detector.physics.constants import CURVATURE_GEV_PER_T_M
from rl_detector.physics.tracks import (
    Dipole,
    Steps,
    arc,
    basis,
    exact_path,
    filter_kappa,
    scattering_covariance,
    weighted_fit,
)

FloatArray = NDArray[np.float64]

FIELD, LENGTH = 1.5, 3.0
EVERYWHERE = Dipole(FIELD, 0.0, LENGTH)
MIDDLE = Dipole(1.0, 1.0, 1.0)


def gluckstern(points: int) -> float:
    """Return A_N of N + 1 equidistant points (Gluckstern 1963): sigma of the curvature is eps sqrt(A_N) / L^2."""
    n = points - 1
    return 720 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3))


def kappa_sigma(z: FloatArray, covariance: FloatArray, dipole: Dipole = EVERYWHERE) -> float:
    return math.sqrt(weighted_fit(basis(z, dipole), covariance)[1][2, 2])


@pytest.mark.parametrize("points", [3, 4, 5, 8, 20, 200])
def test_equidistant_points_resolve_as_gluckstern_found(points: int) -> None:
    z, eps = np.linspace(0, LENGTH, points), 1e-4
    expected = eps * math.sqrt(gluckstern(points)) / LENGTH**2 / (CURVATURE_GEV_PER_T_M * FIELD)
    assert kappa_sigma(z, eps**2 * np.eye(points)) == pytest.approx(expected, rel=1e-9)


def test_many_points() -> None:
    """PDG 2024, eq. 35.42: A_N = 720 / (N + 4) for uniform spacing of many points."""
    assert gluckstern(200) == pytest.approx(720 / 204, rel=2e-4)


@pytest.mark.parametrize("dipole", [EVERYWHERE, MIDDLE])
def test_a_quarter_at_each_end_and_half_in_the_middle(dipole: Dipole) -> None:
    """The sagitta has the variance eps^2 (1/m + (1/k + 1/k) / 4) with m points in the middle, k at each end."""
    z = np.repeat([0.0, LENGTH / 2, LENGTH], [2, 4, 2])
    sagitta = dipole.bend(LENGTH) / 2 - dipole.bend(LENGTH / 2)
    assert kappa_sigma(z, np.eye(8) * 1e-8, dipole) == pytest.approx(1e-4 * math.sqrt(0.5) / float(sagitta), rel=1e-6)


def test_the_best_places_in_a_homogeneous_field() -> None:
    """sigma of the curvature = eps sqrt(256 / N) / L^2 (Gluckstern 1963)."""
    z = np.repeat([0.0, LENGTH / 2, LENGTH], [2, 4, 2])
    expected = 1e-4 * math.sqrt(256 / 8) / LENGTH**2 / (CURVATURE_GEV_PER_T_M * FIELD)
    assert kappa_sigma(z, np.eye(8) * 1e-8) == pytest.approx(expected, rel=1e-9)


@given(z=st.lists(st.floats(0, LENGTH), min_size=8, max_size=8, unique=True), middle=st.booleans())
def test_no_other_places_are_better(z: list[float], middle: bool) -> None:
    dipole = MIDDLE if middle else EVERYWHERE
    best = kappa_sigma(np.repeat([0.0, LENGTH / 2, LENGTH], [2, 4, 2]), np.eye(8) * 1e-8, dipole)
    design = basis(np.array(z), dipole)
    if np.linalg.cond(design) < 1e6:
        assert math.sqrt(weighted_fit(design, np.eye(8) * 1e-8)[1][2, 2]) >= best * (1 - 1e-6)


def continuous_medium(points: int, error: float) -> tuple[FloatArray, FloatArray]:
    """Return points in a medium that scatters by 1 mrad in all, and their covariance in m^2."""
    z = np.linspace(0, LENGTH, points)
    gaps = np.full(points - 1, 1e-3 / math.sqrt(points - 1))
    return z, scattering_covariance(z, np.zeros(points), gaps) + error**2 * np.eye(points)


def test_scattering_with_equal_weights() -> None:
    """Equal weights in a continuous medium: the variance of the bending angle is 10 / 7 of that of scattering.

    That is the constant 1.43 of Gluckstern (1963) for many points.
    """
    z, covariance = continuous_medium(401, 1e-9)
    weights, _ = weighted_fit(basis(z, EVERYWHERE), np.eye(len(z)))
    variance = weights[2] @ covariance @ weights[2] * (CURVATURE_GEV_PER_T_M * FIELD * LENGTH) ** 2
    assert variance == pytest.approx(10 / 7 * 1e-6, rel=3e-3)


def test_scattering_with_the_full_covariance() -> None:
    """Perfect points: the best estimate uses the directions at both ends alone, with the variance of scattering."""
    z, covariance = continuous_medium(401, 1e-9)
    sigma = kappa_sigma(z, covariance) * CURVATURE_GEV_PER_T_M * FIELD * LENGTH
    assert sigma == pytest.approx(1e-3, rel=2e-3)
    assert sigma > 1e-3


def test_the_full_covariance_is_never_worse_than_equal_weights() -> None:
    for error in (1e-6, 1e-4, 1e-2):
        z, covariance = continuous_medium(9, error)
        plain, _ = weighted_fit(basis(z, EVERYWHERE), np.eye(9))
        assert kappa_sigma(z, covariance) <= math.sqrt(plain[2] @ covariance @ plain[2])


def random_planes(seed: int, n: int = 7) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Draw positions, angles of planes and gaps, and errors of measurement."""
    rng = np.random.default_rng(seed)
    z = np.sort(rng.uniform(0, LENGTH, n))
    return z, rng.uniform(0, 1e-3, n), rng.uniform(0, 1e-3, n - 1), rng.uniform(2e-5, 2e-4, n)


def filtered(
    z: FloatArray, planes: FloatArray, gaps: FloatArray, errors: FloatArray, positions: FloatArray, seen: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return kappa and its variance for tracks [planes, tracks]."""
    steps = Steps.between(z[:, None], MIDDLE, planes[:, None], gaps[:, None])
    variances = np.broadcast_to(errors[:, None] ** 2, positions.shape)
    return filter_kappa(positions, seen > 0, variances, steps)


@pytest.mark.parametrize("seed", range(10))
def test_the_filter_is_the_fit_with_the_full_covariance(seed: int) -> None:
    """Estimate and variance agree for any missing hits; planes without a hit still scatter."""
    z, planes, gaps, errors = random_planes(seed)
    rng = np.random.default_rng(seed + 100)
    tracks = rng.normal(0, (0.01, 0.05, 0.1), (5, 3))
    positions = basis(z, MIDDLE) @ tracks.T + rng.normal(0, 1e-4, (7, 5))
    seen = np.ones((7, 5))
    seen[rng.permutation(7)[:2], 1] = 0
    seen[rng.permutation(7)[:3], 2] = 0
    kappa, variance = filtered(z, planes, gaps, errors, positions, seen)
    covariance = scattering_covariance(z, planes, gaps) + np.diag(errors**2)
    for track in range(5):
        there = np.flatnonzero(seen[:, track])
        weights, parameters = weighted_fit(basis(z[there], MIDDLE), covariance[np.ix_(there, there)])
        assert math.sqrt(variance[track] / parameters[2, 2]) == pytest.approx(1, rel=1e-3)
        assert kappa[track] == pytest.approx(
            weights[2] @ positions[there, track], abs=3e-3 * math.sqrt(variance[track])
        )


def test_a_plane_without_matter_and_hit_changes_nothing() -> None:
    """A gap in two parts scatters like the whole: angles add in quadrature as the roots of the parts."""
    z, planes, gaps, errors = random_planes(3)
    positions = np.random.default_rng(5).normal(0, 0.1, (7, 4))
    plain = filtered(z, planes, gaps, errors, positions, np.ones((7, 4)))
    share = 0.3
    z2 = np.insert(z, 4, z[3] + share * (z[4] - z[3]))
    gaps2 = np.insert(gaps, 4, gaps[3] * math.sqrt(1 - share))
    gaps2[3] *= math.sqrt(share)
    more = filtered(
        z2,
        np.insert(planes, 4, 0.0),
        gaps2,
        np.insert(errors, 4, 1e-4),
        np.insert(positions, 4, 0.0, axis=0),
        np.insert(np.ones((7, 4)), 4, 0.0, axis=0),
    )
    np.testing.assert_allclose(more, plain, rtol=1e-6)


def test_too_few_hits_know_nothing() -> None:
    z, planes, gaps, errors = random_planes(0)
    seen = np.zeros((7, 2))
    seen[:2, 1] = 1
    _, variance = filtered(z, planes, gaps, errors, np.zeros((7, 2)), seen)
    assert (variance > 100).all()


def test_fits_of_many_designs_at_once() -> None:
    layouts = [random_planes(seed) for seed in range(3)]
    z, planes, gaps, errors = (np.stack(parts) for parts in zip(*layouts, strict=True))
    covariance = scattering_covariance(z, planes, gaps) + np.eye(7) * errors[:, None] ** 2
    weights, parameters = weighted_fit(basis(z, MIDDLE), covariance)
    assert weights.shape == (3, 3, 7)
    for i, layout in enumerate(layouts):
        single = scattering_covariance(*layout[:3]) + np.diag(layout[3] ** 2)
        np.testing.assert_allclose(parameters[i], weighted_fit(basis(layout[0], MIDDLE), single)[1], rtol=1e-9)


def test_the_weights_reproduce_every_track() -> None:
    z, planes, gaps, errors = random_planes(2)
    weights, _ = weighted_fit(basis(z, MIDDLE), scattering_covariance(z, planes, gaps) + np.diag(errors**2))
    np.testing.assert_allclose(weights @ basis(z, MIDDLE), np.eye(3), atol=1e-9)


def test_field_free_before_constant_inside_straight_behind() -> None:
    unit = CURVATURE_GEV_PER_T_M * MIDDLE.field
    np.testing.assert_allclose(MIDDLE.bend([0.0, 1.0, 1.5, 2.0, 4.0]), unit * np.array([0, 0, 0.125, 0.5, 2.5]))
    np.testing.assert_allclose(MIDDLE.kick([0.0, 1.0, 1.5, 2.0, 4.0]), unit * np.array([0, 0, 0.5, 1.0, 1.0]))


@pytest.mark.parametrize(("slope", "momentum"), [(0.0, 20.0), (0.05, 20.0), (-0.05, -5.0), (0.05, 2.0)])
def test_the_parabola_is_the_circle_to_second_order(slope: float, momentum: float) -> None:
    """The displacement by the field differs by the factor 1 + 3/2 of the squared slope on the way."""
    z = np.linspace(0.1, 1.0, 5)
    field = Dipole(1.0, 0.0, 1.0)
    bent = arc(z, slope, 1 / momentum, 1.0) - slope * z
    steepest = abs(slope) + float(field.kick(1.0)) / abs(momentum)
    np.testing.assert_allclose(bent, field.bend(z) / momentum, rtol=1.8 * steepest**2)


def test_tracks_that_curl_up_have_no_end() -> None:
    assert np.isnan(arc(10.0, 0.0, 1.0, 1.0))


@pytest.mark.parametrize("arguments", [(math.nan, 0.0, 1.0), (1.0, math.inf, 1.0), (1.0, 0.0, 0.0), (1.0, 0.0, -1.0)])
def test_impossible_dipoles(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(DesignError, match="a dipole needs finite"):
        Dipole(*arguments)


def test_exact_path_is_line_circle_line() -> None:
    """Against the equation of motion in 4000 steps: curvature of the path is 0.3 B kappa inside the dipole."""
    slope, kappa, step = 0.05, 0.3, 1e-3
    x, angle = 0.0, math.atan(slope)
    for index in range(4000):
        inside = MIDDLE.start <= (index + 0.5) * step < MIDDLE.start + MIDDLE.length
        turn = CURVATURE_GEV_PER_T_M * MIDDLE.field * kappa * step if inside else 0.0
        end = math.asin(math.sin(angle) + turn)
        x += step * math.tan((angle + end) / 2)
        angle = end
    assert exact_path(4.0, slope, kappa, MIDDLE) == pytest.approx(x, rel=1e-6)


def test_exact_path_begins_as_its_first_order() -> None:
    """At slopes and curvatures of 1e-4 both agree to 1e-7 of the path; tracks that curl up have no end."""
    z = np.array([0.5, 1.5, 4.0])
    linear = 1e-4 * z + 1e-4 * MIDDLE.bend(z)
    np.testing.assert_allclose(exact_path(z, 1e-4, 1e-4, MIDDLE), linear, rtol=1e-7)
    assert np.isnan(exact_path(4.0, 0.0, 5.0, MIDDLE))
