"""The command `compare`: run what is missing, collect, show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rl_detector.comparison.plan import Task, read_comparison
from rl_detector.comparison.results import Results, collect, read_results, write_results
from rl_detector.comparison.runner import check_tasks, missing_tasks, run_tasks
from rl_detector.comparison.task import DONE
from rl_detector.records.files import write_atomically
from rl_detector.running.trust import accept

Labels = Collection[str] | None


def compare(
    file: Path,
    folder: Path,
    jobs: int = 1,
    seeds: int | None = None,
    only: tuple[Labels, Labels] = (None, None),
    repeat: bool = False,
    trusted: bool = False,
) -> Results:
    """Run the tasks of a file that have no result yet, and write results.json.

    Args:
        file: YAML, see `plan.read_comparison`.
        folder: of runs and results.
        jobs: processes at the same time.
        seeds: runs per agent and problem; None: the file's.
        only: labels of problems and of agents to run; None: all. The results hold what others have already.
        repeat: run also what has a result.
        trusted: whether the user asks for the programs that the file would start, see `trust.accept`.

    Raises:
        ConfigError: the file names something that does not exist.
        RunFolderError: the folder is not writable.
        TrustError: the file names programs that are neither asked for nor known.
    """
    whole = read_comparison(file)
    chosen = replace(whole.only(*only), seeds=whole.seeds if seeds is None else seeds)
    whole = replace(whole, seeds=max(whole.seeds, chosen.seeds))
    check_tasks(chosen)
    for each in chosen.problems:
        accept(each.assembled().simulator_claims, trusted)
    tasks = missing_tasks(chosen, folder, repeat)
    with _Display(len(tasks), len(list(chosen.tasks()))) as display:
        try:
            run_tasks(tasks, folder, jobs, display.update)
        finally:
            write_results(results := collect(whole, folder), folder)
    return results


def show(folder: Path) -> list[Path]:
    """Print the tables of results.json, write tables.md and the figures, and return the written files.

    Raises:
        RunFolderError: there are no results.
    """
    from rl_detector.comparison.figures import write_figures
    from rl_detector.comparison.tables import markdown, print_tables

    results = read_results(folder)
    print_tables(results)
    write_atomically(folder / "tables.md", markdown(results).encode())
    return [folder / "results.json", folder / "tables.md", *write_figures(results, folder)]


class _Display:
    """A bar in a terminal, a line per run elsewhere; runs that did not end by themselves are always named."""

    def __init__(self, missing: int, total: int) -> None:
        self._console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=missing)
        self._console.print(f"{missing} of {total} runs to do", highlight=False)

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, task: Task, record: dict[str, Any]) -> None:
        """Show a run that ended."""
        self._bar.update(self._task, advance=1, description=task.name)
        ended = f"{task.name}: {record['state']}, {record.get('seconds', 0.0):.0f} s {record.get('reason', '')}"
        if record["state"] != DONE or not self._console.is_terminal:
            self._console.print(ended, highlight=False, soft_wrap=True, markup=False)
