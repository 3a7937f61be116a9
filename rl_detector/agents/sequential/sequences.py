"""Encoded designs as sequences of components, in the order in which the sequential policy builds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from rl_detector.encodings import Part, one_hot, parts_of
from rl_detector.parameters import Integer
from rl_detector.space import DesignSpace, Encoding, FloatArray, IntArray


class Run(NamedTuple):
    """The components of one part in a batch of designs; absent ones are zeros.

    Attributes:
        coordinates: as proposed, [n, m, c].
        chosen: choices as zeros and ones, [n, m, options].
        exists: whether there is such a component, [n, m].
        went_on: whether the decision before this component was to go on, [n, m].
        stopped: whether it was to stop, [n, m].
    """

    coordinates: torch.Tensor
    chosen: torch.Tensor
    exists: torch.Tensor
    went_on: torch.Tensor
    stopped: torch.Tensor


class Sequences:
    """Translates between encodings and runs of components.

    Attributes:
        space: of the designs.
        parts: the runs of components of which it consists.
    """

    def __init__(self, space: DesignSpace) -> None:
        self.space, self.parts = space, parts_of(space)
        self._counts = [Integer("count", part.minimum, part.maximum) for part in self.parts]

    def counts(self, actions: Encoding) -> IntArray:
        """Count the components of every part, [n, parts]."""
        columns = [self._column(p, actions.continuous) for p in range(len(self.parts))]
        return np.stack(columns, axis=1)

    def _column(self, p: int, continuous: FloatArray) -> IntArray:
        place = self.parts[p].count
        if place is None:
            return np.full(len(continuous), self.parts[p].maximum, dtype=np.int64)
        return np.array([self._counts[p].decode(x) for x in continuous[:, place].tolist()], dtype=np.int64)

    def runs(self, actions: Encoding) -> list[Run]:
        """The components of a batch of encodings, part by part."""
        counts = self.counts(actions)
        return [self._run(part, actions, counts[:, p]) for p, part in enumerate(self.parts)]

    @staticmethod
    def _run(part: Part, actions: Encoding, counts: IntArray) -> Run:
        place = np.arange(part.maximum)
        exists = place < counts[:, None]
        decided = (place >= part.minimum) & (part.minimum < part.maximum) & np.ones_like(exists)
        arrays = (
            actions.continuous[:, part.continuous] * exists[..., None],
            one_hot(actions.discrete[:, part.discrete], part.choices) * exists[..., None],
            exists,
            decided & exists,
            decided & (place == counts[:, None]),
        )
        return Run(*(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)) for array in arrays))

    def write_counts(self, actions: Encoding, counts: IntArray) -> None:
        """Write the counts of components [n, parts] into encodings."""
        for p, part in enumerate(self.parts):
            if part.count is not None:
                codes = [self._counts[p].encode(int(count)) for count in counts[:, p]]
                actions.continuous[:, part.count] = codes
