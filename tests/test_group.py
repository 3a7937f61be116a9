"""A group of designs is a value, whatever sequences it was made from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from rl_detector.errors import DesignError
from rl_detector.measure import simulate
from rl_detector.terms import Group, Readout

DESIGNS = [{"x": 0.0}, {"x": 1.0}, {"x": 2.0}]


def test_equal_content_is_an_equal_group() -> None:
    group = Group(DESIGNS, 10, range(3))
    assert group == Group(tuple(DESIGNS), 10, [0, 1, 2])
    assert group != Group(DESIGNS, 11, range(3))
    assert pickle.loads(pickle.dumps(group)) == group


def test_later_changes_of_its_sequences_do_not_reach_it() -> None:
    designs, seeds = list(DESIGNS), [1, 2, 3]
    group = Group(designs, 10, seeds)
    designs.pop()
    seeds[0] = 7
    assert len(group) == 3 and group.seeds == (1, 2, 3)


def test_slices_keep_design_and_seed_together() -> None:
    group = Group(DESIGNS, 10, [7, 8, 9])
    assert [*group[:2].pairs(), *group[2:].pairs()] == list(group.pairs()) == list(zip(DESIGNS, [7, 8, 9], strict=True))
    assert len(group[3:]) == 0


@pytest.mark.parametrize("seeds", [[], [1, 2], [1, 2, 3, 4]])
def test_every_design_needs_a_seed(seeds: list[int]) -> None:
    with pytest.raises(DesignError, match=f"3 designs and {len(seeds)} seeds"):
        Group(DESIGNS, 10, seeds)


class Greedy:
    """Changes the lists and designs that it is given, as the simulator of a plug-in may."""

    def simulate_batch(self, designs, events, seeds):
        seeds.reverse()
        found = [Readout({}, np.full((events, 1), design.pop("x"))) for design in designs]
        designs.clear()
        return found

    def simulate(self, design, events, seed):
        raise NotImplementedError

    def describe(self):
        return {"simulator": "greedy"}


def test_a_simulator_gets_lists_of_its_own() -> None:
    group = Group(DESIGNS, 2, [7, 8, 9])
    readouts = [readout for readout in simulate(Greedy(), group) if isinstance(readout, Readout)]
    assert [readout.signals[0, 0] for readout in readouts] == [0.0, 1.0, 2.0]
    assert group == Group(DESIGNS, 2, [7, 8, 9]) and DESIGNS[0] == {"x": 0.0}
