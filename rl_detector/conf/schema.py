"""Types of config.yaml, and the part of it that decides what a study simulates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


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
    """Fresh events that validate the recommended design and the baselines."""

    events: int = MISSING


@dataclass
class Config:
    """Types of config.yaml, which holds all values. Groups are checked against what they build."""

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
