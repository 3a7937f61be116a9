"""Memory of an agent for a family of problems: proposals with their observations, and the scale of observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rl_detector.errors import ConfigError
from rl_detector.space import Encoding, FloatArray, IntArray

LARGEST_OBSERVATION = 3.0
"""Largest normalised observation; a context far from all seen ones counts as one at their edge."""


class ObservationScale:
    """Running mean and standard deviation of observations (Welford 1962), and observations in units of them."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(size), np.zeros(size)

    def update(self, observations: FloatArray) -> None:
        """Take in observations, [n, size]."""
        for row in observations:
            self.count += 1
            before = row - self.mean
            self.mean = self.mean + before / self.count
            self.squares = self.squares + before * (row - self.mean)

    def __call__(self, observations: FloatArray) -> FloatArray:
        """(s - mean) / standard deviation within +-LARGEST_OBSERVATION, [n, size]; 0 for entries that never changed."""
        sigma = np.sqrt(self.squares / max(self.count, 1))
        varies = sigma > 1e-9 * (1e-300 + np.abs(self.mean))
        scaled = (observations - self.mean) / np.where(varies, sigma, 1.0)
        return np.clip(np.where(varies, scaled, 0.0), -LARGEST_OBSERVATION, LARGEST_OBSERVATION)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        moments = {"mean": torch.from_numpy(self.mean.copy()), "squares": torch.from_numpy(self.squares.copy())}
        return {"count": self.count, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.count = state["count"]
        self.mean, self.squares = state["mean"].numpy().copy(), state["squares"].numpy().copy()


class Proposed(NamedTuple):
    """Proposals with their observations, oldest first.

    Attributes:
        continuous: coordinates, [designs, c].
        discrete: choices, [designs, k].
        observations: as the agent got them, [designs, size].
        log_prob: log-probability when they were proposed, [designs].
        rewards: [designs]; 0 until they are told.
        batch: index of the batch in which they were told, [designs].
    """

    continuous: FloatArray
    discrete: IntArray
    observations: FloatArray
    log_prob: FloatArray
    rewards: FloatArray
    batch: IntArray

    @property
    def actions(self) -> Encoding:
        """The encodings."""
        return Encoding(self.continuous, self.discrete)

    def rows(self, index: IntArray | slice) -> Proposed:
        """Some of them."""
        return Proposed._make(part[index] for part in self)

    def then(self, later: Proposed, limit: int) -> Proposed:
        """Append later proposals, and keep the latest `limit` of all."""
        joined = Proposed._make(np.concatenate(parts) for parts in zip(self, later, strict=True))
        return joined.rows(slice(max(len(joined.rewards) - limit, 0), None))

    def find(self, actions: Encoding) -> IntArray:
        """Position of each action, or -1; of equal proposals the earliest comes first, and each counts once."""
        places: dict[bytes, list[int]] = {}
        for place, row in reversed(list(enumerate(self.actions.rows()))):
            places.setdefault(_key(row), []).append(place)
        found = [places[key].pop() if places.get(key) else -1 for key in map(_key, actions.rows())]
        return np.array(found, dtype=np.int64)

    def state(self) -> list[torch.Tensor]:
        """As tensors, for a checkpoint."""
        return [torch.from_numpy(part.copy()) for part in self]


def none_proposed(c: int, k: int, size: int) -> Proposed:
    """An empty memory for c coordinates, k choices and observations of a size."""
    whole = np.zeros((0, k), dtype=np.int64)
    return Proposed(np.zeros((0, c)), whole, np.zeros((0, size)), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))


def proposed(actions: Encoding, observations: FloatArray, log_prob: FloatArray) -> Proposed:
    """New proposals that have not been told."""
    n = len(log_prob)
    return Proposed(*actions, observations, log_prob, np.zeros(n), np.zeros(n, dtype=np.int64))


def from_state(state: Sequence[torch.Tensor]) -> Proposed:
    """The inverse of `Proposed.state`."""
    return Proposed._make(part.numpy().copy() for part in state)


def observation_rows(observation: FloatArray, n: int) -> FloatArray:
    """The observation of each of n proposals, [n, size], from a single one [size] or one for each [n, size].

    Raises:
        ConfigError: the array has another shape, or an entry is not finite.
    """
    array = np.asarray(observation, dtype=np.float64)
    if array.ndim not in (1, 2) or (array.ndim == 2 and len(array) != n):
        raise ConfigError(f"expected one observation or {n} of them, got an array of shape {array.shape}")
    if not np.all(np.abs(array) < 1e100):
        raise ConfigError(f"expected finite observations below 1e100, got {array}")
    return np.broadcast_to(array, (n, array.shape[-1])).copy()


def _key(action: Encoding) -> bytes:
    return action.continuous.tobytes() + action.discrete.tobytes()
