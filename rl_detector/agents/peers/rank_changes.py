"""Uncertainty of a ranking, measured by evaluating some designs twice.

Hansen, Niederberger, Guzzella, Koumoutsakos 2009, IEEE Transactions on Evolutionary Computation 13, 180 (UH-CMA-ES).
"""

from __future__ import annotations

import numpy as np

from rl_detector.space import FloatArray, IntArray


def uncertainty(first: FloatArray, second: FloatArray, again: IntArray, theta: float = 0.2) -> float:
    """s of algorithm 2, which is > 0 if designs that were evaluated twice change rank by more than is tolerated.

    Ranks are those in the union of both lists, 2 lambda values. Delta_i is the change of rank of design i, less the
    step past itself:

        s = mean_i (2 |Delta_i| - limit(rank(L'_i) - [L'_i > L_i]) - limit(rank(L_i) - [L_i > L'_i])).

    Here limit(R) is the theta/2 quantile of |1 - R|, ..., |2 lambda - 1 - R|, the changes of random ranks.

    Args:
        first: losses L, [designs].
        second: losses L' of the second evaluation, those of the first where there was none, [designs].
        again: positions of the designs that were evaluated again.
        theta: the tolerated share.
    """
    ranks = np.concatenate([first, second]).argsort(kind="stable").argsort(kind="stable").reshape(2, -1) + 1
    before, after = ranks[:, again]
    change = np.abs(after - before) - 1  # |Delta|: both differ by one at least
    limits = _limit(after - (after > before), first.size, theta) + _limit(before - (before > after), first.size, theta)
    return float(np.mean(2 * change - limits))


def _limit(ranks: IntArray, designs: int, theta: float) -> FloatArray:
    others = np.arange(1, 2 * designs)
    limits: FloatArray = np.quantile(np.abs(others - ranks[:, None]), theta / 2, axis=1)
    return limits
