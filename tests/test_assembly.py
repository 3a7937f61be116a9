from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rl_detector import assembly
from rl_detector.assembly import build_evaluator
from rl_detector.conf.schema import Config, Start, fingerprint
from rl_detector.errors import ConfigError
from rl_detector.records.ledger import Ledger
from rl_detector.registry import Registration, announced_environments
from rl_detector.settings import check_settings, split_name


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


PLAIN: dict[str, Any] = {
    "seed": 3, "common_events": True, "asynchronous": False, "runs": "runs",
    "budget": {"events": 800, "events_per_design": 10, "designs_per_batch": 8},
    "flow": {"in_flight": 0, "told_at_once": 0, "designs_per_job": 1}, "contexts": {"cost_weight": None},
    "held_out": {"events": 50}, "env": {"name": "oracle", "dimensions": 2}, "simulator": {"name": "fast"},
    "agent": {"name": "random_search"}, "evaluator": {"name": "serial"}, "judge": {"name": "none"},
    "tracker": {"name": "off"}, "start": None,
}  # fmt: skip


def test_a_typed_configuration_is_stored_as_it_was_given():
    config = Config.of({**PLAIN, "run": {"command": "x"}})
    assert config.to_plain() == PLAIN and list(config.to_plain()) == list(PLAIN)
    assert config.budget.events == 800 and Config.of(config) is config
    assert Config.of({"seed": 1}).to_plain() == {"seed": 1, "contexts": {"cost_weight": None}, "start": None}


def test_a_start_is_the_name_of_a_run_until_its_design_is_known():
    assert Config.of({**PLAIN, "start": "a-run"}).start == Start("a-run")
    assert Config.of({**PLAIN, "start": "a-run"}).to_plain()["start"] == "a-run"
    stored = Config.of({**PLAIN, "start": {"x0": 0.5}})
    assert stored.start == Start(design={"x0": 0.5}) and stored.to_plain()["start"] == {"x0": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "unknown setting sed: known are seed, common_events"),
        ({"budget": {"event": 5}}, r"unknown setting budget\.event: known are events, events_per_design"),
        ({"flow": 3}, "flow must hold names and values, got 3"),
    ],
)
def test_mistakes_in_plain_data_are_told(changes, message):
    with pytest.raises(ConfigError, match=message):
        Config.of({**PLAIN, **changes})


def test_an_assembly_builds_each_part_once_and_makes_one_study(monkeypatch):
    built: list[str] = []
    for name in ("build_problem", "build_agent", "build_evaluator", "build_judge"):
        original = getattr(assembly, name)
        monkeypatch.setattr(assembly, name, lambda *given, n=name, made=original: (built.append(n), made(*given))[1])
    parts = assembly.assemble(PLAIN)
    assert built == []
    parts.check()
    study = parts.study(Ledger(Path(":memory:")))
    assert sorted(built) == ["build_agent", "build_evaluator", "build_judge", "build_problem"]
    assert study.agent is parts.agent and study.problem is parts.problem and study.evaluator is parts.evaluator
    study.run()
    assert study.trials == 80
    with pytest.raises(ConfigError, match="makes one study"):
        parts.study(Ledger(Path(":memory:")))
