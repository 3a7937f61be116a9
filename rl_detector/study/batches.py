"""The loop in batches: ask, evaluate, remember, tell."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from rl_detector.errors import RunFolderError, SimulationError
from rl_detector.problem import Evaluation
from rl_detector.records.ledger import Trial
from rl_detector.reproducible import trial_seed
from rl_detector.space import Encoding
from rl_detector.study.loop import Loop, Parts, as_batch, same_action
from rl_detector.study.progress import Progress
from rl_detector.study.scoring import Scoring, succeeded
from rl_detector.terms import Group


class BatchLoop(Loop):
    """Tells the agent one batch of proposals after the other, each as a whole.

    Args:
        parts: what is connected.
        scoring: what trials are worth.
    """

    def __init__(self, parts: Parts, scoring: Scoring) -> None:
        super().__init__(parts, scoring, {"told": "in batches"})
        state = self.memory.load(lambda counts: self.ledger.count(before=counts.batch))
        if state is not None:
            with self.memory.restoring():
                self.go_on(state)

    def step(self, size: int) -> Progress:
        """Ask for a batch, evaluate what the ledger does not hold yet, tell the agent.

        Raises:
            SimulationError: more than half of the batch failed.
        """
        with self.thinking:
            actions = self.agent.ask(self.task.observation, size)
        rows = list(actions.rows())
        stored = self._stored(rows)
        known = {trial.number - self.trials for trial in stored}
        new = self._evaluated(rows, [index for index in range(size) if index not in known])
        trials = sorted([*stored, *new], key=lambda trial: trial.number)
        self._refuse_if_hopeless([trial.evaluation for trial in trials])
        scored = self.scoring.score(trials)
        if self.scoring.whole_batches:
            self._append({trial.number for trial in new}, scored.trials)
        return self.tell(as_batch(actions, scored.trials)._replace(revised=scored.revised), scored.trials)

    def _append(self, numbers: Collection[int], trials: Sequence[Trial]) -> None:
        if numbers:
            self.ledger.append(trial for trial in trials if trial.number in numbers)

    def _evaluated(self, rows: Sequence[Encoding], missing: Sequence[int]) -> list[Trial]:
        """Trials at some places of the batch from the evaluator, each group at once in the ledger if it is scored."""
        made: list[Trial] = []
        remaining = iter(missing)
        for group, seconds in self._groups(rows, missing):
            trials = [
                Trial(self.trials + index, self.batch, rows[index], evaluation, seconds)
                for evaluation, index in zip(group, remaining, strict=False)
            ]
            if not self.scoring.whole_batches:
                self.ledger.append(trials)
            made += trials
        return made

    def _groups(self, rows: Sequence[Encoding], missing: Sequence[int]) -> Iterator[tuple[list[Evaluation], float]]:
        """Rewarded evaluations as the evaluator gives them, and seconds per design."""
        designs = [self.problem.space.decode(rows[index]) for index in missing]
        asked = Group(designs, self.budget.events_per_design, [self._event_seed(index) for index in missing])
        started = time.monotonic()
        for found in self.evaluator.evaluate(self.scoring.simulated, asked):
            seconds, started = (time.monotonic() - started) / len(found), time.monotonic()
            yield [self.scoring.rewarded(evaluation, self.batch) for evaluation in found], seconds

    def _stored(self, rows: Sequence[Encoding]) -> list[Trial]:
        """Trials of the batch in the ledger. Failures of a batch that stopped the study get another chance."""
        stored = self.memory.trials(self.batch)
        self._check_replay(stored, rows)
        good = succeeded(stored)
        if 2 * len(good) >= len(stored):
            return stored
        self.ledger.forget(trial.number for trial in stored if trial.evaluation.failed)
        return good

    def _check_replay(self, stored: Sequence[Trial], rows: Sequence[Encoding]) -> None:
        for trial in stored:
            index = trial.number - self.trials
            if not (0 <= index < len(rows) and same_action(trial.action, rows[index])):
                raise RunFolderError(
                    f"trial {trial.number} of {self.ledger.path} is not what this agent proposes there: the ledger "
                    "comes from another agent, seed or version. It was left as it is; start a new run."
                )

    def _event_seed(self, index: int) -> int:
        """Seed of a trial of the running batch; the first trial's for all of it when events are common."""
        return trial_seed(self.seed, self.trials + (0 if self.common_events else index))

    def _refuse_if_hopeless(self, evaluations: Sequence[Evaluation]) -> None:
        reasons = [evaluation.failure for evaluation in evaluations if evaluation.failed]
        if 2 * len(reasons) > len(evaluations):
            raise SimulationError(
                f"{len(reasons)} of {len(evaluations)} simulations of batch {self.batch} failed; the study stops here "
                f"and keeps what it has. The first reason: {reasons[0]}"
            )
