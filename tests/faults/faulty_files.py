"""Damage to the files of a killed study before it goes on: checkpoint, ledger, side files, folder."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from fault_table import Table
from faulty_studies import EVENTS, Rows

from rl_detector.agents import make_agent
from rl_detector.envs.oracles.problem import oracle
from rl_detector.errors import RunFolderError
from rl_detector.records import ledger_schema
from rl_detector.records.ledger import Ledger
from rl_detector.study import Budget, Study, loop

BATCHES = 12
LEDGER, WAL, SHM, CHECKPOINT = "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "checkpoint.pt"


def make(folder: Path) -> Study:
    """Make a study that goes on with the files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    problem = oracle("mixed")
    agent = make_agent("reinforce", problem.space, 3, problem.start)
    budget = Budget(BATCHES * 32 * EVENTS, EVENTS, 32)
    return Study(problem, agent, Ledger(folder / LEDGER, {}), budget, checkpoint=folder / CHECKPOINT)


def finished(folder: Path) -> Rows:
    """Run a study to its end; return the rows of its ledger."""
    made = make(folder)
    try:
        made.run()
        return {row[0]: row for row in made.ledger.reproducible_rows()}
    finally:
        made.ledger.close()


def killed(folder: Path, batches: int) -> Rows:
    """Make the files that a kill leaves after some batches, with an older checkpoint; return the stored rows."""
    live = folder.with_name("live")
    shutil.rmtree(live, ignore_errors=True)
    made = make(live)
    for batch in range(batches):
        made.step(32)
        if batch == batches // 2:
            made.save()
            shutil.copy(live / CHECKPOINT, live / "older")
    made.save()
    shutil.copytree(live, folder)
    rows = {row[0]: row for row in made.ledger.reproducible_rows()}
    made.ledger.close()
    return rows


def cut(path: Path, rng: random.Random) -> None:
    """Cut a file off at a random place."""
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size))


def flip(path: Path, rng: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def overwrite(path: Path, rng: random.Random) -> None:
    """Overwrite one page of a file with random bytes."""
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * rng.randrange(pages))
        file.write(rng.randbytes(4096))


def forget(folder: Path, rng: random.Random) -> None:
    """Delete some trials from the ledger."""
    with closing(sqlite3.connect(folder / LEDGER)) as connection, connection:
        first = rng.randrange(100)
        connection.execute("DELETE FROM trials WHERE trial BETWEEN ? AND ?", (first, first + rng.randrange(1, 60)))


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "checkpoint: a bit flipped": lambda folder, rng: flip(folder / CHECKPOINT, rng),
    "checkpoint: cut off": lambda folder, rng: cut(folder / CHECKPOINT, rng),
    "checkpoint: overwritten": lambda folder, rng: (folder / CHECKPOINT).write_bytes(rng.randbytes(5000)),
    "checkpoint: lost": lambda folder, rng: (folder / CHECKPOINT).unlink(),
    "checkpoint: an older one": lambda folder, rng: (folder / "older").replace(folder / CHECKPOINT),
    "ledger: cut off": lambda folder, rng: cut(folder / LEDGER, rng),
    "ledger: a page overwritten": lambda folder, rng: overwrite(folder / LEDGER, rng),
    "ledger: -wal cut off": lambda folder, rng: cut(folder / WAL, rng),
    "ledger: a bit of -wal flipped": lambda folder, rng: flip(folder / WAL, rng),
    "ledger: -wal lost": lambda folder, rng: (folder / WAL).unlink(),
    "ledger: -shm overwritten": lambda folder, rng: (folder / SHM).write_bytes(rng.randbytes(32768)),
    "ledger: trials deleted": forget,
    "ledger: lost": lambda folder, rng: [path.unlink() for path in folder.glob(f"{LEDGER}*")],
    "folder moved": lambda folder, rng: None,
}
"""Kind of damage -> function that does it to the folder of a killed study."""


def damage(table: Table, folder: Path, name: str, rng: random.Random, expected: Rows) -> None:
    """Damage the files of a killed study, go on, and compare the ledgers."""
    place = folder / "killed"
    stored = killed(place, rng.randrange(3, BATCHES))
    DAMAGES[name](place, rng)
    if name == "folder moved":
        place = place.rename(folder / "another name")
    started, said, happened = time.monotonic(), "", "went on"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            make(place).ledger.close()
        except RunFolderError as error:
            noticed, said, happened = time.monotonic() - started, str(error), "refused in words; begun anew as it says"
            for path in place.glob("*"):
                path.unlink()
        else:
            noticed = time.monotonic() - started if told else None
    said = said or "; ".join(str(each.message) for each in told)
    kept = surviving(place, stored)
    rows = finished_quietly(place)
    lost = sum(rows.get(number) != row for number, row in expected.items())
    table.note(
        name, "between kill and resume", happened, lost=lost, again=len(stored) - kept, noticed=noticed, said=said
    )


def surviving(folder: Path, stored: Rows) -> int:
    """Count the trials that are left unchanged before the study goes on."""
    with suppress(RunFolderError), closing(Ledger(folder / LEDGER, read_only=True)) as ledger:
        return sum(stored.get(row[0]) == row for row in ledger.reproducible_rows())
    return 0


def finished_quietly(folder: Path) -> Rows:
    """Run a study to its end without its warnings, which `damage` has recorded; return the rows of its ledger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return finished(folder)


def damage_all(table: Table, folder: Path, seed: int, times: int, names: tuple[str, ...] = tuple(DAMAGES)) -> None:
    """Do every kind of damage several times."""
    seconds, pages = loop.CHECKPOINT_SECONDS, ledger_schema.WAL_PAGES
    loop.CHECKPOINT_SECONDS, ledger_schema.WAL_PAGES = 0.0, 20  # as if the study were long
    try:
        expected = finished(folder / "whole")
        for name in names:
            for number in range(times):
                rng = random.Random(f"{seed}/{name}/{number}")
                damage(table, folder / f"{name.replace(':', '')} {number}", name, rng, expected)
    finally:
        loop.CHECKPOINT_SECONDS, ledger_schema.WAL_PAGES = seconds, pages
