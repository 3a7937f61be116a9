"""What is remembered and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rl_detector.agents.critic.archive import ARRAYS, NEWEST_SHARE, Archive, ranks_within
from rl_detector.errors import SimulationError
from rl_detector.space import Encoding, FloatArray

MEAN, SCALE = np.array([0.2, -0.1]), np.array([[0.5, 0.1], [0.1, 0.3]])


def proposals(rng: np.random.Generator, n: int, spread: float = 0.6) -> Encoding:
    return Encoding(spread * rng.standard_normal((n, 2)), rng.integers(0, 3, (n, 1)))


def tell(archive: Archive, actions: Encoding, rewards: FloatArray | None = None) -> None:
    """The reward of an evaluation is its index, unless given."""
    n = len(actions.continuous)
    values = np.arange(archive.told, archive.told + n, dtype=np.float64) if rewards is None else rewards
    archive.append(actions, values, np.full(n, 0.1), MEAN, SCALE)


def filled(rng: np.random.Generator, memory: int, batch: int, batches: int) -> Iterator[tuple[Archive, Encoding]]:
    archive = Archive(2, 1, memory)
    for _ in range(batches):
        actions = proposals(rng, batch)
        tell(archive, actions)
        yield archive, actions


def test_remembers_all_in_order_while_there_is_room() -> None:
    archive, rng, told = Archive(2, 1, 100), np.random.default_rng(0), []
    for _ in range(10):
        told.append(proposals(rng, 10))
        tell(archive, told[-1])
    assert len(archive) == archive.told == 100 and archive.batches == 10
    np.testing.assert_array_equal(archive.continuous, np.clip(np.concatenate([a.continuous for a in told]), -1, 1))
    np.testing.assert_array_equal(archive.discrete, np.concatenate([a.discrete for a in told]))
    np.testing.assert_array_equal(archive.index, np.arange(100))
    np.testing.assert_array_equal(archive.batch, np.arange(100) // 10)
    np.testing.assert_array_equal(archive.rewards, np.arange(100))


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_the_memory_is_bounded_and_all_arrays_keep_step(batch: int) -> None:
    for archive, _ in filled(np.random.default_rng(1), 40, batch, 30):
        assert len(archive) == min(archive.told, 40)
        assert {len(getattr(archive, name)) for name in ARRAYS} == {len(archive)}
        np.testing.assert_array_equal(archive.rewards, archive.index)
        np.testing.assert_array_equal(archive.batch, archive.index // batch)
        assert np.all(np.diff(archive.index) > 0)


def alike(actions: Encoding) -> Encoding:
    """The same coordinates, all with the first choices."""
    return Encoding(actions.continuous, np.zeros_like(actions.discrete))


def test_the_newest_and_the_nearest_stay() -> None:
    """A memory of 40: the newest 10, and of the others the 30 nearest in the policy's own coordinates."""
    rng, archive, memory = np.random.default_rng(2), Archive(2, 1, 40), 40
    tell(archive, alike(proposals(rng, 40)))
    extra = alike(proposals(rng, 5))
    everything = np.concatenate([archive.continuous, np.clip(extra.continuous, -1, 1)])
    tell(archive, extra)
    newest = memory // NEWEST_SHARE
    far = np.linalg.norm(np.linalg.inv(SCALE) @ (everything - MEAN).T, axis=0)[:-newest]
    expected = [*np.sort(np.argsort(far)[: memory - newest]), *range(45 - newest, 45)]
    np.testing.assert_array_equal(archive.index, expected)


def test_rare_choices_stay() -> None:
    """One evaluation each of 20 other choices, and far more of the first: these are forgotten."""
    rng, archive = np.random.default_rng(8), Archive(2, 1, 40)
    tell(archive, Encoding(0.6 * rng.standard_normal((20, 2)), np.arange(1, 21)[:, None]))
    for _ in range(10):
        tell(archive, alike(proposals(rng, 10)))
    assert set(range(20)) <= set(archive.index.tolist()) and len(archive) == 40


def test_ranks_within_equal_rows() -> None:
    assert ranks_within(np.array([[0, 1], [1, 1], [0, 1], [0, 1], [1, 1]])).tolist() == [0, 0, 1, 2, 1]
    assert ranks_within(np.zeros((3, 0), dtype=np.int64)).tolist() == [0, 1, 2]


def test_the_newest_stay_however_far() -> None:
    rng, archive = np.random.default_rng(3), Archive(2, 1, 40)
    for spread in (0.01, 0.01, 0.01, 0.01, 3.0):
        tell(archive, proposals(rng, 10, spread))
    assert set(range(40, 50)) <= set(archive.index.tolist())


def test_of_equally_near_ones_the_newest_stay() -> None:
    archive = Archive(2, 1, 8)
    for _ in range(5):
        tell(archive, Encoding(np.tile(MEAN, (4, 1)), np.zeros((4, 1), dtype=np.int64)))
    np.testing.assert_array_equal(archive.index, np.arange(12, 20))


def test_a_batch_beyond_the_memory_stays_whole() -> None:
    archive = Archive(2, 1, 8)
    tell(archive, proposals(np.random.default_rng(4), 5))
    tell(archive, proposals(np.random.default_rng(4), 20))
    np.testing.assert_array_equal(archive.index, np.arange(5, 25))


def test_no_memory_is_the_newest_batch_alone() -> None:
    for archive, actions in filled(np.random.default_rng(5), 0, 6, 4):
        np.testing.assert_array_equal(archive.continuous, np.clip(actions.continuous, -1, 1))
        np.testing.assert_array_equal(archive.index, np.arange(archive.told - 6, archive.told))


def test_without_numbers_the_newest_stay() -> None:
    archive = Archive(0, 1, 8)
    for _ in range(4):
        actions = Encoding(np.zeros((5, 0)), np.zeros((5, 1), dtype=np.int64))
        archive.append(actions, np.zeros(5), np.zeros(5), np.zeros(0), np.zeros((0, 0)))
    np.testing.assert_array_equal(archive.index, np.arange(12, 20))


def test_revised_rewards_reach_those_that_are_remembered() -> None:
    """In the order told, though most were forgotten meanwhile."""
    for archive, _ in filled(np.random.default_rng(6), 12, 9, 6):
        revised = 1000 - np.arange(archive.told, dtype=np.float64) ** 2
        archive.revise(revised)
        np.testing.assert_array_equal(archive.rewards, 1000 - archive.index.astype(float) ** 2)
        archive.revise(np.arange(archive.told, dtype=np.float64))
    assert len(archive) == 12


@pytest.mark.parametrize(
    "revised", [np.zeros(9), np.zeros(11), np.zeros((10, 1)), np.full(10, np.nan), np.full(10, np.inf)]
)
def test_revised_rewards_that_do_not_fit_are_refused(revised: FloatArray) -> None:
    archive = Archive(2, 1, 100)
    tell(archive, proposals(np.random.default_rng(7), 10))
    with pytest.raises(SimulationError, match="expected 10 finite revised rewards"):
        archive.revise(revised)
    np.testing.assert_array_equal(archive.rewards, np.arange(10))


def variances(errors: list[float]) -> FloatArray:
    archive, n = Archive(1, 0, 100), len(errors)
    actions = Encoding(np.zeros((n, 1)), np.zeros((n, 0), dtype=np.int64))
    archive.append(actions, np.zeros(n), np.array(errors), np.zeros(1), np.eye(1))
    return archive.relative_variances()


def test_relative_variances() -> None:
    np.testing.assert_allclose(variances([1.0, 1.0, 2.0]), [0.5, 0.5, 2.0])
    np.testing.assert_allclose(variances([1e-12, 1e-12, 2e-12]), [0.5, 0.5, 2.0])
    np.testing.assert_allclose(variances([1.0, np.nan, 0.0, -1.0, np.inf, 1.0]), 1.0)
    np.testing.assert_array_equal(variances([1e-6, *[1.0] * 99, 1e3]), [0.03, *[0.03] * 99, 30])


@pytest.mark.parametrize("error", [0.0, np.nan, np.inf, -1.0])
def test_without_stated_errors_all_count_the_same(error: float) -> None:
    np.testing.assert_array_equal(variances([error] * 4), np.ones(4))


def test_goes_on_from_its_state() -> None:
    rngs = [np.random.default_rng(8) for _ in range(2)]
    first, second = Archive(2, 1, 15), Archive(2, 1, 15)
    for _ in range(4):
        tell(first, proposals(rngs[0], 6))
        proposals(rngs[1], 6)
    second.load_state_dict(first.state_dict())
    for archive, rng in zip((first, second), rngs, strict=True):
        tell(archive, proposals(rng, 6))
    for name in (*ARRAYS, "told", "batches"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
