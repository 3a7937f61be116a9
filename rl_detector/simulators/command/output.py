"""Output of an executable as a Readout: JSON, CSV, npz, Parquet or ROOT, checked for names, units, events and NaN.

A column is called `name`, `name [unit]` or `name (unit)`. A unit that the file states must be that of the description.
In ROOT the unit stands at the end of a branch's title, in Parquet also in the field's metadata.
The file is data: pickled objects are refused, nothing in it is evaluated.
"""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.errors import MissingDependency, SimulationError
from rl_detector.simulators.command.files import (
    Column,
    Observable,
    OutputFormat,
    Reader,
    Request,
    check_number,
    unit_at_the_end,
)
from rl_detector.simulators.command.readers import read_json, read_npz, read_parquet, read_root
from rl_detector.simulators.command.table import read_table
from rl_detector.simulators.command.units import FLAG, kind_of
from rl_detector.space import FloatArray
from rl_detector.terms import Readout

_LARGEST_EXACT_INTEGER = 2**53
"""Largest size of whole numbers that are always exact as floats."""


def read_output(folder: Path, expected: OutputFormat, events: int, size: int) -> Readout:
    """Read and check the output of a finished run.

    Args:
        folder: scratch folder.
        expected: where the observables are.
        events: number of events that is required.
        size: most bytes that the data may take in memory, uncompressed.

    Raises:
        SimulationError: the file is absent, differs from the promised format, columns, units or
            number of events, or holds NaN or infinity.
    """
    path = folder / expected.file
    _check_file(path)
    try:
        return _read(Request(path, expected, events, size))
    except MissingDependency:
        raise
    except SimulationError as error:
        raise SimulationError(f"{expected.file}: {error}") from error
    except Exception as error:  # whatever a library raises on garbage
        reason = " ".join(str(error).split())[:300]
        raise SimulationError(
            f"cannot read {expected.file} as {expected.format}: {type(error).__name__}: {reason}"
        ) from error


def _read(request: Request) -> Readout:
    expected = request.expected
    key = () if expected.key is None else (Observable("key", expected.key, "number"),)
    found: dict[str, str] = {}

    def choose(columns: Sequence[Column]) -> list[str]:
        found.update({wanted.column: _find(wanted, columns) for wanted in (*expected.truth, *expected.signals, *key)})
        return sorted(set(found.values()))

    read = _READERS[expected.format](request, choose)
    data = {column: np.asarray(read[key]) for column, key in found.items()}
    return _readout(
        expected, data if expected.key is None else _in_order(data, expected.key, request.events), request.events
    )


def _in_order(data: Mapping[str, Any], key: str, events: int) -> dict[str, Any]:
    """Sort the rows by their event numbers, which must be 0 to events - 1, or 1 to events, each once."""
    numbers = data[key]
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or np.any(numbers != np.rint(numbers)):
        raise SimulationError(f"the key {key} must be one whole number per event")
    if any(len(values) != len(numbers) for values in data.values()):
        raise SimulationError(f"other columns than the key {key} have another number of rows")
    first = 0 if len(numbers) and numbers.min() == 0 else 1
    found, counts = np.unique(numbers, return_counts=True)
    wanted = np.arange(first, first + events)
    wrong = {
        "missing": np.setdiff1d(wanted, found),
        "there more than once": found[counts > 1],
        f"not from {first} to {first + events - 1}": np.setdiff1d(found, wanted),
    }
    reasons = [f"{_some(numbers)} {what}" for what, numbers in wrong.items() if len(numbers)]
    if reasons:
        raise SimulationError(f"by the key {key}, of {events} events: {'; '.join(reasons)}")
    order = np.argsort(numbers, kind="stable")
    return {column: values[order] for column, values in data.items()}


def _some(numbers: Any) -> str:
    shown = ", ".join(f"{number:.15g}" for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"event {shown} is" if len(numbers) == 1 else f"events {shown}{more} are"


def check_format(name: str) -> None:
    """Raise MissingDependency unless the library that reads a format is installed."""
    library, extra = _LIBRARIES.get(name, ("json", ""))
    if importlib.util.find_spec(library) is None:
        raise MissingDependency(f"reading {name} needs {library}: pip install 'rl_detector[{extra}]'")


def _check_file(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise SimulationError(f"exit code 0, but no output file {path.name}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SimulationError(f"the output {path.name} is not a regular file (a link, a folder or a pipe)")
    if status.st_size == 0:
        raise SimulationError(f"exit code 0, but the output file {path.name} is empty")


def _find(wanted: Observable, columns: Sequence[Column]) -> str:
    matching = [column for column in columns if wanted.column in (column.key, column.name)]
    if not matching:
        names = ", ".join(column.name for column in columns)[:300] or "none"
        raise SimulationError(f"the output has no column {wanted.column!r}: it has {names}")
    if len(matching) > 1:
        raise SimulationError(f"the output has {len(matching)} columns {wanted.column!r}")
    (column,) = matching
    stated = column.unit or unit_at_the_end(column.name)
    if stated != wanted.unit and (column.unit or (stated and kind_of(stated) == kind_of(wanted.unit))):
        raise SimulationError(f"the output says that {column.name} is in {stated}, the description says {wanted.unit}")
    return column.key


def _readout(expected: OutputFormat, data: Mapping[str, Any], events: int) -> Readout:
    truth = {each.name: _values(each, data[each.column], events, 1) for each in expected.truth}
    parts = [_values(each, data[each.column], events, 2).reshape(events, -1) for each in expected.signals]
    signals = np.concatenate(parts, axis=1)
    if expected.channels is not None and signals.shape[1] != expected.channels:
        raise SimulationError(f"the output has {signals.shape[1]} channels of signals, the problem {expected.channels}")
    return Readout(truth, signals)


def _values(wanted: Observable, array: Any, events: int, dimensions: int) -> FloatArray:
    _check_kind(wanted, array)
    if not 1 <= array.ndim <= dimensions:
        shape = "[events]" if dimensions == 1 else "[events] or [events, channels]"
        raise SimulationError(f"{wanted.column} must have the shape {shape}, got {array.shape}")
    check_number(len(array), events, wanted.column)
    values: FloatArray = array.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        first = int(np.argwhere(~np.isfinite(values))[0][0]) + 1
        raise SimulationError(f"{bad} values of {wanted.column} are NaN or infinite, the first in row {first}")
    return values if wanted.factor == 1 else values * wanted.factor


def _check_kind(wanted: Observable, array: Any) -> None:
    """Raise SimulationError unless the values fit their unit.

    A flag takes truth values, or 0 and 1. All other units take numbers, and whole ones only where floats are exact.
    """
    kind = array.dtype.kind
    if kind not in "fiub":
        raise SimulationError(f"{wanted.column} must hold plain numbers, equally many per event, got {array.dtype}")
    if kind == "b" and wanted.unit != FLAG:
        raise SimulationError(
            f"{wanted.column} holds truth values: state the unit {FLAG!r} if they are meant as 0 and 1"
        )
    if kind != "b" and wanted.unit == FLAG and not np.isin(array, (0, 1)).all():
        raise SimulationError(f"{wanted.column} is a {FLAG} by the description, but holds other numbers than 0 and 1")
    if kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > _LARGEST_EXACT_INTEGER:
        raise SimulationError(f"{wanted.column} holds whole numbers beyond 2^53, which no float holds exactly")


_READERS: Mapping[str, Reader] = {
    "json": read_json,
    "csv": read_table,
    "npz": read_npz,
    "parquet": read_parquet,
    "root": read_root,
}


FORMATS = tuple(_READERS)
"""Formats of the output; each is also the suffix of the file."""


_LIBRARIES = {"parquet": ("pyarrow", "parquet"), "root": ("uproot", "root")}
"""Format -> library that reads it, and the extra that installs it."""
