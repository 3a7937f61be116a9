"""Shows progress, tables and lists in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rl_detector.records.run_folder import RunFolder
from rl_detector.study import Progress as StudyProgress
from rl_detector.study.validation import ValidatedDesign

PROGRESS_LINES = 10
"""Lines that a whole run prints where the output is not a terminal."""


class ProgressDisplay:
    """Shows events, best reach, spread of the policy and time left: in a live bar, or in plain lines of a log file."""

    def __init__(self, folder: RunFolder) -> None:
        self._console = Console(stderr=True)
        self._folder = folder
        columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("starting", total=None)
        self._printed = 0

    def __enter__(self) -> ProgressDisplay:
        self._console.print(f"run folder: {self._folder.path}", highlight=False, soft_wrap=True)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: StudyProgress) -> None:
        """Show where the study stands."""
        text = _describe(progress)
        self._bar.update(self._task, total=progress.budget, completed=progress.events, description=text)
        share = PROGRESS_LINES * progress.events // progress.budget
        if not self._console.is_terminal and share > self._printed:
            self._printed = share
            self._console.print(f"{text}  {progress.seconds:.0f} s", highlight=False, soft_wrap=True)


def _describe(progress: StudyProgress) -> str:
    best = "-" if progress.reach is None else f"{progress.reach:+.3f} +- {progress.error:.3f}"
    reward = "-" if progress.reward is None else f"{progress.reward:+.3f}"
    failed = f"  {progress.failed} failed" if progress.failed else ""
    sigma = progress.agent.get("sigma", float("nan"))
    events = f"{progress.events:,} of {progress.budget:,} events"
    context = "".join(f"  {name} {value:.3f}" for name, value in progress.context.items())
    return (
        f"{events}{context}  mean reward {reward}  best reach {best} (of many, optimistic)  sigma {sigma:.3f}{failed}"
    )


def working(text: str) -> Any:
    """Show a spinner while something takes long."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(text, highlight=False, soft_wrap=True)
    return console.status(text)


def print_validation(rows: Sequence[ValidatedDesign]) -> None:
    """Print the designs, each with its errors and its paired difference to the recommended one."""
    first = rows[0]
    facts = ", ".join(f"{key} {value}" for key, value in first.simulator.items())
    console = Console(width=max(Console().width, 150))
    table = Table(title=f"{first.events} fresh events per design, the same for all; {facts}", title_justify="left")
    for title in ("design", "metric", "reach", "cost", "violations", "recommended - this", "sigmas"):
        table.add_column(title, justify="left" if title == "design" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def _cells(row: ValidatedDesign) -> tuple[str, ...]:
    costs = ", ".join(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in row.costs.values())
    violations = ", ".join(f"{name} {value:.3g}" for name, value in row.violations.items() if value > 0) or "none"
    paired = ("", "")
    if row.difference is not None:
        paired = f"{row.difference.value:+.3f} +- {row.difference.error:.3f}", f"{row.difference.significance:+.1f}"
    metric = _with_error(row.metric, row.metric_error)
    return (row.name, metric, f"{row.reach:+.3f} +- {row.reach_error:.3f}", costs, violations, *paired)


def _with_error(value: float, error: float) -> str:
    """A value and its error to two digits of the error."""
    if not 1e-9 < error < math.inf:
        return f"{value:.4g} +- {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def print_list() -> None:
    """Print environments, agents and simulators by name."""
    from rl_detector.agents import AGENTS
    from rl_detector.registry import registered

    console = Console()
    groups = {
        "environments (env=)": [f"{name}  {entry.id}  {entry.factory}" for name, entry in registered().items()],
        "agents (agent=)": [f"{name}  {path}" for name, path in AGENTS.items()],
        "simulators (simulator=)": _options("simulator"),
        "trackers (tracker=)": _options("tracker"),
        "experiments (experiment=)": _options("experiment"),
    }
    for title, lines in groups.items():
        console.print(f"[bold]{title}[/bold]")
        for line in lines:
            console.print(f"  {line}", highlight=False, soft_wrap=True)


def print_card(name: str) -> None:
    """The card of an environment, as it is written."""
    from rl_detector.registry import card, find

    entry = find(name)
    title = f"{name}  {entry.id}  {entry.factory}"
    Console().print(f"{title}\n\n{card(name)}", markup=False, highlight=False, soft_wrap=True)


def _options(group: str) -> list[str]:
    folder = files("rl_detector.conf") / group
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
