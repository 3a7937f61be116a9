"""Turn the records of the runs into results.json: gains on a common grid, events to targets, failures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.comparison.kept import Kept
from rl_detector.comparison.plan import ComparedProblem, Comparison, Task
from rl_detector.comparison.run import Run
from rl_detector.comparison.runner import stored_record
from rl_detector.comparison.statistics import at_events, events_to_target
from rl_detector.comparison.task import DONE, held_out_rewards
from rl_detector.errors import RunFolderError
from rl_detector.records.files import write_atomically
from rl_detector.running.launch import versions
from rl_detector.safety.untrusted import read_bytes
from rl_detector.space import FloatArray

LARGEST_RESULTS = 64_000_000
"""Most bytes of results.json."""

POINTS = 60
"""Most points of a stored curve, at events in geometric progression."""

FRESH = 1
"""Number of the held-out events on which the best design is scored; designs are chosen on those of number 0."""


@dataclass(frozen=True)
class Results:
    """Everything that tables and figures need.

    Attributes:
        agents, problems: labels in order, of the agents those that have runs and the reference.
        reference: label of the agent that the others are compared with.
        targets: gains whose events are counted.
        names: label of an agent -> its name; settings of one algorithm are not each other's peers.
        grids: label of a problem -> events of its curves.
        bests: label of a problem -> meaning of gain 1, where the best design is not known.
        runs: all that have a record.
        versions: of the packages.
    """

    agents: list[str]
    problems: list[str]
    reference: str
    targets: list[float]
    names: dict[str, str]
    grids: dict[str, list[int]]
    bests: dict[str, Any]
    runs: list[Run]
    versions: dict[str, str]

    def of(self, problem: str, agent: str) -> list[Run]:
        """Runs of an agent on a problem."""
        return [run for run in self.runs if (run.problem, run.agent) == (problem, agent)]

    def gains(self, problem: str, agent: str, events: float = math.inf) -> FloatArray:
        """Gains of the runs that have a curve at these events (infinite: at the end), [runs]."""
        curves = [run.gains for run in self.of(problem, agent) if run.gains]
        grid = np.array(self.grids[problem], dtype=np.float64)
        return np.array([at_events(grid, np.array(curve), np.array([events]))[0] for curve in curves])

    def events_to(self, problem: str, agent: str, target: float) -> float:
        """Median over runs of the events to a target; infinite if half of the runs did not reach it, NaN without runs.

        Runs that failed count as not having reached it.
        """
        index = self.targets.index(target)
        found = [run.targets[index] if run.targets else None for run in self.of(problem, agent)]
        return float(np.median([math.inf if events is None else events for events in found])) if found else math.nan


def collect(comparison: Comparison, folder: Path) -> Results:
    """Results of all tasks that have a record with a result or a failure, or a run in the folder's results.json."""
    runs: list[Run] = []
    grids: dict[str, list[int]] = {}
    bests: dict[str, Any] = {}
    earlier = _earlier(folder)
    for problem in comparison.problems:
        tasks = [task for task in comparison.tasks() if task.problem == problem]
        records = [(task, record) for task in tasks if "state" in (record := stored_record(folder, task))]
        ran = {task.name for task, _ in records}
        kept = _kept(earlier, problem)
        old = list(kept.of([task for task in tasks if task.name not in ran])) if kept else []
        grids[problem.label] = _grid(problem)
        best = _best(problem, [record for _, record in records], kept.best if kept and old else {})
        bests |= {problem.label: best} if best else {}
        grid = np.array(grids[problem.label], dtype=np.float64)
        found = {task.name: _run(task, record, best, grid, comparison.targets) for task, record in records}
        if kept and earlier:
            same = earlier.targets == list(comparison.targets)
            found |= {task.name: kept.on(run, grid, best, comparison.targets, same) for task, run in old}
        runs += [found[task.name] for task in tasks if task.name in found]
    names = {agent.label: agent.agent["name"] for agent in comparison.agents}
    there = {comparison.reference, *(run.agent for run in runs)}
    agents = [label for label in comparison.agent_labels if label in there]
    lists = agents, comparison.problem_labels, comparison.reference, list(comparison.targets)
    return Results(*lists, names, grids, bests, runs, versions())


def _earlier(folder: Path) -> Results | None:
    try:
        return read_results(folder)
    except RunFolderError:
        return None


def _kept(earlier: Results | None, problem: ComparedProblem) -> Kept | None:
    """The part of stored results about a problem."""
    if earlier is None or problem.label not in earlier.grids:
        return None
    runs = {run.key: run for run in earlier.runs if run.problem == problem.label}
    return Kept(runs, earlier.grids[problem.label], earlier.bests.get(problem.label, {}))


def _grid(problem: ComparedProblem) -> list[int]:
    """Events at which curves are stored: the ends of batches in about geometric progression."""
    batch = problem.events_per_design * problem.designs_per_batch
    points = np.geomspace(min(batch, problem.events), problem.events, POINTS)
    whole = np.minimum(np.ceil(points / batch) * batch, problem.events)
    return [int(events) for events in np.unique(whole)]


def _best(problem: ComparedProblem, records: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Reward of the best known design and of the start on fresh events; empty where the truth is known.

    Args:
        problem: whose best design it is.
        records: of the runs that are there.
        earlier: the same of earlier results, whose design is another candidate; empty if there are none.
    """
    scored = [record for record in records if record.get("rewards")]
    if not scored:
        return dict(earlier)
    design, built = problem.best, problem.build()
    if design is None:
        found = [pair for record in scored for pair in zip(record["rewards"], record["designs"], strict=True)]
        if earlier:
            known = earlier["design"]
            found.append((held_out_rewards(built, [known], problem.held_out_events, 0)[0], known))
        design = max(found, key=lambda pair: pair[0])[1]
    if earlier and design == earlier["design"]:
        return dict(earlier)
    start = built.start or design
    rewards = held_out_rewards(built, [start, design], 4 * problem.held_out_events, FRESH)
    return {"design": design, "reward": rewards[1], "start_reward": rewards[0]}


def _run(
    task: Task, record: Mapping[str, Any], best: Mapping[str, Any], grid: FloatArray, targets: Sequence[float]
) -> Run:
    events, gains = np.array(record.get("events", []), dtype=np.float64), _gains(record, best)
    reached = [events_to_target(events, gains, target) for target in targets] if len(gains) else []
    problem, agent = task.problem.label, task.agent.label
    return Run(
        *(problem, agent, task.seed, record["state"], record.get("reason", ""), task.budget.events),
        events=int(events[-1]) if len(events) else 0,
        gains=[round(gain, 5) for gain in at_events(events, gains, grid).tolist()] if len(gains) else [],
        targets=[None if math.isinf(found) else found for found in reached],
        milliseconds_per_design=round(record.get("milliseconds_per_design", 0.0), 4),
        failed_trials=record.get("failed_trials", 0),
        best_assignment=record.get("best_assignment"),
        key=record["key"],
    )


def _gains(record: Mapping[str, Any], best: Mapping[str, Any]) -> FloatArray:
    """Gain after every update; from rewards (reward - start's) / (best known - start's).

    0 where on fresh events no design is better than the start: there is nothing to be gained then.
    """
    if not record.get("rewards") or not best:
        return np.array(record.get("gains", []), dtype=np.float64)
    rewards = np.array(record["rewards"], dtype=np.float64)
    most = best["reward"] - best["start_reward"]
    gains: FloatArray = (rewards - record["start_reward"]) / most if most > 0 else np.zeros(len(rewards))
    return gains


def write_results(results: Results, folder: Path) -> None:
    """Write results.json, one run per line."""
    data = asdict(results)
    lines = ",\n".join(json.dumps(run) for run in data.pop("runs"))
    head = json.dumps(data)[:-1]
    write_atomically(folder / "results.json", f'{head},\n"runs": [\n{lines}\n]}}\n'.encode())


def read_results(folder: Path) -> Results:
    """Read results.json.

    Raises:
        RunFolderError: there is none, or it is not what `compare` wrote.
    """
    path = folder / "results.json"
    try:
        data = json.loads(read_bytes(path, LARGEST_RESULTS, links=True))
        return Results(**{**data, "runs": [Run(**run) for run in data["runs"]]})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunFolderError(f"{path} holds no results of a comparison ({error}): run it without --tables") from error


def unfinished(results: Results) -> list[Run]:
    """Runs that did not end by themselves."""
    return [run for run in results.runs if run.state != DONE]
