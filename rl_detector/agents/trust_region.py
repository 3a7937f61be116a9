"""The largest value of a quadratic function in a ball."""

from __future__ import annotations

import numpy as np

from rl_detector.space import FloatArray


class TrustRegion:
    """Steps d that maximise b . d + d . H . d / 2 with |d| <= radius (Conn, Gould, Toint, Trust-region methods, 7.3).

    Args:
        hessian: H, [c, c], symmetric, of any signature.
        radius: largest length of a step.
    """

    def __init__(self, hessian: FloatArray, radius: float) -> None:
        self._values, self._vectors = np.linalg.eigh(hessian)
        self._radius = radius

    def step(self, gradient: FloatArray) -> FloatArray:
        """The best step for a gradient b [c], [c]."""
        b = self._vectors.T @ gradient
        result: FloatArray = self._vectors @ (b / (self.damping(gradient) - self._values))
        return result

    def damping(self, gradient: FloatArray) -> float:
        """The multiplier m >= 0 for which (m - H)^-1 b is the best step; above the largest eigenvalue of H."""
        b = self._vectors.T @ gradient
        largest = float(self._values.max())
        if largest < -1e-9 and np.linalg.norm(b / -self._values) <= self._radius:
            return 0.0
        low = max(largest, 0.0) + 1e-9
        high = low + float(np.linalg.norm(b)) / self._radius + 1e-9  # there |step| <= radius
        for _ in range(60):
            middle = (low + high) / 2
            too_long = np.linalg.norm(b / (middle - self._values)) > self._radius
            low, high = (middle, high) if too_long else (low, middle)
        return float(high)

    def gain(self, gradients: FloatArray, damping: float) -> FloatArray:
        """What the best steps gain for gradients [n, c] with a common multiplier, [n]: b (m - H)^-1 b / 2."""
        b = gradients @ self._vectors
        result: FloatArray = (b**2 / (damping - self._values)).sum(axis=1) / 2
        return result
