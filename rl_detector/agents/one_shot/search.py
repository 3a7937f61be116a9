"""Searches for the choices of the policy and of its proposals, by the critic's values."""

from __future__ import annotations

import numpy as np

from rl_detector.agents.critic.choices import MANY_CHOICES, Choices
from rl_detector.agents.critic.improvement import Improvement
from rl_detector.space import FloatArray, IntArray

RESTARTS = 2
"""Random rows from which the best choices of a draw from the posterior are also sought; none with many choices."""

CANDIDATES = 64
"""Evaluated rows of choices whose lower confidence bounds are compared, those with the largest worth."""

STRANGERS = 16
"""Random rows from which the best choices are also sought without caution."""


def posterior_choices(
    fit: Improvement, choices: Choices, starts: IntArray, rng: np.random.Generator, restarts: bool
) -> IntArray:
    """The best choices of a draw from the critic's posterior for each start [n, k], [n, k].

    Each is found by changes from the start and from random rows. From the start alone a search would never reach
    choices that differ from it in many places at once.
    """
    n, count = starts.shape
    if not n:
        return starts
    values = fit.drawn_values(rng, n)
    strangers = choices.random(rng, (n, RESTARTS if restarts and count <= MANY_CHOICES else 0))
    rows = np.concatenate([starts[:, None], strangers], axis=1)
    found = [choices.highest(value, each) for value, each in zip(values, rows, strict=True)]
    return np.array(found, dtype=np.int64).reshape(starts.shape)


def cautious_choices(fit: Improvement, choices: Choices, evaluated: IntArray) -> IntArray:
    """Of the evaluated rows of choices [n, k] the one with the best lower confidence bound, [k]."""
    candidates = np.unique(evaluated, axis=0)
    order = np.argsort(-fit.value(choices.columns(candidates)), kind="stable")
    candidates = candidates[order[:CANDIDATES]]
    return _largest(candidates, fit.cautious_values(choices.columns(candidates)))


def unbounded_choices(fit: Improvement, choices: Choices, starts: IntArray, rng: np.random.Generator) -> IntArray:
    """The choices with the largest value that single changes reach from starts [n, k] and from random rows, [k]."""
    rows = np.concatenate([starts, choices.random(rng, (STRANGERS,))])
    candidates: IntArray = np.unique([choices.ascend(fit.value, row) for row in rows], axis=0)
    return _largest(candidates, fit.value(choices.columns(candidates)))


def _largest(candidates: IntArray, values: FloatArray) -> IntArray:
    largest: IntArray = candidates[values.argmax()]
    return largest
