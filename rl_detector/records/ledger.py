"""Every evaluation of a study in one SQLite file."""

from __future__ import annotations

import json
import secrets
import sqlite3
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.errors import RunFolderError
from rl_detector.records.ledger_file import LedgerFile, patiently
from rl_detector.records.ledger_rows import (
    DAMAGE,
    LARGEST_READOUT,
    NAMES,
    REPRODUCIBLE,
    Trial,
    from_bytes,
    from_row,
    intact,
    sealed,
    to_bytes,
    to_row,
)
from rl_detector.records.ledger_schema import SCHEMA_VERSION
from rl_detector.records.salvage import rescued, salvaged
from rl_detector.space import FloatArray
from rl_detector.terms import Readout

NUMBERS = ("trial", "batch", "done", "events", "reward", "reach", "reach_error", "metric", "seconds")
"""Columns of the arrays of `Ledger.numbers`."""


_COLUMNS = ", ".join(NAMES)


_ROWS_PER_ARRAY = 10_000
"""Most rows of one array of `Ledger.numbers`."""


FACT = "simulator states "
"""Prefix, in the fingerprint, of a fact that the simulator states, such as its version (conf.schema.fingerprint)."""


LONGEST_FACT = 500
"""Most letters of such a fact that are shown."""


__all__ = ["LARGEST_READOUT", "NUMBERS", "REPRODUCIBLE", "SCHEMA_VERSION", "Ledger", "Trial"]


class Ledger:
    """Append-only record of a study. Each append is one transaction, so a kill loses at most the group in work.

    Every row has a checksum. A file is checked when it is opened: every row of it, or, if it was closed in order, the
    seal that the last writer put on it. A writer moves the intact rows of a damaged file to a new one and lists the
    missing trials. A reader leaves broken rows out and lists them. It refuses a file whose parts do not fit together.

    Args:
        path: the SQLite file; made when it does not exist.
        fingerprint: the settings that decide the results; a ledger made with others is refused.
        read_only: read an existing file, also from a place where nothing can be written.

    Raises:
        RunFolderError: the file cannot be written, is no ledger, or belongs to another configuration.

    Examples:
        >>> import rl_detector as rd
        >>> ledger = rd.Ledger(Path(":memory:"))
        >>> ledger.count(), list(ledger.trials())
        (0, [])
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any] | None = None, read_only: bool = False) -> None:
        self.path = path
        self._writer = ""
        try:
            self._file = self._open(fingerprint, read_only)
        except (sqlite3.Error, UnicodeError, *DAMAGE) as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(
                f"cannot use the ledger {path}: {error}. Either it is no ledger or damaged (restore it from a copy; "
                "`rl-detector resume` takes over what can be read), or the folder is not writable or the disk full."
            ) from error
        self._connection = self._file.connection
        self._intact = f"trial NOT IN ({', '.join(map(str, self.broken))})"

    def _open(self, fingerprint: Mapping[str, Any] | None, read_only: bool) -> LedgerFile:
        try:
            return LedgerFile(self.path, read_only, fingerprint)
        except sqlite3.DatabaseError as damage:
            if read_only or not salvaged(self.path, damage):
                raise
        return LedgerFile(self.path, read_only, fingerprint)

    @property
    def broken(self) -> tuple[int, ...]:
        """Numbers of the trials that a reader leaves out, because they do not fit their checksums."""
        return self._file.broken

    @property
    def identity(self) -> str:
        """Random text made with the file; a checkpoint that belongs to this ledger has the same."""
        return str(self._file.meta["identity"])

    @property
    def simulator(self) -> dict[str, str]:
        """Facts that the simulator of the study stated, such as its version, from the fingerprint; {} without one."""
        with self._damage():
            stored = json.loads(self._file.meta.get("fingerprint", "{}"))
            if not isinstance(stored, dict):
                raise ValueError("its fingerprint is no JSON object")
            facts = {str(name): str(value)[:LONGEST_FACT] for name, value in stored.items()}
        return {name.removeprefix(FACT): value for name, value in facts.items() if name.startswith(FACT)}

    def append(self, trials: Iterable[Trial]) -> None:
        """Store trials on the disk, with their readouts where they have some.

        Raises:
            RunFolderError: the disk is full, the file cannot be written or another process writes to it; what was
                stored before is intact.
        """
        stored = list(trials)
        kept = [sealed((t.number, to_bytes(t.evaluation.readout))) for t in stored if t.evaluation.readout is not None]
        statement = f"INSERT INTO trials ({', '.join(NAMES)}) VALUES ({', '.join('?' * len(NAMES))})"
        with self._transaction() as connection:
            connection.executemany(statement, [to_row(trial) for trial in stored])
            connection.executemany("INSERT INTO readouts VALUES (?, ?, ?)", kept)

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove failed trials that are to be tried again."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM trials WHERE trial = ? AND state = 'FAILED'", [(n,) for n in numbers])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing, as the only writer: the latest one goes on, an earlier one stops at its next write."""
        self._restore_if_deleted()
        try:
            patiently(self.path, lambda: self._connection.execute("BEGIN IMMEDIATE"))
            with self._connection as connection:
                self._claim()
                yield connection
        except sqlite3.Error as error:
            raise RunFolderError(
                f"cannot write to {self.path}: {error}. Everything stored before is intact; make room or fix the "
                "permissions, then `rl-detector resume` goes on."
            ) from error

    def _claim(self) -> None:
        found = self._connection.execute("SELECT value FROM meta WHERE key = 'writer'").fetchone()
        if not self._writer:
            self._writer = secrets.token_hex(8)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('writer', ?)", (self._writer,))
        elif found is None or found[0] != self._writer:
            raise RunFolderError(
                f"another process has begun to write to {self.path}, and only one may: this one stops. Everything "
                "stored is intact."
            )

    def trials(self, batch: int | None = None) -> Iterator[Trial]:
        """Trials in the order of their numbers, of one batch or all."""
        where, arguments = self._of(batch)
        for row in self._rows(f"SELECT {_COLUMNS} FROM trials WHERE {where} ORDER BY trial", arguments):
            with self._damage():
                trial = from_row(self._verified(row))
            yield trial

    def _of(self, batch: int | None) -> tuple[str, tuple[int, ...]]:
        """Condition and arguments for the intact rows of one batch or all."""
        return (self._intact, ()) if batch is None else (f"batch = ? AND {self._intact}", (batch,))

    def _verified(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check a row against its checksum when it is read, since disks also fail after a file was opened."""
        if not intact(row):
            raise RunFolderError(
                f"trial {row[0]} of {self.path} does not fit its checksum: its disk has changed what was stored. "
                "`rl-detector resume` simulates it again with the same seed."
            )
        return row

    def best(self, before: int) -> Trial | None:
        """The first of the trials with the highest reward in batches below a number; reads all of them."""
        query = f"SELECT trial FROM trials WHERE state = 'DONE' AND batch < ? AND {self._intact} "
        query += "ORDER BY reward DESC, trial LIMIT 1"
        found = self._one(query, (before,))
        return None if found is None else self.trial(found[0])

    def trial(self, number: int) -> Trial | None:
        """The trial of this number, None where there is none."""
        row = self._one(f"SELECT {_COLUMNS} FROM trials WHERE trial = ? AND {self._intact}", (number,))
        with self._damage():
            return None if row is None else from_row(self._verified(row))

    def numbers(self) -> Iterator[FloatArray]:
        """Results of all trials by number as arrays [trials, NUMBERS] ; NaN where a value is absent."""
        names = ", ".join("state = 'DONE'" if name == "done" else name for name in NUMBERS)
        rows = self._rows(f"SELECT {names} FROM trials WHERE {self._intact} ORDER BY trial")
        with self._damage():
            while chunk := list(islice(rows, _ROWS_PER_ARRAY)):
                yield np.array(chunk, dtype=np.float64)

    def failures(self, most: int = 100) -> Counter[str]:
        """The most frequent reasons of failure, shortened, and how many trials had each."""
        query = (
            "SELECT COALESCE(SUBSTR(reason, 1, 500), 'unknown') AS why, COUNT(*) FROM trials WHERE state = 'FAILED' "
            f"AND {self._intact} GROUP BY why ORDER BY COUNT(*) DESC, why LIMIT ?"
        )
        return Counter({str(why): number for why, number in self._rows(query, (most,))})

    def readouts(self, batch: int | None = None) -> dict[int, Readout]:
        """Trial number -> readout, of one batch or all. Only studies with a judge store readouts."""
        where, arguments = self._of(batch)
        query = "SELECT trial, data, readouts.checksum FROM readouts JOIN trials USING (trial) "
        query += f"WHERE {where} ORDER BY trial"
        with self._damage():
            return {row[0]: from_bytes(self._verified(row)[1]) for row in self._rows(query, arguments)}

    def _rows(self, query: str, arguments: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._damage():
            cursor = self._connection.execute(query, arguments)
            try:
                yield from cursor
            finally:
                with suppress(sqlite3.ProgrammingError):  # the ledger was closed while this generator was open
                    cursor.close()

    def _one(self, query: str, arguments: tuple[Any, ...] = ()) -> Any:
        """The first row, None where there is none."""
        with self._damage():
            return self._connection.execute(query, arguments).fetchone()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, *DAMAGE) as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(f"the ledger {self.path} is damaged ({error}): restore it from a copy") from error

    def count(self, state: str | None = None, before: int | None = None) -> int:
        """Number of trials, of one state (DONE, FAILED) or all, in all batches or those below a number."""
        conditions = {"state = ?": state, "batch < ?": before}
        asked = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join([self._intact, *asked])
        return int(self._one(f"SELECT COUNT(*) FROM trials WHERE {where}", tuple(asked.values()))[0])

    def events(self) -> int:
        """Simulated events of all trials, the failed ones included."""
        return int(self._one(f"SELECT COALESCE(SUM(events), 0) FROM trials WHERE {self._intact}")[0])

    def reproducible_rows(self) -> list[tuple[Any, ...]]:
        """All rows without computing times and the order in which the agent was told: equal for equal studies."""
        return list(self._rows(f"SELECT {', '.join(REPRODUCIBLE)} FROM trials WHERE {self._intact} ORDER BY trial"))

    def close(self) -> None:
        """Close the file and fold SQLite's side files into it, so that readers need none."""
        try:
            self._restore_if_deleted()
        finally:
            self._file.close()

    def _restore_if_deleted(self) -> None:
        """Write the file again if it was deleted during the study; the system keeps its content while it is open."""
        if not self._file.was_deleted():
            return
        place = rescued(self._connection, self.path)
        self._file.close()
        if place != self.path:
            raise RunFolderError(
                f"another file replaced {self.path} while the study ran. All that was simulated is in {place}: put the "
                "right one in its place, then `rl-detector resume` goes on."
            )
        self._file = LedgerFile(self.path, read_only=False)
        self._connection = self._file.connection
        warnings.warn(
            f"the ledger {self.path} was deleted while the study ran. It was written again with all "
            f"{self.count()} trials, and the study goes on; check which other files {self.path.parent} lacks.",
            stacklevel=2,
        )
