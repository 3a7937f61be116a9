"""From a configuration to the objects that run it: problem, agent, evaluator, judge, loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rl_detector.claims import Claim, evaluator_claims, simulator_claims
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.settings import check_settings
from rl_detector.study import Study
from rl_detector.study.asynchronous import AsynchronousStudy, refuse_judge
from rl_detector.study.contexts import Contexts, ContextualStudy
from rl_detector.study.in_flight import Flow

DEFAULT_SIMULATOR = "fast"
"""Choice of config.yaml, which environments with one simulator of their own may ignore."""


TWO_FIDELITIES = "two_fidelities"
"""Name in simulator settings that hold two simulators, `cheap` and `dear`, see conf/simulator/fast_to_geant4.yaml."""


def split_name(group: str, node: Any) -> tuple[str, dict[str, Any]]:
    """Name and settings of a config group such as {name: fast, ...}.

    Raises:
        ConfigError: the group has no name.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        raise ConfigError(f"{group} must be a group with a name, got {node!r}")
    return node["name"], {key: value for key, value in node.items() if key != "name"}


def build_problem(env: Mapping[str, Any], simulator: Mapping[str, Any] | None) -> Any:
    """The design problem of a configuration; the simulator goes to factories that take one.

    Raises:
        ConfigError: unknown environment, setting or simulator.
    """
    from rl_detector.registry import find, load_factory

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
    "serial": "rl_detector.execution.evaluator:SerialEvaluator",
    "local": "rl_detector.execution.local:LocalEvaluator",
    "dask": "rl_detector.execution.cluster:DaskEvaluator",
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
    from rl_detector.execution.evaluator import ParallelEvaluator
    from rl_detector.execution.parcel import Packer
    from rl_detector.registry import load_factory

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
    from rl_detector.reach.shared_judge import SharedJudge

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


def _claims(config: Mapping[str, Any], problem: DesignProblem) -> list[Claim]:
    """Programs that a run would start."""
    found = simulator_claims(config["env"], config["simulator"], problem.simulator)
    return [*found, *evaluator_claims(config["evaluator"])]


def _loop(config: Mapping[str, Any], problem: DesignProblem) -> Callable[..., Study]:
    """What makes the study: of batches, in changing contexts, or asynchronous."""
    chosen, contexts = build_judge(config, problem), Contexts.of(config)
    if contexts is not None:
        _refuse_with_contexts(config, chosen)
        return partial(ContextualStudy, contexts=contexts)
    if not config["asynchronous"]:
        return partial(Study, judge=chosen)
    refuse_judge(chosen)
    return partial(AsynchronousStudy, flow=Flow(**config["flow"]))


def _refuse_with_contexts(config: Mapping[str, Any], chosen: object) -> None:
    if config["asynchronous"]:
        raise ConfigError(
            "contexts.cost_weight changes with every batch, and an asynchronous study has none: use asynchronous=false"
        )
    if chosen is not None:
        raise ConfigError("contexts.cost_weight needs judge=none: a shared judge knows one price of cost only")


def simulator_settings(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of conf/simulator/NAME.yaml with changes.

    Raises:
        ConfigError: unknown simulator or setting.
    """
    from importlib.resources import files

    from omegaconf import OmegaConf

    folder = files("rl_detector.conf") / "simulator"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise ConfigError(f"unknown simulator {name!r}: known are {', '.join(known)}")
    stored: Any = OmegaConf.create((folder / f"{name}.yaml").read_text())
    settings = {str(key): value for key, value in stored.get("simulator", stored).items()}
    unknown = [key for key in changes if key not in settings]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r} of simulator {name}: known are {', '.join(settings)}")
    return {**settings, **changes}
