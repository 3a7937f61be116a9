"""The one-box encoding of any space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_detector.encodings import BoxEncoding
from rl_detector.errors import DesignError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.space import DesignSpace, Encoding


def space_of(continuous: int, choices: list[int]) -> DesignSpace:
    coordinates = [Continuous(f"x{i}", 0, 1) for i in range(continuous)]
    names = [Categorical(f"c{j}", tuple(f"choice {i}" for i in range(size))) for j, size in enumerate(choices)]
    return DesignSpace((*coordinates, *names))


SHAPES = st.tuples(st.integers(0, 4), st.lists(st.integers(1, 5), max_size=4)).filter(
    lambda shape: sum(map(bool, shape))
)


@given(SHAPES, st.lists(st.integers(1, 3), max_size=2), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_to_encoding_is_the_inverse_of_from_encoding(shape: tuple[int, list[int]], batch: list[int], seed: int) -> None:
    rng, box = np.random.default_rng(seed), BoxEncoding(space_of(*shape))
    encoding = Encoding(rng.normal(size=(*batch, shape[0])), rng.integers(shape[1], size=(*batch, len(shape[1]))))
    vectors = box.from_encoding(encoding)
    assert vectors.shape == (*batch, box.size) == (*batch, shape[0] + sum(shape[1]))
    for got, expected in zip(box.to_encoding(vectors), encoding, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


def test_largest_score_wins_and_ties_go_to_the_first() -> None:
    box = BoxEncoding(space_of(1, [3, 2]))
    encoding = box.to_encoding(np.array([[2.5, -1, 0.2, 0.1, 0, 0], [-3, 0, 0, 0, -0.2, -0.1]]))
    np.testing.assert_array_equal(encoding.continuous, [[2.5], [-3]])
    np.testing.assert_array_equal(encoding.discrete, [[1, 0], [0, 1]])


def test_random_vectors_take_every_choice_equally_often() -> None:
    """20000 vectors, 4 choices: within 5 standard deviations (5 x 61) of 5000."""
    box = BoxEncoding(space_of(0, [4]))
    counts = np.bincount(box.to_encoding(np.random.default_rng(0).uniform(-1, 1, (20000, 4))).discrete[:, 0])
    assert np.all(np.abs(counts - 5000) < 5 * np.sqrt(20000 * 0.25 * 0.75))


def test_errors() -> None:
    box = BoxEncoding(space_of(1, [2]))
    with pytest.raises(DesignError, match=r"length 3, got an array of shape \(2,\)"):
        box.to_encoding(np.zeros(2))
    with pytest.raises(DesignError, match="c0: the score of a choice is NaN"):
        box.to_encoding(np.array([0, np.nan, 0]))
