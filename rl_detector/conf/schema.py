"""Types of config.yaml, and the part of it that decides what a study simulates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from rl_detector.errors import ConfigError


@dataclass
class BudgetConfig:
    """See rl_detector.study.study.Budget."""

    events: int = MISSING
    events_per_design: int = MISSING
    designs_per_batch: int = MISSING


@dataclass
class FlowConfig:
    """See rl_detector.study.in_flight.Flow.for_workers."""

    in_flight: int = MISSING
    told_at_once: int = MISSING
    designs_per_job: int = MISSING


@dataclass
class ContextsConfig:
    """See rl_detector.study.contexts.Contexts; None: no contexts."""

    cost_weight: list[float] | None = None


@dataclass
class HeldOutConfig:
    """Fresh events for the validation of the recommended design."""

    events: int = MISSING


Group = Mapping[str, Any]
"""Group of the configuration: the `name` of what is chosen, and its settings."""


@dataclass(frozen=True)
class Start:
    """Where a search begins: at the recommended design of a run.

    Attributes:
        run: name of the run; empty where only its design was stored.
        design: what it recommends; None until somebody has read it.
    """

    run: str = ""
    design: Mapping[str, Any] | None = None

    @staticmethod
    def of(value: Any) -> Start | None:
        """The start of a configuration: nothing, the name of a run, or a stored design."""
        if value is None or isinstance(value, Start):
            return value
        return Start(design=value) if isinstance(value, Mapping) else Start(str(value))

    def to_plain(self) -> Any:
        """What is stored: the design once it is known."""
        return self.run if self.design is None else dict(self.design)


@dataclass
class Config:
    """A configuration, typed; the values are in config.yaml and nowhere else.

    Groups are checked against what they build. `start` is a Start or None, once `of` has read it.

    Examples:
        >>> config = Config.of({"seed": 3, "agent": {"name": "cma_es"}, "start": "a-run"})
        >>> config.seed, config.agent["name"], config.start.run
        (3, 'cma_es', 'a-run')
    """

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

    @staticmethod
    def of(config: Config | Mapping[str, Any]) -> Config:
        """The typed form of plain data, as Hydra or a file gives it; `run`, its provenance, is left out.

        Raises:
            ConfigError: a name is unknown, or a part has no names and values.
        """
        if isinstance(config, Config):
            return config
        known = [each.name for each in fields(Config)]
        given = {name: value for name, value in config.items() if name != "run"}
        if unknown := [name for name in given if name not in known]:
            raise ConfigError(f"unknown setting {unknown[0]}: known are {', '.join(known)}")
        parts = {name: _part(name, kind, given[name]) for name, kind in PARTS.items() if name in given}
        return Config(**{**given, **parts, "start": Start.of(given.get("start"))})

    def to_plain(self) -> dict[str, Any]:
        """Plain data as it is stored, without what was never given."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {name: asdict(value) if name in PARTS and value != MISSING else value for name, value in named.items()}
        if isinstance(self.start, Start):
            plain["start"] = self.start.to_plain()
        return {name: value for name, value in plain.items() if not (isinstance(value, str) and value == MISSING)}


PARTS: dict[str, Any] = {
    "budget": BudgetConfig, "flow": FlowConfig, "contexts": ContextsConfig, "held_out": HeldOutConfig
}  # fmt: skip
"""Parts of the configuration with names and types of their own."""


def _part(name: str, kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must hold names and values, got {value!r}")
    known = [each.name for each in fields(kind)]
    if unknown := [each for each in value if each not in known]:
        raise ConfigError(f"unknown setting {name}.{unknown[0]}: known are {', '.join(known)}")
    return kind(**value)


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
