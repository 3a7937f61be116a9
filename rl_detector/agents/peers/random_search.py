"""Space-filling search without learning: the peer that every agent has to beat.

## Idea
Spread the designs evenly over the whole space.
The points come from a Sobol sequence, which leaves smaller gaps than independent random numbers.
Scrambling makes the sequence depend on the seed.
Nothing is learned, so no proposal depends on a reward.
The recommendation is the design with the largest reward.

## Equations
Point i is u_i in [0, 1)^d, a coordinate is x = 2 u - 1, and one of k options is floor(k u):

    recommend argmax_i R_i

## Source
A. B. Owen, Journal of Complexity 14 (1998) 466 (scrambling); SciPy's `qmc.Sobol`.

## When to use it
Use it as the zero of every comparison, and to look at a new problem.
In more than a few dimensions every learning agent should beat it.
Never quote its largest reward: the best of many noisy results is lucky.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class RandomSearch:
    """The start design first (if there is one), then a scrambled Sobol sequence (Owen 1998) over the encoding.

    Options take equal bins of their axis. The recommendation is the design with the largest reward so far, the start
    before there is one. The largest of many noisy rewards is optimistic. Quote the design's validation on held-out
    events, never that reward.

    Attributes:
        space: the designs that can be proposed.
    """

    def __init__(self, space: DesignSpace, seed: int, start: Design | None = None) -> None:
        self.space = space
        self._seed = seed
        self._start = None if start is None else space.encode(start)
        self._asked = 0
        centre = Encoding(np.zeros(len(space.continuous)), np.zeros(len(space.discrete), dtype=np.int64))
        self._best = centre if self._start is None else self._start
        self._best_reward = -math.inf

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose the next n points of the sequence."""
        unit = self._sobol(self._asked + n)[self._asked :]
        shares = unit[:, len(self.space.continuous) :] * np.array(self.space.choices, dtype=np.int64)
        proposals = Encoding(2 * unit[:, : len(self.space.continuous)] - 1, shares.astype(np.int64))
        if self._start is not None and self._asked == 0 and n > 0:
            proposals.continuous[0], proposals.discrete[0] = self._start
        self._asked += n
        return proposals

    def _sobol(self, n: int) -> FloatArray:
        """The first n points of the sequence, [n, dimensions] in [0, 1); they depend on the seed alone."""
        dimensions = len(self.space.continuous) + len(self.space.discrete)
        sequence = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(self._seed))
        points: FloatArray = sequence.random_base2(max(n - 1, 0).bit_length())
        return points[:n]

    def tell(self, batch: Batch) -> None:
        """Remember the design with the largest reward."""
        rewards = finite_rewards(batch)
        if len(rewards) and rewards.max() > self._best_reward:
            self._best = Encoding(*(part[rewards.argmax()].copy() for part in batch.actions))
            self._best_reward = float(rewards.max())

    def recommend(self, observation: FloatArray) -> Encoding:
        """The design with the largest reward so far."""
        return self._best

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: standard deviation of a uniform coordinate, 1 / sqrt(3) of half the box, always.
        proposals: number of designs proposed so far.
        best_reward: the largest reward told so far (optimistic); absent before the first.
        """
        metrics = {"sigma": 1 / math.sqrt(3), "proposals": float(self._asked)}
        return metrics if math.isinf(self._best_reward) else {**metrics, "best_reward": self._best_reward}

    def state_dict(self) -> dict[str, Any]:
        """The position in the sequence and the best design so far."""
        best = [torch.from_numpy(part.copy()) for part in self._best]
        return {"asked": self._asked, "best": best, "best_reward": self._best_reward}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._asked, self._best_reward = state["asked"], state["best_reward"]
        self._best = Encoding(*(part.numpy().copy() for part in state["best"]))
