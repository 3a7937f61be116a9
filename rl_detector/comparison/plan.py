"""The plan of a comparison: problems, agents, seeds and budgets of a YAML file, and the tasks that they make."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rl_detector.assembly import Assembly, assemble
from rl_detector.conf.schema import Config
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.safety.untrusted import LARGEST_YAML, check_yaml, read_bytes
from rl_detector.settings import check_settings, split_name
from rl_detector.study import Budget

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class ComparedProblem:
    """A problem and its budget.

    Attributes:
        label: name in tables, figures and files.
        env, simulator: as in the configuration of a training, a name and settings.
        events: simulated events of every run.
        events_per_design, designs_per_batch, common_events: as in the configuration of a training.
        budgets: label of an agent -> smaller number of events for it; 0: it does not run on this problem.
        held_out_events: events that score a recommended design where the best design is not known.
        best: design whose gain is 1 where the best design is not known; None: the best found by any run.
        start: name of the baseline that the agents start from, whose gain is 0; None: the first one.
    """

    label: str
    env: dict[str, Any]
    events: int
    simulator: dict[str, Any] | None = None
    events_per_design: int = 1
    designs_per_batch: int = 20
    common_events: bool = True
    budgets: dict[str, int] = field(default_factory=dict)
    held_out_events: int = 20_000
    best: dict[str, Any] | None = None
    start: str | None = None

    def assembled(self) -> Assembly:
        """Environment and simulator as they are built for a training."""
        return assemble(Config(env=self.env, simulator=self.simulator))

    def build(self) -> DesignProblem:
        """The design problem.

        Raises:
            ConfigError: there is no such environment, simulator or start, or a setting is wrong.
        """
        problem = self.assembled().problem
        if self.start is None:
            return problem
        _check_known(f"start of {self.label}", [self.start], problem.baselines)
        return replace(problem, baselines={self.start: problem.baselines[self.start], **problem.baselines})


@dataclass(frozen=True)
class ComparedAgent:
    """An agent with its settings.

    Attributes:
        label: name in tables, figures and files.
        agent: name and settings, as in the configuration of a training.
        designs_per_batch: other than the problem's, for an agent that needs it; None: the problem's.
    """

    label: str
    agent: dict[str, Any]
    designs_per_batch: int | None = None


@dataclass(frozen=True)
class Task:
    """One run: a problem, an agent, a seed.

    Attributes:
        limit: seconds after which it ends with what it has.
    """

    problem: ComparedProblem
    agent: ComparedAgent
    seed: int
    limit: float

    @property
    def name(self) -> str:
        """Name of its file, without ending."""
        return f"{self.problem.label}--{self.agent.label}--{self.seed}"

    @property
    def budget(self) -> Budget:
        """The budget of the run."""
        batch = self.agent.designs_per_batch or self.problem.designs_per_batch
        events = min(self.problem.events, self.problem.budgets.get(self.agent.label, self.problem.events))
        return Budget(events, self.problem.events_per_design, batch)

    def key(self) -> str:
        """Digest of everything that decides the result, defaults included; without labels and time limit."""
        from rl_detector.agents import agent_class
        from rl_detector.registry import find, load_factory

        env, agent = split_name("env", self.problem.env)[0], split_name("agent", self.agent.agent)[0]
        content: dict[str, Any] = {
            "env": _defaults(load_factory(find(env).factory)) | self.problem.env,
            "agent": _defaults(agent_class(agent)) | self.agent.agent,
            "simulator": self.problem.simulator,
            "budget": asdict(self.budget),
            "common_events": self.problem.common_events,
            "held_out_events": self.problem.held_out_events,
            "seed": self.seed,
        }
        if self.problem.start is not None:
            content["start"] = self.problem.start
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, int | float | str | bool | None)}


@dataclass(frozen=True)
class Comparison:
    """A comparison as its file describes it.

    Attributes:
        problems, agents: in the order of the tables.
        seeds: every agent runs from seed 0, 1, ..., seeds - 1.
        reference: label of the agent that the others are compared with.
        time_limit: seconds per run.
        targets: gains whose events are counted.
    """

    problems: tuple[ComparedProblem, ...]
    agents: tuple[ComparedAgent, ...]
    reference: str
    seeds: int = 10
    time_limit: float = 600.0
    targets: tuple[float, ...] = (0.9, 0.95)

    def __post_init__(self) -> None:
        for what, labels in (("problems", self.problem_labels), ("agents", self.agent_labels)):
            if not labels or len(set(labels)) < len(labels):
                raise ConfigError(f"a comparison needs {what} with distinct labels, got {', '.join(labels) or 'none'}")
            if bad := [label for label in labels if not label or "--" in label or "/" in label]:
                raise ConfigError(f"labels of {what} must not be empty nor hold -- or /, got {bad[0]!r}")
        _check_known("reference", [self.reference], self.agent_labels)
        for problem in self.problems:
            _check_known(f"budgets of {problem.label}", problem.budgets, self.agent_labels)
        if self.seeds < 1 or self.time_limit <= 0:
            raise ConfigError(f"seeds and time_limit must be positive, got {self.seeds} and {self.time_limit}")

    @property
    def problem_labels(self) -> list[str]:
        """Labels of the problems."""
        return [problem.label for problem in self.problems]

    @property
    def agent_labels(self) -> list[str]:
        """Labels of the agents."""
        return [agent.label for agent in self.agents]

    def tasks(self) -> Iterator[Task]:
        """All runs, seed after seed, so that early results are balanced over problems and agents."""
        for seed in range(self.seeds):
            yield from (task for task in self._pairs(seed) if task.problem.budgets.get(task.agent.label) != 0)

    def _pairs(self, seed: int) -> Iterator[Task]:
        return (Task(problem, agent, seed, self.time_limit) for problem in self.problems for agent in self.agents)

    def only(self, problems: Collection[str] | None, agents: Collection[str] | None) -> Comparison:
        """The part with these problems and agents (None: all); it keeps the reference if this is among them.

        Raises:
            ConfigError: a label is unknown.
        """
        _check_known("--only-problems", problems or (), self.problem_labels)
        _check_known("--only-agents", agents or (), self.agent_labels)
        chosen = tuple(p for p in self.problems if problems is None or p.label in problems)
        kept = tuple(a for a in self.agents if agents is None or a.label in agents)
        labels = [agent.label for agent in kept]
        trimmed = tuple(replace(p, budgets={a: n for a, n in p.budgets.items() if a in labels}) for p in chosen)
        reference = self.reference if self.reference in labels else labels[0]
        return replace(self, problems=trimmed, agents=kept, reference=reference)


def read_comparison(path: Path) -> Comparison:
    """The comparison of a YAML file, see experiments/agents/main.yaml.

    Raises:
        ConfigError: the file cannot be read, or names something that does not exist.
    """
    from omegaconf import OmegaConf

    try:
        text = read_bytes(path, LARGEST_YAML, links=True).decode()
        check_yaml(text)
        data = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except Exception as error:  # a file written by hand may raise anything
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold names and values such as problems and agents, got {data!r}")
    settings: dict[str, Any] = {str(name): value for name, value in data.items()}
    for name, kind in (("problems", ComparedProblem), ("agents", ComparedAgent)):
        entries = enumerate(settings.get(name) or [])
        settings[name] = tuple(_entry(f"{name}[{index}]", kind, entry) for index, entry in entries)
    return _entry(str(path), Comparison, settings)


def _entry(where: str, kind: type[Entry], settings: Any) -> Entry:
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where} must hold names and values, got {settings!r}")
    parts: list[Any] = list(fields(kind))  # type: ignore[arg-type]
    required = [part.name for part in parts if part.default is MISSING and part.default_factory is MISSING]
    if missing := [name for name in required if name not in settings]:
        raise ConfigError(f"{where} has no {missing[0]}: it needs {', '.join(required)}")
    return kind(**check_settings(where, kind, settings))


def _check_known(where: str, labels: Collection[str], known: Collection[str]) -> None:
    if unknown := [label for label in labels if label not in known]:
        raise ConfigError(f"{where} names {unknown[0]!r}: known are {', '.join(known)}")
