"""What every loop over a budget shares: counts, the recommended design, progress, checkpoints."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from rl_detector.agent import Agent, Batch, Stopwatch
from rl_detector.execution.evaluator import Evaluator, SerialEvaluator
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.space import Design, Encoding
from rl_detector.study.memory import Counts, Memory
from rl_detector.study.progress import Budget, Progress
from rl_detector.study.scoring import Scoring, succeeded

CHECKPOINT_SECONDS = 2.0
"""Longest time between checkpoints; what lies between is replayed from the ledger without simulation."""


class StudySettings(TypedDict, total=False):
    """Arguments that all kinds of studies share, see Study."""

    seed: int
    common_events: bool
    evaluator: Evaluator | None
    checkpoint: Path | None


@dataclass(frozen=True)
class Parts:
    """What a loop connects: the arguments of a Study."""

    problem: DesignProblem
    agent: Agent
    ledger: Ledger
    budget: Budget
    seed: int = 0
    common_events: bool = False
    evaluator: Evaluator | None = None
    checkpoint: Path | None = None


class Loop(ABC):
    """One agent on one problem until a budget is spent; subclasses say what one step is.

    A subclass goes on from what the memory holds at the end of its constructor, see `go_on`.

    Args:
        parts: what is connected.
        scoring: what trials are worth.
        plan: what the order of telling depends on, see Memory.

    Attributes:
        batch, trials, failed: batches told, trials told, and failed ones among these.
        thinking: time that the agent took.
    """

    def __init__(self, parts: Parts, scoring: Scoring, plan: Mapping[str, Any]) -> None:
        self.problem, self.agent, self.ledger, self.budget = parts.problem, parts.agent, parts.ledger, parts.budget
        self.seed, self.common_events = parts.seed, parts.common_events
        self.evaluator: Evaluator = parts.evaluator or SerialEvaluator()
        self.scoring = scoring
        self.memory = Memory(parts.ledger, parts.checkpoint, {"scoring": scoring.name, **plan})
        self.thinking = Stopwatch()
        self.batch = self.trials = self.failed = 0
        self._started = self._saved = time.monotonic()

    @abstractmethod
    def step(self, size: int) -> Progress:
        """Tell the agent the next `size` results."""

    def run(self, listener: Callable[[Progress], None] = lambda progress: None) -> Design:
        """Spend the budget; gives the recommended design.

        Raises:
            SimulationError: more than half of the simulations failed; the study can be resumed.
        """
        while (size := self.budget.batch_size(self.trials * self.budget.events_per_design)) > 0:
            listener(self.step(size))
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self.save()
        self.save()
        return self.recommended()

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the highest reward at the study's own problem; None before the first."""
        return self.scoring.best

    @property
    def task(self) -> DesignProblem:
        """The problem that the running batch poses."""
        return self.scoring.task(self.batch)

    def recommended(self) -> Design:
        """The agent's recommendation as a design."""
        with self.thinking:
            action = self.agent.recommend(self.problem.observation)
        return self.problem.space.decode(action)

    def save(self) -> None:
        """Write the checkpoint."""
        self._saved = time.monotonic()
        self.memory.save(Counts(self.batch, self.trials, self.failed), self.state())

    def state(self) -> dict[str, Any]:
        """What the next step builds on besides ledger and counts: tensors and plain values."""
        return {"agent": self.agent.state_dict(), "scoring": self.scoring.state_dict()}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.agent.load_state_dict(state["agent"])
        self.scoring.load_state_dict(state["scoring"], self.memory, state["batch"])
        self.batch, self.trials, self.failed = (state[name] for name in Counts._fields)

    def tell(self, batch: Batch, trials: Sequence[Trial]) -> Progress:
        """Tell the agent a batch that came from some trials, count them, say where the study stands."""
        with self.thinking:
            self.agent.tell(batch)
        context = self.scoring.context(self.batch)
        self.batch += 1
        self.trials += len(trials)
        self.failed += len(trials) - len(batch.rewards)
        return self._progress(batch, context)

    def _progress(self, batch: Batch, context: Mapping[str, float]) -> Progress:
        best = self.best.measurement if self.best is not None else None
        return Progress(
            events=self.trials * self.budget.events_per_design,
            budget=self.budget.events,
            batch=self.batch,
            trials=self.trials,
            failed=self.failed,
            reward=float(np.mean(batch.rewards)) if len(batch.rewards) else None,
            reach=best.reach if best else None,
            error=best.error if best else None,
            agent=self.agent.metrics(),
            seconds=time.monotonic() - self._started,
            context=context,
        )


def as_batch(actions: Encoding, trials: Sequence[Trial]) -> Batch:
    """What an agent is told of trials, failed ones left out; `actions` are those it asked for, in order."""
    good = [index for index, trial in enumerate(trials) if not trial.evaluation.failed]
    rewards = np.array([trial.evaluation.reward for trial in succeeded(trials)], dtype=np.float64)
    measured = [m for trial in succeeded(trials) if (m := trial.evaluation.measurement) is not None]
    errors = np.array([m.error for m in measured], dtype=np.float64)
    return Batch(actions.take(good), rewards, errors, [m.losses for m in measured])


def same_action(first: Encoding, second: Encoding) -> bool:
    """Whether two encodings of one design are equal bit for bit."""
    return all(np.array_equal(mine, other) for mine, other in zip(first, second, strict=True))
