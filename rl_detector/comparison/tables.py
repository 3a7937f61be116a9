"""Tables of a comparison: gain at the budget, events to targets, best peer over the reference, computing time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from rl_detector.comparison.results import Results, unfinished
from rl_detector.comparison.statistics import Interval, aggregate_interval, improvement_interval
from rl_detector.comparison.task import TIMEOUT
from rl_detector.space import FloatArray

NOTHING = "–"
NOT_REACHED = "not in budget"

STAGES = (0.1, 0.3, 1.0)
"""Shares of the budget at which agents are compared, from early to the end."""

FEWEST = 3
"""Runs from which an interval is given."""

WIDEST = 6
"""Columns of a table in the terminal besides the first."""


class Table(NamedTuple):
    """A table: title, names of the columns, rows of text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(results: Results) -> list[Table]:
    """All tables; problems are rows, agents columns."""
    made = [gain_table(results)]
    made += [events_table(results, target) for target in results.targets]
    made += [improvement_table(results), time_table(results)]
    if any(run.best_assignment is not None for run in results.runs):
        made.append(_by_agent(results, "runs whose final choices all equal those of the best design", _assignments))
    return made


def _by_agent(
    results: Results, title: str, cell: Callable[[Results, str, str], str], last: Sequence[list[str]] = ()
) -> Table:
    rows = [[problem, *(cell(results, problem, agent) for agent in results.agents)] for problem in results.problems]
    rows = [row for row in rows if set(row[1:]) != {NOTHING}]
    return Table(title, ["problem", *results.agents], [*rows, *last])


def gain_table(results: Results) -> Table:
    """Interquartile mean of the gain at the end of the budget with its interval."""
    every = ["all", *(_all_gains(results, agent) for agent in results.agents)]
    title = "gain of the recommended design at the budget: interquartile mean of the runs [95 %]"
    return _by_agent(results, title, _gain, [every])


def _gain(results: Results, problem: str, agent: str) -> str:
    gains = results.gains(problem, agent)
    if not len(gains):
        return _failures(results, problem, agent) or NOTHING
    return _with_interval([gains]) + _marks(results, problem, agent)


def _all_gains(results: Results, agent: str) -> str:
    """Over all problems; nothing for an agent that was not on all of them."""
    scores = [results.gains(problem, agent) for problem in results.problems]
    if not all(len(gains) for gains in scores):
        return NOTHING
    smaller = any(run.budget < results.grids[run.problem][-1] for run in results.runs if run.agent == agent)
    return _with_interval(scores) + (" at smaller budgets" if smaller else "")


def _with_interval(scores: Sequence[FloatArray]) -> str:
    """Interquartile mean with its interval; without it for fewer than three runs, which have none."""
    found = aggregate_interval(scores)
    if max(map(len, scores)) < FEWEST:
        return f"{found.value:.3f}".replace("-", "−")
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]".replace("-", "−")


def _marks(results: Results, problem: str, agent: str) -> str:
    """* for runs that were stopped by the time limit, the budget where it is smaller, and failures."""
    runs = results.of(problem, agent)
    mark = "*" if any(run.state == TIMEOUT for run in runs) else ""
    small = {run.budget for run in runs if run.budget < results.grids[problem][-1]}
    at = f" at {amount(max(small))}" if small else ""
    failed = _failures(results, problem, agent)
    return mark + at + (f" ({failed})" if failed else "")


def _failures(results: Results, problem: str, agent: str) -> str:
    failed = sum(run.state not in ("done", TIMEOUT) for run in results.of(problem, agent))
    return f"{failed} failed" if failed else ""


def events_table(results: Results, target: float) -> Table:
    """Median events to a target, and how many times more the best peer needs than the reference."""

    def cell(results: Results, problem: str, agent: str) -> str:
        return _events(results.events_to(problem, agent, target))

    title = f"simulated events to a gain of {target:g}, median of the runs"
    plain = _by_agent(results, title, cell)
    ratios = {problem: ratio(results, problem, target) for problem in results.problems}
    rows = [[*row, ratios[row[0]]] for row in plain.rows]
    return Table(title, [*plain.columns, f"best peer / {results.reference}"], rows)


def _events(events: float) -> str:
    return NOTHING if math.isnan(events) else NOT_REACHED if math.isinf(events) else amount(events)


def peers(results: Results) -> list[str]:
    """Agents of other algorithms than the reference."""
    own = results.names[results.reference]
    return [agent for agent in results.agents if results.names[agent] != own]


def ratio(results: Results, problem: str, target: float) -> str:
    """Events of the best peer over events of the reference; above 1 the reference needs fewer."""
    own = results.events_to(problem, results.reference, target)
    others = {agent: results.events_to(problem, agent, target) for agent in peers(results)}
    measured = {agent: events for agent, events in others.items() if not math.isnan(events)}
    if math.isnan(own) or not measured:
        return NOTHING
    best = min(measured, key=lambda agent: measured[agent])
    if math.isinf(own) and math.isinf(measured[best]):
        return NOTHING
    budget = results.grids[problem][-1]
    if math.isinf(measured[best]):
        return f"> {budget / own:.2f}"
    if math.isinf(own):
        return f"< {measured[best] / budget:.2f} ({best})"
    return f"{measured[best] / own:.2f} ({best})"


class Improvement(NamedTuple):
    """How often the reference beats an agent: number of shared problems and probability at every share of STAGES."""

    agent: str
    problems: int
    probabilities: list[Interval]


def improvement_table(results: Results) -> Table:
    """Probability that a run of the reference has a larger gain than one of each other agent, over shared problems."""
    rows = [
        [one.agent, str(one.problems), *(f"{p.value:.2f} [{p.low:.2f}, {p.high:.2f}]" for p in one.probabilities)]
        for one in improvements(results)
    ]
    title = f"probability that {results.reference} is better at equal events, at shares of the smaller budget [95 %]"
    return Table(title, ["than", "problems", *(f"at {share:.0%}" for share in STAGES)], rows)


def improvements(results: Results) -> list[Improvement]:
    """Every agent that shares problems with the reference."""
    found = []
    for agent in (agent for agent in results.agents if agent != results.reference):
        pairs = [[_paired(results, problem, agent, share) for problem in results.problems] for share in STAGES]
        shared = [[pair for pair in stage if all(map(len, pair))] for stage in pairs]
        if shared[-1]:
            intervals = [improvement_interval([x for x, _ in stage], [y for _, y in stage]) for stage in shared]
            found.append(Improvement(agent, len(shared[-1]), intervals))
    return found


def _paired(results: Results, problem: str, agent: str, share: float) -> tuple[FloatArray, FloatArray]:
    """Gains of the reference and of an agent at a share of the smaller of their budgets."""
    runs = [run for label in (results.reference, agent) for run in results.of(problem, label)]
    events = share * min((run.budget for run in runs), default=0)
    return results.gains(problem, results.reference, events), results.gains(problem, agent, events)


def time_table(results: Results) -> Table:
    """Median of the agent's own computing time per design."""
    return _by_agent(results, "the agent's own computing time in ms per design, median of the runs", _time)


def _time(results: Results, problem: str, agent: str) -> str:
    times = [run.milliseconds_per_design for run in results.of(problem, agent) if run.gains]
    middle = float(np.median(times)) if times else math.nan
    return NOTHING if math.isnan(middle) else f"{middle:.0f}" if middle >= 10 else f"{middle:.2g}"


def _assignments(results: Results, problem: str, agent: str) -> str:
    known = [run.best_assignment for run in results.of(problem, agent) if run.best_assignment is not None]
    return f"{sum(known)} of {len(known)}" if known else NOTHING


def amount(events: float) -> str:
    """A number of events with three digits: 840, 1.25k, 12.5k, 1.6M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if events >= size:
            return f"{events / size:.3g}{letter}"
    return f"{events:.3g}"


def notes(results: Results) -> list[str]:
    """Notes for the reader: runs that were stopped or failed with their reasons, and the meaning of gain 1."""
    counts = Counter((run.problem, run.agent, run.state, run.reason) for run in unfinished(results))
    lines = [
        f"{problem}, {agent}: {n} of {len(results.of(problem, agent))} runs {state}: {reason}"
        for (problem, agent, state, reason), n in counts.items()
    ]
    if any(run.state == TIMEOUT for run in results.runs):
        lines.append("* some runs were stopped by the time limit; their latest gain is used for the rest of the budget")
    for problem, best in results.bests.items():
        rewards = f"{best['reward']:.4f} against {best['start_reward']:.4f} of the start"
        what = "gain 1 is the best design known"
        if best["reward"] <= best["start_reward"]:
            what = "no run found a design better than the start, all gains are 0: best design"
        lines.append(f"{problem}: {what}, reward {rewards} on fresh events")
    return lines


def print_tables(results: Results) -> None:
    """Tables and notes for the terminal."""
    console = Console(width=max(Console().width, 200))
    for table in (part for whole in tables(results) for part in _parts(whole)):
        console.print(f"\n[bold]{escape(table.title)}[/bold]", highlight=False, soft_wrap=True)
        shown = RichTable()
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for line in notes(results):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _parts(table: Table) -> list[Table]:
    """A wide table in parts that fit a terminal, each with the first column."""
    made = []
    for first in range(1, len(table.columns), WIDEST):
        columns = [0, *range(first, min(first + WIDEST, len(table.columns)))]
        rows = [[row[column] for column in columns] for row in table.rows]
        made.append(Table(table.title, [table.columns[column] for column in columns], rows))
    return made


def markdown(results: Results) -> str:
    """Tables and notes as Markdown."""
    parts: list[Any] = []
    for table in tables(results):
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        parts.append(f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {line}" for line in notes(results)))
    return "\n\n".join(part for part in parts if part) + "\n"
