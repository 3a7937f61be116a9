"""The SQLite file of a ledger: opened without trusting it, checked, migrated from older versions of the package."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError
from rl_detector.records.files import refuse_links
from rl_detector.records.ledger_rows import (
    COLUMNS,
    LARGEST_READOUT,
    NAMES,
    broken_trials,
    checksum,
    fits,
    lenient,
    listed,
    meta_checksum,
)
from rl_detector.safety.untrusted import refuse_specials

SCHEMA_VERSION = 3
"""1: without the column `told`. 2: with it. 3: every row has a checksum."""


_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


_READOUTS = "trial INTEGER PRIMARY KEY, data BLOB NOT NULL"


_SECOND = COLUMNS.removesuffix(", checksum BLOB")


_TRIALS = (COLUMNS, _SECOND, _SECOND.removesuffix(", told INTEGER"))


_SCHEMA: dict[str, tuple[str, ...]] = {
    "meta": (_META,),
    "trials": tuple(f"CREATE TABLE trials ({columns})" for columns in _TRIALS),
    "readouts": (f"CREATE TABLE readouts ({_READOUTS}, checksum BLOB)", f"CREATE TABLE readouts ({_READOUTS})"),
    "by_batch": ("CREATE INDEX by_batch ON trials (batch)",),
}
"""Name -> what SQLite may say made it, the newest first. Anything else in a file is not executed but refused."""


_FORMERLY: dict[str, Any] = {
    "judge.name": "none", "asynchronous": False,
    "flow.in_flight": 0, "flow.told_at_once": 0, "flow.designs_per_job": 1,
}  # fmt: skip
"""What held before there were these settings: an older ledger, whose fingerprint lacks them, goes on with just that."""


_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Last bytes of a rollback journal that names another file, which SQLite would delete."""


LARGEST_VALUE = LARGEST_READOUT + 1_000_000
"""Most bytes of one value or row."""


SMALLEST = 512
"""Bytes of the smallest database; SQLite takes anything shorter for an empty one and writes over it."""


WAL_PAGES = 1000
"""Pages of 4096 bytes that gather in the -wal file before they go into the database."""


_PRAGMAS = ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "synchronous=FULL")
"""synchronous=FULL: an append is on the disk when it returns; with NORMAL a power cut would take the latest ones."""


LOCK_SECONDS = 120.0
"""Longest wait for another program that has locked the file, a backup for instance."""


LOCK_SILENCE = 2.0
"""Seconds of waiting before it is said, and again every fifteen times as long."""


def side_files(path: Path) -> list[Path]:
    """What SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def is_memory(path: Path) -> bool:
    """Whether the ledger lives in memory only."""
    return str(path) == ":memory:"


class LedgerFile:
    """An open connection to a checked file.

    Args:
        path: the SQLite file; a writer makes it when it does not exist.
        read_only: write nothing; works where nothing can be written, too.
        fingerprint: a ledger that was made with another one is refused before anything is written.

    Raises:
        sqlite3.Error: the file cannot be opened, is no ledger, or is damaged (then with the code SQLITE_CORRUPT).
        RunFolderError: it leads out of its folder, comes from a newer version of the package or another configuration.
    """

    def __init__(self, path: Path, read_only: bool, fingerprint: Mapping[str, Any] | None = None) -> None:
        self.path, self.read_only = path, read_only
        self.version, self.meta = 0, dict[str, str]()
        self.broken: tuple[int, ...] = ()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if not is_memory(path):
            _refuse_hostile_files(path)
        if read_only or path.exists():
            self._read(fingerprint)
        if not read_only:
            self._write(fingerprint)
        self._identified = identify(path)

    def _read(self, fingerprint: Mapping[str, Any] | None) -> None:
        """Check the file through a connection that changes nothing; what is refused stays as it is."""
        self.connection = self._reader()
        try:
            patiently(self.path, lambda: self._check(fingerprint))
        except BaseException:
            self._end()
            raise
        if not self.read_only:
            self._end()

    def _check(self, fingerprint: Mapping[str, Any] | None) -> None:
        harden(self.connection)
        self.connection.execute("PRAGMA query_only=ON")
        self.connection.text_factory = lenient  # what is no Unicode any more is found by its checksum
        self.version = checked_version(self.connection, self.path)
        _check_integrity(self.connection, size(self.path))
        self._check_meta(fingerprint)
        self._check_rows()
        self.connection.text_factory = str

    def _check_meta(self, fingerprint: Mapping[str, Any] | None) -> None:
        self.meta = dict(self.connection.execute("SELECT key, value FROM meta")) if self.version else {}
        if fits(self.meta):
            _check_fingerprint(self.path, self.meta, fingerprint)
        elif not self.read_only:
            raise corrupt("what it says of its configuration does not fit its checksum")

    def _check_rows(self) -> None:
        """Find rows that do not fit their checksums; a reader leaves them out, for a writer the file is damaged."""
        if self.version < SCHEMA_VERSION:  # rows of older versions have none
            return
        self.broken = broken_trials(self.connection)
        text = f"trials {listed(self.broken)} do not fit their checksums"
        if self.broken and not self.read_only:
            raise corrupt(text)
        if self.broken:
            warnings.warn(
                f"the ledger {self.path} is damaged: {text} and are left out. `rl-detector resume` simulates them "
                "again with the same seeds; the others are intact.",
                stacklevel=2,
            )

    def _write(self, fingerprint: Mapping[str, Any] | None) -> None:
        self.connection = sqlite3.connect(self.path, timeout=1.0)
        try:
            patiently(self.path, lambda: self._prepare(fingerprint))
        except BaseException:
            self.connection.close()
            raise

    def _reader(self) -> sqlite3.Connection:
        """Open without writing. Where nothing can be written, what lies in SQLite's side files is read from a copy."""
        path, options = self.path.resolve(), "mode=ro"
        if not os.access(path.parent, os.W_OK):
            wal = side_files(path)[0]
            if size(wal) > 0:
                self._scratch = tempfile.TemporaryDirectory(prefix="rl_detector-")
                folder = Path(self._scratch.name)
                for part in (wal, path):
                    shutil.copyfile(part, folder / part.name)
                path = folder / path.name
            else:
                options += "&immutable=1"
        return sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=1.0)

    def _prepare(self, fingerprint: Mapping[str, Any] | None) -> None:
        """Make the tables of a new file, add what an older version of the package lacks; one transaction."""
        harden(self.connection)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("BEGIN IMMEDIATE")
        with self.connection as connection:
            if self.version == 1:
                connection.execute("ALTER TABLE trials ADD COLUMN told INTEGER")
            if 1 <= self.version <= 2:
                _seal(connection)
            present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            for name, statements in _SCHEMA.items():
                if name not in present:
                    connection.execute(statements[0])
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.token_hex(16),))
            if fingerprint is not None:
                text = json.dumps(fingerprint, sort_keys=True)
                connection.execute("INSERT OR IGNORE INTO meta VALUES ('fingerprint', ?)", (text,))
            found = dict(connection.execute("SELECT key, value FROM meta"))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('checksum', ?)", (meta_checksum(found),))
        self.connection.execute("PRAGMA wal_checkpoint")  # from now on the file itself says what it is
        self.version = SCHEMA_VERSION
        self.meta = dict(self.connection.execute("SELECT key, value FROM meta"))

    def was_deleted(self) -> bool:
        """Whether another file, or none, lies where the open one was."""
        return not (self.read_only or is_memory(self.path)) and identify(self.path) != self._identified

    def close(self) -> None:
        """Close the file and fold SQLite's side files into it, so that readers need none."""
        if not self.read_only:
            with suppress(sqlite3.Error):  # another process still reads it: the last one to close does it
                self.connection.execute("PRAGMA journal_mode=DELETE")
        self._end()

    def _end(self) -> None:
        self.connection.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


def identify(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path: device and number; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _refuse_hostile_files(path: Path) -> None:
    """Links out of the folder, and what makes SQLite touch other files or forget what it has."""
    refuse_links(path, *side_files(path))
    refuse_specials(path, *side_files(path))
    wal, _, journal = side_files(path)
    if size(journal) > 0:
        with journal.open("rb") as file:
            file.seek(-min(8, size(journal)), os.SEEK_END)
            if file.read() == _SUPER_JOURNAL:
                raise RunFolderError(f"{journal} names another file, which no ledger of ours does: delete it")
    if 0 < size(path) < SMALLEST:
        raise RunFolderError(
            f"cannot use the ledger {path}: of {size(path)} bytes nothing can be read. It is no ledger, or it was cut "
            "off; restore it from a copy, or delete it and checkpoint.pt to begin anew."
        )
    if size(wal) > 0 and path.exists() and size(path) == 0:
        raise RunFolderError(
            f"{path} is empty, but {wal.name} beside it is not: the ledger was lost. Restore both from a copy, or "
            "delete both and checkpoint.pt to begin anew."
        )


def _check_fingerprint(path: Path, meta: Mapping[str, str], fingerprint: Mapping[str, Any] | None) -> None:
    if fingerprint is None or "fingerprint" not in meta:
        return
    if differences := _differences(json.loads(meta["fingerprint"]), json.loads(json.dumps(fingerprint))):
        raise RunFolderError(
            f"{path} was made with another configuration: {'; '.join(differences)}. "
            "Restore these values to go on, or start a new run; the ledger was left as it is."
        )


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    old, new = ({**_FORMERLY, **fingerprint} for fingerprint in (stored, wanted))
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return [f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in changed]


def harden(connection: sqlite3.Connection) -> None:
    """SQLite's advice for files from strangers: https://www.sqlite.org/security.html."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if hasattr(connection, "setconfig"):  # from Python 3.12 on
        connection.setconfig(1010, True)  # SQLITE_DBCONFIG_DEFENSIVE
    for pragma in (*_PRAGMAS, f"wal_autocheckpoint={WAL_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """Version of the schema, 0 for a new file; triggers, views and foreign tables are refused before they run."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    if not found:
        return 0
    if found.get("meta") != _META or "trials" not in found:
        raise sqlite3.DatabaseError(f"it is a database with other tables ({', '.join(sorted(map(str, found))[:5])})")
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    version = str(row[0]) if row else "1"
    if not (version.isdigit() and 1 <= int(version) <= SCHEMA_VERSION):
        raise RunFolderError(
            f"{path} has schema {version[:20]}, this version of rl_detector knows up to {SCHEMA_VERSION}: use the "
            "version that made it, or a newer one; the ledger was left as it is"
        )
    for name, sql in found.items():
        internal = sql is None and str(name).startswith("sqlite_autoindex_")
        if not internal and sql not in _SCHEMA.get(name, ()):
            raise sqlite3.DatabaseError(f"{str(name)[:40]!r} in it is nothing that a ledger has")
    newest = SCHEMA_VERSION - _SCHEMA["trials"].index(found["trials"])
    if newest == SCHEMA_VERSION and found.get("readouts", _SCHEMA["readouts"][0]) != _SCHEMA["readouts"][0]:
        raise sqlite3.DatabaseError("its trials have checksums and its readouts have none, which no ledger has")
    return newest


def corrupt(reason: str) -> sqlite3.DatabaseError:
    """The error with which SQLite tells damage."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _seal(connection: sqlite3.Connection) -> None:
    """Give the rows of an older version their checksums."""
    connection.create_function("sealed", -1, lambda *values: checksum(values))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, values in (("trials", ", ".join(NAMES[:-1])), ("readouts", "trial, data")):
        if table in tables:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
            connection.execute(f"UPDATE {table} SET checksum = sealed({values})")


def patiently(path: Path, act: Callable[[], Any]) -> Any:
    """Do something with a file that another program may have locked: wait for it, say so, and give up at last.

    Raises:
        RunFolderError: the file was locked for LOCK_SECONDS.
    """
    started, said = time.monotonic(), -LOCK_SILENCE * 14
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - started
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if waited > LOCK_SECONDS:
                raise RunFolderError(
                    f"another program has locked {path} for {waited:.0f} s (a backup, a copy or a database browser?). "
                    "Everything stored before is intact; wait until it is done or stop it, then `rl-detector resume` "
                    "goes on."
                ) from error
            if waited - said >= 15 * LOCK_SILENCE:
                said = waited
                warnings.warn(
                    f"waiting for another program that has locked {path} (a backup, a copy or a database browser?): "
                    f"{waited:.0f} s so far, at most {LOCK_SECONDS:.0f} s",
                    stacklevel=2,
                )
            time.sleep(min(0.1, LOCK_SECONDS / 10))


def _check_integrity(connection: sqlite3.Connection, length: int) -> None:
    """Check whether the parts of a file fit together; the contents of its rows have their own checksums.

    Raises:
        sqlite3.DatabaseError: its parts do not fit together; the code is SQLITE_CORRUPT.
    """
    result = "ok"
    if length % int(connection.execute("PRAGMA page_size").fetchone()[0]):
        result = "its last page was cut off"
    else:
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise corrupt(f"its parts do not fit together: {' '.join(str(result).split())[:120]}")
