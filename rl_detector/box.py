"""Every design space as one Box[-1, 1], for algorithms that know nothing of choices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl_detector.errors import DesignError
from rl_detector.space import DesignSpace, Encoding, FloatArray, IntArray


@dataclass(frozen=True)
class BoxEncoding:
    """Vectors = the continuous part as it is, then one score per choice of every discrete slot; the largest score wins.

    Attributes:
        space: the designs to encode.
    """

    space: DesignSpace

    @property
    def size(self) -> int:
        """Length of a vector."""
        return len(self.space.continuous) + sum(self.space.choices)

    def to_encoding(self, vectors: FloatArray) -> Encoding:
        """The encoding of vectors [..., size]; of equal scores the first wins, numbers beyond the box stay there.

        Raises:
            DesignError: wrong length, or a score is NaN.
        """
        array = np.asarray(vectors, dtype=np.float64)
        if array.shape[-1:] != (self.size,):
            raise DesignError(f"expected vectors of length {self.size}, got an array of shape {array.shape}")
        continuous, *scores = np.split(array, self._starts, axis=-1)
        discrete = np.zeros((*array.shape[:-1], len(scores)), dtype=np.int64)
        for j, score in enumerate(scores):
            if np.isnan(score).any():
                raise DesignError(f"{self.space.discrete[j].path}: the score of a choice is NaN")
            discrete[..., j] = score.argmax(axis=-1)
        return Encoding(continuous, discrete)

    def from_encoding(self, encoding: Encoding) -> FloatArray:
        """Vectors [..., size] of encodings: the chosen get the score 0.5, the others -0.5."""
        parts = [np.asarray(encoding.continuous, dtype=np.float64)]
        for j, size in enumerate(self.space.choices):
            parts.append(np.where(encoding.discrete[..., j, None] == np.arange(size), 0.5, -0.5))
        return np.concatenate(parts, axis=-1)

    @property
    def _starts(self) -> IntArray:
        """Where the scores of each discrete slot begin."""
        sizes = np.array(self.space.choices, dtype=np.int64)
        starts: IntArray = len(self.space.continuous) + np.cumsum(sizes) - sizes
        return starts
