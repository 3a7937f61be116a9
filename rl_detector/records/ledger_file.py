"""The SQLite file of a ledger: opened without trusting it, and checked before anything is written."""

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
from rl_detector.records.ledger_rows import broken_trials, fits, lenient, listed, meta_checksum
from rl_detector.records.ledger_schema import (
    SCHEMA_VERSION,
    TABLES,
    check_fingerprint,
    check_integrity,
    check_schema,
    corrupt,
    harden,
    is_sealed,
    refuse_hostile_files,
    seal,
    side_files,
    size,
)

LOCK_SECONDS = 120.0
"""Longest wait for another program that has locked the file, a backup for instance."""


LOCK_SILENCE = 2.0
"""Seconds of waiting before a warning; it is repeated every fifteen times as long."""


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
        RunFolderError: it leads out of its folder, comes from another version of the package or another configuration.
    """

    def __init__(self, path: Path, read_only: bool, fingerprint: Mapping[str, Any] | None = None) -> None:
        self.path, self.read_only = path, read_only
        self.meta: dict[str, str] = {}
        self.broken: tuple[int, ...] = ()
        self._sealed = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if not is_memory(path):
            refuse_hostile_files(path)
        if read_only or path.exists():
            self._read(fingerprint)
        if not read_only:
            self._write(fingerprint)
        self._identified = identify(path)

    def _read(self, fingerprint: Mapping[str, Any] | None) -> None:
        """Check the file through a connection that changes nothing, so that a refused file stays as it was."""
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
        self.connection.text_factory = lenient  # a checksum finds damaged text
        if check_schema(self.connection, self.path):
            check_integrity(self.connection, size(self.path))
            self._check_meta(fingerprint)
            self._sealed = is_sealed(self.path)
            if not self._sealed:
                self._check_rows()
        self.connection.text_factory = str

    def _check_meta(self, fingerprint: Mapping[str, Any] | None) -> None:
        self.meta = dict(self.connection.execute("SELECT key, value FROM meta"))
        if fits(self.meta):
            check_fingerprint(self.path, self.meta, fingerprint)
        elif not self.read_only:
            raise corrupt("its configuration does not fit its checksum")

    def _check_rows(self) -> None:
        """Find rows that do not fit their checksums; a reader leaves them out, for a writer the file is damaged."""
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
        """Open without writing; in a read-only folder with SQLite's side files, open a copy of them."""
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
        """Make what a new file lacks, in one transaction; a complete file is not changed."""
        harden(self.connection)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("BEGIN IMMEDIATE")
        with self.connection as connection:
            present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            for name, statement in TABLES.items():
                if name not in present:
                    connection.execute(statement)
            self.meta = _complete_meta(connection, fingerprint)
        self.connection.execute("PRAGMA wal_checkpoint")  # a copy of the file alone is a ledger

    def was_deleted(self) -> bool:
        """Whether another file, or none, lies where the open one was."""
        return not (self.read_only or is_memory(self.path)) and identify(self.path) != self._identified

    def close(self) -> None:
        """Close the file and fold SQLite's side files into it, so that readers need none."""
        if not self.read_only:
            with suppress(sqlite3.Error, OSError):  # a process that still reads it does this later
                self.connection.execute("PRAGMA journal_mode=DELETE")
                self._seal()
        self._end()

    def _seal(self) -> None:
        """Verify all rows and seal the file, so that they need not be read when it is opened again."""
        written = self.connection.total_changes > 0 or not self._sealed
        if written and not is_memory(self.path) and not broken_trials(self.connection):
            seal(self.connection, self.path)

    def _end(self) -> None:
        self.connection.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


def _complete_meta(connection: sqlite3.Connection, fingerprint: Mapping[str, Any] | None) -> dict[str, str]:
    """Schema, identity and fingerprint of the ledger; those that are missing are added."""
    wanted = {"schema": str(SCHEMA_VERSION), "identity": secrets.token_hex(16)}
    if fingerprint is not None:
        wanted["fingerprint"] = json.dumps(fingerprint, sort_keys=True)
    connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", wanted.items())
    found = dict(connection.execute("SELECT key, value FROM meta"))
    if not fits(found):
        found["checksum"] = meta_checksum(found)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('checksum', ?)", (found["checksum"],))
    return found


def identify(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path: device and number; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def patiently(path: Path, act: Callable[[], Any]) -> Any:
    """Do something with a file that another program may have locked: wait for it, with warnings, up to a limit.

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
