"""Building piece by piece: the space in pieces, and the rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.telescope import PLANE, planes, telescope
from rl_detector.encodings import one_hot, only_repeated, parts_of
from rl_detector.episodes.builder import ADD, MOVE, REMOVE, SET, STOP, SWAP, Action, Builder, PartialDesign
from rl_detector.errors import ConfigError, DesignError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import DesignSpace, Encoding, Repeated
from rl_detector.terms import Constraint


def act(builder: Builder, operation: str, place: int = 0, z: float = 5.0, kind: str = "thin") -> Action:
    head = Encoding(np.zeros(0), np.zeros(0, dtype=np.int64))
    if builder.head_space is not None:
        head = builder.head_space.encode({"channels": 7, "gas": "air"})
    return Action(operation, place, PLANE.encode({"z": z, "kind": kind}), head)


def test_parts_hold_every_entry_once() -> None:
    inner = DesignSpace((Continuous("x", 0, 1), Repeated("strip", DesignSpace((Categorical("a", ("p", "q")),)), 0, 2)))
    space = DesignSpace((Integer("channels", 1, 9), Repeated("layer", inner, 1, 3), Repeated("fixed", PLANE, 2, 2)))
    head, layer, fixed = parts_of(space)
    assert (head.name, layer.name, fixed.name) == ("", "layer", "fixed")
    assert (layer.coordinates, layer.choices, layer.minimum, layer.maximum) == (2, (2, 2), 1, 3)  # x and strip.count
    assert fixed.count is None
    counts = [part.count for part in (head, layer, fixed) if part.count is not None]
    coordinates = [place for part in (head, layer, fixed) for place in part.continuous.ravel().tolist()]
    assert sorted(coordinates + counts) == list(range(len(space.continuous)))
    choices = [place for part in (head, layer, fixed) for place in part.discrete.ravel().tolist()]
    assert sorted(choices) == list(range(len(space.discrete)))


def test_one_hot_of_no_choices_is_empty() -> None:
    assert one_hot(np.zeros((3, 0), dtype=np.int64), ()).shape == (3, 0)
    np.testing.assert_array_equal(one_hot(np.array([[1, 0]]), (2, 3)), [[0, 1, 1, 0, 0]])


def test_a_space_without_or_with_two_repeated_is_refused() -> None:
    with pytest.raises(ConfigError, match="exactly one Repeated component, got none"):
        only_repeated(PLANE)
    twice = DesignSpace((Repeated("a", PLANE, 1, 2), Repeated("b", PLANE, 1, 2)))
    with pytest.raises(ConfigError, match="got a, b"):
        only_repeated(twice)


def test_what_no_longer_fits_is_masked() -> None:
    """The limit is 8 kg: huge never fits, thick not on top of 6 kg, nothing on top of 8 kg."""
    builder = Builder(telescope())
    partial = builder.begin()
    assert builder.legal(partial) == {STOP: False, ADD: True}
    assert builder.choice_masks(partial)[0].tolist() == [1, 1, 0]
    heavy = replace(partial, components=tuple(planes("thick", "thick")))
    assert builder.choice_masks(heavy)[0].tolist() == [1, 0, 0]
    full = replace(partial, components=tuple(planes("thick", "thick", "thin", "thin")))
    assert builder.legal(full) == {STOP: True, ADD: False}
    assert builder.done(full)


def test_below_the_minimum_components_can_be_added_whatever_they_break() -> None:
    builder = Builder(telescope(minimum=4))
    broken = PartialDesign(tuple(planes("thick", "thick", "thick")), {})
    assert builder.legal(broken) == {STOP: False, ADD: True}
    assert builder.choice_masks(broken)[0].tolist() == [1, 1, 1]


def test_a_rule_of_ones_own_replaces_the_limits() -> None:
    builder = Builder(telescope(), may_fit=lambda partial, component: component["kind"] == "huge")
    assert builder.choice_masks(builder.begin())[0].tolist() == [0, 0, 1]
    nothing = Builder(telescope(), may_fit=lambda partial, component: False)
    assert nothing.done(PartialDesign(tuple(planes("thin")), {}))


def test_too_many_kinds_of_components_are_not_masked() -> None:
    wide = DesignSpace(tuple(Categorical(f"c{j}", tuple("abcdef")) for j in range(4)))
    problem = replace(
        telescope(), space=DesignSpace((Repeated("plane", wide, 0, 2),)), baselines={}, costs=(), constraints=()
    )
    limit = Constraint("none", "", 1.0, lambda design: 2.0 * len(design["plane"]))
    builder = Builder(replace(problem, constraints=(limit,)))
    assert builder.legal(builder.begin())[ADD]


def test_what_is_left_of_the_budgets() -> None:
    builder = Builder(telescope())
    assert builder.budgets == ("load", "length", "mass", "steps")
    np.testing.assert_allclose(builder.remaining(builder.begin()), [1, 1, 1, 1])
    two = PartialDesign(tuple(planes("thin", "thick", z=10.0)), {})
    np.testing.assert_allclose(builder.remaining(two), [1 - 4 / 8, 1 - 10 / 20, 1 - 4 / 10, 1 - 2 / 5])


def test_editing_adds_moves_removes_and_swaps() -> None:
    builder = Builder(telescope(), edits=4)
    partial = builder.begin()
    assert builder.operations == (STOP, ADD, MOVE, REMOVE, SWAP)
    assert list(partial.components) == planes("thin", "thick")
    partial = builder.apply(partial, act(builder, ADD, 1, z=2.0, kind="huge"))
    assert [(c["z"], c["kind"]) for c in partial.components] == [(5, "thin"), (2, "huge"), (5, "thick")]
    partial = builder.apply(partial, act(builder, MOVE, 2, z=9.0, kind="thin"))
    assert partial.components[2] == {"z": pytest.approx(9.0), "kind": "thick"}
    partial = builder.apply(partial, act(builder, SWAP, 0, z=0.0, kind="thick"))
    assert partial.components[0] == {"z": pytest.approx(5.0), "kind": "thick"}
    assert not builder.done(partial)
    partial = builder.apply(partial, act(builder, REMOVE, 99))
    assert [c["kind"] for c in partial.components] == ["thick", "huge"]
    assert builder.done(partial)


def test_editing_stays_between_minimum_and_maximum() -> None:
    builder = Builder(telescope(minimum=2, maximum=3), edits=9)
    partial = builder.begin()
    assert not builder.legal(partial)[REMOVE]
    partial = builder.apply(partial, act(builder, ADD, 99))
    assert not builder.legal(partial)[ADD]
    with pytest.raises(DesignError, match="'add' is not allowed here: allowed are stop, move, remove, swap"):
        builder.apply(partial, act(builder, ADD))


def test_parameters_outside_come_first() -> None:
    builder = Builder(telescope(head=True))
    partial = builder.begin()
    assert builder.legal(partial) == {STOP: False, ADD: False, SET: True}
    assert builder.design(partial)["gas"] == "helium"  # of the baseline, until it is chosen
    partial = builder.apply(partial, act(builder, SET))
    assert builder.design(partial) == {"channels": 7, "gas": "air", "plane": []}
    assert builder.legal(partial) == {STOP: False, ADD: True, SET: False}


def test_bad_beginnings_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 edit"):
        Builder(telescope(), edits=0)
    with pytest.raises(DesignError, match="building begins with nothing"):
        Builder(telescope()).begin({"plane": planes("thin")})
    with pytest.raises(DesignError, match="telescope needs a design"):
        Builder(replace(telescope(), baselines={}), edits=2).begin()
    with pytest.raises(DesignError, match=r"plane\[0\]\.z"):
        Builder(telescope(), edits=2).begin({"plane": planes("thin", z=-1.0)})
