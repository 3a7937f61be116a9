"""Fit straight tracks through detector planes, and find where two come closest: the vertex of a scattering.

A track is a line x(z) = x0 + tx (z - z0), y(z) = y0 + ty (z - z0). Lengths in m.
Arrays have the shape [axes, tracks]: x and y first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINGULAR = 1e-12
"""Smallest squared spread of planes (in m2, weighted mean) or of slopes that still gives a result."""


@dataclass(frozen=True)
class Tracks:
    """Straight tracks with their uncertainties.

    Attributes:
        slope: tx, ty, [2, tracks].
        middle: weighted mean z of a track's hits, [1 or 2, tracks]; position and slope are uncorrelated there.
        position: x, y at `middle`, [2, tracks].
        slope_variance, position_variance: [1 or 2, tracks], of slope and of position at `middle`.
        good: whether there were hits at two or more heights, [tracks]. Other tracks hold finite, meaningless values.
    """

    slope: FloatArray
    middle: FloatArray
    position: FloatArray
    slope_variance: FloatArray
    position_variance: FloatArray
    good: NDArray[np.bool_]

    def at(self, z: FloatArray) -> FloatArray:
        """Return x and y, [2, tracks], at heights z, [tracks]."""
        result: FloatArray = self.position + self.slope * (z - self.middle)
        return result

    def variance_at(self, z: FloatArray) -> FloatArray:
        """Return the variances of x and y in m2, [1 or 2, tracks], at heights z, [tracks]."""
        result: FloatArray = self.position_variance + self.slope_variance * (z - self.middle) ** 2
        return result

    def take(self, chosen: NDArray[np.int64]) -> Tracks:
        """Select tracks by their indices `chosen`."""
        arrays = (self.slope, self.middle, self.position, self.slope_variance, self.position_variance)
        slope, middle, position, slope_variance, position_variance = (each[..., chosen] for each in arrays)
        return Tracks(slope, middle, position, slope_variance, position_variance, self.good[chosen])


def fit_tracks(planes: FloatArray, hits: FloatArray, weights: FloatArray) -> Tracks:
    """Fit straight lines through hits by weighted least squares.

    Args:
        planes: heights z of the detector planes, [planes].
        hits: x and y, [2, planes, tracks].
        weights: 1 / variance of a hit, 0 where there is no hit, [1 or 2, planes, tracks] (1: x and y alike).

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
        good: whether the lines are not parallel, [pairs]. The other pairs hold finite, meaningless values.
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray
    distance: FloatArray
    good: NDArray[np.bool_]


def closest_approach(
    first: FloatArray, first_slope: FloatArray, second: FloatArray, second_slope: FloatArray, plane: float = 0.0
) -> ClosestApproach:
    """Find where pairs of lines come closest, in closed form.

    The directions are d = (tx, ty, 1); w is the separation in the plane. The shortest connection w + s d1 - t d2 is
    orthogonal to d1 and d2. This gives two linear equations for the heights s and t above the plane.

    Args:
        first, second: x and y of the lines at z = `plane`, [2, pairs].
        first_slope, second_slope: tx and ty of the lines, [2, pairs].
        plane: z in m.

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
    """Estimate the standard error of the height of closest approach, to first order, in m, [pairs].

    D(z) is the separation of the tracks and the kink T is the difference of their slopes. At the vertex T D(z) = 0.
    Errors of D and T move its height by dz = -(T dD + D dT) / T^2. Their correlation cancels, as T D = 0, where x and y
    are measured equally well. D is taken in a horizontal plane, which is right for small slopes.

    Args:
        incoming, outgoing: tracks above and below the vertex, [pairs].
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
