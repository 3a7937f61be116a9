"""The unit of rewards: a mean and a standard deviation that very bad designs do not set."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rl_detector.agents.critic.kernels import Points
from rl_detector.agents.critic.strengths import Variances
from rl_detector.space import FloatArray

WORST = -3.0
"""Least standardised reward. A very bad design says no more about the best one than a bad design does."""

WINSORISINGS = 10
"""Rounds in which very bad rewards are raised before the standard deviation is taken again."""


class Unit(NamedTuple):
    """Origin and unit of standardised rewards.

    Attributes:
        mean: of the rewards.
        deviation: their standard deviation, at least 1e-150.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def standardised(self, rewards: FloatArray) -> FloatArray:
        """Rewards in this unit, at least WORST, [designs]."""
        return np.maximum((rewards - self.mean) / self.deviation, WORST)


def unit_of(rewards: FloatArray, points: Points, variances: Variances) -> Unit:
    """Mean and standard deviation of rewards [designs], weighted by their nearness to the policy.

    Very bad rewards are first raised to WORST deviations from the mean, WINSORISINGS times (winsorising: Tukey 1962).
    """
    weights = 1 / (points.noise + points.misfit * variances.misfit / variances.noise)
    raised = rewards
    for _ in range(WINSORISINGS):
        mean = np.average(raised, weights=weights)
        deviation = math.sqrt(np.average((raised - mean) ** 2, weights=weights))
        raised = np.maximum(rewards, mean + WORST * deviation)
    return Unit(float(mean), max(deviation, 1e-150))
