"""Other views of an encoding: one vector per design, and a design as a list of components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.errors import ConfigError, DesignError
from rl_detector.parameters import Categorical
from rl_detector.space import DesignSpace, Encoding, FloatArray, IntArray, Repeated, Slot


@dataclass(frozen=True, eq=False)
class Part:
    """Components of one kind: those of one Repeated, or all parameters outside of any as a single component.

    Attributes:
        name: of the Repeated; empty for the parameters outside.
        minimum, maximum: fewest and most components.
        continuous: indices of their coordinates in the continuous part of the encoding, [maximum, c].
        discrete: indices of their choices in the discrete part of the encoding, [maximum, k].
        choices: number of options of each choice of one component, [k].
        count: index of the number of components in the continuous part; None where it is fixed.
    """

    name: str
    minimum: int
    maximum: int
    continuous: IntArray
    discrete: IntArray
    choices: tuple[int, ...]
    count: int | None = None

    @property
    def coordinates(self) -> int:
        """Number c of coordinates of one component."""
        return int(self.continuous.shape[1])

    @property
    def options(self) -> int:
        """Options of all choices of one component together."""
        return sum(self.choices)


def parts_of(space: DesignSpace) -> tuple[Part, ...]:
    """The parameters outside of any Repeated, then every Repeated in order, each with what its components nest."""
    coordinates = {slot.path: i for i, slot in enumerate(space.continuous)}
    choices = {slot.path: i for i, slot in enumerate(space.discrete)}
    repeated = [parameter for parameter in space.parameters if isinstance(parameter, Repeated)]
    taken = tuple(f"{each.name}[" for each in repeated) + tuple(f"{each.name}.count" for each in repeated)
    outside = [slot for slot in space.slots if not slot.path.startswith(taken)]
    parts = [_part("", [outside], coordinates, choices, (1, 1))] if outside else []
    for each in repeated:
        stems = [f"{each.name}[{i}]." for i in range(each.maximum)]
        runs = [[slot for slot in space.slots if slot.path.startswith(stem)] for stem in stems]
        count = coordinates.get(f"{each.name}.count")
        parts.append(_part(each.name, runs, coordinates, choices, (each.minimum, each.maximum), count))
    return tuple(parts)


def _part(
    name: str,
    runs: Sequence[Sequence[Slot]],
    coordinates: dict[str, int],
    choices: dict[str, int],
    bounds: tuple[int, int],
    count: int | None = None,
) -> Part:
    kinds = [slot.parameter for slot in runs[0] if isinstance(slot.parameter, Categorical)]
    continuous = [[coordinates[slot.path] for slot in run if slot.path in coordinates] for run in runs]
    discrete = [[choices[slot.path] for slot in run if slot.path in choices] for run in runs]
    indices = [np.array(rows, dtype=np.int64).reshape(len(runs), -1) for rows in (continuous, discrete)]
    sizes = tuple(len(kind.choices) for kind in kinds)
    return Part(name, bounds[0], bounds[1], indices[0], indices[1], sizes, count)


def only_repeated(space: DesignSpace) -> Repeated:
    """The one Repeated of a space.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = [parameter for parameter in space.parameters if isinstance(parameter, Repeated)]
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise ConfigError(f"building piece by piece needs a space with exactly one Repeated component, got {names}")
    return found[0]


def one_hot(discrete: IntArray, choices: Sequence[int]) -> FloatArray:
    """Rows of choices [..., k] as zeros and ones, [..., options]."""
    columns = [np.asarray(discrete)[..., j, None] == np.arange(size) for j, size in enumerate(choices)]
    empty = np.zeros((*np.shape(discrete)[:-1], 0))
    result: FloatArray = np.concatenate([empty, *columns], axis=-1)
    return result


def empty_encoding(space: DesignSpace, n: int) -> Encoding:
    """Encodings of n designs, all zeros: what absent components have."""
    return Encoding(np.zeros((n, len(space.continuous))), np.zeros((n, len(space.discrete)), dtype=np.int64))


@dataclass(frozen=True)
class BoxEncoding:
    """Vectors: the continuous part, then one score per option of every choice; the largest score wins.

    Attributes:
        space: the designs to encode.
    """

    space: DesignSpace

    @property
    def size(self) -> int:
        """Length of a vector."""
        return len(self.space.continuous) + sum(self.space.choices)

    def to_encoding(self, vectors: FloatArray) -> Encoding:
        """The encoding of vectors [..., size]; the first of equal scores wins, coordinates beyond the box stay there.

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
        """Where the scores of each choice begin."""
        sizes = np.array(self.space.choices, dtype=np.int64)
        starts: IntArray = len(self.space.continuous) + np.cumsum(sizes) - sizes
        return starts
