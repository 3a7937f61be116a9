"""Straight tracks through detector planes, and where two tracks come closest: the vertex of a scattering.

A track is a line x(z) = x0 + tx (z - z0), y(z) = y0 + ty (z - z0). Lengths in m.
Arrays have the shape [axes, tracks]: x and y first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINGULAR = 1e-12
"""Variance of planes in m^2, weighted, or squared difference of slopes, below which there is no result."""


@dataclass(frozen=True)
class Tracks:
    """Straight tracks with their uncertainties.

    Attributes:
        slope: tx, ty, [2, tracks].
        middle: weighted mean z of the hits of a track, where position and slope are uncorrelated, [1 or 2, tracks].
        position: x, y at `middle`, [2, tracks].
        slope_variance, position_variance: [1 or 2, tracks], of slope and of position at `middle`.
        good: whether there were hits at two heights at least, [tracks]; the other tracks hold finite nonsense.
    """

    slope: FloatArray
    middle: FloatArray
    position: FloatArray
    slope_variance: FloatArray
    position_variance: FloatArray
    good: NDArray[np.bool_]

    def at(self, z: FloatArray) -> FloatArray:
        """x and y at heights z [tracks], [2, tracks]."""
        result: FloatArray = self.position + self.slope * (z - self.middle)
        return result

    def variance_at(self, z: FloatArray) -> FloatArray:
        """Variance of x and y at heights z [tracks], [1 or 2, tracks]."""
        result: FloatArray = self.position_variance + self.slope_variance * (z - self.middle) ** 2
        return result

    def take(self, chosen: NDArray[np.int64]) -> Tracks:
        """Some of the tracks."""
        arrays = (self.slope, self.middle, self.position, self.slope_variance, self.position_variance)
        slope, middle, position, slope_variance, position_variance = (each[..., chosen] for each in arrays)
        return Tracks(slope, middle, position, slope_variance, position_variance, self.good[chosen])


def fit_tracks(planes: FloatArray, hits: FloatArray, weights: FloatArray) -> Tracks:
    """Weighted least squares of straight lines through hits.

    Args:
        planes: heights z of the detector planes, [planes].
        hits: x and y, [2, planes, tracks].
        weights: 1 / variance of a hit, 0 where there is none, [1 or 2, planes, tracks] (1: x and y alike).

    Examples:
        >>> planes = np.array([0.0, 1.0, 2.0])
        >>> hits = np.array([[[0.0], [1.0], [2.0]], [[3.0], [3.0], [3.0]]])
        >>> tracks = fit_tracks(planes, hits, weights=np.ones((1, 3, 1)))
        >>> tracks.slope[:, 0], tracks.at(np.array([5.0]))[:, 0]
        (array([1., 0.]), array([5., 3.]))
    """
    centred = planes - planes.mean()
    powers = np.stack([np.ones_like(centred), centred, centred**2])
    s0, s1, s2 = np.moveaxis(powers @ weights, 1, 0)
    sx, sxz = np.moveaxis(powers[:2] @ (weights * hits), 1, 0)
    total = np.where(s0 > 0, s0, 1.0)
    mean = s1 / total
    spread = s2 - s1 * mean  # sum of w (z - mean)^2
    good: NDArray[np.bool_] = (spread > SINGULAR * total).all(axis=0)
    lever = np.where(good, spread, 1.0)
    slope = (sxz - mean * sx) / lever
    return Tracks(slope, mean + planes.mean(), sx / total, 1 / lever, 1 / total, good)


@dataclass(frozen=True)
class ClosestApproach:
    """Where pairs of lines come closest.

    Attributes:
        x, y, z: middle of the shortest connection, [pairs].
        distance: its length, [pairs].
        good: whether the lines are not parallel, [pairs]; the others hold finite nonsense.
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray
    distance: FloatArray
    good: NDArray[np.bool_]


def closest_approach(
    first: FloatArray, first_slope: FloatArray, second: FloatArray, second_slope: FloatArray, plane: float = 0.0
) -> ClosestApproach:
    """Points of closest approach of lines, in closed form.

    With d = (tx, ty, 1) and the separation w in the plane, the connection is shortest where it is perpendicular to both
    lines. So w + s d1 - t d2 is orthogonal to d1 and d2, which gives two linear equations for the heights s and t.

    Args:
        first, second: x and y of the lines at z = `plane`, [2, pairs].
        first_slope, second_slope: [2, pairs].
        plane: in m.

    Examples:
        >>> along_x = np.zeros((2, 1)), np.array([[1.0], [0.0]])
        >>> along_y = np.zeros((2, 1)), np.array([[0.0], [1.0]])
        >>> vertex = closest_approach(*along_x, *along_y)
        >>> float(vertex.z[0]), float(vertex.distance[0])
        (0.0, 0.0)
    """
    w = first - second
    a = 1 + (first_slope**2).sum(axis=0)
    b = 1 + (first_slope * second_slope).sum(axis=0)
    c = 1 + (second_slope**2).sum(axis=0)
    d, e = (first_slope * w).sum(axis=0), (second_slope * w).sum(axis=0)
    cross = (first_slope[0] * second_slope[1] - first_slope[1] * second_slope[0]) ** 2
    determinant = ((first_slope - second_slope) ** 2).sum(axis=0) + cross  # a c - b^2 without cancellation
    good: NDArray[np.bool_] = determinant > SINGULAR
    scale = 1 / np.where(good, determinant, 1.0)
    s, t = (b * e - c * d) * scale, (a * e - b * d) * scale
    one, two = first + first_slope * s, second + second_slope * t
    x, y = (one + two) / 2
    distance = np.sqrt(((one - two) ** 2).sum(axis=0) + (s - t) ** 2)
    return ClosestApproach(x, y, plane + (s + t) / 2, distance, good)


def vertex_height_error(incoming: Tracks, outgoing: Tracks, z: FloatArray) -> FloatArray:
    """Standard error of the height of closest approach from those of the two tracks, to first order, [pairs].

    The height where the separation D(z) of the tracks is smallest solves T D(z) = 0 with the kink T, the difference of
    slopes. Errors of D at z and of T move it by dz = -(T dD + D dT) / T^2. Terms that change D and T together cancel
    where x and y are measured alike, as T D = 0. Slopes are taken as small in the choice of the plane.

    Args:
        incoming, outgoing: tracks on both sides.
        z: heights of closest approach, [pairs].

    Examples:
        >>> def line(slope):
        ...     planes = np.array([0.0, 1.0])
        ...     hits = np.stack([slope * planes, 0 * planes])[..., None]
        ...     return fit_tracks(planes, hits, np.full((1, 2, 1), 1e6))
        >>> errors = [vertex_height_error(line(0.0), line(kink), np.zeros(1)) for kink in (0.01, 0.1)]
        >>> [round(float(error[0]), 4) for error in errors]
        [0.1414, 0.0141]
    """
    kink = outgoing.slope - incoming.slope
    separation = outgoing.at(z) - incoming.at(z)
    moved = kink**2 * (incoming.variance_at(z) + outgoing.variance_at(z))
    turned = separation**2 * (incoming.slope_variance + outgoing.slope_variance)
    squared = np.maximum((kink**2).sum(axis=0), SINGULAR)
    error: FloatArray = np.sqrt((moved + turned).sum(axis=0)) / squared
    return error
