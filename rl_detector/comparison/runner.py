"""Run the tasks of a comparison in worker processes; tasks that have a result are not run again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl_detector.comparison.plan import Comparison, Task
from rl_detector.comparison.task import DONE, FAILED, TIMEOUT, read_record, run_task, score, write_record
from rl_detector.errors import ConfigError, DetectorError, RunFolderError
from rl_detector.reproducible import ONE_THREAD
from rl_detector.safety.child_processes import SafeContext, follow_parent

GRACE = 120.0
"""Seconds beyond one and a half time limits after which a run that does not end is stopped from outside."""

Listener = Callable[[Task, dict[str, Any]], None]


def task_path(folder: Path, task: Task) -> Path:
    """File of a task."""
    return folder / "runs" / f"{task.name}.json"


def stored_record(folder: Path, task: Task) -> dict[str, Any]:
    """Record that fits the settings of the task; empty if there is none or its agent is not installed."""
    record = read_record(task_path(folder, task))
    try:
        return record if record.get("key") == task.key() else {}
    except (DetectorError, ImportError):
        return {}


def missing_tasks(comparison: Comparison, folder: Path, repeat: bool = False) -> list[Task]:
    """Tasks that have no result: never run, failed, unfinished, made with other settings or a shorter time limit."""
    tasks = list(comparison.tasks())
    return tasks if repeat else [task for task in tasks if not _has_result(stored_record(folder, task), task)]


def _has_result(record: dict[str, Any], task: Task) -> bool:
    if record.get("state") == TIMEOUT:
        return bool(record["limit"] >= task.limit)
    return record.get("state") == DONE


def check_tasks(comparison: Comparison) -> None:
    """Build every problem and check every budget once, before anything runs.

    Raises:
        ConfigError: a problem or agent does not exist, or has no such setting.
    """
    for problem in comparison.problems:
        built = problem.build()
        built.check_events(problem.events_per_design)
        if problem.best is not None:
            built.space.check(problem.best)
        if built.start is None:
            raise ConfigError(f"{problem.label} has no baseline: a comparison needs the start as its zero")
    for task in replace(comparison, seeds=1).tasks():
        task.key()  # names agent, settings and budget


def run_tasks(tasks: Sequence[Task], folder: Path, jobs: int, listener: Listener) -> None:
    """Run tasks in `jobs` processes; the listener hears of every one that ends.

    Raises:
        RunFolderError: the folder cannot be made.
    """
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the folder {folder / 'runs'}: {error}") from error
    if not tasks:
        return
    from pebble import ProcessPool

    pools = ProcessPool(max_workers=jobs, initializer=follow_parent, context=SafeContext())
    with _one_thread_each(), pools as pool:
        futures: dict[Future[Any], Task] = {
            pool.schedule(run_task, args=(task, task_path(folder, task)), timeout=1.5 * task.limit + GRACE): task
            for task in tasks
        }
        try:
            for future in _as_they_end(futures):
                listener(futures[future], _outcome(future, futures[future], folder))
        except BaseException:
            pool.stop()  # type: ignore[no-untyped-call]
            raise


def _as_they_end(futures: dict[Future[Any], Task]) -> Iterator[Future[Any]]:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from finished


def _outcome(future: Future[Any], task: Task, folder: Path) -> dict[str, Any]:
    """Record of a task that ended; of a stopped or dead worker, its last stored part with the reason."""
    error = future.exception()
    if error is None:
        record: dict[str, Any] = future.result()
        return record
    late = isinstance(error, TimeoutError)
    reason = (
        f"stopped from outside after {1.5 * task.limit + GRACE:g} s" if late else f"{type(error).__name__}: {error}"
    )
    record = stored_record(folder, task) or {"task": task.name, "key": task.key(), "limit": task.limit}
    record |= {"state": TIMEOUT if late else FAILED, "reason": reason}
    write_record(task_path(folder, task), record)
    return score(record, task.problem.build(), task, task_path(folder, task)) if late else record


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes that start meanwhile use one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
