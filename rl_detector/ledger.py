"""Every evaluation of a study in one SQLite file."""

from __future__ import annotations

import io
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.errors import RunFolderError
from rl_detector.problem import Evaluation
from rl_detector.space import Encoding
from rl_detector.terms import Measurement, Readout

SCHEMA_VERSION = 1

_COLUMNS = (
    "trial INTEGER PRIMARY KEY, batch INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT, events INTEGER NOT NULL, "
    "seed INTEGER NOT NULL, metric REAL, metric_error REAL, reach REAL, reach_error REAL, reward REAL, "
    "costs TEXT NOT NULL, violations TEXT NOT NULL, diagnostics TEXT NOT NULL, design TEXT NOT NULL, "
    "continuous TEXT NOT NULL, discrete TEXT NOT NULL, seconds REAL NOT NULL"
)
_NAMES = tuple(column.split()[0] for column in _COLUMNS.split(", "))
REPRODUCIBLE = tuple(name for name in _NAMES if name != "seconds")
"""The columns that the same study fills with the same values, whenever and wherever it runs."""

LARGEST_READOUT = 64_000_000
"""Most bytes of one design's readout that are kept for a judge."""


@dataclass(frozen=True)
class Trial:
    """One row of the ledger.

    Attributes:
        number: counts the evaluations of a study from 0.
        batch: number of the batch that proposed it, from 0.
        action: what the agent asked, not clipped.
        evaluation: what came of it (per-event losses are not kept; readouts are, where there are any).
        seconds: computing time.
    """

    number: int
    batch: int
    action: Encoding
    evaluation: Evaluation
    seconds: float


class Ledger:
    """Append-only record of a study; each append is one transaction, so a kill loses at most the group in work.

    Args:
        path: the SQLite file; made when it does not exist.
        fingerprint: what of the configuration decides the results; a ledger made with another one is refused.
        read_only: read an existing file, also from a place where nothing can be written.

    Raises:
        RunFolderError: the file cannot be written, is no ledger, or belongs to another configuration.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any] | None = None, read_only: bool = False) -> None:
        self.path = path
        self._read_only_file = read_only
        try:
            self._connection = self._read_only() if read_only else sqlite3.connect(path)
            if not read_only:
                self._prepare(fingerprint)
            self._meta = dict(self._connection.execute("SELECT key, value FROM meta"))
        except sqlite3.Error as error:
            raise RunFolderError(
                f"cannot use the ledger {path}: {error}. Either it is no ledger or damaged (restore it from a copy), "
                "or the folder is not writable or the disk full."
            ) from error
        self._check(fingerprint)

    @property
    def identity(self) -> str:
        """Made at random with the file; tells a checkpoint whether it belongs here."""
        return str(self._meta["identity"])

    def _read_only(self) -> sqlite3.Connection:
        """Open without writing; on a read-only file system SQLite must be told that nobody else writes."""
        immutable = "" if os.access(self.path.parent, os.W_OK) else "&immutable=1"
        return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro{immutable}", uri=True)

    def _prepare(self, fingerprint: Mapping[str, Any] | None) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not {"meta", "trials"} <= tables:
            raise sqlite3.DatabaseError(f"it is a database with other tables ({', '.join(sorted(tables))})")
        self._connection.execute("PRAGMA journal_mode=WAL")
        with self._connection as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            connection.execute(f"CREATE TABLE IF NOT EXISTS trials ({_COLUMNS})")
            connection.execute("CREATE TABLE IF NOT EXISTS readouts (trial INTEGER PRIMARY KEY, data BLOB NOT NULL)")
            connection.execute("CREATE INDEX IF NOT EXISTS by_batch ON trials (batch)")
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.token_hex(16),))
            if fingerprint is not None:
                text = json.dumps(fingerprint, sort_keys=True)
                connection.execute("INSERT OR IGNORE INTO meta VALUES ('fingerprint', ?)", (text,))

    def _check(self, fingerprint: Mapping[str, Any] | None) -> None:
        found = self._meta.get("schema")
        if found != str(SCHEMA_VERSION):
            raise RunFolderError(
                f"{self.path} has schema {found}, expected {SCHEMA_VERSION}: use the version that made it"
            )
        if fingerprint is None:
            return
        if differences := _differences(json.loads(self._meta["fingerprint"]), json.loads(json.dumps(fingerprint))):
            raise RunFolderError(
                f"{self.path} was made with another configuration: {'; '.join(differences)}. "
                "Restore these values to go on, or start a new run; the ledger was left as it is."
            )

    def append(self, trials: Iterable[Trial]) -> None:
        """Store trials for good, with their readouts where they have some.

        Raises:
            RunFolderError: the disk is full or the file cannot be written; what was stored before is intact.
        """
        marks = ", ".join("?" * len(_NAMES))
        stored = list(trials)
        kept = [(t.number, _to_bytes(t.evaluation.readout)) for t in stored if t.evaluation.readout is not None]
        try:
            with self._connection as connection:
                connection.executemany(f"INSERT INTO trials VALUES ({marks})", [_to_row(trial) for trial in stored])
                connection.executemany("INSERT INTO readouts VALUES (?, ?)", kept)
        except sqlite3.Error as error:
            raise RunFolderError(
                f"cannot write to {self.path}: {error}. Everything stored before is intact; make room or fix the "
                "permissions, then `rl-detector resume` goes on."
            ) from error

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove failed trials that are to be tried again."""
        with self._connection as connection:
            connection.executemany("DELETE FROM trials WHERE trial = ? AND state = 'FAILED'", [(n,) for n in numbers])

    def trials(self, batch: int | None = None) -> Iterator[Trial]:
        """Trials in the order of their numbers, of one batch or all."""
        where, arguments = ("WHERE batch = ?", (batch,)) if batch is not None else ("", ())
        query = f"SELECT {', '.join(_NAMES)} FROM trials {where} ORDER BY trial"
        try:
            with closing(self._connection.execute(query, arguments)) as cursor:
                for row in cursor:
                    yield _from_row(dict(zip(_NAMES, row, strict=True)))
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise RunFolderError(f"the ledger {self.path} is damaged ({error}): restore it from a copy") from error

    def has_batch(self, batch: int) -> bool:
        """Whether there are trials of this batch."""
        query = "SELECT EXISTS (SELECT 1 FROM trials WHERE batch = ?)"
        return bool(self._connection.execute(query, (batch,)).fetchone()[0])

    def readouts(self, batch: int | None = None) -> dict[int, Readout]:
        """Number of the trial -> readout, of one batch or all, where they were kept for a judge."""
        where, arguments = ("WHERE batch = ?", (batch,)) if batch is not None else ("", ())
        query = f"SELECT trial, data FROM readouts JOIN trials USING (trial) {where} ORDER BY trial"
        try:
            return {trial: _from_bytes(data) for trial, data in self._connection.execute(query, arguments)}
        except (sqlite3.Error, TypeError, ValueError, OSError, KeyError) as error:
            raise RunFolderError(f"the ledger {self.path} is damaged ({error}): restore it from a copy") from error

    def count(self, state: str | None = None) -> int:
        """Number of trials, of one state (DONE, FAILED) or all."""
        where, arguments = ("WHERE state = ?", (state,)) if state is not None else ("", ())
        return int(self._connection.execute(f"SELECT COUNT(*) FROM trials {where}", arguments).fetchone()[0])

    def events(self) -> int:
        """Simulated events of all trials, the failed ones included."""
        return int(self._connection.execute("SELECT COALESCE(SUM(events), 0) FROM trials").fetchone()[0])

    def reproducible_rows(self) -> list[tuple[Any, ...]]:
        """All rows without computing times: equal for equal studies."""
        return list(self._connection.execute(f"SELECT {', '.join(REPRODUCIBLE)} FROM trials ORDER BY trial"))

    def close(self) -> None:
        """Close the file and fold SQLite's side files into it, so that readers need none."""
        if not self._read_only_file:
            with suppress(sqlite3.Error):  # another process still reads it: the last one to close does it
                self._connection.execute("PRAGMA journal_mode=DELETE")
        self._connection.close()


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    names = sorted({*stored, *wanted})
    changed = [name for name in names if stored.get(name) != wanted.get(name)]
    return [f"{name} was {stored.get(name)!r}, now {wanted.get(name)!r}" for name in changed]


def _to_bytes(readout: Readout) -> bytes:
    """Signals and truth as an npz archive, exact to the last bit."""
    buffer = io.BytesIO()
    arrays = {"signals": readout.signals, **{f"truth.{name}": values for name, values in readout.truth.items()}}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    if len(buffer.getvalue()) > LARGEST_READOUT:
        raise RunFolderError(
            f"the readout of one design has {len(buffer.getvalue())} bytes, a judge may keep {LARGEST_READOUT}: "
            "use fewer events per design or judge=none"
        )
    return buffer.getvalue()


def _from_bytes(data: bytes) -> Readout:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        truth = {name.removeprefix("truth."): arrays[name] for name in arrays.files if name != "signals"}
        return Readout(truth, arrays["signals"])


def _to_row(trial: Trial) -> tuple[Any, ...]:
    evaluation, measured = trial.evaluation, trial.evaluation.measurement
    numbers: tuple[Any, ...] = (None,) * 4
    if measured is not None:
        numbers = (measured.metric, measured.metric_error, measured.reach, measured.error)
    texts = (evaluation.costs, evaluation.violations, measured.diagnostics if measured else {}, evaluation.design)
    head = (trial.number, trial.batch, "FAILED" if evaluation.failed else "DONE", evaluation.failure)
    action = (json.dumps(trial.action.continuous.tolist()), json.dumps(trial.action.discrete.tolist()))
    json_texts = tuple(json.dumps(text) for text in texts)
    return (*head, evaluation.events, evaluation.seed, *numbers, evaluation.reward, *json_texts, *action, trial.seconds)


def _from_row(row: Mapping[str, Any]) -> Trial:
    measured = None
    if row["state"] == "DONE":
        numbers = (row["reach"], row["reach_error"], row["metric"], row["metric_error"])
        measured = Measurement(*numbers, diagnostics=json.loads(row["diagnostics"]))
    costs, violations, design = (json.loads(row[name]) for name in ("costs", "violations", "design"))
    action = Encoding(
        np.array(json.loads(row["continuous"]), dtype=np.float64), np.array(json.loads(row["discrete"]), dtype=np.int64)
    )
    evaluation = Evaluation(
        design, row["events"], row["seed"], costs, violations, measured, row["reward"], row["reason"]
    )
    return Trial(row["trial"], row["batch"], action, evaluation, row["seconds"])
