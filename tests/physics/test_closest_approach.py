"""Track fits and points of closest approach against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.physics.closest_approach import Tracks, closest_approach, fit_tracks, vertex_height_error

PLANES = np.array([0.0, 0.1, 0.35, 0.4])


def lines(rng: np.random.Generator, tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions at z = 0 and slopes, [2, tracks] each."""
    return rng.uniform(-1, 1, (2, tracks)), rng.uniform(-0.8, 0.8, (2, tracks))


def hits(start: np.ndarray, slope: np.ndarray, planes: np.ndarray = PLANES) -> np.ndarray:
    return start[:, None] + slope[:, None] * planes[:, None]


def test_exact_hits_give_back_the_line() -> None:
    start, slope = lines(np.random.default_rng(0), 50)
    tracks = fit_tracks(PLANES, hits(start, slope), np.ones((1, 4, 50)))
    assert tracks.good.all()
    np.testing.assert_allclose(tracks.slope, slope, atol=1e-12)
    np.testing.assert_allclose(tracks.at(np.zeros(50)), start, atol=1e-12)


@pytest.mark.parametrize("seen", [(0, 1), (0, 3), (1, 2, 3), (0, 1, 2, 3)])
def test_errors_of_a_fit_are_those_of_the_textbook(seen: tuple[int, ...]) -> None:
    """var(slope) = s^2 / sum (z - mean)^2, var(position) = s^2 (1 / n + (z - mean)^2 / sum); random fits agree."""
    rng, count, sigma = np.random.default_rng(1), 40_000, 1e-3
    start, slope = lines(rng, count)
    weights = np.zeros((1, 4, count))
    weights[:, list(seen)] = sigma**-2
    tracks = fit_tracks(PLANES, hits(start, slope) + sigma * rng.standard_normal((2, 4, count)), weights)
    used = PLANES[list(seen)]
    lever = ((used - used.mean()) ** 2).sum()
    np.testing.assert_allclose(tracks.slope_variance, sigma**2 / lever)
    np.testing.assert_allclose((tracks.slope - slope).std(axis=1), sigma / lever**0.5, rtol=0.02)
    z = np.full(count, 0.9)
    expected = sigma**2 * (1 / len(used) + (0.9 - used.mean()) ** 2 / lever)
    np.testing.assert_allclose(tracks.variance_at(z), expected)
    np.testing.assert_allclose((tracks.at(z) - start - 0.9 * slope).std(axis=1), expected**0.5, rtol=0.02)


def test_better_planes_weigh_more() -> None:
    """Two exact planes and two that are 10^4 times worse and displaced: the exact ones decide."""
    start, slope = lines(np.random.default_rng(2), 5)
    wrong = hits(start, slope) + np.array([0.0, 1.0, 1.0, 0.0])[:, None]
    weights = np.array([1e8, 1.0, 1.0, 1e8])[None, :, None] * np.ones((1, 4, 5))
    np.testing.assert_allclose(fit_tracks(PLANES, wrong, weights).slope, slope, atol=1e-6)


@pytest.mark.parametrize("seen", [(), (2,)])
def test_fewer_than_two_hits_are_no_track(seen: tuple[int, ...]) -> None:
    start, slope = lines(np.random.default_rng(3), 5)
    weights = np.zeros((1, 4, 5))
    weights[:, list(seen)] = 1e8
    tracks = fit_tracks(PLANES, hits(start, slope), weights)
    assert not tracks.good.any()
    assert all(np.isfinite(each).all() for each in (tracks.slope, tracks.position, tracks.middle))


def test_two_hits_at_one_height_are_no_track() -> None:
    start, slope = lines(np.random.default_rng(4), 5)
    planes = np.full(4, 0.2)
    assert not fit_tracks(planes, hits(start, slope, planes), np.ones((1, 4, 5))).good.any()


def test_x_and_y_may_have_their_own_weights() -> None:
    start, slope = lines(np.random.default_rng(5), 5)
    weights = np.ones((2, 4, 5))
    weights[1, 2:] = 0
    tracks = fit_tracks(PLANES, hits(start, slope), weights)
    np.testing.assert_allclose(tracks.slope, slope, atol=1e-12)
    assert (tracks.slope_variance[1] > tracks.slope_variance[0]).all()


def test_lines_that_meet_meet_where_they_do() -> None:
    rng = np.random.default_rng(6)
    vertex, z = rng.uniform(-1, 1, (2, 30)), rng.uniform(0.2, 1.2, 30)
    one, two = rng.uniform(-0.5, 0.5, (2, 2, 30))
    found = closest_approach(vertex + one * (0.7 - z), one, vertex + two * (0.7 - z), two, plane=0.7)
    np.testing.assert_allclose([found.x, found.y, found.z], [*vertex, z], atol=1e-9)
    np.testing.assert_allclose(found.distance, 0, atol=1e-9)


def test_two_known_skew_lines() -> None:
    """Along (1, 0, 1) through the origin and along (0, 0, 1) through (0, 2, 0): 2 apart, at z = 0, middle (0, 1, 0)."""
    found = closest_approach(
        np.array([[0.0], [0.0]]), np.array([[1.0], [0.0]]), np.array([[0.0], [2.0]]), np.array([[0.0], [0.0]])
    )
    np.testing.assert_allclose([found.x[0], found.y[0], found.z[0], found.distance[0]], [0, 1, 0, 2], atol=1e-12)


def test_no_other_points_are_closer() -> None:
    rng = np.random.default_rng(7)
    (first, one), (second, two) = lines(rng, 1), lines(rng, 1)
    found = closest_approach(first, one, second, two)
    s, t = np.meshgrid(np.linspace(-5, 5, 401), np.linspace(-5, 5, 401))
    between = (first - second) + one * s.reshape(1, -1) - two * t.reshape(1, -1)
    distances = np.sqrt((between**2).sum(axis=0) + (s - t).reshape(-1) ** 2)
    assert distances.min() >= found.distance[0] - 1e-12
    assert distances.min() == pytest.approx(found.distance[0], abs=1e-3)


def test_parallel_lines_have_no_point_of_closest_approach() -> None:
    slope = np.array([[0.3], [0.1]])
    found = closest_approach(np.zeros((2, 1)), slope, np.ones((2, 1)), slope)
    assert not found.good[0]
    assert np.isfinite([found.x[0], found.z[0], found.distance[0]]).all()


@pytest.mark.parametrize("kink", [(0.05, 0.0), (0.03, -0.04), (0.0, 0.2)])
def test_error_of_the_vertex_height_is_that_of_repeated_measurement(kink: tuple[float, float]) -> None:
    """A vertical muon that kinks at 0.9 m, measured with 0.1 mm at 1.45 to 1.75 m and at 0.05 to 0.35 m."""
    rng, count, sigma = np.random.default_rng(8), 20_000, 1e-4
    above, below = np.array([1.45, 1.55, 1.65, 1.75]), np.array([0.35, 0.25, 0.15, 0.05])
    turn = np.repeat(np.array(kink)[:, None], count, axis=1)
    nothing = np.zeros((2, count))
    weights = np.full((1, 4, count), sigma**-2)

    def fitted(planes: np.ndarray, slope: np.ndarray) -> Tracks:
        exact = hits(nothing, slope, planes - 0.9)
        return fit_tracks(planes, exact + sigma * rng.standard_normal(exact.shape), weights)

    incoming, outgoing = fitted(above, nothing), fitted(below, turn)
    plane = np.full(count, 0.9)
    found = closest_approach(incoming.at(plane), incoming.slope, outgoing.at(plane), outgoing.slope, 0.9)
    stated = vertex_height_error(incoming, outgoing, found.z)
    pulls = (found.z - 0.9) / stated
    assert abs(pulls.mean()) < 0.03
    assert pulls.std() == pytest.approx(1, rel=0.03)
