"""Environments by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import gymnasium as gym
import pytest

from rl_detector import registry
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.registry import find, load_entry_points, register, registered

CALORIMETER = "rl_detector.envs.calorimeter:calorimeter"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    known = set(gym.registry)
    yield
    for name in set(gym.registry) - known:
        del gym.registry[name]


def my_detector(layers: int = 1) -> DesignProblem:
    from rl_detector.envs.calorimeter.problem import calorimeter

    return calorimeter(layers=layers)


def test_register_by_name() -> None:
    assert register("my_detector", CALORIMETER) == "rl_detector/MyDetector-v0"
    env: Any = gym.make("rl_detector/MyDetector-v0", layers=2, events=30)
    assert len(env.unwrapped.problem.start["layer"]) == 2
    assert find("my_detector").factory == CALORIMETER
    assert "my_detector" in registered()


def test_register_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(my_detector, "__module__", "my_module")
    monkeypatch.setitem(__import__("sys").modules, "my_module", type("Module", (), {"my_detector": my_detector}))
    assert register("my_detector", my_detector, version=3) == "rl_detector/MyDetector-v3"
    assert find("my_detector").factory == "my_module:my_detector"
    env: Any = gym.make_vec("rl_detector/MyDetector-v3", num_envs=2, events=30)
    assert env.num_envs == 2


def test_the_same_twice_is_harmless() -> None:
    assert register("calorimeter", CALORIMETER) == register("calorimeter", CALORIMETER)


@pytest.mark.parametrize(("factory", "version"), [("other.package:factory", 0), (CALORIMETER, 1)])
def test_a_taken_name_is_refused(factory: str, version: int) -> None:
    with pytest.raises(ConfigError, match="'calorimeter' is already registered as rl_detector/Calorimeter-v0"):
        register("calorimeter", factory, version)
    assert find("calorimeter").factory == CALORIMETER


@pytest.mark.parametrize("name", ["", "MyDetector", "my-detector", "my detector", "_x", "x_", "a__b", "1a", "a_1", "é"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="lower_snake_case"):
        register(name, CALORIMETER)


@pytest.mark.parametrize("factory", ["calorimeter", "package.module.factory", ":factory", "package:", "a:b:c"])
def test_bad_paths_are_refused(factory: str) -> None:
    with pytest.raises(ConfigError, match=r"'package\.module:function'"):
        register("my_detector", factory)


def test_factories_without_a_name_are_refused() -> None:
    def local() -> None: ...

    for factory in (lambda: None, local):
        with pytest.raises(ConfigError, match="at module level"):
            register("my_detector", factory)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown environment 'calorimetre': did you mean calorimeter"):
        find("calorimetre")


def test_a_factory_that_does_not_exist_says_so_when_it_is_made() -> None:
    register("my_detector", "no_such_package.module:factory")
    with pytest.raises(ConfigError, match="cannot load the problem factory 'no_such_package"):
        gym.make("rl_detector/MyDetector-v0")


def announce(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, registry.GROUP) for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)


def test_announced_environments_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("telescope", "their_package:telescope"))
    assert registered()["telescope"].id == "rl_detector/Telescope-v0"
    assert list(registered()) == sorted(registered())


@pytest.mark.parametrize("name", ["calorimeter", "Bad Name"])
def test_a_bad_announcement_does_not_break_the_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    announce(monkeypatch, (name, "their_package:theirs"), ("telescope", "their_package:telescope"))
    with pytest.warns(UserWarning, match="'their_package:theirs' of the group rl_detector.envs is left out"):
        load_entry_points()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert {"calorimeter", "telescope"} <= registered().keys()
    assert find_quietly("calorimeter") == CALORIMETER


def find_quietly(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find(name).factory
