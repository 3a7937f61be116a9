"""The loop without waiting: results are told as they come, so that no worker waits for the slowest of a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Unpack

import numpy as np

from rl_detector.agent import Agent, Batch, Stochastic
from rl_detector.errors import ConfigError, RunFolderError, SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.reproducible import trial_seed
from rl_detector.space import Design, Encoding, FloatArray
from rl_detector.study.in_flight import Flow, Jobs, Proposal, Simulated
from rl_detector.study.loop import Loop, Parts, StudySettings, as_batch, same_action
from rl_detector.study.progress import Budget, Progress
from rl_detector.study.scoring import Scoring

WATCHED_RESULTS = 32
"""The latest results; the study stops when more than half of them, or of `told_at_once` if that is more, failed."""


class AsynchronousStudy(Loop):
    """One agent on one problem with a budget, told in the order of completion.

    A trial gets its number, seed and proposal when it is asked for. `flow.in_flight` proposals are under way. Whenever
    `flow.told_at_once` results are complete, they are told in the order of their completion, and the same number of
    new designs is asked for. The agent is therefore a function of its seed and of the order of completion alone.

    The ledger keeps each result with its place in that order. A study that was killed is told the ledger again, from
    the latest checkpoint or from the beginning, and simulates trials without a result with their own seeds. The result
    is that of an uninterrupted study with this order. A serial evaluator always completes in the order of submission.
    With others the order, and so the study, depends on how long each simulation takes.

    Results are told after the policy has changed. An agent that gives log-probabilities (`Stochastic`) gets them back
    with the results, to weight them. An agent with a critic or a surrogate of all evaluations does not need them: what
    it learns from a design does not depend on who proposed it.

    A failed simulation counts as complete, is not told, and is not tried again after a stop. The study
    stops when more than half of the latest results failed (`WATCHED_RESULTS`), and can be resumed.

    Args:
        problem, agent, ledger: what is studied, by whom, and where it is kept.
        budget: what may be spent; `flow` takes the place of its designs_per_batch.
        seed: root of all event seeds.
        common_events: whether the designs of one ask, `told_at_once` of them, share their event seed. They come back
            at different times, so an agent that compares the designs told together gains little by it.
        evaluator: where simulations run.
        checkpoint: file of the state of the agent and of what is in flight; None keeps none.
        flow: how many proposals are under way; None: what keeps the evaluator's workers busy.

    There is no judge here, because a judge needs whole batches.
    """

    def __init__(
        self,
        problem: DesignProblem,
        agent: Agent,
        ledger: Ledger,
        budget: Budget,
        flow: Flow | None = None,
        **settings: Unpack[StudySettings],
    ) -> None:
        workers = settings["evaluator"] = settings.get("evaluator") or SerialEvaluator()
        self.flow = flow or Flow.for_workers(workers.workers)
        own = replace(budget, designs_per_batch=self.flow.told_at_once)
        super().__init__(Parts(problem, agent, ledger, own, **settings), Scoring(problem), {"flow": asdict(self.flow)})
        self.asked = self.asks = 0
        self._proposals: dict[int, Proposal] = {}
        self._to_submit: dict[int, Proposal] = {}
        self._complete: list[Trial] = []
        self._jobs = Jobs(workers, problem, budget.events_per_design)
        self._designs = budget.events // budget.events_per_design
        self._recent: deque[Evaluation] = deque(maxlen=min(max(WATCHED_RESULTS, self.flow.told_at_once), self._designs))
        stored = self._in_order_of_completion()
        state = self.memory.load(lambda counts: sum(_place(trial) < counts.trials for trial in stored))
        if state is not None:
            with self.memory.restoring():
                self.go_on(state)
        self._unread = deque(trial for trial in stored if _place(trial) >= self.trials)

    def run(self, listener: Callable[[Progress], None] = lambda progress: None) -> Design:
        """Spend the budget; gives the recommended design. What still runs when it is interrupted is cancelled.

        Raises:
            SimulationError: more than half of the latest simulations failed; the study can be resumed.
        """
        try:
            return super().run(listener)
        finally:
            self._land()

    def _land(self) -> None:
        """Cancel what runs; a study that goes on simulates these trials again."""
        self._jobs.cancel()
        self._recent.clear()
        complete = {trial.number for trial in self._complete}
        self._to_submit = {number: each for number, each in self._proposals.items() if number not in complete}

    def step(self, size: int) -> Progress:
        """Ask for as many designs as may be under way, wait for `size` results, tell them."""
        self._ask()
        self._wait(size)
        told, self._complete = self._complete[:size], self._complete[size:]
        proposals = [self._proposals.pop(trial.number) for trial in told]
        batch = as_batch(_stacked([trial.action for trial in told]), self.scoring.score(told).trials)
        return self.tell(self._with_log_probabilities(batch, told, proposals), told)

    def _with_log_probabilities(self, batch: Batch, told: Sequence[Trial], proposals: Sequence[Proposal]) -> Batch:
        """The batch with ln pi at the time of asking, for an agent that can use it."""
        if not isinstance(self.agent, Stochastic):
            return batch
        pairs = zip(told, proposals, strict=True)
        then = [proposal.log_probability for trial, proposal in pairs if not trial.evaluation.failed]
        return batch._replace(log_probabilities=np.array(then, dtype=np.float64))

    def _ask(self) -> None:
        """Fill up what is in flight, `told_at_once` designs per ask."""
        while (n := self._room()) > 0:
            with self.thinking:
                actions = self.agent.ask(self.problem.observation, n)
            then = self._log_probabilities(actions)
            for number, row, known in zip(range(self.asked, self.asked + n), actions.rows(), then, strict=True):
                seed = trial_seed(self.seed, self.asked if self.common_events else number)
                self._proposals[number] = Proposal(number, self.asks, row, seed, float(known))
                self._to_submit[number] = self._proposals[number]
            self.asked, self.asks = self.asked + n, self.asks + 1

    def _room(self) -> int:
        """Size of the next ask; 0 when enough is in flight or the budget is spent."""
        return min(self.flow.told_at_once, self.flow.in_flight - len(self._proposals), self._designs - self.asked)

    def _log_probabilities(self, actions: Encoding) -> FloatArray:
        if isinstance(self.agent, Stochastic):
            return self.agent.log_probability(actions)
        return np.full(len(actions.continuous), np.nan)

    def _wait(self, size: int) -> None:
        """Wait until `size` results are complete: those of the ledger first, then those of the evaluator."""
        while len(self._complete) < size and self._unread:
            if _place(self._unread[0]) == self.trials + len(self._complete):
                self._take(self._unread.popleft())
            else:
                self._simulate_lost()
        if not self._unread:
            self._submit()
        while len(self._complete) < size:
            self._keep(self._jobs.next())

    def _simulate_lost(self) -> None:
        """Fill the next place, whose result the ledger has lost, with the first trial that has no result.

        It is the right trial if trials complete in the order of their numbers, or if one result was lost and nothing
        ran. With a wrong one, later proposals are not those of the ledger, and the study stops.
        """
        known = {trial.number for trial in self._unread}
        number = min(self._to_submit.keys() - known, default=None)
        if number is None:
            raise RunFolderError(
                f"{self.ledger.path} has lost the result that was told at place {self.trials + len(self._complete)}, "
                "and no trial lacks one. Restore it from a copy, or start a new run."
            )
        self._jobs.submit([self._to_submit[number]])
        self._keep(self._jobs.next())

    def _submit(self) -> None:
        """Start the jobs of everything that has no result, and keep what is ready at once."""
        waiting, self._to_submit = list(self._to_submit.values()), {}
        for first in range(0, len(waiting), self.flow.designs_per_job):
            self._jobs.submit(waiting[first : first + self.flow.designs_per_job])
            while self._jobs.ready:
                self._keep(self._jobs.next())

    def _keep(self, found: Simulated) -> None:
        """Results of a job into the ledger, numbered in the order of completion."""
        place, seconds = self.trials + len(self._complete), found.seconds / len(found.evaluations)
        rows = enumerate(zip(found.proposals, found.evaluations, strict=True), place)
        trials = [Trial(p.number, p.batch, p.action, result, seconds, told) for told, (p, result) in rows]
        self.ledger.append(trials)
        for trial in trials:
            self._take(trial)
        self._recent.extend(found.evaluations)
        self._stop_if_hopeless()

    def _take(self, trial: Trial) -> None:
        """A result, new or of the ledger, is complete."""
        proposal = self._proposals.get(trial.number)
        if proposal is None or not same_action(proposal.action, trial.action):
            raise RunFolderError(
                f"trial {trial.number} of {self.ledger.path} is not what this agent proposes there: the ledger comes "
                "from another agent, seed, flow or version. It was left as it is; start a new run."
            )
        self._to_submit.pop(trial.number, None)
        self._complete.append(trial)

    def _stop_if_hopeless(self) -> None:
        failures = [evaluation.failure for evaluation in self._recent if evaluation.failed]
        if len(self._recent) == self._recent.maxlen and 2 * len(failures) > len(self._recent):
            raise SimulationError(
                f"{len(failures)} of the latest {len(self._recent)} simulations failed; the study stops here, keeps "
                f"what it has and can be resumed. The first reason: {failures[0]}"
            )

    def state(self) -> dict[str, Any]:
        """What the next step builds on, with what is in flight."""
        flying = [
            (*p[:2], p.action.continuous.tolist(), p.action.discrete.tolist(), *p[3:]) for p in self._proposals.values()
        ]
        return {**super().state(), "asked": self.asked, "asks": self.asks, "flying": flying}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a checkpoint, with what was in flight."""
        super().go_on(state)
        self.asked, self.asks = state["asked"], state["asks"]
        for number, batch, continuous, discrete, seed, then in state["flying"]:
            action = Encoding(np.array(continuous, dtype=np.float64), np.array(discrete, dtype=np.int64))
            self._proposals[number] = Proposal(number, batch, action, seed, then)
        self._to_submit = dict(self._proposals)

    def _in_order_of_completion(self) -> list[Trial]:
        """The trials of the ledger."""
        trials = list(self.ledger.trials())
        for trial in trials:
            if trial.told is None:
                raise RunFolderError(
                    f"{self.ledger.path} comes from a study that is not asynchronous: trial {trial.number} has no "
                    "place in the order of completion. It was left as it is; start a new run."
                )
        return sorted(trials, key=_place)


def refuse_judge(judge: object) -> None:
    """Raise ConfigError if there is a judge, which an asynchronous study cannot have."""
    if judge is not None:
        raise ConfigError(
            "judge=shared scores whole batches anew, and an asynchronous study has none: use judge=none with "
            "asynchronous=true, or asynchronous=false"
        )


def _place(trial: Trial) -> int:
    """Place in the order of completion."""
    return -1 if trial.told is None else trial.told


def _stacked(rows: Sequence[Encoding]) -> Encoding:
    return Encoding(np.stack([row.continuous for row in rows]), np.stack([row.discrete for row in rows]))
