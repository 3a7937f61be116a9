"""What an asynchronous study has under way: how much, which proposals, and the jobs that simulate them."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from rl_detector.errors import ConfigError
from rl_detector.execution.evaluator import Evaluations, Evaluator
from rl_detector.problem import DesignProblem
from rl_detector.space import Encoding
from rl_detector.terms import Group


@dataclass(frozen=True)
class Flow:
    """How many proposals are under way, told together, and simulated together.

    Attributes:
        in_flight: proposals that are asked for and not yet told, at most.
        told_at_once: results that are told together; the same number of proposals is asked for after that.
        designs_per_job: designs that a worker simulates in one call.
    """

    in_flight: int
    told_at_once: int
    designs_per_job: int = 1

    def __post_init__(self) -> None:
        if not (self.told_at_once >= 2 and self.in_flight >= self.told_at_once and self.designs_per_job >= 1):
            raise ConfigError(
                "an asynchronous study needs flow.told_at_once >= 2, flow.in_flight >= flow.told_at_once and "
                f"flow.designs_per_job >= 1, got {self.told_at_once}, {self.in_flight} and {self.designs_per_job}"
            )

    @classmethod
    def for_workers(cls, workers: int, in_flight: int = 0, told_at_once: int = 0, designs_per_job: int = 1) -> Flow:
        """Make a flow that keeps `workers` busy; an argument of 0 is computed:

        told_at_once: one twentieth of what the workers simulate at once: few new policies, little waiting.
        in_flight: what the workers simulate at once and `told_at_once` more, rounded up to a multiple of
            `told_at_once`. So there is a queue while results gather and the agent thinks.
        """
        told = told_at_once or max(workers // 20, 1 if designs_per_job > 1 else 2) * designs_per_job
        needed = math.ceil((workers * designs_per_job + told) / told) * told
        return cls(in_flight or needed, told, designs_per_job)


@runtime_checkable
class Stepped(Protocol):
    """An evaluator in simulated time, which passes only in `advance`."""

    def advance(self) -> None:
        """Let time pass until the next submitted groups are ready."""
        ...


class Proposal(NamedTuple):
    """A design that was asked for and not yet told.

    Attributes:
        number, batch: of the trial, and of the `ask` that it came from.
        action: what the agent asked, not clipped.
        seed: of its events.
        log_probability: ln pi(action) when it was asked, where the agent knows it, else NaN.
    """

    number: int
    batch: int
    action: Encoding
    seed: int
    log_probability: float


class Simulated(NamedTuple):
    """Proposals of one job, their evaluations, and the seconds from submission to completion."""

    proposals: Sequence[Proposal]
    evaluations: Evaluations
    seconds: float


class Jobs:
    """Simulations that run, given back in the order of their completion.

    Args:
        evaluator: where simulations run.
        problem: what is simulated.
        events: simulated events per design.
    """

    def __init__(self, evaluator: Evaluator, problem: DesignProblem, events: int) -> None:
        self._evaluator, self._problem, self._events = evaluator, problem, events
        self._running: dict[Future[Evaluations], tuple[Sequence[Proposal], float]] = {}
        self._finished: queue.SimpleQueue[Future[Evaluations]] = queue.SimpleQueue()

    def submit(self, proposals: Sequence[Proposal]) -> None:
        """Start one job."""
        designs = [self._problem.space.decode(proposal.action) for proposal in proposals]
        group, started = Group(designs, self._events, [proposal.seed for proposal in proposals]), time.monotonic()
        future = self._evaluator.submit(self._problem, group)
        self._running[future] = proposals, started
        future.add_done_callback(self._finished.put)

    @property
    def ready(self) -> bool:
        """Whether `next` need not wait."""
        return not self._finished.empty()

    def next(self) -> Simulated:
        """Wait for the next job to complete.

        Raises:
            Exception: what the evaluator says went wrong with the job.
        """
        if isinstance(self._evaluator, Stepped):
            while not self.ready:
                self._evaluator.advance()
        future = self._finished.get()
        proposals, started = self._running.pop(future)
        return Simulated(proposals, future.result(), time.monotonic() - started)

    def cancel(self) -> None:
        """Forget all jobs; those that can be cancelled are."""
        self._finished = queue.SimpleQueue()
        for future in self._running:
            future.cancel()
        self._running.clear()
