"""The tables of a ledger, and checks of an SQLite file that strangers may have made or a disk has changed."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_detector.errors import RunFolderError
from rl_detector.records.files import refuse_links
from rl_detector.records.ledger_rows import COLUMNS, LARGEST_READOUT
from rl_detector.safety.untrusted import refuse_specials

SCHEMA_VERSION = 3
"""Number of this form of the tables; a ledger with another number is refused."""


TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "trials": f"CREATE TABLE trials ({COLUMNS})",
    "readouts": "CREATE TABLE readouts (trial INTEGER PRIMARY KEY, data BLOB NOT NULL, checksum BLOB)",
    "by_batch": "CREATE INDEX by_batch ON trials (batch)",
}
"""Name -> statement that made it. Anything else in a file is refused and not executed."""


LARGEST_VALUE = LARGEST_READOUT + 1_000_000
"""Most bytes of one value or row."""


_SMALLEST_DATABASE = 512
"""Bytes; SQLite takes anything shorter for an empty file and writes over it."""


WAL_PAGES = 1000
"""Pages of 4096 bytes that gather in the -wal file before they go into the database."""


_PRAGMAS = ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "synchronous=FULL")
"""synchronous=FULL: an append is on the disk when it returns; with NORMAL a power cut would take the latest ones."""


_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Last bytes of a rollback journal that names another file, which SQLite would delete."""


_DEFENSIVE = 1010
"""SQLITE_DBCONFIG_DEFENSIVE: statements cannot damage the file."""


_HEADER_BYTES = 100
"""Length of SQLite's header, which changes with every write (https://www.sqlite.org/fileformat.html)."""


_SEAL_PLACES = (slice(60, 64), slice(68, 72))
"""Bytes of user_version and application_id in the header: the seal of a file that was closed in order."""


def side_files(path: Path) -> list[Path]:
    """What SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def corrupt(reason: str) -> sqlite3.DatabaseError:
    """The error with which SQLite reports damage."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def harden(connection: sqlite3.Connection) -> None:
    """Follow SQLite's advice for files from strangers: https://www.sqlite.org/security.html."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if hasattr(connection, "setconfig"):  # from Python 3.12 on
        connection.setconfig(_DEFENSIVE, True)
    for pragma in (*_PRAGMAS, f"wal_autocheckpoint={WAL_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def refuse_hostile_files(path: Path) -> None:
    """Refuse links, devices, and side files that make SQLite write to other files or lose rows.

    Raises:
        RunFolderError: such a file lies there, or the ledger is too short to be one.
    """
    refuse_links(path, *side_files(path))
    refuse_specials(path, *side_files(path))
    wal, _, journal = side_files(path)
    _refuse_super_journal(journal)
    if 0 < size(path) < _SMALLEST_DATABASE:
        raise RunFolderError(
            f"cannot use the ledger {path}: of {size(path)} bytes nothing can be read. It is no ledger, or it was cut "
            "off; restore it from a copy, or delete it and checkpoint.pt to begin again."
        )
    if size(wal) > 0 and path.exists() and size(path) == 0:
        raise RunFolderError(
            f"{path} is empty, but {wal.name} beside it is not: the ledger was lost. Restore both from a copy, or "
            "delete both and checkpoint.pt to begin again."
        )


def _refuse_super_journal(journal: Path) -> None:
    if size(journal) == 0:
        return
    with journal.open("rb") as file:
        file.seek(-min(len(_SUPER_JOURNAL), size(journal)), os.SEEK_END)
        if file.read() == _SUPER_JOURNAL:
            raise RunFolderError(f"{journal} names another file, which no ledger does: delete it")


def check_fingerprint(path: Path, meta: Mapping[str, str], fingerprint: Mapping[str, Any] | None) -> None:
    """Compare the fingerprint in a ledger with the wanted one, where both are known.

    Raises:
        RunFolderError: they differ; the message lists the settings.
    """
    if fingerprint is None or "fingerprint" not in meta:
        return
    old, new = json.loads(meta["fingerprint"]), json.loads(json.dumps(fingerprint))
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if changed:
        differences = "; ".join(f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in changed)
        raise RunFolderError(
            f"{path} was made with another configuration: {differences}. "
            "Restore these values to go on, or start a new run; the ledger was left as it is."
        )


def check_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has tables; triggers, views and foreign tables are refused before they run.

    Raises:
        sqlite3.DatabaseError: its tables are not those of a ledger.
        RunFolderError: another version of the package made it.
    """
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    if not found:
        return False
    if found.get("meta") != TABLES["meta"] or "trials" not in found:
        raise sqlite3.DatabaseError(f"it is a database with other tables ({', '.join(sorted(map(str, found))[:5])})")
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if row is not None and row[0] != str(SCHEMA_VERSION):
        raise RunFolderError(
            f"{path} has schema {str(row[0])[:20]}, this version of rl_detector reads schema {SCHEMA_VERSION}: use the "
            "version that made it, or start a new run; the ledger was left as it is"
        )
    for name, sql in found.items():
        internal = sql is None and str(name).startswith("sqlite_autoindex_")
        if not internal and sql != TABLES.get(name):
            raise sqlite3.DatabaseError(f"{str(name)[:40]!r} in it is nothing that a ledger has")
    return True


def check_integrity(connection: sqlite3.Connection, length: int) -> None:
    """Check whether the parts of a file of `length` bytes fit together; rows have their own checksums.

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


def is_sealed(path: Path) -> bool:
    """Whether every byte behind the header is as it was when a writer closed the file.

    The seal saves reading every row. It is a checksum of the file, stored in two free fields of SQLite's header. Any
    later write or damage breaks it, so a file that was not closed in order has no fitting seal.
    """
    wal, _, journal = side_files(path)
    if size(wal) > 0 or size(journal) > 0 or size(path) < _SMALLEST_DATABASE:
        return False
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    return b"".join(header[place] for place in _SEAL_PLACES) == _digest(path)


def seal(connection: sqlite3.Connection, path: Path) -> None:
    """Put the seal on a file whose rows have been verified and whose side files are folded into it."""
    digest = _digest(path)
    for pragma, part in zip(("user_version", "application_id"), (digest[:4], digest[4:]), strict=True):
        connection.execute(f"PRAGMA {pragma} = {int.from_bytes(part, 'big', signed=True)}")


def _digest(path: Path) -> bytes:
    """BLAKE2b-64 of what follows the header."""
    with path.open("rb") as file:
        file.seek(_HEADER_BYTES)
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
