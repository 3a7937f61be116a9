"""What the trials of a batch are worth: by the reach of the problem, or by a judge that scores all designs anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Trial
from rl_detector.space import FloatArray
from rl_detector.study.judge import Judge
from rl_detector.study.memory import Memory


class Scored(NamedTuple):
    """A batch as the agent is told of it.

    Attributes:
        trials: of the batch, in order, with their rewards.
        revised: new rewards of all designs told before, in the order told; None: they stand as they were told.
    """

    trials: Sequence[Trial]
    revised: FloatArray | None = None


class Scoring:
    """Scores each design once, by the reach of the problem, and remembers the best one.

    Subclasses score in another way. A loop asks them and knows nothing of it.

    Args:
        problem: of the study.

    Attributes:
        name: a checkpoint is used only by studies that score in the same way.
        whole_batches: whether rewards are known only when a batch is complete. The ledger then gets it as a whole, so
            that it never holds a trial without its reward.
        simulated: the problem that evaluators get.
    """

    name = "reach"
    whole_batches = False

    def __init__(self, problem: DesignProblem) -> None:
        self.problem = self.simulated = problem
        self._best: Trial | None = None

    @property
    def best(self) -> Evaluation | None:
        """The best evaluation so far at the study's own problem; None before the first."""
        return None if self._best is None else self._best.evaluation

    def task(self, batch: int) -> DesignProblem:
        """The problem that a batch poses to the agent."""
        return self.problem

    def context(self, batch: int) -> dict[str, float]:
        """What changes from batch to batch, name -> number."""
        return {}

    def rewarded(self, evaluation: Evaluation, batch: int) -> Evaluation:
        """A new evaluation with the reward that it has in its batch."""
        return evaluation

    def own_reward(self, evaluation: Evaluation) -> float:
        """The reward at the study's own problem."""
        return -math.inf if evaluation.reward is None else evaluation.reward

    def score(self, trials: Sequence[Trial]) -> Scored:
        """Score a complete batch."""
        self._best = best_of(self._best, succeeded(trials), self.own_reward)
        return Scored(trials)

    def state_dict(self) -> dict[str, Any]:
        """What `score` builds on besides the ledger: tensors and plain values."""
        return {"best": None if self._best is None else self._best.number}

    def load_state_dict(self, state: Mapping[str, Any], memory: Memory, batches: int) -> None:
        """Go on from a state_dict, after the first `batches` of the memory were scored."""
        found = None if state["best"] is None else memory.ledger.trial(state["best"])
        self._best = best_of(None, succeeded([] if found is None else [found]), self.own_reward)


class Judged(Scoring):
    """Lets a judge score all designs anew with every batch, from readouts that the ledger keeps.

    The ledger has the rewards of a batch as they were when it was told.

    Args:
        problem: of the study.
        judge: gets every batch.

    Attributes:
        told: trials told before that did not fail, with their latest rewards and without readouts.
    """

    name = "judge"
    whole_batches = True

    def __init__(self, problem: DesignProblem, judge: Judge) -> None:
        super().__init__(problem)
        self.simulated = problem.for_judge()
        self.told: list[Trial] = []
        self._judge = judge

    def score(self, trials: Sequence[Trial]) -> Scored:
        """Score a complete batch, and all designs told before."""
        good = succeeded(trials)
        self._judge.add([trial.evaluation for trial in good])
        pairs = zip([*self.told, *good], self._judge.judge(), strict=True)
        judged = [with_evaluation(t, self.problem.with_measurement(t.evaluation, found)) for t, found in pairs]
        before, new = judged[: len(self.told)], {trial.number: trial for trial in judged[len(self.told) :]}
        self.told = before + list(map(_without_readout, new.values()))
        self._best = best_of(None, judged, self.own_reward)
        revised = np.array([trial.evaluation.reward for trial in before], dtype=np.float64)
        return Scored([new.get(trial.number, trial) for trial in trials], revised)

    def state_dict(self) -> dict[str, Any]:
        """State of the judge."""
        return {"judge": self._judge.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], memory: Memory, batches: int) -> None:
        """Give the judge all batches, then its state."""
        for batch in range(batches):
            good = succeeded(memory.trials(batch))
            self._judge.add([trial.evaluation for trial in good])
            self.told += map(_without_readout, good)
        self._judge.load_state_dict(state["judge"])


def succeeded(trials: Iterable[Trial]) -> list[Trial]:
    """Trials whose evaluation did not fail."""
    return [trial for trial in trials if not trial.evaluation.failed]


def best_of(best: Trial | None, trials: Iterable[Trial], reward: Callable[[Evaluation], float]) -> Trial | None:
    """The first trial with the highest reward, where `best` comes before the others."""
    for trial in trials:
        if best is None or reward(trial.evaluation) > reward(best.evaluation):
            best = trial
    return best


def with_evaluation(trial: Trial, evaluation: Evaluation) -> Trial:
    """The trial with another evaluation."""
    return replace(trial, evaluation=evaluation)


def _without_readout(trial: Trial) -> Trial:
    return with_evaluation(trial, replace(trial.evaluation, readout=None))
