"""Runs of a stored results.json that a comparison still asks for, though their files are gone.

So an agent is compared with published results without running all others again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rl_detector.comparison.plan import Task
from rl_detector.comparison.run import Run
from rl_detector.comparison.statistics import at_events, events_to_target
from rl_detector.errors import DetectorError
from rl_detector.space import FloatArray


@dataclass(frozen=True)
class Kept:
    """The part of a stored results.json about one problem.

    Attributes:
        runs: by the key of their settings.
        grid: events of their curves.
        best: what their gain 1 is, empty where the truth is known.
    """

    runs: Mapping[str, Run]
    grid: Sequence[int]
    best: Mapping[str, Any]

    def of(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Run]]:
        """Stored runs of these tasks that have the settings of the tasks."""
        for task in tasks:
            try:
                run = self.runs.get(task.key())
            except (DetectorError, ImportError):  # the agent is not installed here
                continue
            if run is not None:
                yield task, replace(run, problem=task.problem.label, agent=task.agent.label)

    def on(self, run: Run, grid: FloatArray, best: Mapping[str, Any], targets: Sequence[float], same: bool) -> Run:
        """A stored run with its curve on another grid and its gains relative to another best design.

        Its events to targets are kept if these are the `same` targets and the best design has not changed, else they
        are read from its curve. Nothing is left of it where so far no design was better than the start: all gains
        were 0.
        """
        if not run.gains:
            return run
        curve, gains = np.array(self.grid, dtype=np.float64), np.array(run.gains)
        if changed := bool(best) and best != self.best:
            if _most(self.best) <= 0:
                return replace(run, gains=[], targets=[])
            gains = gains * _most(self.best) / _most(best)
        run = replace(run, gains=[round(gain, 5) for gain in at_events(curve, gains, grid).tolist()])
        if same and not changed:
            return run
        reached = [events_to_target(curve, gains, target) for target in targets]
        return replace(run, targets=[events if np.isfinite(events) else None for events in reached])


def _most(best: Mapping[str, Any]) -> float:
    return float(best["reward"] - best["start_reward"])
