"""A trial and its readout as one row of the ledger, and back; nothing that is read can execute code or fill the memory.

Columns, their order and their names are fixed here; ledger_file.py makes the tables of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import marshal
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np

from rl_detector.errors import RunFolderError
from rl_detector.problem import Evaluation
from rl_detector.space import Encoding, FloatArray
from rl_detector.terms import Measurement, Readout

COLUMNS = (
    "trial INTEGER PRIMARY KEY, batch INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT, events INTEGER NOT NULL, "
    "seed INTEGER NOT NULL, metric REAL, metric_error REAL, reach REAL, reach_error REAL, reward REAL, "
    "costs TEXT NOT NULL, violations TEXT NOT NULL, diagnostics TEXT NOT NULL, design TEXT NOT NULL, "
    "continuous TEXT NOT NULL, discrete TEXT NOT NULL, seconds REAL NOT NULL, told INTEGER, "
    "checksum BLOB"
)


NAMES = tuple(column.split()[0] for column in COLUMNS.split(", "))


REPRODUCIBLE = tuple(name for name in NAMES if name not in ("seconds", "told", "checksum"))
"""The columns that the same study fills with the same values, whenever and wherever it runs."""


LARGEST_READOUT = 64_000_000
"""Most bytes of the readout of one design, which the ledger keeps for the judge."""


DAMAGE = (TypeError, ValueError, OSError, KeyError, EOFError, RecursionError, OverflowError, zipfile.BadZipFile)
"""What reading a damaged row may raise."""


@dataclass(frozen=True)
class Trial:
    """One row of the ledger.

    Attributes:
        number: counts the evaluations of a study from 0.
        batch: number of the batch that proposed it, from 0.
        action: the action of the agent, not clipped.
        evaluation: its result, without per-event losses; with the readout where there is one.
        seconds: wall time of the simulation; for a group, its time over its designs. In an asynchronous study it is the
            time from submission to result.
        told: place, from 0, in the order in which an asynchronous study told results to the agent; None in others.
    """

    number: int
    batch: int
    action: Encoding
    evaluation: Evaluation
    seconds: float
    told: int | None = None


def checksum(values: Iterable[Any]) -> bytes:
    """BLAKE2b-128 of the values of a row, its trial number included; finds any flipped bit and any exchanged rows.

    The values are written in marshal's format 2, which never changes: type, length, binary doubles, texts as UTF-8.
    Nothing reads this format back.

    >>> checksum((7, "DONE", None, 0.5)).hex()
    '8e32731515398842bd2cebedeebcda22'
    """
    return _digest(tuple([value.encode() if type(value) is str else value for value in values]))


def _digest(values: tuple[Any, ...]) -> bytes:
    """Checksum of values whose texts are bytes."""
    return hashlib.blake2b(marshal.dumps(values, 2), digest_size=16).digest()


def sealed(values: Iterable[Any]) -> tuple[Any, ...]:
    """Values as SQLite returns them, and their checksum: plain types, no negative zero, None for NaN."""
    plain = tuple(_plain(value) for value in values)
    return (*plain, checksum(plain))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) + 0.0 if value == value else None
    return int(value) if isinstance(value, (bool, np.integer)) else value


def intact(row: tuple[Any, ...]) -> bool:
    """Whether a row fits the checksum at its end."""
    return bool(checksum(row[:-1]) == row[-1])


def lenient(data: bytes) -> str:
    """Text that may be damaged."""
    return data.decode("utf-8", "replace")


def meta_checksum(meta: Mapping[str, str]) -> str:
    """Checksum of the identity and the fingerprint of a ledger, as hexadecimal text."""
    return checksum(part for key in ("identity", "fingerprint") for part in (key, meta.get(key))).hex()


def fits(meta: Mapping[str, str]) -> bool:
    """Whether identity and fingerprint of a ledger fit their checksum."""
    return meta.get("checksum") == meta_checksum(meta)


def broken_trials(connection: sqlite3.Connection) -> tuple[int, ...]:
    """Numbers of the trials whose row, or whose readout, does not fit its checksum."""
    before, connection.text_factory = connection.text_factory, bytes
    try:
        rows = _all_rows(connection, "trials", ", ".join(NAMES))
        readouts = _all_rows(connection, "readouts", "trial, data, checksum")
        broken = {row[0] for row in chain(rows, readouts) if _digest(row[:-1]) != row[-1]}
    finally:
        connection.text_factory = before
    return tuple(sorted(broken))


def _all_rows(connection: sqlite3.Connection, table: str, names: str) -> Iterator[tuple[Any, ...]]:
    """Rows by number; of a row with a value of impossible size only its number, without a checksum."""
    following = -(2**63)
    while True:
        try:
            for row in connection.execute(f"SELECT {names} FROM {table} WHERE trial >= ? ORDER BY trial", (following,)):
                following = row[0] + 1
                yield row
            return
        except sqlite3.DataError:  # too big
            query = f"SELECT trial FROM {table} WHERE trial >= ? ORDER BY trial LIMIT 1"
            number = connection.execute(query, (following,)).fetchone()[0]
            following = number + 1
            yield number, None


def listed(numbers: Iterable[int], most: int = 10) -> str:
    """Numbers of trials in words, neighbours as a range.

    >>> listed([3, 17, 18, 19])
    '3, 17-19'
    """
    ordered = sorted(set(numbers))
    runs = [[n for _, n in group] for _, group in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(texts[:most]) + (f" and {len(ordered) - sum(map(len, runs[:most]))} more" if runs[most:] else "")


def to_row(trial: Trial) -> tuple[Any, ...]:
    """Values in the order of NAMES."""
    evaluation, measured = trial.evaluation, trial.evaluation.measurement
    numbers: tuple[Any, ...] = (None,) * 4
    if measured is not None:
        numbers = (measured.metric, measured.metric_error, measured.reach, measured.error)
    texts = (evaluation.costs, evaluation.violations, measured.diagnostics if measured else {}, evaluation.design)
    head = (trial.number, trial.batch, "FAILED" if evaluation.failed else "DONE", evaluation.failure)
    action = (json.dumps(trial.action.continuous.tolist()), json.dumps(trial.action.discrete.tolist()))
    json_texts = tuple(json.dumps(text) for text in texts)
    last = (float(trial.seconds), trial.told)
    measures = (None if number is None else float(number) for number in (*numbers, evaluation.reward))
    return sealed((*head, evaluation.events, evaluation.seed, *measures, *json_texts, *action, *last))


def from_row(values: tuple[Any, ...]) -> Trial:
    """The trial of values in the order of NAMES; a damaged row raises one of DAMAGE."""
    row = dict(zip(NAMES, values, strict=True))
    measured = None
    if row["state"] == "DONE":
        numbers = (row["reach"], row["reach_error"], row["metric"], row["metric_error"])
        measured = Measurement(*numbers, diagnostics=_mapping(row["diagnostics"]))
    costs, violations, design = (_mapping(row[name]) for name in ("costs", "violations", "design"))
    action = Encoding(
        np.array(json.loads(row["continuous"]), dtype=np.float64), np.array(json.loads(row["discrete"]), dtype=np.int64)
    )
    if action.continuous.ndim != 1 or action.discrete.ndim != 1:
        raise ValueError(f"the action of trial {row['trial']} is no list of numbers")
    evaluation = Evaluation(
        design, row["events"], row["seed"], costs, violations, measured, row["reward"], row["reason"]
    )
    return Trial(row["trial"], row["batch"], action, evaluation, row["seconds"], row["told"])


def _mapping(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text[:40]!r}")
    return value


def to_bytes(readout: Readout) -> bytes:
    """Signals and truth as an npz archive, exact to the last bit."""
    buffer = io.BytesIO()
    arrays = {"signals": readout.signals, **{f"truth.{name}": values for name, values in readout.truth.items()}}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    if len(buffer.getvalue()) > LARGEST_READOUT:
        raise RunFolderError(
            f"the readout of one design has {len(buffer.getvalue())} bytes, at most {LARGEST_READOUT} can be kept: "
            "use fewer events per design or judge=none"
        )
    return buffer.getvalue()


def from_bytes(data: bytes) -> Readout:
    """The readout of an npz archive; a damaged one raises one of DAMAGE."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        arrays = {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in archive.infolist()}
    truth = {name.removeprefix("truth."): values for name, values in arrays.items() if name != "signals"}
    return Readout(truth, arrays["signals"])


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> FloatArray:
    """One array, refused if it says that it is larger than its bytes in the archive, or holds Python objects."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > LARGEST_READOUT:
        raise ValueError(f"{entry.filename!r} is compressed or larger than {LARGEST_READOUT} bytes")
    data = io.BytesIO(archive.read(entry))
    np.lib.format.read_magic(data)
    shape, _, kind = np.lib.format.read_array_header_1_0(data)
    if int(np.prod([int(size) for size in shape], dtype=object)) * kind.itemsize > entry.file_size:
        raise ValueError(f"{entry.filename!r} says that it has the shape {shape}")
    data.seek(0)
    array: FloatArray = np.lib.format.read_array(data, allow_pickle=False)
    return array
