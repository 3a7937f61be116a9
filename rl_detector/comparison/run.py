"""One run of a comparison, as tables and figures need it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One run, ready for tables and figures.

    Attributes:
        problem, agent, seed: which one.
        state, reason: done, timeout or failed, and why.
        budget, events: what it might spend and spent.
        gains: at the events of the problem's grid, [points]; the latest holds after the end; empty if there is none.
        targets: events to every target; None where it was not reached.
        milliseconds_per_design: of the agent's own computing time; 0 where it proposed nothing.
        failed_trials: evaluations that failed.
        best_assignment: whether all choices equal those of the best design; None where that is not known.
        key: digest of its settings, see `Task.key`.
    """

    problem: str
    agent: str
    seed: int
    state: str
    reason: str
    budget: int
    events: int
    gains: list[float]
    targets: list[float | None]
    milliseconds_per_design: float
    failed_trials: int
    best_assignment: bool | None
    key: str
