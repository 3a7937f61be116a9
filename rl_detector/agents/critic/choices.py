"""The discrete slots of a design as rows of one-hot columns, and searches over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rl_detector.space import FloatArray, IntArray

ROUNDS = 50
"""Most rounds of changes in one search."""


MANY_SLOTS = 16
"""With more slots than this a round of the search makes several changes."""


class Slots:
    """Discrete slots with c_1, c_2, ... choices; columns 0..c_1-1 belong to the first slot, and so on.

    Attributes:
        width: number of columns.
        equal: the same probability for every choice of a slot, [width].
    """

    def __init__(self, choices: Sequence[int]) -> None:
        self._choices = np.array(choices, dtype=np.int64)
        self._starts = np.cumsum(self._choices) - self._choices
        self.width = int(self._choices.sum())
        self._slot = np.repeat(np.arange(len(choices)), self._choices)
        self._choice = np.arange(self.width) - self._starts[self._slot]
        self.equal: FloatArray = 1 / self._choices[self._slot]

    def columns(self, discrete: IntArray) -> FloatArray:
        """Rows of choices [n, slots] as one-hot columns less 1 / choices, [n, width]."""
        result: FloatArray = np.ascontiguousarray((discrete[:, self._slot] == self._choice) - self.equal)
        return result

    def largest(self, values: FloatArray) -> FloatArray:
        """The largest of the values of each slot, repeated for its columns: [width] -> [width]."""
        result: FloatArray = np.maximum.reduceat(values, self._starts)[self._slot] if self.width else values
        return result

    def softmax(self, logits: FloatArray) -> FloatArray:
        """Probabilities of the choices of every slot, [width] -> [width]."""
        weights = np.exp(logits - self.largest(logits))
        result: FloatArray = weights / self._sums(weights)[self._slot] if self.width else weights
        return result

    def entropy(self, probabilities: FloatArray) -> float:
        """Entropy in nats."""
        return float(-(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum())

    def _sums(self, values: FloatArray) -> FloatArray:
        sums: FloatArray = np.add.reduceat(values, self._starts)
        return sums

    def sample(self, probabilities: FloatArray, rng: np.random.Generator, n: int) -> IntArray:
        """n independent rows of choices, [n, slots]."""
        rows = np.zeros((n, len(self._choices)), dtype=np.int64)
        for j, (first, size) in enumerate(zip(self._starts, self._choices, strict=True)):
            steps = np.cumsum(probabilities[first : first + size])[:-1]
            rows[:, j] = np.searchsorted(steps, rng.random(n), side="right")
        return rows

    def neighbours(self, row: IntArray) -> IntArray:
        """The row with each choice of each slot in turn, [width, slots]."""
        rows = np.repeat(row[None], self.width, axis=0)
        rows[np.arange(self.width), self._slot] = self._choice
        return rows

    def ascend(self, value: Callable[[FloatArray], FloatArray], row: IntArray) -> IntArray:
        """A local maximum of value(columns [n, width]): no change of a single choice gains.

        Every round makes the best single change. With more than MANY_SLOTS slots, where that takes many rounds, it
        makes the best 1, 2, 4, ... of those that gain alone, as many as gain most together.
        """
        best = float(value(self.columns(row[None]))[0])
        for _ in range(ROUNDS):
            rows = self.neighbours(row)
            values = value(self.columns(rows))
            if values.max() <= best + 1e-12:
                break
            if len(row) > MANY_SLOTS:
                rows = self._together(row, values, best)
                values = value(self.columns(rows))
            row, best = rows[values.argmax()], float(values.max())
        return row

    def highest(self, value: Callable[[FloatArray], FloatArray], rows: IntArray) -> IntArray:
        """The best of the local maxima that ascents from these rows [n, slots] lead to."""
        ends = np.array([self.ascend(value, row) for row in rows])
        best: IntArray = ends[value(self.columns(ends)).argmax()]
        return best

    def _together(self, row: IntArray, values: FloatArray, best: float) -> IntArray:
        """The row with the best 1, 2, 4, ... of its single changes that gain, one of a slot, [rows, slots]."""
        order = np.argsort(-values, kind="stable")[: int((values > best).sum())]
        _, firsts = np.unique(self._slot[order], return_index=True)
        order = order[np.sort(firsts)]
        counts = 2 ** np.arange(math.ceil(math.log2(len(order))) + 1)
        rows = np.repeat(row[None], len(counts), axis=0)
        for made, count in zip(rows, counts, strict=True):
            made[self._slot[order[:count]]] = self._choice[order[:count]]
        return rows
