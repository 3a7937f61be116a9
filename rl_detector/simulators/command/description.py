"""The description of an executable: a YAML file, checked key by key before anything runs.

Reading it executes nothing: it is plain YAML without tags, aliases or interpolation. But its `command` is what later
runs, so a description needs as much trust as a program.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from rl_detector.errors import ConfigError
from rl_detector.settings import check_settings
from rl_detector.simulators.command.output import FORMATS, check_format
from rl_detector.simulators.command.process import STDERR, STDOUT
from rl_detector.simulators.command.units import check_unit

DESIGN, CONDITIONS = "design.json", "conditions.json"
"""Files of the scratch folder that hold the design and the conditions of the problem."""


_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
"""Pattern of a plain file name."""


_RESERVED = (DESIGN, CONDITIONS, STDOUT, STDERR)
"""Files of the scratch folder that the simulator itself writes."""


_SUFFIXES = {"jsonl": "json", "ndjson": "json", "tsv": "csv"}
"""Suffix of a file -> format, where they differ."""


_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "blank": " "}
"""Name of a separator in a description -> its character."""


Built = TypeVar("Built")


@dataclass(frozen=True)
class Limits:
    """Limits on one trial.

    Attributes:
        timeout: seconds that a trial may take, for any number of events.
        timeout_per_event: further seconds per event.
        megabytes: most megabytes that a trial may write, all files together.
        kept_failures: most scratch folders of failed trials that are kept in one place, those of other processes
            included. Older ones are removed, as are all after 7 days or beyond 500 MB together.
    """

    timeout: float = 600.0
    timeout_per_event: float = 0.0
    megabytes: float = 1000.0
    kept_failures: int = 20

    def __post_init__(self) -> None:
        for name in ("timeout", "megabytes"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"limits.{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("timeout_per_event", "kept_failures"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"limits.{name} must be finite and >= 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class ColumnUnit:
    """Column and unit of an observable.

    Attributes:
        unit: unit of the values in the file.
        column: name of the column in the file; None takes the name of the observable.
    """

    unit: str
    column: str | None = None


@dataclass(frozen=True)
class Output:
    """Output of the executable.

    Attributes:
        file: name of the file in the scratch folder, where the executable runs.
        signals: channels in their order, name -> unit or {column, unit}.
        truth: name -> unit or {column, unit}.
        format: format of the file; None takes it from the suffix.
        tree: name of the TTree or RNTuple in a ROOT file.
        key: column of event numbers, 0 to events - 1 or 1 to events. They put the rows in order, and a missing or
            repeated one is an error. None: the rows are in order, and only their number is checked.
        separator: separator of the fields in CSV; None finds it in the header.
        decimal: decimal mark of the numbers in CSV.
    """

    file: str
    signals: dict[str, str | dict[str, str]]
    truth: dict[str, str | dict[str, str]] = field(default_factory=dict)
    format: Literal["json", "csv", "npz", "parquet", "root"] | None = None
    tree: str = "events"
    key: str | None = None
    separator: Literal["comma", "semicolon", "tab", "blank"] | None = None
    decimal: Literal[".", ","] = "."

    def __post_init__(self) -> None:
        check_file_name("output.file", self.file)
        if not self.signals:
            raise ConfigError("output.signals must name at least one column")
        for group in ("truth", "signals"):
            for name, entry in self.columns(group).items():
                check_unit(f"output.{group}.{name}", entry.unit)
        if self.kind != "csv" and (self.separator or self.decimal != "."):
            raise ConfigError(f"output.separator and output.decimal are for csv, {self.file} is {self.kind}")
        check_format(self.kind)

    @property
    def kind(self) -> str:
        """The stated format, or else that of the suffix.

        Raises:
            ConfigError: the suffix names no format.
        """
        plain = self.file.removesuffix(".gz")
        suffix = Path(plain).suffix.removeprefix(".")
        found = self.format or _SUFFIXES.get(suffix, suffix)
        if found not in FORMATS:
            raise ConfigError(f"output.file {self.file!r} has no suffix of a known format: {', '.join(FORMATS)}")
        if plain != self.file and found not in ("csv", "json"):
            raise ConfigError(f"output.file {self.file!r}: only csv and json may be compressed, {found} does so itself")
        return found

    @property
    def mark(self) -> str | None:
        """The character between the fields of CSV; None: the header shows it."""
        return None if self.separator is None else _SEPARATORS[self.separator]

    def columns(self, group: str) -> dict[str, ColumnUnit]:
        """Return the truth or the signals: name -> column and unit."""
        entries: dict[str, str | dict[str, str]] = getattr(self, group)
        return {
            name: ColumnUnit(entry) if isinstance(entry, str) else build(f"output.{group}.{name}", ColumnUnit, entry)
            for name, entry in entries.items()
        }


@dataclass(frozen=True)
class Description:
    """An executable as a simulator; experiments/own_simulator has one with a comment on every line.

    Attributes:
        name: name of the simulator in tables and reports.
        command: executable and arguments, with placeholders in braces; no shell reads them. An executable without a
            slash is searched in PATH. Paths are relative to {here}, the folder of the description.
        parameters: path of every parameter of a design -> its unit. The unit is `choice` for a choice, and `number`
            for a plain number. The path plane[].z stands for the z of every plane.
        output: see Output.
        templates: file in the scratch folder -> its template, relative to {here}; see `inputs.Template`.
        conditions: facts of the problem that are built into the executable, name -> number.
        version: command whose output every result states as its version; None: no version is stated.
        environment: environment variables added to those of this process.
        workers: number of trials that run at the same time.
        seed_bits: seeds are whole numbers from 1 to below 2^seed_bits.
        limits: see Limits.
        scratch: folder for the scratch folders; None: the system's folder for temporary files.
    """

    name: str
    command: list[str]
    parameters: dict[str, str]
    output: Output
    templates: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    version: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    seed_bits: int = 31
    limits: Limits = field(default_factory=Limits)
    scratch: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w .+-]{0,63}", self.name, re.ASCII):
            raise ConfigError(f"name must be letters, digits, blanks and _ . + -, got {self.name!r}")
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, got {self.workers}")
        if not 16 <= self.seed_bits <= 63:
            raise ConfigError(f"seed_bits must be 16 to 63, got {self.seed_bits}")
        for name in self.templates:
            check_file_name("templates", name)
            if name == self.output.file:
                raise ConfigError(f"templates: {name} is the output file; write the template to another file")
        for name, value in self.environment.items():
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or "\0" in value:
                raise ConfigError(f"environment: {name!r} cannot be a variable with this value")


def build(where: str, kind: Callable[..., Built], data: Any) -> Built:
    """Build a part of a description, and the parts inside it, from plain data.

    Raises:
        ConfigError: a key is unknown or missing (the message names the known ones), or a value has a wrong type.
    """
    title = where or "description"
    if not isinstance(data, Mapping):
        raise ConfigError(f"{title} must be keys and values, got {data!r}")
    prefix, hints, parameters = f"{where}." if where else "", get_type_hints(kind), inspect.signature(kind).parameters
    parts = {str(key): value for key, value in data.items()}
    deeper = [key for key in parts if is_dataclass(hints.get(key))]
    nested = {key: build(prefix + key, hints[key], parts.pop(key)) for key in deeper}
    checked = {**check_settings(title, kind, parts), **nested}
    missing = [name for name, each in parameters.items() if each.default is each.empty and name not in checked]
    if missing:
        raise ConfigError(f"{title} lacks the key {missing[0]!r}: known are {', '.join(parameters)}")
    return kind(**checked)


def check_file_name(where: str, name: str) -> None:
    """Raise ConfigError unless this is a plain file name that is not taken."""
    if not _FILE_NAME.fullmatch(name) or name in _RESERVED:
        raise ConfigError(
            f"{where}: expected a plain file name (letters, digits, _ . -) other than {', '.join(_RESERVED)}, "
            f"got {name!r}"
        )
