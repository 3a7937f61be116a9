from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from rl_detector.assembly import build_evaluator, split_name
from rl_detector.conf.schema import Config, fingerprint
from rl_detector.errors import ConfigError
from rl_detector.registry import Registration, announced_environments
from rl_detector.settings import check_settings


def test_the_fingerprint_holds_what_decides_results_and_nothing_else():
    config = {
        "seed": 1, "runs": "here", "held_out": {"events": 5}, "tracker": {"name": "off"}, "run": {"command": "x"},
        "evaluator": {"name": "serial"}, "simulator": {"name": "geant4", "workers": 7, "cut": 0.7},
    }  # fmt: skip
    expected = {
        "seed": 1,
        "simulator.name": "geant4",
        "simulator.cut": 0.7,
        "simulator states physics_list": "data-free",
    }
    assert fingerprint(config, {"physics_list": "data-free"}) == expected


def test_a_broken_package_does_not_stop_the_others(monkeypatch):
    points = [Registration("broken", "no_such_package:problem"), Registration("good", "tests_good:problem")]
    monkeypatch.setattr("rl_detector.registry.announced", lambda: points)
    monkeypatch.setattr("rl_detector.registry.load_factory", lambda path: good if "good" in path else fail())
    with pytest.warns(UserWarning, match="environment broken is left out: it explodes"):
        found = announced_environments()
    assert found == {"good": {"name": "good", "planes": 3}}


def fail():
    raise RuntimeError("it explodes")


def good(planes: int = 3, simulator: str = "fast", layout: object = object()) -> None:
    """A factory of another package."""


@pytest.mark.parametrize("node", [None, {}, {"layers": 3}, {"name": 5}, OmegaConf.create({})])
def test_a_group_needs_a_name(node):
    with pytest.raises(ConfigError, match="env must be a group with a name"):
        split_name("env", node)


def test_settings_are_converted_and_checked():
    assert check_settings("env", good, {"planes": 4.0}) == {"planes": 4}
    with pytest.raises(ConfigError, match=r"env\.planes: Input should be a valid integer.*got 'three'"):
        check_settings("env", good, {"planes": "three"})
    with pytest.raises(ConfigError, match=r"unknown setting env\.plane: known are planes, simulator, layout"):
        check_settings("env", good, {"plane": 4})


def test_unknown_evaluators_are_refused():
    with pytest.raises(ConfigError, match="unknown evaluator 'cloud': known are serial, local, dask"):
        build_evaluator(Config.of({"evaluator": {"name": "cloud"}}))
    with pytest.raises(ConfigError, match="at least 1 design, got 0"):
        build_evaluator(Config.of({"evaluator": {"name": "serial", "group": 0}}))
