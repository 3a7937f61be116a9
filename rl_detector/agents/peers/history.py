"""Memory of all results, for agents whose proposals are a function of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.errors import SimulationError
from rl_detector.space import DesignSpace, Encoding, FloatArray


class History:
    """All results so far. It is the whole memory of an agent, so that a checkpoint is exact and small.

    Attributes:
        actions: evaluated designs, coordinates [results, c] clipped to [-1, 1] and choices [results, k].
        rewards: [results].
        errors: standard errors of the rewards, [results].
        calls: number of calls of `ask`; each has its own random stream.
        asked: number of designs proposed.
    """

    def __init__(self, space: DesignSpace, seed: int) -> None:
        self._seed = seed
        empty = np.zeros((0, len(space.discrete)), dtype=np.int64)
        self.actions = Encoding(np.zeros((0, len(space.continuous))), empty)
        self.rewards, self.errors = np.zeros(0), np.zeros(0)
        self.calls = self.asked = 0

    def __len__(self) -> int:
        return len(self.rewards)

    def generator(self, n: int) -> np.random.Generator:
        """The random generator of the next call of `ask`, which proposes n designs."""
        rng = np.random.default_rng((self._seed, self.calls))
        self.calls, self.asked = self.calls + 1, self.asked + n
        return rng

    def add(self, batch: Batch) -> None:
        """Remember evaluated designs; revised rewards of a learning judge replace the old ones.

        Raises:
            SimulationError: a reward is not finite, or their number is wrong; nothing is remembered then.
        """
        rewards = finite_rewards(batch)
        known = self.rewards if batch.revised is None else np.array(batch.revised, dtype=np.float64)
        if known.shape != self.rewards.shape:
            raise SimulationError(f"expected {len(self)} revised rewards, one per result so far, got {known.shape}")
        inside = Encoding(np.clip(batch.actions.continuous, -1, 1), batch.actions.discrete)
        self.actions = Encoding(*(np.concatenate(parts) for parts in zip(self.actions, inside, strict=True)))
        self.rewards = np.concatenate([known, rewards])
        self.errors = np.concatenate([self.errors, np.asarray(batch.errors, dtype=np.float64)])

    def elite(self, share: float, most: int = 20) -> Encoding:
        """Median of coordinates and commonest options of choices over the best `share` of results, one at least."""
        count = min(max(round(share * len(self)), 1), most)
        best = self.actions.take(np.argsort(-self.rewards, kind="stable")[:count])
        votes = [np.bincount(column).argmax() for column in best.discrete.T]
        return Encoding(np.median(best.continuous, axis=0), np.array(votes, dtype=np.int64))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        arrays = (*self.actions, self.rewards, self.errors)
        return {
            "arrays": [torch.from_numpy(array.copy()) for array in arrays],
            "calls": self.calls,
            "asked": self.asked,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        continuous, discrete, self.rewards, self.errors = (array.numpy().copy() for array in state["arrays"])
        self.actions = Encoding(continuous, discrete)
        self.calls, self.asked = state["calls"], state["asked"]


def spread(values: FloatArray) -> float:
    """Mean standard deviation over the coordinates of designs [designs, c]; 0 without any."""
    return float(values.std(axis=0).mean()) if values.size else 0.0
