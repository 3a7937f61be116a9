"""What an agent remembers of its evaluations: as many as its memory holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from rl_detector.errors import SimulationError
from rl_detector.space import Encoding, FloatArray, IntArray

NEWEST_SHARE = 4
"""One in so many of the memory's places is for the newest evaluations, wherever they lie."""


ARRAYS = ("continuous", "discrete", "rewards", "errors", "index", "batch")


class Archive:
    """Evaluated proposals in the order told; when the memory is full, those farthest from the policy are forgotten.

    They are forgotten first where most evaluations share their choices: what is known of other choices would be lost
    for good, while the policy evaluates its own again and again.

    Attributes:
        continuous: designs, clipped to the box, [n, c].
        discrete: choices, [n, k].
        rewards, errors: and their standard errors, [n].
        index: number of the evaluation in the order told, [n].
        batch: number of the batch that it was told in, [n].
        told, batches: numbers of all evaluations and batches told.
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
        """Replace rewards by new judgements of all evaluations told, in the order told.

        Raises:
            SimulationError: not one finite number for each.
        """
        if rewards.shape != (self.told,) or not np.isfinite(rewards).all():
            raise SimulationError(f"expected {self.told} finite revised rewards, got an array {rewards.shape}")
        self.rewards = np.asarray(rewards, dtype=np.float64)[self.index]

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
