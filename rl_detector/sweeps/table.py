"""The runs of a sweep, and their table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RUNNING, DONE, FAILED = "RUNNING", "DONE", "FAILED"


@dataclass(frozen=True)
class SweepRun:
    """One training of a sweep.

    Attributes:
        number: from 0.
        parameters: name -> value.
        state: RUNNING (also: not started yet), DONE or FAILED.
        numbers: reach, reach_error, reward, metric, metric_error, and the costs by name, of the recommended design.
        value: of the sweep's metric.
        folder: of the run; empty before it has one.
        reason: why it failed.
    """

    number: int
    parameters: Mapping[str, Any]
    state: str = RUNNING
    numbers: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None
    folder: str = ""
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it has no result."""
        return self.state == FAILED


def table(runs: Sequence[SweepRun]) -> str:
    """All runs as comma-separated values."""
    columns = ["number", "state", *_names(run.parameters for run in runs), *_names(run.numbers for run in runs)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*dict.fromkeys([*columns, "run", "reason"])], restval="", lineterminator="\n")
    writer.writeheader()
    for run in runs:
        plain = {"number": run.number, "state": run.state, "run": run.folder, "reason": run.reason}
        writer.writerow({**run.parameters, **run.numbers, **plain})
    return text.getvalue()


def ranked(runs: Sequence[SweepRun], maximize: bool) -> list[SweepRun]:
    """The best first; those without a result last."""
    sign = -1.0 if maximize else 1.0
    return sorted(runs, key=lambda run: (run.value is None, sign * (run.value or 0.0), run.number))


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def print_sweep(runs: Sequence[SweepRun], metric: str, maximize: bool) -> None:
    """The table of all runs, the best first."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, 150))
    names = _names(run.parameters for run in runs)
    done = sum(run.state == DONE for run in runs)
    shown = Table(title=f"{done} of {len(runs)} runs done, best {metric} first", title_justify="left")
    for title in (*names, "reach", "reward", "metric", "run"):
        shown.add_column(title, justify="right", overflow="fold")
    for run in ranked(runs, maximize):
        shown.add_row(
            *(_short(run.parameters.get(name, "")) for name in names), *_results(run), run.folder or run.reason
        )
    console.print(shown)
    for run in runs:
        if run.failed:
            console.print(f"run {run.number} failed: {run.reason}", markup=False, highlight=False)


def _results(run: SweepRun) -> tuple[str, str, str]:
    if run.state != DONE:
        return run.state, "", ""
    n = run.numbers
    pairs = (("reach", "reach_error"), ("metric", "metric_error"))
    reach, figure = (f"{n[name]:.4f} +- {n[error]:.4f}" for name, error in pairs)
    return reach, f"{n['reward']:.4f}", figure


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
