"""The choices of designs as rows of one-hot columns, and searches for the best ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rl_detector.space import FloatArray, IntArray

ROUNDS = 50
"""Most rounds of changes in one search."""


MANY_CHOICES = 16
"""With more choices than this, a round of the search makes several changes."""


class Choices:
    """Choices with c_1, c_2, ... options; columns 0..c_1-1 are the options of the first choice, and so on.

    Attributes:
        width: number of columns.
        equal: equal probabilities of the options of every choice, [width].
    """

    def __init__(self, options: Sequence[int]) -> None:
        self._options = np.array(options, dtype=np.int64)
        self._starts = np.cumsum(self._options) - self._options
        self.width = int(self._options.sum())
        self._choice = np.repeat(np.arange(len(options)), self._options)
        self._option = np.arange(self.width) - self._starts[self._choice]
        self.equal: FloatArray = 1 / self._options[self._choice]

    def __len__(self) -> int:
        return len(self._options)

    def columns(self, discrete: IntArray) -> FloatArray:
        """One-hot columns less 1 / options of rows of choices [n, k], [n, width]."""
        result: FloatArray = np.ascontiguousarray((discrete[:, self._choice] == self._option) - self.equal)
        return result

    def largest(self, values: FloatArray) -> FloatArray:
        """The largest of the values of each choice, repeated for its options: [width] -> [width]."""
        result: FloatArray = np.maximum.reduceat(values, self._starts)[self._choice] if self.width else values
        return result

    def softmax(self, logits: FloatArray) -> FloatArray:
        """Probabilities of the options of every choice, [width] -> [width]."""
        weights = np.exp(logits - self.largest(logits))
        result: FloatArray = weights / self._sums(weights)[self._choice] if self.width else weights
        return result

    def entropy(self, probabilities: FloatArray) -> float:
        """Entropy in nats."""
        return float(-(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum())

    def _sums(self, values: FloatArray) -> FloatArray:
        sums: FloatArray = np.add.reduceat(values, self._starts)
        return sums

    def sample(self, probabilities: FloatArray, rng: np.random.Generator, n: int) -> IntArray:
        """Draw n independent rows of choices, [n, k]."""
        rows = np.zeros((n, len(self)), dtype=np.int64)
        for j, (first, size) in enumerate(zip(self._starts, self._options, strict=True)):
            steps = np.cumsum(probabilities[first : first + size])[:-1]
            rows[:, j] = np.searchsorted(steps, rng.random(n), side="right")
        return rows

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> IntArray:
        """Draw rows of choices with equal probabilities, [*shape, k]."""
        return rng.integers(0, self._options, (*shape, len(self)))

    def neighbours(self, row: IntArray) -> IntArray:
        """The row with each option of each choice in turn, [width, k]."""
        rows = np.repeat(row[None], self.width, axis=0)
        rows[np.arange(self.width), self._choice] = self._option
        return rows

    def ascend(self, value: Callable[[FloatArray], FloatArray], row: IntArray) -> IntArray:
        """Climb from a row to a local maximum of value(columns [n, width]), where no single change gains.

        Every round makes the best single change. With more than MANY_CHOICES choices that would take many rounds. Each
        round then tries the best 1, 2, 4, ... of the changes that gain alone, and makes those that gain most together.
        """
        best = float(value(self.columns(row[None]))[0])
        for _ in range(ROUNDS):
            rows = self.neighbours(row)
            values = value(self.columns(rows))
            if values.max() <= best + 1e-12:
                break
            if len(row) > MANY_CHOICES:
                rows = self._changed_together(row, values, best)
                values = value(self.columns(rows))
            row, best = rows[values.argmax()], float(values.max())
        return row

    def highest(self, value: Callable[[FloatArray], FloatArray], rows: IntArray) -> IntArray:
        """The best of the local maxima that ascents from these rows [n, k] lead to."""
        ends = np.array([self.ascend(value, row) for row in rows])
        best: IntArray = ends[value(self.columns(ends)).argmax()]
        return best

    def _changed_together(self, row: IntArray, values: FloatArray, best: float) -> IntArray:
        """The row with the best 1, 2, 4, ... of the single changes that gain, at most one per choice, [rows, k]."""
        order = np.argsort(-values, kind="stable")[: int((values > best).sum())]
        _, firsts = np.unique(self._choice[order], return_index=True)
        order = order[np.sort(firsts)]
        counts = 2 ** np.arange(math.ceil(math.log2(len(order))) + 1)
        rows = np.repeat(row[None], len(counts), axis=0)
        for made, count in zip(rows, counts, strict=True):
            made[self._choice[order[:count]]] = self._option[order[:count]]
        return rows
