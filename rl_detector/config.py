"""The configuration of a run: its types, its settings checked against what they build, and the building."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from rl_detector.errors import ConfigError
from rl_detector.settings import check_settings


@dataclass
class BudgetConfig:
    """See rl_detector.study.Budget."""

    events: int = MISSING
    events_per_design: int = MISSING
    designs_per_batch: int = MISSING


@dataclass
class HeldOutConfig:
    """Fresh events for the final judgement."""

    events: int = MISSING


@dataclass
class Config:
    """Types of config.yaml; the values are there and nowhere else. Groups are checked against what they build."""

    seed: int = MISSING
    common_events: bool = MISSING
    runs: str = MISSING
    budget: BudgetConfig = MISSING
    held_out: HeldOutConfig = MISSING
    env: Any = MISSING
    simulator: Any = MISSING
    agent: Any = MISSING
    evaluator: Any = MISSING
    judge: Any = MISSING
    tracker: Any = MISSING


DEFAULT_SIMULATOR = "fast"
"""Choice of config.yaml, which environments with one simulator of their own may ignore."""

OUTSIDE_RESULTS = ("runs", "held_out", "evaluator", "tracker", "run")
"""Parts of the configuration that do not change what a study simulates; all others make its fingerprint."""


def fingerprint(config: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, Any]:
    """What decides the ledger, flat: names and values of the configuration, and what the simulator says it is.

    The facts tell, for example, which physics list `auto` came to and the version of the fitted parameters.
    """
    kept = {name: value for name, value in config.items() if name not in OUTSIDE_RESULTS}
    flat = _flatten(kept, "")
    flat.pop("simulator.workers", None)
    return {**flat, **{f"simulator states {name}": fact for name, fact in facts.items()}}


def _flatten(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def split_name(group: str, node: Any) -> tuple[str, dict[str, Any]]:
    """Name and settings of a config group such as {name: fast, ...}.

    Raises:
        ConfigError: the group has no name.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        raise ConfigError(f"{group} must be a group with a name, got {node!r}")
    return node["name"], {key: value for key, value in node.items() if key != "name"}


def announced_environments() -> dict[str, dict[str, Any]]:
    """Environments of other installed packages: name -> config with the defaults of the factory's arguments.

    One that cannot be loaded is left out with a warning, so that it does not stop the others.
    """
    from rl_detector.env import load_factory
    from rl_detector.registry import announced

    found: dict[str, dict[str, Any]] = {}
    for registration in announced():
        try:
            parameters = inspect.signature(load_factory(registration.factory)).parameters.values()
        except Exception as error:  # whatever another package raises while it is imported
            warnings.warn(f"environment {registration.name} is left out: {error}", stacklevel=2)
            continue
        plain = (int, float, str, bool, type(None))
        defaults = {p.name: p.default for p in parameters if isinstance(p.default, plain) and p.name != "simulator"}
        found[registration.name] = {"name": registration.name, **defaults}
    return found


def build_problem(env: Mapping[str, Any], simulator: Mapping[str, Any] | None) -> Any:
    """The design problem of a configuration; the simulator goes to factories that take one.

    Raises:
        ConfigError: unknown environment, setting or simulator.
    """
    from rl_detector.env import load_factory
    from rl_detector.registry import find

    name, settings = split_name("env", env)
    factory = load_factory(find(name).factory)
    checked = check_settings("env", factory, settings)
    if "simulator" in inspect.signature(factory).parameters:
        checked |= {} if simulator is None else {"simulator": dict(simulator)}
    elif simulator is not None and simulator.get("name") != DEFAULT_SIMULATOR:
        raise ConfigError(
            f"environment {name} has one simulator of its own: simulator={simulator.get('name')} is not for it"
        )
    return factory(**checked)


def build_agent(config: Mapping[str, Any], problem: Any) -> Any:
    """The agent of a configuration, at the problem's start design."""
    from rl_detector.agents import agent_class, make_agent

    if config["seed"] < 0:
        raise ConfigError(f"seed must be >= 0, got {config['seed']}")
    name, settings = split_name("agent", config["agent"])
    return make_agent(
        name, problem.space, config["seed"], problem.start, **check_settings("agent", agent_class(name), settings)
    )


def build_evaluator(config: Mapping[str, Any]) -> Any:
    """The evaluator of a configuration."""
    from rl_detector.evaluate import SerialEvaluator

    name, settings = split_name("evaluator", config["evaluator"])
    if name != "serial":
        raise ConfigError(f"unknown evaluator {name!r}: known is serial")
    return SerialEvaluator(**check_settings("evaluator", SerialEvaluator, settings))


def build_judge(config: Mapping[str, Any], problem: Any) -> Any:
    """The judge of a configuration; None where the reach of the problem judges (judge=none, or an older run).

    Raises:
        ConfigError: unknown judge or setting, or the problem's reach cannot be judged so.
    """
    name, settings = split_name("judge", config.get("judge") or {"name": "none"})
    if name == "none":
        return None
    if name != "shared":
        raise ConfigError(f"unknown judge {name!r}: known are none, shared")
    from rl_detector.judge import SharedJudge

    return SharedJudge(problem, seed=config["seed"], **check_settings("judge", SharedJudge, settings))
