"""Random edits of designs: components added, moved, removed, or swapped for others."""

from __future__ import annotations

import numpy as np

from rl_detector.agents.sequential.sequences import Sequences
from rl_detector.encodings import Part
from rl_detector.space import Encoding, FloatArray, IntArray

GO_ON = 0.6
"""Probability of one more edit of the same design."""


RUN = 4
"""Mean number of components in a row that are moved or swapped alike, of designs with many."""


SPREADS = (0.02, 0.3)
"""Smallest and largest spread of a move, in units of half the box; drawn evenly in its logarithm."""


class Editor:
    """Edits encoded designs, within the numbers of components that are allowed."""

    def __init__(self, sequences: Sequences) -> None:
        self._sequences = sequences
        self._parts = np.arange(len(sequences.parts))
        sizes = np.array([part.maximum * (part.numbers + part.options) for part in sequences.parts], dtype=np.float64)
        self._shares = sizes / sizes.sum()

    def edited(self, designs: Encoding, rng: np.random.Generator) -> Encoding:
        """Every design after one or more edits; absent components are zeros."""
        result = Encoding(np.clip(designs.continuous, -1, 1), designs.discrete.copy())
        counts = self._sequences.counts(result)
        for row in range(len(counts)):
            while True:
                p = int(rng.choice(self._parts, p=self._shares))
                self._edit(self._sequences.parts[p], result, row, counts[row], p, rng)
                if rng.random() > GO_ON:
                    break
        self._sequences.write_counts(result, counts)
        return result

    def _edit(
        self, part: Part, designs: Encoding, row: int, counts: IntArray, p: int, rng: np.random.Generator
    ) -> None:
        """One edit of one part; of what is possible, each kind is as likely."""
        count = int(counts[p])
        kinds = ["move"] * bool(part.numbers and count) + ["swap"] * bool(part.options and count)
        kinds += ["add"] * (count < part.maximum) + ["remove"] * (count > part.minimum)
        if not kinds:
            return
        numbers, choices = designs.continuous[row], designs.discrete[row]
        kind = kinds[rng.integers(len(kinds))]
        if kind in ("add", "remove"):
            self._shift(part, numbers, choices, count, kind, rng)
            counts[p] += 1 if kind == "add" else -1
            return
        first = int(rng.integers(count))
        run = slice(first, min(first + int(rng.geometric(1 / min(RUN, count))), count))
        if kind == "move":
            spread, at = np.exp(rng.uniform(*np.log(SPREADS))), part.continuous[run]
            numbers[at] = np.clip(numbers[at] + spread * rng.standard_normal(part.numbers), -1, 1)
        else:
            slot = int(rng.integers(len(part.choices)))
            choices[part.discrete[run, slot]] = rng.integers(part.choices[slot])

    @staticmethod
    def _shift(
        part: Part, numbers: FloatArray, choices: IntArray, count: int, kind: str, rng: np.random.Generator
    ) -> None:
        """Insert a copy of a component with new numbers before a random place, or take one out."""
        if kind == "add":
            place, source = int(rng.integers(count + 1)), int(rng.integers(max(count, 1)))
            order = [*range(place), source, *range(place, count)]
        else:
            place = int(rng.integers(count))
            order = [*range(place), *range(place + 1, count)]
        for values, where in ((numbers, part.continuous), (choices, part.discrete)):
            taken = values[where[order]].copy()
            values[where[:count]] = 0
            values[where[: len(order)]] = taken
        if kind == "add" and part.numbers:
            at = part.continuous[place]
            numbers[at] = rng.uniform(-1, 1, len(at)) if rng.random() < 0.5 else numbers[at]
