"""How far a critic can be trusted: what it predicted of designs before they were evaluated, against their rewards."""

from __future__ import annotations

import math

import numpy as np

from rl_detector.space import FloatArray

FORGETTING = 0.8
"""Weight of a batch over that of the next one."""


DOUBTED, TRUSTED = 0.4, 0.8
"""Correlations of predictions and rewards up to which there is no trust, and from which on it is full."""


class Trust:
    """Correlation of predictions with rewards that were not yet known, over the latest batches.

    A critic that lacks a term of the reward fits what it was told, but predicts badly, however much it is told; one
    that has all terms predicts better and better (prequential validation: Dawid 1984).
    """

    def __init__(self) -> None:
        self.sums: FloatArray = np.zeros(4)

    def score(self, predicted: FloatArray, rewards: FloatArray, error: float) -> None:
        """Add a batch of predictions and rewards [designs], which have the error variance `error`."""
        p, r = predicted - predicted.mean(), rewards - rewards.mean()
        signal = max(r @ r - error * (len(r) - 1), 0.0)
        self.sums = FORGETTING * self.sums + np.array([p @ r, p @ p, signal, len(r)])

    @property
    def value(self) -> float:
        """From 0 to 1: where the correlation, and one standard error more, lies between DOUBTED and TRUSTED."""
        product, predicted, signal, designs = self.sums
        spread = math.sqrt(predicted * signal)
        correlation = product / spread if spread > 0 else 0.0
        return float(np.clip((correlation + 1 / math.sqrt(designs + 1) - DOUBTED) / (TRUSTED - DOUBTED), 0, 1))
