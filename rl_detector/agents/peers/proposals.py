"""Vectors behind proposals, and seeded global random generators, for agents around other people's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from rl_detector.encodings import BoxEncoding
from rl_detector.space import Design, Encoding, FloatArray


class Proposals:
    """Remembers the vectors behind the latest proposals; many vectors have one encoding, so it does not tell them.

    Args:
        box: from vectors to encodings.
    """

    def __init__(self, box: BoxEncoding) -> None:
        self._box = box
        self._vectors: dict[bytes, list[FloatArray]] = {}

    def encode(self, vectors: FloatArray) -> Encoding:
        """Encode vectors [designs, size], and remember them in place of those before."""
        encoding = self._box.to_encoding(vectors)
        self._vectors = {}
        for row, vector in zip(encoding.rows(), vectors, strict=True):
            self._vectors.setdefault(_key(row), []).append(np.array(vector, dtype=np.float64))
        return encoding

    def vectors(self, actions: Encoding) -> FloatArray:
        """The vectors behind evaluated proposals, each given once; for unknown designs that of their encoding."""
        found = [self._vector(row) for row in actions.rows()]
        return np.array(found, dtype=np.float64).reshape(len(found), self._box.size)

    def _vector(self, action: Encoding) -> FloatArray:
        waiting = self._vectors.get(_key(action), [])
        return waiting.pop(0) if waiting else self._box.from_encoding(action)

    def remaining(self) -> torch.Tensor:
        """The remembered vectors for a checkpoint, [designs, size]; `encode` puts them back."""
        vectors = [vector for group in self._vectors.values() for vector in group]
        return torch.from_numpy(np.array(vectors, dtype=np.float64).reshape(len(vectors), self._box.size))


def start_vector(box: BoxEncoding, start: Design | None, lead: float = 0.2) -> FloatArray:
    """The vector of the start design (None: zeros); its options lead by `lead` only, so that others are tried soon."""
    if start is None:
        return np.zeros(box.size)
    vector = box.from_encoding(box.space.encode(start))
    vector[len(box.space.continuous) :] *= lead
    return vector


@contextmanager
def own_generators(rng: np.random.Generator) -> Iterator[None]:
    """Seed the global generators of numpy and torch from `rng` and put them back afterwards.

    For libraries that draw from them. Other users of the process notice nothing.
    """
    saved = np.random.get_state()  # noqa: NPY002
    seeds = rng.integers(2**32, size=2)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seeds[0]))
            np.random.seed(seeds[1])  # noqa: NPY002
            yield
    finally:
        np.random.set_state(saved)  # noqa: NPY002


def _key(action: Encoding) -> bytes:
    return action.continuous.tobytes() + action.discrete.tobytes()
