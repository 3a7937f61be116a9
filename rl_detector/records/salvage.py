"""Move the readable rows of a damaged ledger to a new one, and keep the damaged file."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError
from rl_detector.records.files import flush_folder, refuse_links
from rl_detector.records.ledger_file import LedgerFile, is_memory
from rl_detector.records.ledger_rows import (
    DAMAGE,
    NAMES,
    fits,
    from_bytes,
    from_row,
    intact,
    lenient,
    listed,
    meta_checksum,
)
from rl_detector.records.ledger_schema import LARGEST_VALUE, check_schema, side_files

LONGEST_GAP = 100_000


MOST_PER_PAGE = 20
"""Consecutive unreadable trials per page of the file, and LONGEST_GAP in all, after which salvaging stops."""


def salvaged(path: Path, damage: sqlite3.DatabaseError) -> bool:
    """Replace a damaged ledger by a new one with its readable trials, with a warning; False where there are none.

    Missing trials are simulated again by the study that goes on, with the same seeds and the same results.
    """
    if is_memory(path) or getattr(damage, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
        return False
    new = path.with_name(f"{path.name}.new")
    refuse_links(path, *side_files(path), *side_files(new))
    for stale in (new, *side_files(new)):
        stale.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source:
        found = _rescue(source, new)
    if not found:
        new.unlink(missing_ok=True)
        return False
    kept = _swap(path, new)
    warnings.warn(
        f"the ledger {path} was damaged ({damage}): {found} trials could be read and went into a new one; "
        f"{_missing(path)} simulated again with the same seeds. The damaged file is kept as {kept}.",
        stacklevel=2,
    )
    return True


def _missing(path: Path) -> str:
    """The trials that the new ledger lacks, in words."""
    with closing(sqlite3.connect(path)) as connection:
        found = {number for (number,) in connection.execute("SELECT trial FROM trials")}
    gaps = set(range(max(found, default=-1))) - found
    after = f"anything after {max(found)}"
    return f"trials {listed(gaps)} and {after} are" if gaps else f"{after} is"


def _rescue(source: sqlite3.Connection, new: Path) -> int:
    """Copy meta data and readable trials; gives the number of trials."""
    try:
        source.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
        source.text_factory = lenient
        for pragma in _PRAGMAS:
            source.execute(f"PRAGMA {pragma}")
        meta = _meta(source)
        check_schema(source, new)
    except sqlite3.DatabaseError:
        return 0
    with closing(LedgerFile(new, read_only=False)) as target, target.connection as connection:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        found = dict(connection.execute("SELECT key, value FROM meta"))
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('checksum', ?)", (meta_checksum(found),))
        judged = _judged(source)
        if judged:
            query = "SELECT trial, data, checksum FROM readouts"
            rows = _readable(source, query, lambda row: from_bytes(row[1]))
            connection.executemany("INSERT INTO readouts VALUES (?, ?, ?)", rows)
        rows = _readable(source, f"SELECT {', '.join(NAMES)} FROM trials", from_row)
        connection.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(NAMES))})", rows)
        if judged:  # a judge needs the readout of every trial
            connection.execute("DELETE FROM trials WHERE state = 'DONE' AND trial NOT IN (SELECT trial FROM readouts)")
            connection.execute("DELETE FROM readouts WHERE trial NOT IN (SELECT trial FROM trials)")
        return int(connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0])


def _meta(source: sqlite3.Connection) -> dict[str, str]:
    """Meta data of the ledger; {} where they are damaged, since the replay checks whether the trials fit."""
    with suppress(sqlite3.DatabaseError, UnicodeError):
        meta = dict(source.execute("SELECT key, value FROM meta"))
        return meta if fits(meta) else {}
    return {}


_PRAGMAS = ("writable_schema=ON", "trusted_schema=OFF", "cell_size_check=ON", "query_only=ON")
"""The first makes SQLite read on where pages are missing."""


def _judged(source: sqlite3.Connection) -> bool:
    """Whether there are readouts, readable or not."""
    try:
        return source.execute("SELECT trial FROM readouts LIMIT 1").fetchone() is not None
    except sqlite3.OperationalError:  # no such table
        return False
    except sqlite3.DatabaseError:
        return True


def _readable(
    source: sqlite3.Connection, query: str, parse: Callable[[tuple[Any, ...]], Any]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a table that fit their checksum and can be parsed, by number; all others are left out."""
    following, failures, pages = 0, 0, source.execute("PRAGMA page_count").fetchone()[0]
    while failures < min(LONGEST_GAP, pages * MOST_PER_PAGE):
        try:
            for row in source.execute(f"{query} WHERE trial >= ? ORDER BY trial", (following,)):
                following, failures = row[0] + 1, 0
                if not intact(row):
                    continue
                with suppress(*DAMAGE):
                    parse(row)
                    yield row
            return
        except (sqlite3.DatabaseError, UnicodeError):
            following, failures = following + 1, failures + 1


def _swap(path: Path, new: Path) -> Path:
    """Put the new ledger in the place of the damaged one, which gets another name with its side files."""
    kept = next(name for i in count(1) if not (name := path.with_name(f"{path.name}.damaged-{i}")).exists())
    wal, shm, journal = side_files(path)
    shutil.copyfile(path, kept)
    for part in (wal, journal):
        if part.exists():
            part.replace(kept.with_name(kept.name + part.name.removeprefix(path.name)))
    shm.unlink(missing_ok=True)
    new.replace(path)
    flush_folder(path.parent)
    return kept


def rescued(connection: sqlite3.Connection, path: Path) -> Path:
    """Write an open ledger, whose file was deleted, to its old place or beside a file there; returns the path.

    Raises:
        RunFolderError: it cannot be written.
    """
    names = (path.name, *(f"{path.name}.rescued-{i}" for i in range(1, 100)))
    place = next(found for name in names if not (found := path.with_name(name)).exists())
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        refuse_links(place, *side_files(place))
        for stale in side_files(place):
            stale.unlink(missing_ok=True)
        with closing(sqlite3.connect(place)) as target:
            connection.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        flush_folder(place.parent)
    except (OSError, sqlite3.Error) as error:
        raise RunFolderError(
            f"{path} was deleted while the study ran, and it cannot be written again as {place}: {error}. Its "
            "trials are lost when this process ends."
        ) from error
    return place
