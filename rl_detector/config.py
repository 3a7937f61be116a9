"""The configuration of a run: its types, its settings checked against what they build, and the building."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import MISSING

from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.settings import check_settings


@dataclass
class BudgetConfig:
    """See rl_detector.study.Budget."""

    events: int = MISSING
    events_per_design: int = MISSING
    designs_per_batch: int = MISSING


@dataclass
class FlowConfig:
    """See rl_detector.in_flight.Flow.for_workers."""

    in_flight: int = MISSING
    told_at_once: int = MISSING
    designs_per_job: int = MISSING


@dataclass
class ContextsConfig:
    """See rl_detector.contexts.Contexts; None: no contexts."""

    cost_weight: list[float] | None = None


@dataclass
class HeldOutConfig:
    """Fresh events for the final judgement."""

    events: int = MISSING


@dataclass
class Config:
    """Types of config.yaml; the values are there and nowhere else. Groups are checked against what they build."""

    seed: int = MISSING
    common_events: bool = MISSING
    asynchronous: bool = MISSING
    runs: str = MISSING
    budget: BudgetConfig = MISSING
    flow: FlowConfig = MISSING
    contexts: ContextsConfig = field(default_factory=ContextsConfig)
    held_out: HeldOutConfig = MISSING
    env: Any = MISSING
    simulator: Any = MISSING
    agent: Any = MISSING
    evaluator: Any = MISSING
    judge: Any = MISSING
    tracker: Any = MISSING
    start: Any = None


DEFAULT_SIMULATOR = "fast"
"""Choice of config.yaml, which environments with one simulator of their own may ignore."""

TWO_FIDELITIES = "two_fidelities"
"""Name in simulator settings that hold two simulators, `cheap` and `dear`, see conf/simulator/fast_to_geant4.yaml."""

OUTSIDE_RESULTS = ("runs", "held_out", "evaluator", "tracker", "run")
"""Parts of the configuration that do not change what a study simulates; all others make its fingerprint."""


def fingerprint(config: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, Any]:
    """What decides the ledger, flat: names and values of the configuration, and what the simulator says it is.

    The facts tell, for example, which physics list `auto` came to and the version of the fitted parameters. Left out is
    what changes no result: an absent start, absent contexts and the number of workers.
    """
    kept = {name: value for name, value in config.items() if name not in OUTSIDE_RESULTS}
    if kept.get("start") is None:
        kept.pop("start", None)
    if (kept.get("contexts") or {}).get("cost_weight") is None:
        kept.pop("contexts", None)
    flat = _flatten(kept, "")
    for name in ("simulator.workers", "simulator.dear.workers"):
        flat.pop(name, None)
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

    if simulator is not None and split_name("simulator", simulator)[0] == TWO_FIDELITIES:
        return _two_fidelities(env, simulator)
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


def _two_fidelities(env: Mapping[str, Any], simulator: Mapping[str, Any]) -> Any:
    """The problem in the dear simulator, with the cheap one as the control of its reach."""
    from rl_detector.reach.corrected import CorrectedReach
    from rl_detector.simulators.two_fidelities import TwoFidelities

    settings = split_name("simulator", simulator)[1]
    cheap, dear = (build_problem(env, _part(settings, name)) for name in ("cheap", "dear"))
    names = [name for name in ("coefficient", "folds", "prior") if name in settings]
    of_reach: dict[str, Any] = {name: settings.pop(name) for name in names}
    reach = CorrectedReach(dear.reach, **check_settings("simulator", CorrectedReach, of_reach))
    joined = TwoFidelities(cheap.simulator, dear.simulator, **check_settings("simulator", TwoFidelities, settings))
    fewest = -(-dear.minimum_events * reach.folds // (reach.folds - 1))  # without a fold there must still be enough
    return replace(dear, simulator=joined, reach=reach, minimum_events=fewest)


def _part(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Take one of the two simulators out of the settings."""
    part = settings.pop(name, None)
    if not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
        raise ConfigError(f"simulator.{name} must be a simulator with a name, such as {{name: fast}}, got {part!r}")
    return dict(part)


def build_agent(config: Mapping[str, Any], problem: Any) -> Any:
    """The agent of a configuration, at its start design or else at the problem's."""
    from rl_detector.agents import agent_class, make_agent

    if config["seed"] < 0:
        raise ConfigError(f"seed must be >= 0, got {config['seed']}")
    name, settings = split_name("agent", config["agent"])
    start = problem.start if config.get("start") is None else config["start"]
    return make_agent(
        name, problem.space, config["seed"], start, **check_settings("agent", agent_class(name), settings)
    )


EVALUATORS = {
    "serial": "rl_detector.evaluate:SerialEvaluator",
    "local": "rl_detector.local_evaluator:LocalEvaluator",
    "dask": "rl_detector.dask_evaluator:DaskEvaluator",
}
"""Name of an evaluator -> its class."""


def build_evaluator(config: Mapping[str, Any], problem: Any = None) -> Any:
    """The evaluator of a configuration; it starts nothing before its first group, and must be closed.

    Args:
        config: of the run.
        problem: what it builds, so that workers build it anew instead of getting it pickled.

    Raises:
        ConfigError: unknown evaluator or setting.
        MissingDependency: it needs an extra.
    """
    from rl_detector.env import load_factory
    from rl_detector.evaluate import ParallelEvaluator
    from rl_detector.parcel import Packer

    name, settings = split_name("evaluator", config["evaluator"])
    if name not in EVALUATORS:
        raise ConfigError(f"unknown evaluator {name!r}: known are {', '.join(EVALUATORS)}")
    evaluator = load_factory(EVALUATORS[name])
    built = evaluator(**check_settings("evaluator", evaluator, settings))
    if problem is not None and isinstance(built, ParallelEvaluator):
        built.packer = Packer(Recipe.of(config), problem)
    return built


def build_judge(config: Mapping[str, Any], problem: Any) -> Any:
    """The judge of a configuration; None where the reach of the problem judges (judge=none).

    Raises:
        ConfigError: unknown judge or setting, or the problem's reach cannot be judged so.
    """
    name, settings = split_name("judge", config["judge"])
    if name == "none":
        return None
    if name != "shared":
        raise ConfigError(f"unknown judge {name!r}: known are none, shared")
    from rl_detector.judge import SharedJudge

    return SharedJudge(problem, seed=config["seed"], **check_settings("judge", SharedJudge, settings))


@dataclass(frozen=True)
class Recipe:
    """How to build a problem from a configuration.

    Attributes:
        env, simulator: groups of the configuration; simulators with workers of their own get one in each worker.
        factory, version: registration of the environment, which a worker may not know.
        changes: fields of the problem to replace once it is built.
    """

    env: Mapping[str, Any]
    simulator: Mapping[str, Any] | None
    factory: str
    version: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(config: Mapping[str, Any]) -> Recipe:
        """The recipe of a run's configuration.

        Raises:
            ConfigError: unknown environment.
        """
        from rl_detector.registry import find

        registration = find(config["env"]["name"])
        return Recipe(config["env"], config["simulator"], registration.factory, registration.version)

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe, followed by replacing fields of the problem it builds."""
        return replace(self, changes=changes)

    def build(self) -> DesignProblem:
        """The problem, built anew.

        Raises:
            ConfigError: it cannot be built here.
        """
        from rl_detector.registry import register

        register(self.env["name"], self.factory, self.version)
        simulator = None if self.simulator is None else _one_worker(self.simulator)
        problem: DesignProblem = build_problem(self.env, simulator)
        return replace(problem, **self.changes)


def _one_worker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Simulator settings with one worker where they leave the number open: there is an evaluator's worker per core."""
    parts = {name: _one_worker(value) if isinstance(value, Mapping) else value for name, value in settings.items()}
    return {name: 1 if name == "workers" and value is None else value for name, value in parts.items()}
