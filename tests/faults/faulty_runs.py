"""Processes of `rl-detector train` and `resume`: killed, ended, paused, moved, with other evaluators, on full disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_table import Table
from omegaconf import OmegaConf

from rl_detector.records.ledger import Ledger

HERE = Path(__file__).parent
LIMIT = 240.0
"""Seconds after which a process counts as hanging."""

SERIAL: dict[str, Any] = {"name": "serial", "group": 4}
LOCAL: dict[str, Any] = {"name": "local", "workers": 2, "group": 4, "timeout": 20.0, "memory_mb": None}
EVALUATORS = (
    LOCAL,
    {**LOCAL, "workers": 1, "group": 16},
    SERIAL,
    {"name": "dask", "workers": 2, "group": 4, "timeout": 20.0, "memory_mb": None, "cluster": "local"},
    {**LOCAL, "workers": 3, "group": 1},
)

Full = dict[int, tuple[Any, ...]]
"""Trial number -> all its columns, with the computing time: rows are equal only if no trial was simulated again."""


@dataclass
class Chain:
    """A run that is disturbed, resumed, disturbed again, and at last finished.

    Attributes:
        folder: folder of its runs.
        trials: number of trials at the end.
        rng: decides when it is disturbed.
        words: settings of the training.
        command: words that start the command line.
        environment: environment variables of its processes.
        evaluator: settings of the evaluator.
        hung: number of its processes that did not end in time.
    """

    folder: Path
    trials: int
    rng: random.Random
    words: tuple[str, ...] = ()
    command: tuple[str, ...] = (sys.executable, "-m", "rl_detector")
    environment: dict[str, str] = field(default_factory=dict)
    evaluator: dict[str, Any] = field(default_factory=lambda: dict(LOCAL))
    hung: int = 0

    @property
    def run(self) -> Path | None:
        """Run folder; None before there is one."""
        return next((path.parent for path in sorted(self.folder.glob("*/config.yaml"))), None)

    @property
    def ledger(self) -> Path:
        """Path of the ledger, which may not exist yet."""
        return self.folder / "none" if self.run is None else self.run / "ledger.sqlite"

    def start(self) -> subprocess.Popen[str]:
        """Train, or resume the run that exists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.run is None:
            settings = [f"evaluator.{name}={value}" for name, value in self.evaluator.items() if value is not None]
            settings = [word for word in settings if not word.startswith("evaluator.name")]
            words = ["train", *TRAINING, f"budget.events={8 * self.trials}", f"evaluator={self.evaluator['name']}"]
            words += [*settings, f"runs={self.folder}", *self.words]
        else:
            words = ["resume", str(self.run)]
        environment = {**os.environ, **self.environment, "COLUMNS": "200"}
        command = [*self.command, *words]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self) -> tuple[int, str]:
        """Go on to the end; return exit code and stderr."""
        with self.start() as process:
            try:
                _, said = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                self.hung += 1
                process.kill()
                _, said = process.communicate()
            return process.returncode, said


TRAINING = (
    "env=oracle", "env.kind=mixed", "agent=reinforce", "seed=5", "common_events=false", "tracker=off",
    "budget.events_per_design=8", "budget.designs_per_batch=32", "held_out.events=100",
)  # fmt: skip


def count(path: Path) -> int:
    """Count the trials of a ledger that another process writes; 0 if there is none yet."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0])
    return 0


def full_rows(path: Path, scratch: Path) -> Full:
    """Read all columns of the ledger that a dead process left, from a copy."""
    if not path.exists():
        return {}
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(path.parent, scratch)
    try:
        with closing(Ledger(scratch / path.name, read_only=True)) as ledger:
            return {row[0]: row for row in ledger._rows("SELECT * FROM trials")}
    except OSError:  # it is not a ledger yet
        return {}


def reproducible(path: Path) -> list[tuple[Any, ...]]:
    """Return the reproducible rows of a finished run."""
    with closing(Ledger(path, read_only=True)) as ledger:
        return ledger.reproducible_rows()


def descendants(parent: int) -> set[int]:
    """Return the processes that a process has started, directly or through others."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {parent}
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {parent}


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], limit: float) -> bool:
    """Wait for a condition; return whether it came true within the limit in seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def end_with(number: int) -> Callable[[subprocess.Popen[str]], None]:
    """Return a function that sends a signal to the study alone."""
    return lambda process: process.send_signal(number)


def end_all_with(number: int) -> Callable[[subprocess.Popen[str]], None]:
    """Return a function that sends a signal to the study and all its processes, as batch systems do."""

    def send(process: subprocess.Popen[str]) -> None:
        for pid in (*descendants(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    return send


def disturb(
    table: Table, chain: Chain, name: str, send: Callable[[subprocess.Popen[str]], None], at: float,
    between: Callable[[Chain, random.Random], None] = lambda chain, rng: None,
) -> None:  # fmt: skip
    """Start or resume a run, disturb it, and compare its ledger with the one before.

    The disturbance comes when the run has `at` trials; a negative `at` gives seconds after the start.
    """
    where = f"rl-detector {'train' if chain.run is None else 'resume'}"
    earlier = full_rows(chain.ledger, chain.folder.with_name(f"{chain.folder.name}-copy"))
    process = chain.start()
    if at < 0:
        with suppress(subprocess.TimeoutExpired):
            process.wait(-at)
    else:
        wait_until(lambda: process.poll() is not None or count(chain.ledger) >= at, LIMIT)
        time.sleep(chain.rng.uniform(0, 0.05))
    if process.poll() is not None:
        process.communicate()
        return
    others, sent = descendants(process.pid), time.monotonic()
    send(process)
    try:
        _, said = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        chain.hung += 1
        process.kill()
        _, said = process.communicate()
    gone = wait_until(lambda: not any(alive(pid) for pid in others), 30)
    noticed = time.monotonic() - sent
    chain.hung += not gone
    left = full_rows(chain.ledger, chain.folder.with_name(f"{chain.folder.name}-copy"))
    lost = sum(left.get(number) != row for number, row in earlier.items())
    lines = [line for line in said.splitlines() if line.startswith(("stopped", "terminated", "interrupted", "error"))]
    happened = "all its processes ended; resumed" if gone else "some processes stayed"
    table.note(name, where, happened, lost=lost, noticed=noticed, said="; ".join(lines))
    between(chain, chain.rng)


def run_chain(
    table: Table, chain: Chain, name: str, send: Callable[[subprocess.Popen[str]], None], times: Sequence[float],
    expected: list[tuple[Any, ...]], between: Callable[[Chain, random.Random], None] = lambda chain, rng: None,
) -> None:  # fmt: skip
    """Disturb a run at several times, finish it, and compare it with the undisturbed one."""
    for at in times:
        disturb(table, chain, name, send, at, between)
    before = full_rows(chain.ledger, chain.folder.with_name(f"{chain.folder.name}-copy"))
    code, said = chain.finish()
    rows = reproducible(chain.ledger) if code == 0 else []
    after = full_rows(chain.ledger, chain.folder.with_name(f"{chain.folder.name}-copy"))
    kind = next(kind for (found, _), kind in table.kinds.items() if found == name)
    kind.lost += sum(after.get(number) != row for number, row in before.items())
    if rows != expected:
        kind.lost += sum(row not in rows for row in expected) or 1
        kind.happened[f"ledger differs (exit code {code})"] += 1
        kind.said = kind.said or said[-300:]


def other_evaluator(chain: Chain, rng: random.Random) -> None:
    """Choose another evaluator, or another number of workers, for the next resume."""
    if chain.run is not None:
        config = OmegaConf.load(chain.run / "config.yaml")
        config.evaluator = rng.choice(EVALUATORS)
        OmegaConf.save(config, chain.run / "config.yaml")


def other_place(chain: Chain, rng: random.Random) -> None:
    """Rename the folder of all runs."""
    target = chain.folder.with_name(f"moved {rng.randrange(10**6)}")
    chain.folder.rename(target)
    chain.folder = target


def other_times(chain: Chain, rng: random.Random) -> None:
    """Give all files random dates in the past and the future."""
    for path in chain.folder.rglob("*"):
        moment = time.time() + rng.uniform(-3e8, 3e8)
        os.utime(path, (moment, moment))


def pause(table: Table, chain: Chain, name: str, stops: int, expected: list[tuple[Any, ...]], everyone: bool) -> None:
    """Pause a run several times with SIGSTOP, each time for longer than its time limit."""
    process, pauses = chain.start(), 0
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(process.communicate()[1]))
    reader.start()
    for stop in range(stops):
        wait_until(
            lambda at=(stop + 1) * chain.trials // (stops + 1): process.poll() is not None or count(chain.ledger) >= at,
            LIMIT,
        )  # type: ignore[misc]
        if process.poll() is not None:
            break
        chosen = [process.pid, *(descendants(process.pid) if everyone else ())]
        for number, seconds in ((signal.SIGSTOP, 1.5), (signal.SIGCONT, 0.0)):
            for pid in chosen:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(seconds)
        pauses += 1
    reader.join(LIMIT)
    if reader.is_alive():
        chain.hung += 1
        process.kill()
        reader.join()
    same = process.returncode == 0 and reproducible(chain.ledger) == expected
    for each in range(pauses):
        table.note(name, "rl-detector train", "went on" if same else "ledger differs", lost=int(not same and each == 0))


def jump(table: Table, chain: Chain, expected: list[tuple[Any, ...]]) -> None:
    """Finish a run whose clocks jump, and compare it with the undisturbed one."""
    code, said = chain.finish()
    same = code == 0 and reproducible(chain.ledger) == expected
    clocks = {"time": "wall clock jumps by up to a year", "monotonic": "monotonic clock jumps by up to a day"}
    happened, said = ("went on", "") if same else (f"exit code {code}", said[-200:])
    for line in (chain.folder.with_suffix(".jumps")).read_text().splitlines():
        table.note(clocks[line.split()[0]], "rl-detector train", happened, lost=int(not same), said=said)


def can_mount() -> bool:
    """Return whether this computer allows mounting a small private file system."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", "/mnt"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


FULL = """
mount -t tmpfs -o size={size}k tmpfs {place} || exit 99
{python} -m rl_detector train {words} runs={place}
echo "code $?" >&2
mount -o remount,size=100m {place}
{python} -m rl_detector resume latest --runs {place} || exit 98
cp -r {place} {out}
"""


def fill_disk(table: Table, folder: Path, trials: int, size: int, expected: list[tuple[Any, ...]]) -> None:
    """Run on a disk of `size` kilobytes, then enlarge it, resume the run and compare it with the undisturbed one."""
    place, out = folder / "disk", folder / "out"
    place.mkdir(parents=True)
    words = " ".join([*TRAINING, f"budget.events={8 * trials}", "evaluator=serial", "evaluator.group=4"])
    script = FULL.format(size=size, place=place, python=sys.executable, words=words, out=out)
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=2 * LIMIT)
    rows = next((reproducible(path) for path in out.glob("*/ledger.sqlite")), [])
    said = next((line for line in done.stderr.splitlines() if line.startswith("error")), "")
    happened = "stopped in words, resumed when there was room" if "code 2" in done.stderr else "no room was needed"
    lost = sum(row not in rows for row in expected)
    table.note(
        "full disk", "rl-detector train", happened if rows == expected else "ledger differs", lost=lost, said=said
    )
