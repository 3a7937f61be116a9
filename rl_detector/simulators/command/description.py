"""The description of an executable: a YAML file, checked key by key before anything runs.

Reading it executes nothing: plain YAML without tags and aliases, and no interpolation. What it names as `command` is
what will run, so a description is to be trusted like a program.
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


_RESERVED = (DESIGN, CONDITIONS, STDOUT, STDERR)


_SUFFIXES = {"jsonl": "json", "ndjson": "json", "tsv": "csv"}


_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "blank": " "}


Built = TypeVar("Built")


@dataclass(frozen=True)
class Limits:
    """What one trial may take.

    Attributes:
        timeout: seconds.
        timeout_per_event: further seconds per event.
        megabytes: of everything that it writes.
        kept_failures: scratch folders of failed trials that are kept, of all processes that use the same place
            together. Older ones are removed, and all after 7 days or beyond 500 MB together.
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
    """Where an observable is.

    Attributes:
        unit: in which the file holds it.
        column: in the file; None: the name of the observable.
    """

    unit: str
    column: str | None = None


@dataclass(frozen=True)
class Output:
    """What the executable writes.

    Attributes:
        file: name in the scratch folder, which is also the folder in which the executable runs.
        signals: channels in their order, name -> unit or {column, unit}.
        truth: name -> unit or {column, unit}.
        format: None: by the suffix of the file.
        tree: name of the tree, or RNTuple, in a ROOT file.
        key: column of event numbers, 0 to events - 1 or 1 to events, by which the rows are put in order and found
            complete; None: the rows are in order, and counted.
        separator: between the fields of CSV; None: as its header shows.
        decimal: mark of the numbers in CSV.
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
        """The format, by the suffix where it is not stated.

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
        """The character between the fields of CSV; None: as the header shows."""
        return None if self.separator is None else _SEPARATORS[self.separator]

    def columns(self, group: str) -> dict[str, ColumnUnit]:
        """The truth or the signals, name -> column and unit."""
        entries: dict[str, str | dict[str, str]] = getattr(self, group)
        return {
            name: ColumnUnit(entry) if isinstance(entry, str) else build(f"output.{group}.{name}", ColumnUnit, entry)
            for name, entry in entries.items()
        }


@dataclass(frozen=True)
class Description:
    """An executable as a simulator, see experiments/own_simulator for one that is commented line by line.

    Attributes:
        name: of the simulator, in tables and reports.
        command: executable and arguments, with placeholders in braces; no shell reads it. An executable without a slash
            is searched in PATH; paths are relative to the folder of the description, {here}.
        parameters: path of every parameter of a design -> its unit, `choice` for a choice, `number` for a plain number;
            plane[].z stands for that of every component.
        output: see Output.
        templates: file in the scratch folder -> template, relative to {here}, see command_inputs.Template.
        conditions: facts of the problem that are fixed in the executable, name -> number.
        version: command whose output is part of what every result states; None: none.
        environment: variables added to those of this process.
        workers: trials at the same time.
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
                raise ConfigError(f"templates: {name} is the output file")
        for name, value in self.environment.items():
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or "\0" in value:
                raise ConfigError(f"environment: {name!r} cannot be a variable with this value")


def build(where: str, kind: Callable[..., Built], data: Any) -> Built:
    """A part of a description from plain data; its own parts are built in turn.

    Raises:
        ConfigError: an unknown key (the message names the known ones), a missing one, or a wrong type.
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
