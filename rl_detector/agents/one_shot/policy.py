"""The policy of one-shot design: categoricals for the choices, and a Gaussian for the coordinates given the choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rl_detector.agents.critic.choices import Choices
from rl_detector.space import Encoding, FloatArray

LOGIT_STEP = 0.5
"""Step of a logit per unit of advantage."""

LEAST_LOGIT = -8.0
"""Logits fall no further below the largest one."""


class OneShotPolicy:
    """pi(a) = product of Cat(choice) x N(coordinates; mean of these choices, scale scale^T), in encoded units.

    The mean for choices other than the policy's own comes from the critic, see `Improvement.mean`.

    Attributes:
        choices: of the space.
        mean: of the coordinates for the policy's own choices, [c].
        own: the policy's own choices, the best it knows, [k].
        scale: symmetric root of the covariance of the coordinates, [c, c].
        logits: of the categoricals, [options of all choices].
        turnover: probability that a choice drawn from the categoricals may differ from the policy's own.
        sigma: initial and largest spread, in units of half the box.

    Args:
        first: the design around which it starts.
        options: number of options of every choice.
        sigma: initial and largest spread, in units of half the box.
        sigma_minimum: smallest spread.
        exploration: probability shared out among all options of a choice.
    """

    def __init__(
        self, first: Encoding, options: Sequence[int], sigma: float, sigma_minimum: float, exploration: float
    ) -> None:
        self.choices = Choices(options)
        self.mean, self.own = first.continuous.copy(), first.discrete.copy()
        self.scale = np.eye(len(self.mean)) * sigma
        self.logits = np.zeros(self.choices.width)
        self.turnover = 1.0
        self.sigma, self._sigma_minimum, self._exploration = sigma, sigma_minimum, exploration

    @property
    def centre(self) -> Encoding:
        """The mean and the policy's own choices."""
        return Encoding(self.mean, self.own)

    @property
    def columns(self) -> FloatArray:
        """Columns of the policy's own choices, [options of all choices]."""
        columns: FloatArray = self.choices.columns(self.own[None])[0]
        return columns

    @property
    def probabilities(self) -> FloatArray:
        """Of all options of all choices: the softmax of the logits, mixed with equal probabilities."""
        return self.choices.softmax(self.logits) * (1 - self._exploration) + self._exploration * self.choices.equal

    @property
    def spread(self) -> float:
        """Mean standard deviation of the coordinates, in units of half the box; 0 without coordinates."""
        return float(np.sqrt((self.scale**2).sum(axis=1)).mean()) if len(self.mean) else 0.0

    def deviations(self, rng: np.random.Generator, n: int, antithetic: bool) -> FloatArray:
        """Draw n deviations of the coordinates from their mean, in pairs d, -d if antithetic, [n, c]."""
        rows, width = (n + 1) // 2 if antithetic else n, len(self.mean)
        drawn = rng.standard_normal((rows, width))
        if antithetic:
            drawn = np.stack([drawn, -drawn], axis=1).reshape(2 * rows, width)[:n]
        result: FloatArray = drawn @ self.scale.T
        return result

    def move_logits(self, advantages: FloatArray) -> None:
        """Step along the natural gradient of the logits, the advantages of all options."""
        logits = self.logits + np.clip(LOGIT_STEP * advantages, -1, 1)
        self.logits = np.maximum(logits - self.choices.largest(logits), LEAST_LOGIT)

    def stretch(self, shape: FloatArray, rate: float, common: float) -> None:
        """Multiply spreads by exp(rate x eigenvalue) along the axes of a matrix [c, c], and all by exp(common).

        Eigenvalues count up to +-0.5. Spreads stay between their bounds.
        """
        values, vectors = np.linalg.eigh(shape)
        stretched = self.scale @ (vectors * np.exp(rate * np.clip(values, -0.5, 0.5))) @ vectors.T
        values, vectors = np.linalg.eigh(stretched @ stretched.T * math.exp(2 * common))
        spread = np.clip(np.sqrt(np.maximum(values, 0)), self._sigma_minimum, self.sigma)
        self.scale = (vectors * spread) @ vectors.T

    def narrow_turnover(self) -> None:
        """Let as large a share of the choices change as the width of the policy is of the first one; one at least."""
        width = min(math.sqrt((self.scale**2).sum(axis=1).mean()) / self.sigma, 1.0)
        self.turnover = max(width, 1 / len(self.own))

    def state_dict(self) -> dict[str, torch.Tensor | float]:
        """Tensors and plain values."""
        arrays = {"mean": self.mean, "own": self.own, "scale": self.scale, "logits": self.logits}
        return {**{name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, "turnover": self.turnover}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | float]) -> None:
        """Go on from a `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value.numpy().copy() if isinstance(value, torch.Tensor) else value)
