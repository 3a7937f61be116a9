"""The evaluations that an agent remembers, up to the size of its memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from rl_detector.agents.critic.choices import Choices
from rl_detector.agents.critic.kernels import Points
from rl_detector.errors import SimulationError
from rl_detector.space import Encoding, FloatArray, IntArray

NEWEST_SHARE = 4
"""The memory over its part that is kept for the newest evaluations, wherever they lie."""


LARGEST_DISTANCE = 6.0
"""Largest root mean square of the whitened coordinates of a design; farther designs are drawn in to it."""


ARRAYS = ("continuous", "discrete", "rewards", "errors", "index", "batch")


class Archive:
    """Evaluated proposals in the order told; when the memory is full, those farthest from the policy are forgotten.

    Evaluations whose choices are common are forgotten first. Knowledge of rare choices would be lost for good, while
    the policy evaluates its own choices again and again.

    Attributes:
        continuous: designs, clipped to the box, [n, c].
        discrete: choices, [n, k].
        rewards: [n].
        errors: standard errors of the rewards, [n].
        index: place of each evaluation in the order told, [n].
        batch: number of the batch in which it was told, [n].
        told: number of all evaluations told.
        batches: number of all batches told.
    """

    def __init__(self, continuous: int, discrete: int, memory: int) -> None:
        self.continuous = np.zeros((0, continuous))
        self.discrete = np.zeros((0, discrete), dtype=np.int64)
        self.rewards = np.zeros(0)
        self.errors = np.zeros(0)
        self.index = np.zeros(0, dtype=np.int64)
        self.batch = np.zeros(0, dtype=np.int64)
        self.told = self.batches = 0
        self._memory = memory

    def __len__(self) -> int:
        return len(self.rewards)

    def append(
        self, actions: Encoding, rewards: FloatArray, errors: FloatArray, mean: FloatArray, scale: FloatArray
    ) -> None:
        """Add evaluations; mean [c] and scale [c, c] of the policy decide what is near."""
        if self._memory == 0:
            self._keep(np.zeros(0, dtype=np.int64))
        n = len(rewards)
        self.continuous = np.concatenate([self.continuous, np.clip(actions.continuous, -1, 1)])
        self.discrete = np.concatenate([self.discrete, actions.discrete])
        self.rewards = np.concatenate([self.rewards, rewards])
        self.errors = np.concatenate([self.errors, errors])
        self.index = np.concatenate([self.index, np.arange(self.told, self.told + n)])
        self.batch = np.concatenate([self.batch, np.full(n, self.batches)])
        self.told += n
        self.batches += 1
        if 0 < self._memory < len(self):
            self._forget(max(n, self._memory // NEWEST_SHARE), mean, scale)

    def _forget(self, newest: int, mean: FloatArray, scale: FloatArray) -> None:
        distances = (np.linalg.solve(scale, (self.continuous - mean).T) ** 2).sum(axis=0)
        distances[-newest:] = -1
        order = np.lexsort((-self.index, distances))  # of equally near ones the newest stay
        ranks = np.where(distances[order] < 0, -1, ranks_within(self.discrete[order]))
        order = order[np.argsort(ranks, kind="stable")]
        self._keep(np.sort(order[: max(self._memory, newest)]))

    def _keep(self, rows: Any) -> None:
        for name in ARRAYS:
            setattr(self, name, getattr(self, name)[rows])

    def revise(self, rewards: FloatArray) -> None:
        """Replace the rewards by revised ones of all evaluations told, in the order told.

        Raises:
            SimulationError: there is not one finite reward for each.
        """
        if rewards.shape != (self.told,) or not np.isfinite(rewards).all():
            raise SimulationError(f"expected {self.told} finite revised rewards, got an array {rewards.shape}")
        self.rewards = np.asarray(rewards, dtype=np.float64)[self.index]

    def points(
        self, mean: FloatArray, scale: FloatArray, unit: float, choices: Choices, weighted: bool = True
    ) -> Points:
        """The evaluations as a policy sees them.

        Args:
            mean: of the policy's coordinates, [c].
            scale: symmetric root of their covariance, [c, c].
            unit: length of the unit of `Points.x`.
            choices: of the space.
            weighted: whether the stated errors give the relative variances; else all are 1.
        """
        z = np.ascontiguousarray(np.linalg.solve(scale, (self.continuous - mean).T).T, dtype=np.float64)
        distances = np.sqrt((z**2).mean(axis=1)) if z.shape[1] else np.zeros(len(z))
        z = z * np.minimum(1, LARGEST_DISTANCE / np.maximum(distances, 1e-9))[:, None]
        noise: FloatArray = self.relative_variances() if weighted else np.ones(len(z))
        x, w = (self.continuous - mean) / unit, choices.columns(self.discrete)
        return Points(x, scale / unit, z, w, noise, self.batch, len(choices))

    def relative_variances(self) -> FloatArray:
        """Squared errors over their mean, between 0.03 and 30; 1 where no errors are stated, [n]."""
        squares = np.where(np.isfinite(self.errors) & (self.errors > 0), self.errors, np.nan) ** 2
        if not np.isfinite(squares).any():
            return np.ones(len(squares))
        relative: FloatArray = np.clip(np.nan_to_num(squares / np.nanmean(squares), nan=1.0), 0.03, 30)
        return relative

    def pure_error(self) -> float:
        """Mean squared stated error; infinite where none is stated."""
        squares = self.errors[np.isfinite(self.errors) & (self.errors > 0)] ** 2
        return float(squares.mean()) if len(squares) else math.inf

    def state_dict(self) -> dict[str, Any]:
        """All arrays as tensors."""
        arrays = {name: torch.from_numpy(getattr(self, name).copy()) for name in ARRAYS}
        return {"told": self.told, "batches": self.batches, **arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.told, self.batches = state["told"], state["batches"]
        for name in ARRAYS:
            setattr(self, name, state[name].numpy().copy())


def ranks_within(rows: IntArray) -> IntArray:
    """How many equal rows come before each row [n, k], [n]."""
    _, groups = np.unique(rows, axis=0, return_inverse=True)
    order, sizes = np.argsort(groups.reshape(-1), kind="stable"), np.bincount(groups.reshape(-1))
    ranks = np.empty(len(rows), dtype=np.int64)
    ranks[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks
