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
class OutputFormat:
    """Where the observables are in the output of an executable.

    Attributes:
        file: name of the file in the scratch folder.
        format: one of command_output.FORMATS.
        tree: name of the tree in a ROOT file.
        truth, signals: what to read; the order of the signals is that of the channels.
        channels: how many channels there must be; None: any number.
        key: column of event numbers; None: the rows are in order.
        separator: between the fields of CSV; None: as its header shows.
        decimal: mark of the numbers in CSV, a point or a comma.
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
    """A column of a file: its key there, its name, and its unit where the file states one."""

    key: str
    name: str
    unit: str | None


class Request(NamedTuple):
    """What a reader gets: the file, what is in it, how many events, how many bytes at most."""

    path: Path
    expected: OutputFormat
    events: int
    size: int


Choose: TypeAlias = Callable[[Sequence[Column]], list[str]]
"""Columns of a file -> keys of those that are needed."""


Reader: TypeAlias = Callable[[Request, Choose], Mapping[str, Any]]
"""Reads the chosen columns of a file, key -> one entry per event."""


def check_events(found: int, request: Request) -> None:
    """Raise SimulationError for another number of events.

    Rows with a key are compared with it later, which can say what is missing; here only their number is bounded.
    """
    if request.expected.key is None:
        check_number(found, request.events, "all columns")
    elif found > 2 * request.events + 1000:
        raise SimulationError(f"the output has {found} rows, expected {request.events}")


def check_number(found: int, events: int, what: str) -> None:
    """Raise SimulationError for another number of events of one column."""
    if found != events:
        raise SimulationError(f"the output has {found} events of {what}, expected {events}")


def check_size(found: int, request: Request) -> None:
    """Raise SimulationError for more bytes than the data may take in memory."""
    if found > request.size:
        raise SimulationError(f"the output holds {found / 1e6:.3g} MB, the limit is {request.size / 1e6:g} MB")


_KNOWN = sorted({unit for units in UNITS.values() for unit in units})


_ANY = "|".join(re.escape(unit) for unit in _KNOWN)


_STATED = re.compile(
    rf"(?P<name>.*\S)(?:\s+\[(?P<spaced>[^\[\]]+)\]|\[(?P<close>{_ANY})\]|\s*\((?P<round>{_ANY})\))", re.DOTALL
)


def columns(keys: Sequence[str]) -> list[Column]:
    """Columns whose keys may end with their unit."""
    return [Column(key, *name_and_unit(key)) for key in keys]


def name_and_unit(text: str) -> tuple[str, str | None]:
    """`energy [GeV]` or `energy (GeV)` in two parts; round brackets and missing blanks only around known units."""
    match = _STATED.fullmatch(
        text.strip().replace("[µ", "[u").replace("[μ", "[u").replace("(µ", "(u").replace("(μ", "(u")
    )
    if match is None:
        return text.strip(), None
    return match["name"], (match["spaced"] or match["close"] or match["round"]).strip()


def unit_at_the_end(name: str) -> str | None:
    """The unit in a name such as `energy_GeV`, `z/mm` or `time in ns`; single letters mean too much to count."""
    found = [u for u in _KNOWN if len(u) > 1 and name.endswith((f"_{u}", f"/{u}", f"/ {u}", f" in {u}"))]
    return max(found, key=len, default=None)


_FOREIGN = {
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


def open_text(request: Request) -> IO[str]:
    """The text of a file, decompressed if it begins like gzip; line ends stay as they are, a byte order mark goes.

    Raises:
        SimulationError: another kind of file, a damaged archive, or more bytes than allowed.
    """
    with request.path.open("rb") as file:
        start = file.read(8)
    for magic, kind in _FOREIGN.items():
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
