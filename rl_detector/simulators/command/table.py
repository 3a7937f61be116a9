"""CSV as programs write it: every row must match the header, and every needed field must be one number.

The csv module splits the fields, strictly. Tables by Geant4's analysis manager, numpy.savetxt, pandas, R, Excel or
Fortran are read, or refused with the line, the reason and what to do.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import IO, Any, NamedTuple

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.simulators.command.files import Choose, Column, Request, check_events, columns, open_text

_CHUNK_ROWS = 50_000
"""Most rows that are held as text at a time."""


_BLANKS = " "
"""Separator of a table whose fields stand between any number of blanks."""


class Head(NamedTuple):
    """Header of a table: names of the fields, their separator, and the fields that hold vectors."""

    names: list[str]
    separator: str
    vectors: Mapping[str, str] = {}
    """Column -> separator of its values, in Geant4's tables."""


class Lines:
    """Lines of a text, with a count; a line can be put back."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._next: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._next.pop() if self._next else next(self._file)
        except UnicodeDecodeError as error:
            raise SimulationError(
                f"cannot read what follows line {self.number} as text: write UTF-8 ({error.reason})"
            ) from error
        self.number += 1
        if not line.endswith(("\n", "\r")):
            raise SimulationError(f"line {self.number}, the last, has no end: the file is cut")
        return line

    def put_back(self, line: str) -> None:
        """Make this the next line."""
        self._next.append(line)
        self.number -= 1


def read_table(request: Request, choose: Choose) -> dict[str, Any]:
    """Read the chosen columns of a CSV file: a header, then one line per event.

    Every line must have an end, so that a cut file is noticed.
    """
    with open_text(request) as file:
        lines = Lines(file)
        head = _head(lines, request.expected.separator)
        known = columns(head.names)
        keys = choose(known)
        needed = [_Needed(column, index) for index, column in enumerate(known) if column.key in keys]
        numbers, data = _read_rows(lines, head, needed, request.expected.decimal)
    check_events(len(numbers), request)
    for each in needed:
        _check_finite(each.column.name, data[each.column.key], numbers)
    return data


class _Needed(NamedTuple):
    column: Column
    place: int


def _head(lines: Lines, separator: str | None) -> Head:
    first = next(lines, "")
    if first.lower().startswith("sep=") and len(first.strip("\r\n")) == 5:
        return _named_in_line(lines, separator or first[4])
    lines.put_back(first)
    comments = _comments(lines)
    if any(line.startswith("#class tools::") for line in comments):
        return _geant4(comments)
    following = _peek(lines)
    if not _is_data(following, all if not comments else any):
        return _named_in_line(lines, separator)
    if not comments:
        raise SimulationError(
            f"line {lines.number + 1}: a header with the names of the columns must come first, "
            f"got {following.strip()[:80]!r}"
        )
    return _names(iter([comments[-1].lstrip("#").strip() + "\n"]), comments[-1].lstrip("#"), separator)


def _comments(lines: Lines) -> list[str]:
    found = []
    for line in lines:
        if not line.startswith("#"):
            lines.put_back(line)
            break
        found.append(line)
    return found


def _peek(lines: Lines) -> str:
    """Return the next line that is not blank, and put it back; empty at the end."""
    for line in lines:
        if line.strip():
            lines.put_back(line)
            return line
    return ""


def _is_data(line: str, quantity: Callable[[Iterable[bool]], bool]) -> bool:
    """Return whether all or any words of a line are numbers, with any separator; the end of the file counts as data."""
    words = [word for word in re.split(r'[,;\s"]+', line) if word]
    return not words or quantity(bool(_FLOAT.fullmatch(word) or _NO_LETTER.fullmatch(word)) for word in words)


def _geant4(comments: Sequence[str]) -> Head:
    """Read the header of an ntuple, lines such as #separator 44 (code of a character) and #column double energy."""
    facts = [line[1:].strip().partition(" ")[::2] for line in comments]
    found = dict(facts)
    if found["class"] != "tools::wcsv::ntuple":
        raise SimulationError(f"line 1: Geant4 wrote a {found['class']}, not an ntuple")
    entries = [_with_units(text.split()) for name, text in facts if name == "column"]
    if not entries:
        raise SimulationError("the header of Geant4's analysis manager has no #column")
    inner = chr(int(found.get("vector_separator", "59")))
    vectors = {words[-1]: inner for words in entries if any("[]" in kind or "vector" in kind for kind in words[:-1])}
    return Head([words[-1] for words in entries], chr(int(found.get("separator", "44"))), vectors)


def _named_in_line(lines: Lines, separator: str | None) -> Head:
    line = _peek(lines)
    return _names(lines, line, separator)


def _names(lines: Iterator[str], line: str, separator: str | None) -> Head:
    found = separator or _separator(line)
    names = next(_fields(lines, found), [])
    return Head(_with_units(names) if found == _BLANKS else names, found)


def _separator(line: str) -> str:
    """Find the separator of a header: the comma, semicolon, tab or blanks that stand outside quotes."""
    bare = re.sub(r'"[^"]*"', "x", line)
    found = [mark for mark in ",;\t" if mark in bare]
    if len(found) > 1:
        raise SimulationError(f"the header has {' and '.join(map(repr, found))}: say which in output.separator")
    if found:
        return found[0]
    return _BLANKS if len(_with_units(bare.split())) > 1 else ","


def _with_units(words: Sequence[str]) -> list[str]:
    """Join each name with the unit in brackets that follows it."""
    found: list[str] = []
    for word in words:
        if found and word[:1] in ("[", "("):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _fields(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    if separator == _BLANKS:
        lines = (" ".join(line.split()) + "\n" for line in lines)
    return csv.reader(lines, delimiter=separator, strict=True)


def _read_rows(
    lines: Lines, head: Head, needed: Sequence[_Needed], decimal: str
) -> tuple[list[int], dict[str, np.ndarray[Any, Any]]]:
    """Return the number of the line of every row, and the needed columns."""
    numbers: list[int] = []
    parts: dict[str, list[np.ndarray[Any, Any]]] = {each.column.key: [] for each in needed}
    rows = _rows(lines, head, numbers)
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        fields = list(zip(*chunk, strict=True))
        first = len(numbers) - len(chunk)
        for key, index in ((each.column.key, each.place) for each in needed):
            where = _Place(head.names[index], numbers[first:], decimal)
            parts[key].append(_values(fields[index], head.vectors.get(head.names[index]), where))
    return numbers, {each.column.key: _joined(each.column.name, parts[each.column.key]) for each in needed}


def _rows(lines: Lines, head: Head, numbers: list[int]) -> Iterator[list[str]]:
    """Yield rows, which must have as many fields as the header; append the line of each to `numbers`."""
    reader, width = _fields(lines, head.separator), len(head.names)
    try:
        for row in reader:
            if len(row) == width:
                numbers.append(lines.number)
                yield row
            elif row:
                raise SimulationError(f"line {lines.number}: {_miscount(row, head)}")
    except csv.Error as error:
        raise SimulationError(f"line {lines.number}: {error}: quotes must enclose a whole field") from error


def _miscount(row: Sequence[str], head: Head) -> str:
    """Say why a row may have more or fewer fields than the header."""
    text = f"{len(row)} fields, the header names {len(head.names)}"
    if len(row) < len(head.names):
        return f"{text}: a value is missing, the line is cut, or another separator than {head.separator!r} is used"
    if not row[-1].strip():
        return f"{text}: there is a separator behind the last field"
    reasons = ["a name of the row that the header lacks (R: row.names = FALSE, or write.csv)"]
    if head.separator == ",":
        reasons.append("a decimal comma (write points, or separate by semicolons and state output.decimal: ',')")
    return f"{text}: {', or '.join([*reasons, 'text with a separator in it and without quotes'])}"


class _Place(NamedTuple):
    """Origin of values: the column as the header writes it, the line of each value, and the decimal mark."""

    name: str
    lines: Sequence[int]
    decimal: str


def _values(texts: Sequence[str], inner: str | None, place: _Place) -> np.ndarray[Any, Any]:
    """Convert a column to floats, or to booleans if all are truth values; [rows, values] for vectors."""
    if inner is None:
        return _plain(texts, place)
    split = [text.strip().strip(inner).split(inner) if text.strip() else [] for text in texts]
    width = len(split[0])
    for values, line in zip(split, place.lines, strict=True):
        if len(values) != width:
            raise SimulationError(
                f"line {line}, column {place.name}: {len(values)} values, the first event has {width}"
            )
    lines = [line for line in place.lines for _ in range(width)]
    return _plain(list(chain.from_iterable(split)), place._replace(lines=lines)).reshape(len(texts), width)


def _plain(texts: Sequence[str], place: _Place) -> np.ndarray[Any, Any]:
    joined = "\n".join(texts)
    points = texts if place.decimal == "." else [text.replace(",", ".") for text in texts]
    if joined.isascii() and "_" not in joined and (place.decimal == "." or "." not in joined):
        with contextlib.suppress(ValueError):
            return np.array(list(map(float, points)))
    if texts and all(text.strip().lower() in _TRUTH for text in texts):
        return np.array([_TRUTH[text.strip().lower()] for text in texts])
    return np.array([_number(text, line, place) for text, line in zip(texts, place.lines, strict=True)], dtype=float)


_TRUTH = {"true": True, "false": False, "t": True, "f": False}


_MISSING = ("na", "n/a", "#n/a", "null", "none", "-", "--", "?")


_FLOAT = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdDqQ][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.ASCII | re.IGNORECASE
)


_NO_LETTER = re.compile(r"(?P<mantissa>[+-]?(?:\d+\.\d*|\.\d+))(?P<exponent>[+-]\d{3})", re.ASCII)
"""Number without the letter of its exponent: Fortran writes 1.5-103 if the exponent has three digits."""


def _number(text: str, line: int, place: _Place) -> float:
    """Convert a field to a number, exponents of Fortran included.

    Raises:
        SimulationError: the field is no number; the message says where it is and what it may be.
    """
    word = text.strip()
    if place.decimal == ",":
        word = word.replace(",", ".") if "." not in word else f"{word}?"
    if _FLOAT.fullmatch(word):
        return float(word if word[-1:] in "yYnNfF" else re.sub("[dDqQ]", "e", word))
    if match := _NO_LETTER.fullmatch(word):
        return float(f"{match['mantissa']}e{match['exponent']}")
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    raise SimulationError(f"line {line}, column {place.name}: {shown!r} {_why_not(text.strip(), place.decimal)}")


def _why_not(text: str, decimal: str) -> str:
    """Say what a field may be that is no number."""
    found = [reason for fits, reason in _REASONS if fits(text.lower(), decimal)]
    return found[0] if found else "is no number"


_REASONS: Sequence[tuple[Callable[[str, str], bool], str]] = (
    (lambda text, _: not text, "is empty: a missing value"),
    (lambda text, _: text in _TRUTH, "is a truth value among numbers"),
    (lambda text, _: text in _MISSING, "is a missing value"),
    (lambda text, _: not text.strip("*"), "is a number too wide for its format in Fortran: use a wider one"),
    (lambda text, _: text.startswith("#"), "is a comment or an error of a spreadsheet, no number"),
    (
        lambda text, mark: mark == "," and "." in text,
        "has a point, but output.decimal says that decimals follow a comma",
    ),
    (
        lambda text, mark: mark == "." and bool(re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", text)),
        "has a comma: write points, or state output.decimal: ','",
    ),
    (
        lambda text, _: bool(re.match(r"[+-]?[\d.]+\s*[a-zµμ%]", text)),
        "is more than a number: units belong in the header",
    ),
)


def _joined(name: str, parts: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Join the chunks of a column, which must be of one kind."""
    if len({(part.dtype, part.shape[1:]) for part in parts}) > 1:
        raise SimulationError(f"column {name} holds truth values and numbers, or vectors of several lengths")
    return np.concatenate(parts) if parts else np.empty(0)


def _check_finite(name: str, values: np.ndarray[Any, Any], lines: Sequence[int]) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(lines), -1)).all(axis=1)) if len(lines) else np.empty(0, int)
    if len(bad):
        raise SimulationError(
            f"{len(bad)} values of {name} are NaN or infinite, the first in line {lines[int(bad[0])]}"
        )
