"""Random edits of designs: add, move, remove or swap components."""

from __future__ import annotations

import numpy as np

from rl_detector.agents.sequential.sequences import Sequences
from rl_detector.encodings import Part
from rl_detector.space import Encoding, FloatArray, IntArray

FURTHER_EDIT = 0.6
"""Probability of one more edit of a design."""


MEAN_RUN = 4
"""Mean number of neighbouring components that one edit moves or swaps, in designs with many."""


SPREADS = (0.02, 0.3)
"""Smallest and largest spread of a move, in units of half the box; its logarithm is drawn uniformly."""


class Editor:
    """Edits encoded designs, within the allowed counts of components."""

    def __init__(self, sequences: Sequences) -> None:
        self._sequences = sequences
        self._parts = np.arange(len(sequences.parts))
        sizes = np.array([p.maximum * (p.coordinates + p.options) for p in sequences.parts], dtype=np.float64)
        self._shares = sizes / sizes.sum()

    def edited(self, designs: Encoding, rng: np.random.Generator) -> Encoding:
        """Edit every design at least once; absent components are zeros."""
        result = Encoding(np.clip(designs.continuous, -1, 1), designs.discrete.copy())
        counts = self._sequences.counts(result)
        for row in range(len(counts)):
            while True:
                p = int(rng.choice(self._parts, p=self._shares))
                self._edit(self._sequences.parts[p], result, row, counts[row], p, rng)
                if rng.random() > FURTHER_EDIT:
                    break
        self._sequences.write_counts(result, counts)
        return result

    def _edit(
        self, part: Part, designs: Encoding, row: int, counts: IntArray, p: int, rng: np.random.Generator
    ) -> None:
        """Make one edit of one part; all kinds of edits that are possible are equally likely."""
        count = int(counts[p])
        kinds = ["move"] * bool(part.coordinates and count) + ["swap"] * bool(part.options and count)
        kinds += ["add"] * (count < part.maximum) + ["remove"] * (count > part.minimum)
        if not kinds:
            return
        coordinates, choices = designs.continuous[row], designs.discrete[row]
        kind = kinds[rng.integers(len(kinds))]
        if kind in ("add", "remove"):
            self._shift(part, coordinates, choices, count, kind, rng)
            counts[p] += 1 if kind == "add" else -1
            return
        first = int(rng.integers(count))
        run = slice(first, min(first + int(rng.geometric(1 / min(MEAN_RUN, count))), count))
        if kind == "move":
            spread, at = np.exp(rng.uniform(*np.log(SPREADS))), part.continuous[run]
            coordinates[at] = np.clip(coordinates[at] + spread * rng.standard_normal(part.coordinates), -1, 1)
        else:
            choice = int(rng.integers(len(part.choices)))
            choices[part.discrete[run, choice]] = rng.integers(part.choices[choice])

    @staticmethod
    def _shift(
        part: Part, coordinates: FloatArray, choices: IntArray, count: int, kind: str, rng: np.random.Generator
    ) -> None:
        """Insert a copy of a component at a random place, half of the time with new coordinates, or take one out."""
        if kind == "add":
            place, source = int(rng.integers(count + 1)), int(rng.integers(max(count, 1)))
            order = [*range(place), source, *range(place, count)]
        else:
            place = int(rng.integers(count))
            order = [*range(place), *range(place + 1, count)]
        for values, where in ((coordinates, part.continuous), (choices, part.discrete)):
            taken = values[where[order]].copy()
            values[where[:count]] = 0
            values[where[: len(order)]] = taken
        if kind == "add" and part.coordinates:
            at = part.continuous[place]
            coordinates[at] = rng.uniform(-1, 1, len(at)) if rng.random() < 0.5 else coordinates[at]
