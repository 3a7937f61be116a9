"""Builds what a configuration describes: problem, agent, evaluator, judge, loop, each once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from rl_detector.agent import Agent
from rl_detector.claims import Claim, evaluator_claims, simulator_claims
from rl_detector.conf.schema import Config, FlowConfig, Group, Start
from rl_detector.errors import ConfigError
from rl_detector.execution.evaluator import Evaluator
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.records.run_folder import RunFolder
from rl_detector.settings import check_settings, split_name
from rl_detector.space import Design
from rl_detector.study import Budget, Study
from rl_detector.study.asynchronous import AsynchronousStudy, refuse_judge
from rl_detector.study.contexts import Contexts, ContextualStudy, refuse_with_contexts
from rl_detector.study.in_flight import Flow
from rl_detector.study.judge import Judge
from rl_detector.study.loop import Loop

DEFAULT_SIMULATOR = "fast"
"""The choice of config.yaml; environments with one simulator of their own ignore it."""

TWO_FIDELITIES = "two_fidelities"
"""Name in simulator settings that hold two simulators, `cheap` and `dear`, see conf/simulator/fast_to_geant4.yaml."""


def build_problem(env: Group, simulator: Group | None) -> Any:
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


def _two_fidelities(env: Group, simulator: Group) -> Any:
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


def build_agent(config: Config, problem: DesignProblem, start: Design | None = None) -> Agent:
    """The agent of a configuration.

    Args:
        config: its seed and its agent.
        problem: what the agent works on.
        start: design at which the search begins; None: the problem's own.

    Raises:
        ConfigError: unknown agent or setting, or a negative seed.
    """
    from rl_detector.agents import agent_class, make_agent

    if config.seed < 0:
        raise ConfigError(f"seed must be >= 0, got {config.seed}")
    name, settings = split_name("agent", config.agent)
    checked = check_settings("agent", agent_class(name), settings)
    return make_agent(name, problem.space, config.seed, problem.start if start is None else start, **checked)


EVALUATORS = {
    "serial": "rl_detector.execution.evaluator:SerialEvaluator",
    "local": "rl_detector.execution.local:LocalEvaluator",
    "dask": "rl_detector.execution.cluster:DaskEvaluator",
}
"""Name of an evaluator -> its class."""


def build_evaluator(config: Config, problem: DesignProblem | None = None) -> Evaluator:
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

    name, settings = split_name("evaluator", config.evaluator)
    if name not in EVALUATORS:
        raise ConfigError(f"unknown evaluator {name!r}: known are {', '.join(EVALUATORS)}")
    evaluator = load_factory(EVALUATORS[name])
    built: Evaluator = evaluator(**check_settings("evaluator", evaluator, settings))
    if problem is not None and isinstance(built, ParallelEvaluator):
        built.packer = Packer(Recipe.of(config), problem)
    return built


def build_judge(config: Config, problem: DesignProblem) -> Judge | None:
    """The judge of a configuration; None where the reach of the problem scores each design (judge=none).

    Raises:
        ConfigError: unknown judge or setting, or the problem's reach does not fit it.
    """
    name, settings = split_name("judge", config.judge)
    if name == "none":
        return None
    if name != "shared":
        raise ConfigError(f"unknown judge {name!r}: known are none, shared")
    from rl_detector.reach.shared_judge import SharedJudge

    return SharedJudge(problem, seed=config.seed, **check_settings("judge", SharedJudge, settings))


@dataclass(frozen=True)
class Recipe:
    """How to build a problem from a configuration.

    Attributes:
        env, simulator: groups of the configuration; simulators with workers of their own get one in each worker.
        factory, version: registration of the environment, which a worker may not know.
        changes: fields of the problem to replace once it is built.
    """

    env: Group
    simulator: Group | None
    factory: str
    version: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(config: Config) -> Recipe:
        """The recipe of a run's configuration.

        Raises:
            ConfigError: unknown environment.
        """
        from rl_detector.registry import find

        registration = find(config.env["name"])
        return Recipe(config.env, config.simulator, registration.factory, registration.version)

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


@dataclass(frozen=True, eq=False)
class Assembly:
    """The objects that a configuration describes; each is built when it is first used, and only once.

    Agent and judge learn while a study runs, so an assembly makes one study.

    Attributes:
        config: as given.

    Examples:
        >>> from rl_detector.assembly import assemble
        >>> oracle = {"env": {"name": "oracle", "dimensions": 2}, "simulator": {"name": "fast"}}
        >>> built = assemble({**oracle, "seed": 0, "agent": {"name": "random_search"}})
        >>> type(built.agent).__name__, built.agent.space is built.problem.space, built.claims
        ('RandomSearch', True, [])
    """

    config: Config
    _studies: list[Loop] = field(default_factory=list, repr=False)

    @cached_property
    def problem(self) -> DesignProblem:
        """The design problem in its simulator."""
        problem: DesignProblem = build_problem(self.config.env, self.config.simulator)
        return problem

    @cached_property
    def start(self) -> Start | None:
        """Where the search begins, with its design; None: at the problem's own start."""
        start = Start.of(self.config.start)
        return start and with_design(start, Path(self.config.runs), self.problem)

    @cached_property
    def agent(self) -> Agent:
        """The agent, at its start."""
        return build_agent(self.config, self.problem, None if self.start is None else self.start.design)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Where simulations run; it starts nothing before its first group, and must be closed."""
        return build_evaluator(self.config, self.problem)

    @cached_property
    def judge(self) -> Judge | None:
        """The judge; None: the reach of the problem scores each design."""
        return build_judge(self.config, self.problem)

    @cached_property
    def contexts(self) -> Contexts | None:
        """What changes from batch to batch; None: nothing."""
        return Contexts.of(self.config.contexts)

    @cached_property
    def flow(self) -> Flow:
        """How many proposals an asynchronous study has under way; what is left open fits the evaluator."""
        return Flow.for_workers(self.evaluator.workers, **asdict(self.config.flow))

    @cached_property
    def budget(self) -> Budget:
        """What the study may spend."""
        return Budget(**asdict(self.config.budget))

    @cached_property
    def loop(self) -> Callable[..., Loop]:
        """What makes the study: of batches, in changing contexts, or asynchronous."""
        if self.contexts is not None:
            refuse_with_contexts(self.config.asynchronous, self.judge)
            return partial(ContextualStudy, contexts=self.contexts)
        if not self.config.asynchronous:
            return partial(Study, judge=self.judge)
        refuse_judge(self.judge)
        return partial(AsynchronousStudy, flow=self.flow)

    @property
    def simulator_claims(self) -> list[Claim]:
        """Programs that the simulator would start."""
        return simulator_claims(self.config.env, self.config.simulator, self.problem.simulator)

    @property
    def claims(self) -> list[Claim]:
        """Programs that a run would start."""
        named = {} if self.config.evaluator == MISSING else self.config.evaluator
        return [*self.simulator_claims, *evaluator_claims(named)]

    @property
    def resolved(self) -> Config:
        """The configuration to be stored: with the design of its start, and the flow that fits today's workers."""
        flow = FlowConfig(**asdict(self.flow)) if self.config.asynchronous is True else self.config.flow
        return replace(self.config, start=self.start, flow=flow)

    def check(self) -> None:
        """Build everything once.

        Raises:
            ConfigError: the parts do not fit together.
            DesignError: the problem cannot be measured with these numbers of events.
        """
        if self.contexts is not None:
            self.contexts.check(self.problem, self.agent)
        (self.problem if self.judge is None else self.problem.for_judge()).check_events(self.budget.events_per_design)
        self.problem.check_events(self.config.held_out.events)
        _ = self.agent, self.evaluator, self.loop

    def study(self, ledger: Ledger, checkpoint: Path | None = None) -> Loop:
        """The study of all parts, on a ledger.

        Raises:
            ConfigError: this assembly has made its study.
        """
        if self._studies:
            raise ConfigError("an assembly makes one study, its agent has learned from it: assemble the config again")
        settings = {"seed": self.config.seed, "common_events": self.config.common_events, "checkpoint": checkpoint}
        made = self.loop(self.problem, self.agent, ledger, self.budget, evaluator=self.evaluator, **settings)
        self._studies.append(made)
        return made


def assemble(config: Config | Mapping[str, Any] | Assembly) -> Assembly:
    """The objects that a configuration describes, typed or plain; an assembly is given back.

    Raises:
        ConfigError: a name of the configuration is unknown. What is wrong with a part is found when it is built.
    """
    return config if isinstance(config, Assembly) else Assembly(Config.of(config))


def with_design(start: Start, runs: Path, problem: DesignProblem) -> Start:
    """The start with the design that its run recommends, so that a search begins where an earlier one ended.

    Args:
        start: name of a run, or a design that was stored.
        runs: where run folders lie.
        problem: in which the design is to be built.

    Raises:
        RunFolderError: there is no such run.
        ConfigError: it has no recommended design.
        DesignError: its design cannot be built here.
    """
    if start.design is not None:
        return start
    folder = RunFolder.find(start.run, runs)
    design = folder.read_json(folder.recommended, {}).get("design")
    if design is None:
        raise ConfigError(f"start={start.run}: {folder.path} has no recommended design yet, finish it first")
    problem.space.check(design)
    return replace(start, design=design)
