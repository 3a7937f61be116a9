"""Rows of one-hot columns, probabilities of choices, and searches over them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rl_detector.agents.critic.choices import MANY_CHOICES, ROUNDS, Choices
from rl_detector.space import FloatArray

SIZES = (3, 1, 4, 2)
FIRST = np.array([0, 3, 4, 8])
"""The first column of each choice."""


def sums(values: FloatArray) -> FloatArray:
    result: FloatArray = np.add.reduceat(values, FIRST)
    return result


def test_columns_are_one_hot_less_equal_shares() -> None:
    columns = Choices(SIZES).columns(np.array([[2, 0, 1, 0], [0, 0, 3, 1]]))
    expected = np.array([[0, 0, 1, 1, 0, 1, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0, 0, 1, 0, 1]])
    equal = np.array([1 / 3] * 3 + [1] + [1 / 4] * 4 + [1 / 2] * 2)
    np.testing.assert_allclose(columns, expected - equal, rtol=1e-12)
    np.testing.assert_allclose(Choices(SIZES).equal, equal, rtol=1e-12)
    np.testing.assert_allclose([sums(row) for row in columns], 0, atol=1e-12)


def test_softmax_sums_to_one_in_every_choice() -> None:
    """Also of logits whose exponentials overflow; adding a constant to the logits of one choice changes nothing."""
    rng = np.random.default_rng(0)
    logits = 1e3 * rng.standard_normal(10)
    choices = Choices(SIZES)
    np.testing.assert_allclose(sums(choices.softmax(logits)), 1, rtol=1e-12)
    logits /= 1e3
    expected = np.concatenate([np.exp(part) / np.exp(part).sum() for part in np.split(logits, FIRST[1:])])
    np.testing.assert_allclose(choices.softmax(logits), expected, rtol=1e-12)
    shifted = logits + np.repeat([0.0, 5.0, -3.0, 700.0], SIZES)
    np.testing.assert_allclose(choices.softmax(shifted), expected, rtol=1e-9)


def test_largest_of_every_choice() -> None:
    values = np.array([1.0, 3, 2, -5, 0, -1, 7, 7, -2, -3])
    np.testing.assert_array_equal(Choices(SIZES).largest(values), [3, 3, 3, -5, 7, 7, 7, 7, -2, -2])


def test_entropy_in_nats() -> None:
    choices = Choices(SIZES)
    assert choices.entropy(choices.equal) == pytest.approx(math.log(3 * 1 * 4 * 2))
    certain = choices.columns(np.array([[1, 0, 2, 0]]))[0] + choices.equal
    assert choices.entropy(certain) == pytest.approx(0, abs=1e-12)


def test_frequencies_of_samples() -> None:
    """20000 rows, every frequency within 5 standard errors; choices are independent."""
    rng = np.random.default_rng(1)
    choices = Choices(SIZES)
    p = choices.softmax(rng.standard_normal(10))
    rows = choices.sample(p, rng, 20000)
    assert rows.dtype == np.int64 and rows.shape == (20000, 4)
    chosen = choices.columns(rows) + choices.equal
    error = np.sqrt(p * (1 - p) / len(rows))
    np.testing.assert_array_less(np.abs(chosen.mean(axis=0) - p), 5 * error + 1e-12)
    both = (chosen[:, 0] * chosen[:, 8]).mean()
    assert abs(both - p[0] * p[8]) < 5 * math.sqrt(p[0] * p[8] / len(rows))


def test_samples_never_leave_the_choices() -> None:
    """Even where rounding leaves the sum of the probabilities short of 1, and for choices that are certain."""
    choices = Choices((3, 2))
    rows = choices.sample(np.array([0.3, 0.3, 0.3, 1.0, 0.0]), np.random.default_rng(2), 2000)
    assert set(rows[:, 0].tolist()) == {0, 1, 2} and set(rows[:, 1].tolist()) == {0}


def test_neighbours_change_one_choice_to_each_of_its_options() -> None:
    choices, row = Choices(SIZES), np.array([2, 0, 1, 0])
    rows = choices.neighbours(row)
    expected = [(choice, option) for choice, size in enumerate(SIZES) for option in range(size)]
    for neighbour, (choice, option) in zip(rows, expected, strict=True):
        changed = row.copy()
        changed[choice] = option
        np.testing.assert_array_equal(neighbour, changed)
    np.testing.assert_array_equal(row, [2, 0, 1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_ascent_finds_the_best_of_an_additive_value(seed: int) -> None:
    """From every start; with one change per choice at most, so the value is asked for at most 1 + choices + 1 times."""
    rng = np.random.default_rng(seed)
    choices, weights = Choices(SIZES), rng.standard_normal(10)
    best = [int(part.argmax()) for part in np.split(weights, FIRST[1:])]
    asked = []

    def value(columns: FloatArray) -> FloatArray:
        asked.append(len(columns))
        result: FloatArray = columns @ weights
        return result

    for start in itertools.product(*(range(size) for size in SIZES)):
        asked.clear()
        np.testing.assert_array_equal(choices.ascend(value, np.array(start)), best)
        assert len(asked) <= len(SIZES) + 2


@pytest.mark.parametrize("number", [8, MANY_CHOICES + 8])
def test_ascent_ends_at_a_local_maximum(number: int) -> None:
    """Of a value with pairs: no single change gains, though another start may end higher."""
    rng = np.random.default_rng(6)
    choices, pairs = Choices((2,) * number), rng.standard_normal((2 * number, 2 * number))
    value = lambda columns: ((columns @ pairs) * columns).sum(axis=1)  # noqa: E731
    starts = rng.integers(0, 2, (10, number))
    for start in starts:
        end = choices.ascend(value, start)
        reached = value(choices.columns(end[None]))[0]
        assert reached >= value(choices.columns(start[None]))[0]
        assert np.all(value(choices.columns(choices.neighbours(end))) <= reached + 1e-12)
    best = value(choices.columns(choices.highest(value, starts)[None]))[0]
    assert best == max(value(choices.columns(choices.ascend(value, start)[None]))[0] for start in starts)


def test_ascent_over_many_choices_changes_many_at_once() -> None:
    """Without pairs all changes that gain can be made together: the best in one round, seen to be so in another."""
    weights, calls = np.random.default_rng(8).standard_normal(4 * 60), []

    def value(columns: FloatArray) -> FloatArray:
        calls.append(len(columns))
        result: FloatArray = columns @ weights
        return result

    end = Choices((4,) * 60).ascend(value, np.zeros(60, dtype=np.int64))
    np.testing.assert_array_equal(end, weights.reshape(60, 4).argmax(axis=1))
    assert len(calls) == 4


def test_ascent_stops_where_all_is_equal_and_where_values_only_grow() -> None:
    choices, row = Choices((2, 2)), np.array([1, 0])
    np.testing.assert_array_equal(choices.ascend(lambda columns: np.zeros(len(columns)), row), row)
    calls = []

    def growing(columns: FloatArray) -> FloatArray:
        calls.append(1)
        return np.full(len(columns), float(len(calls)))

    choices.ascend(growing, row)
    assert len(calls) == 1 + ROUNDS


def test_no_choices() -> None:
    choices, nothing = Choices(()), np.zeros(0)
    assert choices.width == 0 and choices.columns(np.zeros((3, 0), dtype=np.int64)).shape == (3, 0)
    assert choices.sample(nothing, np.random.default_rng(0), 3).shape == (3, 0)
    assert choices.softmax(nothing).shape == choices.largest(nothing).shape == (0,)
    assert choices.entropy(nothing) == 0
