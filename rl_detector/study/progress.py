"""What a study may spend, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rl_detector.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """What a study may spend.

    Attributes:
        events: simulated events in all. Failed evaluations count, their second try does not.
        events_per_design: simulated events of each evaluation.
        designs_per_batch: proposals per update of the agent.

    Examples:
        >>> import rl_detector as rd
        >>> budget = rd.Budget(events=1000, events_per_design=100, designs_per_batch=4)
        >>> [budget.batch_size(spent) for spent in (0, 800, 1000)]
        [4, 2, 0]
    """

    events: int
    events_per_design: int = 200
    designs_per_batch: int = 64

    def __post_init__(self) -> None:
        if self.events_per_design < 1:
            raise ConfigError(f"budget.events_per_design must be at least 1, got {self.events_per_design}")
        if self.designs_per_batch < 2:
            raise ConfigError(
                "budget.designs_per_batch must be at least 2, agents learn from the differences within a batch; "
                f"got {self.designs_per_batch}"
            )
        if self.events < self.events_per_design:
            raise ConfigError(
                f"budget.events must pay for at least one design of {self.events_per_design} events, got {self.events}"
            )

    def batch_size(self, spent: int) -> int:
        """Number of designs that the next batch may have once `spent` events were simulated."""
        return min(self.designs_per_batch, (self.events - spent) // self.events_per_design)


@dataclass(frozen=True)
class Progress:
    """Where a study stands after a batch.

    Attributes:
        events, budget: simulated events until here and in all.
        batch: number of batches until here.
        trials, failed: evaluations until here, and the number of them that failed.
        reward: mean reward of the batch, in its context; None if all failed.
        reach, error: of the design with the best reward and its standard error (optimistic: the best of many).
        agent: the agent's own metrics.
        seconds: since the study was started or resumed.
        context: what changes from batch to batch, name -> number; empty where nothing does.
    """

    events: int
    budget: int
    batch: int
    trials: int
    failed: int
    reward: float | None
    reach: float | None
    error: float | None
    agent: Mapping[str, float]
    seconds: float
    context: Mapping[str, float] = field(default_factory=dict)


def describe_metrics(progress: Progress) -> dict[str, Any]:
    """Progress as flat names and numbers for trackers; absent numbers are left out."""
    fields = {name: getattr(progress, name) for name in ("events", "batch", "trials", "failed", "reward", "reach")}
    named = {**fields, "reach_error": progress.error}
    agent = {f"agent/{name}": value for name, value in progress.agent.items()}
    context = {f"context/{name}": value for name, value in progress.context.items()}
    return {name: value for name, value in {**named, **agent, **context}.items() if value is not None}
