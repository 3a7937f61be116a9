"""A batch farm in simulated time: an Evaluator whose workers take as long as real ones, without anybody waiting.

Durations are log-normal, so a few simulations take much longer than most. Runs crash at a random moment and are tried
once more; nodes go down with all that runs on them, which begins anew elsewhere, and come back. The agent's own time
passes between asking and the start of the simulations. Everything is a function of the seeds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.terms import Group


@dataclass(frozen=True)
class FarmSettings:
    """What the farm is like; times in seconds.

    Attributes:
        nodes, workers_per_node: workers are nodes times workers per node.
        median, spread: of the log-normal duration of one simulation; spread is the standard deviation of its logarithm.
        crash: probability that a run crashes, at a moment uniform in its duration.
        lifetime, repair: mean time until a node goes down (exponential), and how long it stays down.
        own_time: that the agent and the loop need per design.
        seed: of durations, crashes and losses.
    """

    nodes: int = 40
    workers_per_node: int = 25
    median: float = 60.0
    spread: float = 1.0
    crash: float = 0.02
    lifetime: float = 36_000.0
    repair: float = 600.0
    own_time: float = 0.005
    seed: int = 0


@dataclass
class Job:
    """One design to be simulated, and what has happened to it."""

    simulate: Callable[[], Evaluation]
    fail: Callable[[], Evaluation]
    seed: int
    future: Future[list[Evaluation]] = field(default_factory=Future)
    crashes: int = 0
    losses: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Worker seconds so far: of nodes that are up, in simulation, and in simulation that came to nothing."""

    time: float
    up: float
    busy: float
    lost: float

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they simulate."""
        return self.busy / self.up if self.up else 0.0


class Farm:
    """Implements rl_detector.execution.evaluator.Evaluator and rl_detector.study.in_flight.Stepped."""

    def __init__(self, settings: FarmSettings) -> None:
        self.settings = settings
        self.time = self.agent_time = 0.0
        self.trace: list[tuple[float, int]] = [(0.0, 0)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._waiting: deque[Job] = deque()
        self._free = [node for node in range(settings.nodes) for _ in range(settings.workers_per_node)]
        self._down: set[int] = set()
        self._running: dict[int, tuple[Job, int, float]] = {}
        self._up = self._busy = self._lost = 0.0
        self._finished = 0
        self._rng = np.random.default_rng([settings.seed, 1])
        self.asked_last = self.snapshot()
        for node in range(settings.nodes):
            self._at(self._rng.exponential(settings.lifetime), lambda node=node: self._lose(node))  # type: ignore[misc]

    @property
    def workers(self) -> int:
        return self.settings.nodes * self.settings.workers_per_node

    def submit(self, problem: DesignProblem, group: Group) -> Future[list[Evaluation]]:
        """One design arrives at the farm after the agent's own time for it."""
        ((design, seed),) = group.pairs()
        job = Job(
            lambda: problem.evaluate(design, group.events, seed),
            lambda: problem.failure(design, group.events, seed, "failed twice: the run crashed; then: the run crashed"),
            seed,
        )
        self.agent_time = max(self.agent_time, self.time) + self.settings.own_time
        self._at(self.agent_time, lambda: self._arrive(job))
        return job.future

    def evaluate(self, problem: DesignProblem, group: Group) -> Iterator[list[Evaluation]]:
        """All designs at once, when the slowest is ready."""
        futures = [self.submit(problem, group[index : index + 1]) for index in range(len(group))]
        while not all(future.done() for future in futures):
            self.advance()
        yield [future.result()[0] for future in futures]

    def close(self) -> None:
        """Nothing to end."""

    def advance(self) -> None:
        """Let time pass until the next design is ready."""
        before = self._finished
        while self._finished == before:
            time, _, event = heapq.heappop(self._events)
            self._pass_until(time)
            event()
        self.agent_time = max(self.agent_time, self.time)

    def snapshot(self) -> Snapshot:
        """Worker seconds until now."""
        return Snapshot(self.time, self._up, self._busy, self._lost)

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), event))

    def _pass_until(self, time: float) -> None:
        step = time - self.time
        self._up += step * (self.settings.nodes - len(self._down)) * self.settings.workers_per_node
        self._busy += step * len(self._running)
        self.time = time
        if time - self.trace[-1][0] >= 1.0:
            self.trace.append((time, len(self._running)))

    def _arrive(self, job: Job) -> None:
        self._waiting.append(job)
        self._start()
        self.asked_last = self.snapshot()

    def _start(self) -> None:
        while self._free and self._waiting:
            job, node, number = self._waiting.popleft(), self._free.pop(), next(self._number)
            rng = np.random.default_rng([self.settings.seed, job.seed, job.crashes, job.losses])
            duration = self.settings.median * np.exp(self.settings.spread * rng.standard_normal())
            crashes = rng.random() < self.settings.crash
            self._running[number] = (job, node, self.time)
            self._at(
                self.time + duration * (rng.random() if crashes else 1.0),
                lambda number=number, crashes=crashes: self._end(number, crashes),  # type: ignore[misc]
            )

    def _end(self, number: int, crashed: bool) -> None:
        if number not in self._running:
            return  # its node was lost
        job, node, started = self._running.pop(number)
        self._free.append(node)
        if not crashed:
            self._finish(job, job.simulate())
        else:
            self._lost += self.time - started
            job.crashes += 1
            if job.crashes == 2:
                self._finish(job, job.fail())
            else:
                self._waiting.appendleft(job)
        self._start()

    def _finish(self, job: Job, evaluation: Evaluation) -> None:
        self._finished += 1
        if job.future.set_running_or_notify_cancel():
            job.future.set_result([evaluation])

    def _lose(self, node: int) -> None:
        """A node goes down; what ran on it begins anew, on whatever is free next."""
        self._down.add(node)
        self._free = [other for other in self._free if other != node]
        for number in [number for number, (_, place, _) in self._running.items() if place == node]:
            job, _, started = self._running.pop(number)
            self._lost += self.time - started
            job.losses += 1
            self._waiting.appendleft(job)
        self._at(self.time + self.settings.repair, lambda: self._return(node))
        self._start()

    def _return(self, node: int) -> None:
        self._down.discard(node)
        self._free.extend([node] * self.settings.workers_per_node)
        self._at(self.time + self._rng.exponential(self.settings.lifetime), lambda: self._lose(node))
        self._start()
