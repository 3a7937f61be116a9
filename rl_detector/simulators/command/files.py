"""Shared by the readers of an executable's output: what to read, columns with units, limits, compressed text."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

from rl_detector.errors import SimulationError
from rl_detector.simulators.command.units import UNITS


@dataclass(frozen=True)
class Observable:
    """One entry of the truth, or one or more channels of the signals.

    Attributes:
        name: name in the readout.
        column: name of the column in the file, [events]; for signals also [events, channels].
        unit: unit of the values in the file.
        factor: factor from that unit to the unit of the readout.
    """

    name: str
    column: str
    unit: str
    factor: float = 1.0


@dataclass(frozen=True)
class OutputFormat:
    """Where the observables are in the output of an executable.

    Attributes:
        file: name of the file in the scratch folder.
        format: one of `output.FORMATS`.
        tree: name of the TTree or RNTuple in a ROOT file.
        truth, signals: observables to read; the signals are in the order of the channels.
        channels: number of channels that is required; None: any.
        key: column of event numbers; None: the rows are in order.
        separator: separator of the fields in CSV; None finds it in the header.
        decimal: decimal mark of the numbers in CSV, a point or a comma.
    """

    file: str
    format: str
    tree: str
    truth: tuple[Observable, ...]
    signals: tuple[Observable, ...]
    channels: int | None = None
    key: str | None = None
    separator: str | None = None
    decimal: str = "."


class Column(NamedTuple):
    """A column of a file: its key in the file, its name, and its unit if the file states one."""

    key: str
    name: str
    unit: str | None


class Request(NamedTuple):
    """Task of a reader: the file, its expected content, the number of events, and the most bytes of its data."""

    path: Path
    expected: OutputFormat
    events: int
    size: int


Choose: TypeAlias = Callable[[Sequence[Column]], list[str]]
"""Columns of a file -> keys of those that are needed."""


Reader: TypeAlias = Callable[[Request, Choose], Mapping[str, Any]]
"""Reads the chosen columns of a file, key -> one entry per event."""


def check_events(found: int, request: Request) -> None:
    """Raise SimulationError if a file has the wrong number of rows.

    With a key column, any number up to a generous bound passes: `output` compares the keys later, and names the events
    that are missing.
    """
    if request.expected.key is None:
        check_number(found, request.events, "all columns")
    elif found > 2 * request.events + 1000:
        raise SimulationError(f"the output has {found} rows, expected {request.events}")


def check_number(found: int, events: int, what: str) -> None:
    """Raise SimulationError if one column has the wrong number of events."""
    if found != events:
        raise SimulationError(f"the output has {found} events of {what}, expected {events}")


def check_size(found: int, request: Request) -> None:
    """Raise SimulationError if the data take more bytes in memory than they may."""
    if found > request.size:
        raise SimulationError(f"the output holds {found / 1e6:.3g} MB, the limit is {request.size / 1e6:g} MB")


_KNOWN_UNITS = sorted({unit for units in UNITS.values() for unit in units})


_ANY_UNIT = "|".join(re.escape(unit) for unit in _KNOWN_UNITS)


_NAME_AND_UNIT = re.compile(
    rf"(?P<name>.*\S)(?:\s+\[(?P<spaced>[^\[\]]+)\]|\[(?P<close>{_ANY_UNIT})\]|\s*\((?P<round>{_ANY_UNIT})\))",
    re.DOTALL,
)


def columns(keys: Sequence[str]) -> list[Column]:
    """Make columns from keys that may end with a unit."""
    return [Column(key, *name_and_unit(key)) for key in keys]


def name_and_unit(text: str) -> tuple[str, str | None]:
    """Split `energy [GeV]` or `energy (GeV)` into name and unit.

    Only known units may stand in round brackets, or without a blank before the bracket.
    """
    match = _NAME_AND_UNIT.fullmatch(
        text.strip().replace("[µ", "[u").replace("[μ", "[u").replace("(µ", "(u").replace("(μ", "(u")
    )
    if match is None:
        return text.strip(), None
    return match["name"], (match["spaced"] or match["close"] or match["round"]).strip()


def unit_at_the_end(name: str) -> str | None:
    """Find the unit in a name such as `energy_GeV`, `z/mm` or `time in ns`; a single letter is no unit here."""
    found = [u for u in _KNOWN_UNITS if len(u) > 1 and name.endswith((f"_{u}", f"/{u}", f"/ {u}", f" in {u}"))]
    return max(found, key=len, default=None)


_FIRST_BYTES = {
    b"PAR1": "a Parquet file",
    b"root": "a ROOT file",
    b"PK\x03\x04": "a zip archive (npz, or a workbook of Excel)",
    b"\x89HDF": "an HDF5 file",
    b"\xff\xfe": "text in UTF-16 (Excel's 'Unicode text'): write UTF-8",
    b"\xfe\xff": "text in UTF-16: write UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: use gzip",
    b"BZh": "compressed with bzip2: use gzip",
    b"\xfd7zXZ": "compressed with xz: use gzip",
    b"SQLite": "an SQLite database",
}
"""First bytes of files that are not text -> kind of file."""


def open_text(request: Request) -> IO[str]:
    """Open a text file: decompress gzip, drop a byte order mark, keep line ends.

    Raises:
        SimulationError: the file is of another kind, damaged or too large.
    """
    with request.path.open("rb") as file:
        start = file.read(8)
    for magic, kind in _FIRST_BYTES.items():
        if start.startswith(magic):
            raise SimulationError(f"is {kind}, not {request.expected.format}")
    if not start.startswith(b"\x1f\x8b"):
        return request.path.open(encoding="utf-8-sig", newline="")
    check_gzip(request)
    return io.TextIOWrapper(gzip.open(request.path), encoding="utf-8-sig", newline="")


def check_gzip(request: Request) -> None:
    """Raise SimulationError unless an archive is whole, has the stated checksum and is not too large."""
    found = 0
    try:
        with gzip.open(request.path) as file:
            while block := file.read(1 << 20):
                found += len(block)
                check_size(found, request)
    except (EOFError, OSError, zlib.error) as error:
        raise SimulationError(f"the gzip archive is damaged or cut: {error}") from error
