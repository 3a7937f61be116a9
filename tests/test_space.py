"""Spaces: the encoding loses nothing, every error says what was wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_detector.errors import DesignError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import DesignSpace, Encoding, Repeated

LAYER = DesignSpace((Continuous("thickness", 0.1, 5.0, "cm"), Categorical("material", ("lead", "iron", "tungsten"))))
SPACE = DesignSpace(
    (
        Continuous("length", 10.0, 100.0, "cm"),
        Continuous("pitch", 1e-3, 1.0, "cm", log=True),
        Integer("channels", 1, 64),
        Categorical("readout", ("sipm", "apd")),
        Repeated("layer", LAYER, 1, 4),
    )
)
DESIGN: dict[str, Any] = {
    "length": 50.0,
    "pitch": 0.1,
    "channels": 8,
    "readout": "apd",
    "layer": [{"thickness": 1.0, "material": "iron"}, {"thickness": 2.0, "material": "tungsten"}],
}


@st.composite
def continuous(draw: st.DrawFn, name: str) -> Continuous:
    if draw(st.booleans()):
        low = draw(st.floats(1e-6, 1e3))
        return Continuous(name, low, low * draw(st.floats(1.01, 1e6)), "cm", log=True)
    low = draw(st.floats(-1e6, 1e6))
    return Continuous(name, low, low + draw(st.floats(1e-3, 1e6)), "mm")


@st.composite
def integers(draw: st.DrawFn, name: str) -> Integer:
    low = draw(st.integers(-1000, 1000))
    return Integer(name, low, low + draw(st.integers(0, 1000)))


@st.composite
def categoricals(draw: st.DrawFn, name: str) -> Categorical:
    return Categorical(name, tuple(f"choice {i}" for i in range(draw(st.integers(1, 5)))))


@st.composite
def design_spaces(draw: st.DrawFn, depth: int = 2) -> DesignSpace:
    def parameter(name: str) -> Any:
        kind = draw(st.sampled_from((continuous, integers, categoricals, None)[: 4 if depth else 3]))
        if kind is not None:
            return draw(kind(name))
        minimum = draw(st.integers(0, 2))
        maximum = draw(st.integers(max(minimum, 1), 3))
        return Repeated(name, draw(design_spaces(depth - 1)), minimum, maximum)

    return DesignSpace(tuple(parameter(f"p{i}") for i in range(draw(st.integers(1, 4)))))


SEEDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def assert_close(space: DesignSpace, first: Any, second: Any) -> None:
    """Equal designs, coordinates to 1e-12 of the larger bound (of the value on a logarithmic scale)."""
    assert first.keys() == second.keys()
    for parameter in space.parameters:
        a, b = first[parameter.name], second[parameter.name]
        if isinstance(parameter, Repeated):
            assert len(a) == len(b)
            for part_a, part_b in zip(a, b, strict=True):
                assert_close(parameter.space, part_a, part_b)
        elif isinstance(parameter, Continuous):
            scale = abs(a) if parameter.log else max(abs(parameter.low), abs(parameter.high))
            assert abs(a - b) <= 1e-12 * scale, parameter
        else:
            assert a == b and type(a) is type(b)


def distort(space: DesignSpace, design: Any, rng: np.random.Generator) -> dict[str, Any]:
    """The design with coordinates far outside their bounds and surplus components."""
    result: dict[str, Any] = {}
    for parameter in space.parameters:
        value = design[parameter.name]
        if isinstance(parameter, Repeated):
            parts = [distort(parameter.space, part, rng) for part in value]
            result[parameter.name] = parts + parts[:1] * int(rng.integers(6))
        else:
            result[parameter.name] = value if isinstance(value, str) else value * rng.normal(1, 10) + rng.normal()
    return result


@given(design_spaces(), SEEDS)
@settings(max_examples=150)
def test_decode_is_the_inverse_of_encode(space: DesignSpace, rng: np.random.Generator) -> None:
    design = space.sample(rng)
    assert space.contains(design)
    encoding = space.encode(design)
    assert np.all(np.abs(encoding.continuous) <= 1 + 1e-12)
    assert_close(space, design, space.decode(encoding))


@given(design_spaces(), SEEDS)
@settings(max_examples=100)
def test_every_action_is_a_design(space: DesignSpace, rng: np.random.Generator) -> None:
    discrete = np.array([rng.integers(size) for size in space.choices], dtype=np.int64)
    wild = Encoding(rng.normal(0, 3, len(space.continuous)), discrete)
    assert space.contains(space.decode(wild))
    action = space.to_action(wild)
    assert space.gym_space.contains(action)
    clipped = Encoding(np.clip(wild.continuous, -1, 1), discrete)
    for got, expected in zip(space.from_action(action), clipped, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert space.decode(space.from_action(action)) == space.decode(wild)


@given(design_spaces(), SEEDS)
@settings(max_examples=100)
def test_nearest_is_contained_and_idempotent(space: DesignSpace, rng: np.random.Generator) -> None:
    design = space.sample(rng)
    assert space.nearest(design) == design
    nearest = space.nearest(distort(space, design, rng))
    assert space.contains(nearest)
    assert space.nearest(nearest) == nearest


@given(design_spaces(), SEEDS)
@settings(max_examples=100)
def test_space_and_design_survive_json(space: DesignSpace, rng: np.random.Generator) -> None:
    assert DesignSpace.from_json(json.loads(json.dumps(space.to_json()))) == space
    design = space.sample(rng)
    assert json.loads(json.dumps(design)) == design


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 5.0}, ("length", "5 cm", "below", "10 cm")),
        ({"length": 101.0}, ("length", "101 cm", "above", "100 cm")),
        ({"length": math.nan}, ("length", "finite", "nan")),
        ({"length": "long"}, ("length", "number in cm", "'long'")),
        ({"length": True}, ("length", "number", "True")),
        ({"channels": 2.5}, ("channels", "whole", "2.5")),
        ({"channels": 65}, ("channels", "65", "above", "64")),
        ({"readout": "pmt"}, ("readout", "sipm, apd", "'pmt'")),
        ({"colour": "red"}, ("unknown parameter colour", "length, pitch")),
        ({"layer": []}, ("layer.count", "below", "0", "1")),
        ({"layer": [DESIGN["layer"][0]] * 5}, ("layer.count", "5", "above", "4")),
        ({"layer": "iron"}, ("layer", "list of components", "'iron'")),
        ({"layer": [{"thickness": 9.0, "material": "iron"}]}, ("layer[0].thickness", "9 cm", "above", "5 cm")),
        ({"layer": [{"thickness": 1.0, "material": "gold"}]}, ("layer[0].material", "lead, iron", "'gold'")),
        ({"layer": [{"thickness": 1.0}]}, ("missing parameter layer[0].material",)),
        ({"layer": [1.0]}, ("layer[0]", "names and values", "1.0")),
    ],
)
def test_errors_name_parameter_bound_and_value(change: dict[str, Any], words: tuple[str, ...]) -> None:
    design = {**DESIGN, **change}
    assert SPACE.contains(DESIGN) and not SPACE.contains(design)
    for method in (SPACE.check, SPACE.encode):
        with pytest.raises(DesignError) as error:
            method(design)
        assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    "change", [{"length": math.nan}, {"readout": "pmt"}, {"layer": []}, {"layer": 3}, {"layer": "iron"}, {"x": 1}]
)
def test_nearest_does_not_guess(change: dict[str, Any]) -> None:
    with pytest.raises(DesignError, match=next(iter(change))):
        SPACE.nearest({**DESIGN, **change})


def test_missing_parameter() -> None:
    with pytest.raises(DesignError, match="missing parameter length"):
        SPACE.check({name: value for name, value in DESIGN.items() if name != "length"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Continuous("x", 2, 1), "low < high, got 2 and 1"),
        (lambda: Continuous("x", 0, math.inf), "finite"),
        (lambda: Continuous("x", 0, 1, log=True), "low > 0, got 0"),
        (lambda: Integer("x", 2, 1), "low <= high"),
        (lambda: Categorical("x", ()), "at least one choice"),
        (lambda: Categorical("x", ("a", "a")), "no repeats"),
        (lambda: Repeated("x", LAYER, 3, 2), "minimum <= maximum"),
        (lambda: DesignSpace(()), "at least one parameter"),
        (lambda: DesignSpace((Integer("x", 0, 1), Integer("x", 0, 1))), "distinct names"),
        (lambda: DesignSpace.from_json({"parameters": [{"kind": "Complex", "name": "x"}]}), "'Complex': known are"),
    ],
)
def test_impossible_spaces(make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()


def test_bad_actions() -> None:
    good = SPACE.encode(DESIGN)
    with pytest.raises(DesignError, match="shapes"):
        SPACE.decode(Encoding(good.continuous[:-1], good.discrete))
    nan = good.continuous.copy()
    nan[1] = math.nan
    with pytest.raises(DesignError, match=r"pitch: the action is NaN"):
        SPACE.decode(Encoding(nan, good.discrete))
    with pytest.raises(DesignError, match=r"readout: expected a choice index 0..1, got 2"):
        SPACE.decode(Encoding(good.continuous, np.array([2, 0, 0, 0, 0])))


def test_layout_of_the_encoding() -> None:
    assert [slot.path for slot in SPACE.continuous[:5]] == [
        "length",
        "pitch",
        "channels",
        "layer.count",
        "layer[0].thickness",
    ]
    assert SPACE.choices == (2, 3, 3, 3, 3)
    encoding = SPACE.encode(DESIGN)
    np.testing.assert_allclose(encoding.continuous[:2], [-1 / 9, 1 / 3])  # linear; two of three decades
    np.testing.assert_array_equal(encoding.continuous[6:], 0)  # layers that are absent
    np.testing.assert_array_equal(encoding.discrete, [1, 1, 2, 0, 0])


def test_integers_take_equal_shares_of_the_axis() -> None:
    parameter = Integer("n", -1, 2)
    values = [parameter.decode(x) for x in np.linspace(-1, 1, 4001)[:-1]]
    assert [values.count(n) for n in (-1, 0, 1, 2)] == [1000] * 4
    assert parameter.decode(1.0) == 2


def test_rows_and_take() -> None:
    batch = Encoding(np.arange(6.0).reshape(3, 2), np.arange(3)[:, None])
    assert [row.discrete.tolist() for row in batch.rows()] == [[0], [1], [2]]
    assert batch.take([2, 0]).continuous.tolist() == [[4, 5], [0, 1]]
