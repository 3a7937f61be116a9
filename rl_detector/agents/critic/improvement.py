"""The policy that a critic prefers: the mean of the coordinates for any choices, and the worth of the choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from rl_detector.agents.critic.kernels import Points
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.strengths import Variances
from rl_detector.agents.critic.taylor import Taylor
from rl_detector.agents.critic.trust_region import TrustRegion
from rl_detector.space import FloatArray

Value = Callable[[FloatArray], FloatArray]
"""Columns of choices [n, m] -> their worth, [n]."""


ELSEWHERE = 3.0
"""Radius of the trust region for choices other than the policy's own, over that for its own, without foresight.

Other choices have their best coordinates elsewhere."""


CAUTION = 2.0
"""Standard deviations by which a lower confidence bound lies below the mean."""


class Improvement:
    """The critic around the policy that it was fitted for, and the best step from there.

    Args:
        critic: fitted around the policy.
        mean: of the policy's coordinates, [c].
        scale: symmetric root of their covariance, [c, c].
        w: columns of the policy's choices, [m].
        bounded: whether steps stay in the box; else they are clipped.
        foresight: of the critic, from 0 to 1.

    Attributes:
        taylor: the critic's derivatives there.
        hessian: those by two coordinates, [c, c].
    """

    def __init__(
        self, critic: Critic, mean: FloatArray, scale: FloatArray, w: FloatArray, bounded: bool, foresight: float = 0.0
    ) -> None:
        self.critic, self.w = critic, w
        self._start, self._scale, self._bounded = mean, scale, bounded
        self.taylor = critic.taylor(w)
        self.hessian = self.taylor.hessian[: len(mean), : len(mean)]
        self._radius = max(1.0, math.sqrt(len(mean)) / 4)
        self._elsewhere, self._foresight = self._radius_elsewhere(foresight), foresight
        self._region = TrustRegion(self.hessian, mean, scale, bounded)
        self._smooth = critic.smooth_at(w[None])[1]
        self._best = self._region.solve(self.taylor.gradients(w[None])[0], self._radius)

    def _radius_elsewhere(self, foresight: float) -> float:
        """Radius of the trust region for other choices: with full foresight the diagonal of the box."""
        near, size = ELSEWHERE * self._radius, len(self._start)
        diagonal = 2 * size / max(float(np.linalg.norm(self._scale)), 1e-9)
        return float(near * max(diagonal / near, 1.0) ** foresight)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The data that the critic was fitted to, and the policy."""
        arrays = {**self.critic.data(), "policy_mean": self._start, "policy_scale": self._scale, "choices": self.w}
        arrays["bounded"] = np.array([self._bounded])
        arrays["foresight"] = np.array([self._foresight])
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    @staticmethod
    def restored(variances: Variances, state: Mapping[str, torch.Tensor]) -> Improvement:
        """Rebuild it from its `state_dict`, with the variances after the fit."""
        arrays = {name: tensor.numpy().copy() for name, tensor in state.items()}
        mean, scale, best = (arrays.pop(name) for name in ("policy_mean", "policy_scale", "choices"))
        bounded, foresight = bool(arrays.pop("bounded")[0]), float(arrays.pop("foresight")[0])
        return Improvement(Critic.refitted(variances, arrays), mean, scale, best, bounded, foresight)

    def mean(self, w: FloatArray) -> FloatArray:
        """The new mean of the coordinates for choices w [m]: the critic's maximum in trust region and box, [c]."""
        if np.array_equal(w, self.w):
            step = self._best.step
        else:
            gradients = self._gradients(w[None], self.critic.smooth_at(w[None])[1])[0]
            step = self._region.solve(gradients, self._elsewhere).step
        result: FloatArray = np.clip(self._start + self._scale @ step, -1, 1)
        return result

    def cautious_value(self, mean: FloatArray, w: FloatArray) -> float:
        """Lower confidence bound of the critic for the design with coordinates mean [c] and choices w [m]."""
        value, deviation = self.critic.values_at(self._designs(mean[None], w[None]))
        return float(value[0] - CAUTION * deviation[0])

    def expected(self, continuous: FloatArray, w: FloatArray) -> FloatArray:
        """Posterior mean for designs with coordinates [n, c], clipped to the box, and choices w [n, m], [n]."""
        return self.critic.means_at(self._designs(np.clip(continuous, -1, 1), w))

    def _designs(self, continuous: FloatArray, w: FloatArray) -> Points:
        """Designs of no batch in the critic's coordinates."""
        n, points = len(w), self.critic.points
        z = np.asarray(np.linalg.solve(self._scale, (continuous - self._start).T).T, dtype=np.float64)
        x = np.asarray(z @ points.scale.T, dtype=np.float64)
        return Points(x, points.scale, z, w, np.ones(n), np.full(n, -1), points.choice_count)

    def _gradients(self, w: FloatArray, smooth: FloatArray) -> FloatArray:
        """Gradient of the critic in z for choices w [n, m], of which `smooth` [n, c] is the smooth part, [n, c]."""
        return self.taylor.gradients(w) + smooth - self._smooth

    def value(self, w: FloatArray) -> FloatArray:
        """Worth of choices w [n, m] to the critic, each with its best coordinates, [n]."""
        values, gradients = self.critic.smooth_at(w)
        return self._worth(self.taylor, w, self._gradients(w, gradients)) + values

    def _worth(self, taylor: Taylor, w: FloatArray, gradients: FloatArray) -> FloatArray:
        return taylor.values(w) + self._best.gain(gradients, self._elsewhere)

    def drawn_values(self, rng: np.random.Generator, n: int) -> list[Value]:
        """Worth of choices to n draws from the critic's posterior; all take the smooth kernels at their mean."""
        return [partial(self._drawn_value, draw) for draw in self.critic.draw(rng, n)]

    def _drawn_value(self, draw: Taylor, w: FloatArray) -> FloatArray:
        values, gradients = self.critic.smooth_at(w)
        return self._worth(draw, w, draw.gradients(w) + gradients) + values

    def cautious_values(self, w: FloatArray) -> FloatArray:
        """Lower confidence bound of choices w [n, m], each with its best coordinates, [n].

        Choices that look good only because little is known of them fall back.
        """
        means = np.array([self.mean(row) for row in w]).reshape(len(w), len(self._start))
        values, deviations = self.critic.values_at(self._designs(means, w))
        return values - CAUTION * deviations
