"""What an executable wrote, as a Readout: JSON, CSV, npz, Parquet or ROOT, checked for names, units, events and NaN.

A column is called `name`, or `name [unit]`; a unit that the file states must be the one of the description. In ROOT the
unit stands at the end of a branch's title. The file is data: pickled objects are refused, nothing in it is evaluated.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rl_detector.errors import MissingDependency, SimulationError
from rl_detector.space import FloatArray
from rl_detector.terms import Readout


@dataclass(frozen=True)
class Observable:
    """One entry of the truth, or one or more channels of the signals.

    Attributes:
        name: in the readout.
        column: in the file; [events], for signals also [events, channels].
        unit: in which the file holds it.
        factor: what turns it into the unit of the readout.
    """

    name: str
    column: str
    unit: str
    factor: float = 1.0


@dataclass(frozen=True)
class Layout:
    """Where the observables are.

    Attributes:
        file: name of the file in the scratch folder.
        format: one of FORMATS.
        tree: name of the tree in a ROOT file.
        truth, signals: what to read; the order of the signals is that of the channels.
        channels: how many channels there must be; None: any number.
    """

    file: str
    format: str
    tree: str
    truth: tuple[Observable, ...]
    signals: tuple[Observable, ...]
    channels: int | None = None


class Column(NamedTuple):
    """A column of a file: its key there, its name, and its unit where the file states one."""

    key: str
    name: str
    unit: str | None


class Request(NamedTuple):
    """What a reader gets: the file, what is in it, how many events, how many bytes at most."""

    path: Path
    layout: Layout
    events: int
    size: int


Choose: TypeAlias = Callable[[Sequence[Column]], list[str]]
"""Columns of a file -> keys of those that are needed."""


def read_output(folder: Path, layout: Layout, events: int, size: int) -> Readout:
    """The readout of a finished run.

    Args:
        folder: scratch folder.
        layout: where the observables are.
        events: how many there must be.
        size: most bytes that the data may take in memory, uncompressed.

    Raises:
        SimulationError: no file, not the promised format, column, unit, or number of events; NaN or infinity.
    """
    path = folder / layout.file
    _check_file(path)
    found: dict[str, str] = {}

    def choose(columns: Sequence[Column]) -> list[str]:
        found.update({wanted.column: _find(wanted, columns) for wanted in (*layout.truth, *layout.signals)})
        return sorted(set(found.values()))

    try:
        data = _READERS[layout.format](Request(path, layout, events, size), choose)
    except (SimulationError, MissingDependency):
        raise
    except Exception as error:  # whatever a library raises on garbage
        reason = " ".join(str(error).split())[:300]
        raise SimulationError(
            f"cannot read {layout.file} as {layout.format}: {type(error).__name__}: {reason}"
        ) from error
    return _readout(layout, {column: data[key] for column, key in found.items()}, events)


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
    if column.unit is not None and column.unit != wanted.unit:
        raise SimulationError(
            f"the output says that {column.name} is in {column.unit}, the description says {wanted.unit}"
        )
    return column.key


def _readout(layout: Layout, data: Mapping[str, Any], events: int) -> Readout:
    truth = {each.name: _values(each, data[each.column], events, 1) for each in layout.truth}
    parts = [_values(each, data[each.column], events, 2).reshape(events, -1) for each in layout.signals]
    signals = np.concatenate(parts, axis=1)
    if layout.channels is not None and signals.shape[1] != layout.channels:
        raise SimulationError(f"the output has {signals.shape[1]} channels of signals, the problem {layout.channels}")
    return Readout(truth, signals)


def _values(wanted: Observable, data: Any, events: int, dimensions: int) -> FloatArray:
    array = np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise SimulationError(f"{wanted.column} must hold plain numbers, equally many per event, got {array.dtype}")
    if not 1 <= array.ndim <= dimensions:
        shape = "[events]" if dimensions == 1 else "[events] or [events, channels]"
        raise SimulationError(f"{wanted.column} must have the shape {shape}, got {array.shape}")
    _check_events(len(array), events, wanted.column)
    values = array.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise SimulationError(f"{bad} values of {wanted.column} are NaN or infinite")
    return values if wanted.factor == 1 else values * wanted.factor


def _check_events(found: int, events: int, what: str) -> None:
    if found != events:
        raise SimulationError(f"the output has {found} events of {what}, expected {events}")


def _check_size(found: int, request: Request) -> None:
    if found > request.size:
        raise SimulationError(f"the output holds {found / 1e6:.3g} MB, the limit is {request.size / 1e6:g} MB")


_STATED = re.compile(r"(?P<name>.*\S)\s+\[(?P<unit>[^\[\]]+)\]")


def _columns(keys: Sequence[str]) -> list[Column]:
    return [Column(key, *_name_and_unit(key)) for key in keys]


def _name_and_unit(text: str) -> tuple[str, str | None]:
    match = _STATED.fullmatch(text.strip())
    return (match["name"], match["unit"].strip()) if match else (text.strip(), None)


def _read_json(request: Request, choose: Choose) -> dict[str, Any]:
    """An object of columns, {"x": [...]}, or a list of events, [{"x": ...}, ...]."""
    data = json.loads(request.path.read_text(encoding="utf-8"))
    if isinstance(data, list) and data and all(isinstance(event, dict) for event in data):
        return {key: [event.get(key, np.nan) for event in data] for key in choose(_columns(list(data[0])))}
    if not isinstance(data, dict):
        raise SimulationError(f"{request.path.name} must hold an object of columns or a list of events")
    return {key: data[key] for key in choose(_columns(list(data)))}


def _read_csv(request: Request, choose: Choose) -> dict[str, Any]:
    """A header line, then one line per event; every line ends with a line feed, so that a cut file is noticed."""
    _check_last_line(request.path)
    with request.path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader([file.readline()]), [])
        keys = choose(_columns(header))
        first = file.tell()
        _check_events(sum(1 for line in file if line.strip()), request.events, "all columns")
        file.seek(first)
        indices = [header.index(key) for key in keys]
        table = np.loadtxt(file, delimiter=",", comments=None, ndmin=2, usecols=indices)
    return {key: table[:, index] for index, key in enumerate(keys)}


def _check_last_line(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            raise SimulationError(f"the last line of {path.name} has no end: the file is cut")


def _read_npz(request: Request, choose: Choose) -> dict[str, Any]:
    with zipfile.ZipFile(request.path) as archive:
        _check_size(sum(entry.file_size for entry in archive.infolist()), request)
    with np.load(request.path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in choose(_columns(arrays.files))}


def _read_parquet(request: Request, choose: Choose) -> dict[str, Any]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with pq.ParquetFile(request.path) as file:
        keys = choose(_columns(file.schema_arrow.names))
        _check_events(file.metadata.num_rows, request.events, "all columns")
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        _check_size(sum(group.total_byte_size for group in groups), request)
        table = file.read(columns=keys)
    return {key: _arrow(table.column(key)) for key in keys}


def _arrow(column: Any) -> Any:
    import pyarrow.types as kinds  # type: ignore[import-untyped]

    nested = kinds.is_list(column.type) or kinds.is_fixed_size_list(column.type) or kinds.is_large_list(column.type)
    return np.array(column.to_pylist()) if nested else column.to_numpy()


def _read_root(request: Request, choose: Choose) -> dict[str, Any]:
    import uproot  # type: ignore[import-untyped]

    with uproot.open(request.path) as file:
        if request.layout.tree not in file.keys(cycle=False):
            names = ", ".join(file.keys(cycle=False))[:300] or "nothing"
            raise SimulationError(f"{request.path.name} has no tree {request.layout.tree!r}: it has {names}")
        tree = file[request.layout.tree]
        keys = choose([Column(branch.name, branch.name, _name_and_unit(branch.title)[1]) for branch in tree.branches])
        _check_events(tree.num_entries, request.events, "all branches")
        _check_size(sum(tree[key].uncompressed_bytes for key in keys), request)
        return {key: tree[key].array(library="np") for key in keys}


_READERS: Mapping[str, Callable[[Request, Choose], dict[str, Any]]] = {
    "json": _read_json,
    "csv": _read_csv,
    "npz": _read_npz,
    "parquet": _read_parquet,
    "root": _read_root,
}

FORMATS = tuple(_READERS)
"""Formats of the output; each is also the suffix of the file."""

_LIBRARIES = {"parquet": ("pyarrow", "parquet"), "root": ("uproot", "root")}
"""Format -> library that reads it, and the extra that brings it."""
