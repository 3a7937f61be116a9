"""The loop: ask, evaluate, remember, tell, until the budget of simulated events is spent."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from rl_detector.agent import Agent, Batch, Stopwatch
from rl_detector.errors import ConfigError, RunFolderError, SimulationError
from rl_detector.execution.evaluator import Evaluator, SerialEvaluator
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.checkpoint import load_checkpoint, save_checkpoint
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.reproducible import trial_seed
from rl_detector.space import Design, Encoding, FloatArray
from rl_detector.study.judge import Judge
from rl_detector.terms import Group

CHECKPOINT_SECONDS = 2.0
"""Longest time between checkpoints; what lies between is replayed from the ledger without simulation."""


@dataclass(frozen=True)
class Budget:
    """What a study may spend.

    Attributes:
        events: simulated events in all, those of failed evaluations included; the retry of a failed one is not counted.
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
        """How many designs the next batch may have after so many events."""
        return min(self.designs_per_batch, (self.events - spent) // self.events_per_design)


@dataclass(frozen=True)
class Progress:
    """Where a study stands after a batch.

    Attributes:
        events, budget: simulated events so far and in all.
        batch: number of batches so far.
        trials, failed: evaluations so far, and how many of them failed.
        reward: mean reward of the batch, in its context; None if all failed.
        reach, error: of the design with the best reward so far and its standard error (optimistic: the best of many).
        agent: the agent's own numbers.
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


class StudySettings(TypedDict, total=False):
    """Arguments that all kinds of studies share, see Study."""

    seed: int
    common_events: bool
    evaluator: Evaluator | None
    checkpoint: Path | None


class Study:
    """One agent on one problem with a budget.

    The agent's proposals are a function of its seed and of what it was told, so a study that was interrupted goes on
    from the latest checkpoint: batches that the ledger holds already are told again without being simulated again.
    Without a readable checkpoint the whole ledger is replayed; either way the result is that of an uninterrupted study.

    Args:
        problem, agent, ledger, budget: what is studied, by whom, where it is kept, and what it may spend.
        seed: root of all event seeds.
        common_events: whether the designs of one batch share their event seed (it changes with every batch).
        evaluator: where simulations run.
        checkpoint: file of the agent's state; None keeps none.
        judge: judges all designs anew with every batch, from readouts that the ledger then keeps; None: the reach of
            the problem judges each design once. The ledger has the rewards of a batch as they were when it was told.

    Examples:
        >>> import rl_detector as rd
        >>> import gymnasium as gym
        >>> from rl_detector.agents import make_agent
        >>> problem = gym.make("rl_detector/Oracle-v0", dimensions=2).unwrapped.problem
        >>> agent = make_agent("random_search", problem.space, seed=0, start=problem.start)
        >>> ledger = rd.Ledger(Path(":memory:"))
        >>> study = rd.Study(problem, agent, ledger, rd.Budget(events=800, events_per_design=10, designs_per_batch=8))
        >>> best = study.run()
        >>> study.trials, ledger.count(), problem.space.contains(best)
        (80, 80, True)
    """

    def __init__(
        self,
        problem: DesignProblem,
        agent: Agent,
        ledger: Ledger,
        budget: Budget,
        seed: int = 0,
        common_events: bool = False,
        evaluator: Evaluator | None = None,
        checkpoint: Path | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.problem, self.agent, self.ledger, self.budget = problem, agent, ledger, budget
        self.seed, self.common_events = seed, common_events
        self.evaluator = evaluator or SerialEvaluator()
        self.checkpoint = checkpoint
        self.judge = judge
        self.thinking = Stopwatch()
        self._seconds: dict[int, float] = {}
        self._simulated = problem if judge is None else problem.for_judge()
        self._told: list[Evaluation] = []
        self.batch = self.trials = self.failed = 0
        self.best: Evaluation | None = None
        self._best_number: int | None = None
        self._restore()
        self._started = self._saved = time.monotonic()

    def run(self, listener: Callable[[Progress], None] = lambda progress: None) -> Design:
        """Spend the budget; gives the recommended design.

        Raises:
            SimulationError: more than half of a batch failed; the study can be resumed.
        """
        while (size := self.budget.batch_size(self.trials * self.budget.events_per_design)) > 0:
            listener(self.step(size))
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self.save()
        self.save()
        return self.recommended()

    def recommended(self) -> Design:
        """The agent's recommendation as a design."""
        with self.thinking:
            action = self.agent.recommend(self.problem.observation)
        return self.problem.space.decode(action)

    @property
    def task(self) -> DesignProblem:
        """The problem that the running batch poses."""
        return self.problem

    def step(self, size: int) -> Progress:
        """Ask for a batch, evaluate what the ledger does not hold yet, tell the agent."""
        with self.thinking:
            actions = self.agent.ask(self.task.observation, size)
        evaluations = self._evaluate(actions)
        good = [i for i, evaluation in enumerate(evaluations) if not evaluation.failed]
        self._refuse_if_hopeless(evaluations, len(good))
        evaluations, revised = self._judged(actions, evaluations, good)
        with self.thinking:
            self.agent.tell(self._batch(actions, evaluations, good)._replace(revised=revised))
        self._remember_best([evaluations[i] for i in good])
        self._best_number = next((self.trials + i for i in good if evaluations[i] is self.best), self._best_number)
        self.batch += 1
        self.trials += size
        self.failed += size - len(good)
        return self._progress([evaluations[i].reward for i in good])

    def save(self) -> None:
        """Write the checkpoint."""
        self._saved = time.monotonic()
        if self.checkpoint is not None:
            counts = {"batch": self.batch, "trials": self.trials, "failed": self.failed}
            state = {"study": self.ledger.identity, **counts, "agent": self.agent.state_dict()}
            state["best"] = self._best_number
            if self.judge is not None:
                state["judge"] = self.judge.state_dict()
            save_checkpoint(self.checkpoint, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        if state is None or not self._believes(state):
            return
        try:
            self.agent.load_state_dict(state["agent"])
            if self.judge is not None:
                self._restore_judge(self.judge, state["judge"], state["batch"])
            elif state["best"] is not None:
                self._restore_best(state["best"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise self._strange_checkpoint(error) from error
        self.batch, self.trials, self.failed = state["batch"], state["trials"], state["failed"]

    def _believes(self, state: Mapping[str, Any]) -> bool:
        """Whether the ledger has what the checkpoint knows; else the ledger is replayed as far as it goes."""
        if not all(isinstance(state.get(name), int) for name in ("batch", "trials", "failed")) or "study" not in state:
            raise self._strange_checkpoint("it lacks its counts")
        if state["study"] != self.ledger.identity:
            if self.ledger.count() == 0:
                raise RunFolderError(
                    f"{self.ledger.path} is empty, but {self.checkpoint} knows {state['trials']} trials: the ledger "
                    "was lost. Restore it from a copy, or delete the checkpoint to begin anew."
                )
            return False
        if lost := max(state["trials"] - self.ledger.count(before=state["batch"]), 0):
            warnings.warn(
                f"{self.ledger.path} lacks {lost} of the {state['trials']} trials that {self.checkpoint} knows. They "
                "are simulated again with the same seeds; the others are not.",
                stacklevel=2,
            )
        return lost == 0 and (self.judge is not None) == ("judge" in state)

    def _strange_checkpoint(self, reason: object) -> RunFolderError:
        return RunFolderError(
            f"{self.checkpoint} does not fit this agent ({reason}). If it comes from another version, go on with that "
            "one: designs proposed by another version are not continued. If it is damaged, delete it: the study then "
            "goes on from the ledger alone, and nothing is simulated again."
        )

    def _restore_best(self, number: int) -> None:
        best = self.ledger.trial(number)
        if best is not None and not best.evaluation.failed:
            self._best_number = best.number
            self._remember_best([best.evaluation])

    def _restore_judge(self, judge: Judge, state: Mapping[str, Any], batches: int) -> None:
        for batch in range(batches):
            evaluations = [evaluation for evaluation in self._stored(batch).values() if not evaluation.failed]
            judge.add(evaluations)
            self._told += [replace(evaluation, readout=None) for evaluation in evaluations]
        judge.load_state_dict(state)

    def _judged(
        self, actions: Encoding, evaluations: list[Evaluation], good: list[int]
    ) -> tuple[list[Evaluation], FloatArray | None]:
        """Evaluations of a batch with what the judge says of them, and the new rewards of all designs told before.

        The batch enters the ledger only now, as a whole, so that a ledger never has trials that nobody judged.
        """
        if self.judge is None:
            return evaluations, None
        self.judge.add([evaluations[i] for i in good])
        measurements = self.judge.judge()
        told = len(self._told)
        before = list(map(self.problem.with_measurement, self._told, measurements[:told]))
        new = map(self.problem.with_measurement, [evaluations[i] for i in good], measurements[told:])
        result = list(evaluations)
        for index, evaluation in zip(good, new, strict=True):
            result[index] = evaluation
        self._append_judged(actions, result)
        self._told = before + [replace(result[i], readout=None) for i in good]
        self.best = None
        self._remember_best(before)
        return result, np.array([evaluation.reward for evaluation in before], dtype=np.float64)

    def _append_judged(self, actions: Encoding, evaluations: Sequence[Evaluation]) -> None:
        present = {trial.number for trial in self.ledger.trials(self.batch)}
        rows = enumerate(zip(actions.rows(), evaluations, strict=True), self.trials)
        missing = [Trial(n, self.batch, *found, self._seconds.get(n, 0.0)) for n, found in rows if n not in present]
        if missing:
            self.ledger.append(missing)

    def _evaluate(self, actions: Encoding) -> list[Evaluation]:
        """Evaluations of a batch: those that the ledger holds, the others from the evaluator into the ledger."""
        rows = list(actions.rows())
        known, self._seconds = self._known(rows), {}
        missing = [index for index in range(len(rows)) if index not in known]
        designs = [self.problem.space.decode(rows[index]) for index in missing]
        asked = Group(designs, self.budget.events_per_design, [self._event_seed(index) for index in missing])
        started, remaining = time.monotonic(), iter(missing)
        for group in self.evaluator.evaluate(self._simulated, asked):
            seconds, started = (time.monotonic() - started) / len(group), time.monotonic()
            found = {next(remaining): self._rewarded(evaluation) for evaluation in group}
            if self.judge is None:
                self.ledger.append(
                    Trial(self.trials + index, self.batch, rows[index], evaluation, seconds)
                    for index, evaluation in found.items()
                )
            self._seconds.update(dict.fromkeys((self.trials + index for index in found), seconds))
            known.update(found)
        return [known[index] for index in range(len(rows))]

    def _rewarded(self, evaluation: Evaluation) -> Evaluation:
        """A new evaluation as the agent is told of it."""
        return evaluation

    def _known(self, rows: Sequence[Encoding]) -> dict[int, Evaluation]:
        """Position in the batch -> evaluation in the ledger. A batch that stopped the study gets another chance."""
        stored = list(self.ledger.trials(self.batch))
        self._check_replay(stored, rows)
        failed = [trial for trial in stored if trial.evaluation.failed]
        if 2 * len(failed) > len(stored):
            self.ledger.forget(trial.number for trial in failed)
            stored = [trial for trial in stored if not trial.evaluation.failed]
        if self.judge is not None:
            return {number - self.trials: evaluation for number, evaluation in self._stored(self.batch).items()}
        return {trial.number - self.trials: trial.evaluation for trial in stored}

    def _stored(self, batch: int) -> dict[int, Evaluation]:
        """Number of the trial -> evaluation of a batch in the ledger, with the readouts that a judge needs."""
        readouts = self.ledger.readouts(batch)
        return {
            trial.number: replace(trial.evaluation, readout=readouts.get(trial.number))
            for trial in self.ledger.trials(batch)
        }

    def _event_seed(self, index: int) -> int:
        """Seed of a trial of the running batch; the first trial's for all of it when events are common."""
        return trial_seed(self.seed, self.trials + (0 if self.common_events else index))

    def _check_replay(self, stored: Sequence[Trial], rows: Sequence[Encoding]) -> None:
        for trial in stored:
            index = trial.number - self.trials
            same = 0 <= index < len(rows) and np.array_equal(trial.action.continuous, rows[index].continuous)
            if not (same and np.array_equal(trial.action.discrete, rows[index].discrete)):
                raise RunFolderError(
                    f"trial {trial.number} of {self.ledger.path} is not what this agent proposes there: the ledger "
                    "comes from another agent, seed or version. It was left as it is; start a new run."
                )

    def _batch(self, actions: Encoding, evaluations: Sequence[Evaluation], good: list[int]) -> Batch:
        rewards = np.array([evaluations[i].reward for i in good], dtype=np.float64)
        measured = [m for i in good if (m := evaluations[i].measurement) is not None]
        errors = np.array([m.error for m in measured], dtype=np.float64)
        return Batch(actions.take(good), rewards, errors, [m.losses for m in measured])

    def _refuse_if_hopeless(self, evaluations: Sequence[Evaluation], good: int) -> None:
        if 2 * good >= len(evaluations):
            return
        reason = next(evaluation.failure for evaluation in evaluations if evaluation.failed)
        raise SimulationError(
            f"{len(evaluations) - good} of {len(evaluations)} simulations of batch {self.batch} failed; the study "
            f"stops here and keeps what it has. The first reason: {reason}"
        )

    def _remember_best(self, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            if self.best is None or self._own_reward(evaluation) > self._own_reward(self.best):
                self.best = evaluation

    def _own_reward(self, evaluation: Evaluation) -> float:
        """What the best design so far has most of: the reward of the study's own problem."""
        return -math.inf if evaluation.reward is None else evaluation.reward

    def _progress(self, rewards: Sequence[float | None]) -> Progress:
        best = self.best.measurement if self.best is not None else None
        return Progress(
            events=self.trials * self.budget.events_per_design,
            budget=self.budget.events,
            batch=self.batch,
            trials=self.trials,
            failed=self.failed,
            reward=float(np.mean([reward for reward in rewards if reward is not None])) if rewards else None,
            reach=best.reach if best else None,
            error=best.error if best else None,
            agent=self.agent.metrics(),
            seconds=time.monotonic() - self._started,
        )


def describe_metrics(progress: Progress) -> dict[str, Any]:
    """Progress as flat names and numbers for trackers; absent numbers are left out."""
    fields = {name: getattr(progress, name) for name in ("events", "batch", "trials", "failed", "reward", "reach")}
    named = {**fields, "reach_error": progress.error}
    agent = {f"agent/{name}": value for name, value in progress.agent.items()}
    context = {f"context/{name}": value for name, value in progress.context.items()}
    return {name: value for name, value in {**named, **agent, **context}.items() if value is not None}
