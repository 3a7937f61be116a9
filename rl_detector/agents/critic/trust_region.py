"""The largest value of a quadratic function in a ball within the box of the designs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rl_detector.space import FloatArray


@dataclass(frozen=True)
class Solution:
    """The best step, and the function in the directions that the box leaves free.

    Attributes:
        step: d, [c].
        directions: orthonormal, in columns, and such that H is diagonal along them: [c, free].
        curvatures: of H along them, [free].
        damping: the multiplier m >= 0 of the ball: d = (m - H)^-1 b in the free directions.
    """

    step: FloatArray
    directions: FloatArray
    curvatures: FloatArray
    damping: float

    def gain(self, gradients: FloatArray, radius: float) -> FloatArray:
        """b.d + d.H.d / 2 of steps d for other gradients b [n, c], with this multiplier and |d| <= radius, [n]."""
        b = gradients @ self.directions
        steps = b / (self.damping - self.curvatures)
        steps *= np.minimum(1, radius / np.maximum(np.linalg.norm(steps, axis=1), 1e-12))[:, None]
        result: FloatArray = (steps * b + steps**2 * self.curvatures / 2).sum(axis=1)
        return result


@dataclass(frozen=True)
class TrustRegion:
    """Steps d that maximise b.d + d.H.d / 2 with |d| <= radius and start + scale d in the box [-1, 1]^c.

    The multiplier of the ball is found by bisection (Conn, Gould, Toint, Trust-region methods, 7.3). Coordinates that a
    step would take out of the box are held at its faces, and the best step of the others is sought again (active sets:
    Nocedal and Wright, Numerical Optimization, 2006, section 16.5, without release). Clipping the step would be wrong:
    the scale ties coordinates together, and clipping moves one without the other.

    Attributes:
        hessian: H, [c, c], symmetric, of any signature.
        start: where the steps begin, in the box: [c].
        scale: coordinates of the box per unit of d, [c, c].
        bounded: whether steps stay in the box.
    """

    hessian: FloatArray
    start: FloatArray
    scale: FloatArray
    bounded: bool = True

    def solve(self, gradient: FloatArray, radius: float) -> Solution:
        """The best step for a gradient b [c]."""
        faces = np.zeros(len(self.start))
        while True:
            solution = self._in_faces(gradient, radius, faces)
            target = self.start + self.scale @ solution.step
            leaving = (np.abs(target) > 1 + 1e-9) & (faces == 0)
            if not (self.bounded and leaving.any()):
                return solution
            faces = np.where(leaving, np.sign(target), faces)

    def _in_faces(self, gradient: FloatArray, radius: float, faces: FloatArray) -> Solution:
        """The best step with each coordinate j at the face faces_j, where that is -1 or 1."""
        held = np.flatnonzero(faces)
        free, offset = _null_space(self.scale[held], (faces - self.start)[held])
        values, vectors = np.linalg.eigh(free.T @ self.hessian @ free)
        directions = free @ vectors
        b = directions.T @ (gradient + self.hessian @ offset)
        left = math.sqrt(max(radius**2 - float(offset @ offset), (0.1 * radius) ** 2))
        damping = _damping(values, b, left)
        return Solution(offset + directions @ (b / (damping - values)), directions, values, damping)


def _null_space(rows: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal directions v with rows [k, c] @ v = 0, [c, c - k], and the shortest d with rows @ d = values, [c]."""
    q, r = np.linalg.qr(rows.T, mode="complete")
    k = len(rows)
    return q[:, k:], q[:, :k] @ np.linalg.solve(r[:k].T, values)


def _damping(values: FloatArray, b: FloatArray, radius: float) -> float:
    """The multiplier m >= 0 above the largest eigenvalue of H for which |(m - H)^-1 b| <= radius."""
    if not len(values):
        return 0.0
    largest = float(values.max())
    if largest < -1e-9 and np.linalg.norm(b / -values) <= radius:
        return 0.0
    low = max(largest, 0.0) + 1e-9
    high = low + float(np.linalg.norm(b)) / radius + 1e-9  # there |step| <= radius
    for _ in range(60):
        middle = (low + high) / 2
        too_long = np.linalg.norm(b / (middle - values)) > radius
        low, high = (middle, high) if too_long else (low, middle)
    return float(high)
