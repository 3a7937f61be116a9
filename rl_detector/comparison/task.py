"""One run of a comparison: the curve of the recommended design, measured and stored in one JSON file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rl_detector.agent import Agent, Batch
from rl_detector.assembly import build_agent
from rl_detector.comparison.plan import Task
from rl_detector.conf.schema import Config
from rl_detector.errors import DetectorError, SimulationError
from rl_detector.problem import DesignProblem
from rl_detector.records.files import write_atomically
from rl_detector.records.ledger import Ledger
from rl_detector.reproducible import trial_seed
from rl_detector.safety.untrusted import read_bytes
from rl_detector.space import Design, Encoding, FloatArray
from rl_detector.study import Progress, Study

DONE, TIMEOUT, FAILED, UNFINISHED = "done", "timeout", "failed", "unfinished"

LARGEST_RECORD = 64_000_000
"""Most bytes of the record of a run."""

CHECKPOINTS = 25
"""Recommended designs per run, at events in geometric progression, that are scored where the best is not known."""

HELD_OUT_ROOT = 2_000_000_011
"""Root of held-out event seeds, apart from the small ones of the runs."""

SAVE_SECONDS = 15.0
"""Seconds between two stored parts of an unfinished run, which remain if it is stopped from outside."""


@runtime_checkable
class KnownTruth(Protocol):
    """A simulator that knows the gain of a design: 0 at the start, 1 at the best design."""

    def truth(self, design: Design) -> float:
        """Gain without noise."""
        ...


class TimedAgent:
    """An agent whose own computing time for `ask` and `tell` is counted.

    Attributes:
        space: that of the agent.
        seconds: of the processor so far.
        designs: proposed so far.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.space = agent, agent.space
        self.seconds, self.designs = 0.0, 0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Proposals of the agent."""
        started = time.process_time()
        actions = self.agent.ask(observation, n)
        self.seconds += time.process_time() - started
        self.designs += n
        return actions

    def tell(self, batch: Batch) -> None:
        """Tell the agent."""
        started = time.process_time()
        self.agent.tell(batch)
        self.seconds += time.process_time() - started

    def recommend(self, observation: FloatArray) -> Encoding:
        """Recommendation of the agent."""
        return self.agent.recommend(observation)

    def metrics(self) -> Mapping[str, float]:
        """Numbers of the agent."""
        return self.agent.metrics()

    def state_dict(self) -> dict[str, Any]:
        """State of the agent."""
        return self.agent.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the agent."""
        self.agent.load_state_dict(state)


class _TimeIsUp(Exception):
    """The time limit of a run has passed."""


class _Recorder:
    """Listens to a study: the gain of the recommended design after every batch, or the design at checkpoints."""

    def __init__(self, task: Task, problem: DesignProblem, study: Study, agent: TimedAgent, path: Path) -> None:
        self.task, self.study, self.agent, self.path = task, study, agent, path
        self.oracle = problem.simulator if isinstance(problem.simulator, KnownTruth) else None
        self.started = self.saved = time.monotonic()
        self.record: dict[str, Any] = {"task": task.name, "key": task.key(), "state": UNFINISHED, "reason": ""}
        self.record |= {"limit": task.limit, "events": [], "gains": [], "designs": []}
        first = task.budget.events_per_design * task.budget.designs_per_batch
        self.due = np.geomspace(min(first, task.budget.events), task.budget.events, CHECKPOINTS).round().tolist()
        self.save()

    def update(self, progress: Progress) -> None:
        """Note the progress of the study."""
        last = self.study.budget.batch_size(progress.events) == 0
        if self.oracle is not None:
            self._note(progress.events, "gains", self.oracle.truth(self.study.recommended()))
        elif last or progress.events >= self.due[0]:
            self._note(progress.events, "designs", self.study.recommended())
            self.due = [events for events in self.due if events > progress.events] or [np.inf]
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()
        if not last and time.monotonic() - self.started > self.task.limit:
            raise _TimeIsUp

    def _note(self, events: int, what: str, value: Any) -> None:
        self.record["events"].append(events)
        self.record[what].append(value)

    def save(self) -> None:
        """Store what is there."""
        self.saved = time.monotonic()
        designs = max(self.agent.designs, 1)
        self.record["milliseconds_per_design"] = 1000 * self.agent.seconds / designs
        self.record["seconds"] = self.saved - self.started
        self.record["trials"], self.record["failed_trials"] = self.study.trials, self.study.failed
        write_record(self.path, self.record)

    def finish(self, state: str, reason: str = "") -> dict[str, Any]:
        """Store the end of the run."""
        self.record |= {"state": state, "reason": reason}
        if self.record["events"]:
            recommended = self.study.recommended()
            self.record["recommended"] = recommended
            known = getattr(self.oracle, "best_assignment", None)
            if known is not None and self.study.problem.space.discrete:
                self.record["best_assignment"] = known(recommended)
        self.save()
        return self.record


def run_task(task: Task, path: Path) -> dict[str, Any]:
    """Run a study to its end or time limit, score its recommended designs, store the record; gives the record."""
    started = time.monotonic()
    problem = task.problem.build()
    try:
        agent = TimedAgent(build_agent(Config(seed=task.seed, agent=task.agent.agent), problem))
    except (DetectorError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}"
        record = {"task": task.name, "key": task.key(), "state": FAILED, "reason": reason, "limit": task.limit}
        write_record(path, record)
        return record
    with closing(Ledger(Path(":memory:"))) as ledger:
        common = task.problem.common_events
        study = Study(problem, agent, ledger, task.budget, seed=task.seed, common_events=common)
        recorder = _Recorder(task, problem, study, agent, path)
        recorder.started = started
        record = recorder.finish(*_outcome(study, recorder))
    return score(record, problem, task, path)


def _outcome(study: Study, recorder: _Recorder) -> tuple[str, str]:
    """State and reason of a run."""
    try:
        study.run(recorder.update)
    except _TimeIsUp:
        return TIMEOUT, f"stopped after the time limit of {recorder.task.limit:g} s"
    except Exception as error:  # whatever an agent raises is a failed run, not the end of a comparison
        return FAILED, f"{type(error).__name__}: {error}"
    return DONE, ""


def score(record: dict[str, Any], problem: DesignProblem, task: Task, path: Path) -> dict[str, Any]:
    """Rewards of the recommended designs and the start on held-out events, the same for all agents and seeds."""
    if record.get("designs") and "rewards" not in record:
        designs = [problem.start or record["designs"][0], *record["designs"]]
        start, *rewards = held_out_rewards(problem, designs, task.problem.held_out_events, 0)
        record |= {"start_reward": start, "rewards": rewards}
        write_record(path, record)
    return record


def held_out_rewards(problem: DesignProblem, designs: Sequence[Design], events: int, number: int) -> list[float]:
    """Rewards on the held-out events of a number; equal designs are simulated once.

    Raises:
        SimulationError: a simulation failed.
    """
    seed = trial_seed(HELD_OUT_ROOT, number)
    known: dict[str, float] = {}
    for design in designs:
        if (text := json.dumps(design, sort_keys=True)) not in known:
            evaluation = problem.evaluate(design, events, seed)
            if evaluation.reward is None:
                raise SimulationError(f"a recommended design could not be scored: {evaluation.failure}")
            known[text] = evaluation.reward
    return [known[json.dumps(design, sort_keys=True)] for design in designs]


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Store a record atomically."""
    write_atomically(path, json.dumps(record).encode())


def read_record(path: Path) -> dict[str, Any]:
    """A stored record; empty if there is none or it is damaged."""
    try:
        record = json.loads(read_bytes(path, LARGEST_RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
