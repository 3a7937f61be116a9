"""Designs that may be recommended; repeated evaluation keeps the luckiest from passing for the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.space import Encoding, FloatArray

MOST_CONTENDERS = 12
"""Most contenders that are kept."""


class Contenders:
    """Contenders with the mean reward of their evaluations; evaluations that led to their selection do not count.

    Attributes:
        actions: coordinates [contenders, c] and choices [contenders, k].
        counts: number of evaluations of each, [contenders].
        means: mean reward of each, [contenders].
        error: typical standard error of one evaluation.
    """

    def __init__(self, continuous: int, discrete: int) -> None:
        self.actions = Encoding(np.zeros((0, continuous)), np.zeros((0, discrete), dtype=np.int64))
        self.counts, self.means = np.zeros(0), np.zeros(0)
        self.error = 0.0

    def __len__(self) -> int:
        return len(self.counts)

    def find(self, continuous: FloatArray, discrete: Any) -> int | None:
        """Position of a design among the contenders; None where it is none."""
        same = (self.actions.continuous == continuous).all(axis=1) & (self.actions.discrete == discrete).all(axis=1)
        found = np.flatnonzero(same)
        return int(found[0]) if len(found) else None

    def add(self, design: Encoding) -> None:
        """Add a contender, unless it is one already."""
        if self.find(*design) is None:
            self.actions = Encoding(*(np.concatenate([a, b[None]]) for a, b in zip(self.actions, design, strict=True)))
            self.counts, self.means = np.append(self.counts, 0.0), np.append(self.means, 0.0)

    def tell(self, batch: Batch, rewards: FloatArray) -> None:
        """Take in evaluations of contenders, then keep those that may still be the best."""
        finite = np.asarray(batch.errors)[np.isfinite(batch.errors)]
        self.error = float(np.median(finite)) if len(finite) else self.error
        for row, reward in zip(batch.actions.rows(), rewards.tolist(), strict=True):
            if (place := self.find(*row)) is not None:
                self.counts[place] += 1
                self.means[place] += (reward - self.means[place]) / self.counts[place]
        if len(self) > MOST_CONTENDERS:
            order = np.argsort(-self.bounds(1.0), kind="stable")
            self._keep(np.sort(order[:MOST_CONTENDERS]))

    def _keep(self, rows: Any) -> None:
        self.actions, self.counts, self.means = self.actions.take(rows), self.counts[rows], self.means[rows]

    def bounds(self, errors: float) -> FloatArray:
        """Mean reward plus `errors` standard errors, [contenders]; without evaluations +-inf."""
        unknown = np.where(self.counts > 0, 0.0, np.copysign(np.inf, errors))
        return self.means + errors * (self.error + 1e-12) / np.sqrt(np.maximum(self.counts, 1)) + unknown

    def promising(self, n: int) -> Encoding:
        """The n contenders with the largest upper bounds."""
        return self.actions.take(np.argsort(-self.bounds(2.0), kind="stable")[:n])

    def best(self) -> Encoding | None:
        """The contender with the largest lower bound; None before one was evaluated."""
        if not (self.counts > 0).any():
            return None
        place = int(np.argmax(self.bounds(-1.0)))
        return Encoding(self.actions.continuous[place], self.actions.discrete[place])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        arrays = (*self.actions, self.counts, self.means)
        return {"arrays": [torch.from_numpy(array.copy()) for array in arrays], "error": self.error}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        continuous, discrete, self.counts, self.means = (array.numpy().copy() for array in state["arrays"])
        self.actions, self.error = Encoding(continuous, discrete), state["error"]
