"""How well a critic foresees rewards: its predictions for new designs against the rewards these then got."""

from __future__ import annotations

import math

import numpy as np

from rl_detector.space import FloatArray

FORGETTING = 0.8
"""Weight of a batch over that of the next one."""


CORRELATION_OF_NONE, CORRELATION_OF_FULL = 0.4, 0.8
"""Correlations of predictions with rewards at which foresight leaves 0, and at which it reaches 1."""


class Foresight:
    """Correlation of predictions with rewards that were not yet known, over the latest batches.

    A critic that lacks a term of the reward fits what it was told. It predicts badly, however much it is told. A critic
    that has all terms predicts better and better (prequential validation: Dawid 1984).

    Attributes:
        sums: predictions times rewards, predictions squared, rewards squared less their errors, and designs, [4].
    """

    def __init__(self) -> None:
        self.sums: FloatArray = np.zeros(4)

    def score(self, predicted: FloatArray, rewards: FloatArray, error: float) -> None:
        """Add a batch of predictions and rewards [designs]; `error` is the variance of the rewards' errors."""
        p, r = predicted - predicted.mean(), rewards - rewards.mean()
        signal = max(r @ r - error * (len(r) - 1), 0.0)
        self.sums = FORGETTING * self.sums + np.array([p @ r, p @ p, signal, len(r)])

    @property
    def value(self) -> float:
        """From 0 to 1, by the correlation plus one standard error: 1 before anything is known."""
        product, predicted, signal, designs = self.sums
        spread = math.sqrt(predicted * signal)
        correlation = product / spread if spread > 0 else 0.0
        above = correlation + 1 / math.sqrt(designs + 1) - CORRELATION_OF_NONE
        return float(np.clip(above / (CORRELATION_OF_FULL - CORRELATION_OF_NONE), 0, 1))
