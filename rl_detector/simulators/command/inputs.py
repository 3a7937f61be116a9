"""Input of an executable: the design as plain JSON, fixed placeholders in its command, values in templates.

Values of a design are only data. They go into a JSON file and into the user's templates, never into a command line or
a path. Text in them must match a strict pattern.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.space import Design

TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", re.ASCII)
"""Pattern of a choice, such as PbWO4, G4_Si, strip-80um or 1.5X0; options, paths and markup do not match."""


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
"""Pattern of the name of a parameter."""


PLACEHOLDERS = ("here", "scratch", "design", "conditions", "output", "events", "seed")
"""Placeholders of the command: folder of the description, scratch folder, three files in it, and two numbers."""


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def plain_design(design: Design) -> dict[str, Any]:
    """Copy a design as finite numbers, harmless text, lists and mappings, ready for JSON.

    Raises:
        SimulationError: a value is none of these; the message names it.
    """
    plain: dict[str, Any] = _plain(design, "design")
    return plain


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {_name(name, path): _plain(part, f"{path}.{name}") for name, part in value.items()}
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(part, f"{path}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return float(value)
    raise SimulationError(f"{path} must be a finite number, a choice or a list of components, got {value!r}")


def _name(name: Any, path: str) -> str:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise SimulationError(f"names in {path} must be letters, digits, _ and -, got {name!r}")
    return name


def _text(value: str, path: str) -> str:
    if not harmless(value):
        raise SimulationError(forbidden_text(path, value))
    return value


def harmless(text: str) -> bool:
    """Return whether a choice may go to an executable."""
    return TEXT.fullmatch(text) is not None and ".." not in text


def forbidden_text(path: str, text: str) -> str:
    """Return the message about a choice that may not go to an executable."""
    return (
        f"{path}: a choice that goes to an executable must be letters, digits and _ . + - and begin with a letter or "
        f"digit, got {text[:80]!r}"
    )


def values(plain: Any, path: str = "design") -> Iterator[tuple[str, Any]]:
    """Yield every number and choice of a plain design with its path, and the number of components of every list."""
    if isinstance(plain, Mapping):
        for name, part in plain.items():
            yield from values(part, f"{path}.{name}")
    elif isinstance(plain, list):
        yield f"{path}.count", len(plain)
        for index, part in enumerate(plain):
            yield from values(part, f"{path}[{index}]")
    else:
        yield path, plain


def without_indices(path: str) -> str:
    """Return the path that stands for all components: plane[3].z -> plane[].z."""
    return re.sub(r"\[\d+\]", "[]", path)


class Template(string.Template):
    """Text with ${design.plane[0].z}, ${conditions.NAME}, ${events}, ${seed}, ${output}; $$ is a plain $."""

    idpattern = r"(?!)"
    braceidpattern = r"[A-Za-z_][\w.\[\]-]*"
    flags = re.ASCII


def read_template(path: Path) -> Template:
    """Read a template of a description.

    Raises:
        ConfigError: it cannot be read, or has a $ that begins no placeholder.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"cannot read the template {path}: it is not a regular file")
    try:
        template = Template(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the template {path}: {error}") from error
    if not template.is_valid():
        raise ConfigError(f"template {path}: a $ begins no placeholder such as ${{design.z}}; a plain $ is written $$")
    return template


def fill(name: str, template: Template, known: Mapping[str, Any]) -> str:
    """Replace the placeholders of a template once; return its text, from which numbers read back equal.

    Raises:
        SimulationError: the design lacks a value that the template names.
    """
    try:
        return template.substitute({path: _written(value) for path, value in known.items()})
    except KeyError as error:
        raise SimulationError(f"template {name}: this design has no ${{{error.args[0]}}}") from error


def _written(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def check_placeholders(where: str, words: Sequence[str], known: Sequence[str]) -> set[str]:
    """Return the placeholders in the words of a command.

    Raises:
        ConfigError: a placeholder is unknown, a brace belongs to none, or a word holds a zero byte.
    """
    found = {name for word in words for name in _PLACEHOLDER.findall(word)}
    unknown = sorted(found - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown placeholder {{{unknown[0]}}}: known are {{{'}, {'.join(known)}}}")
    for word in words:
        if any(brace in _PLACEHOLDER.sub("", word) for brace in "{}"):
            raise ConfigError(f"{where}: a brace in {word!r} belongs to no placeholder")
        if "\0" in word:
            raise ConfigError(f"{where}: {word!r} holds a zero byte")
    return found


def insert(words: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Replace the placeholders in the words of a command once; every word stays one argument."""
    return [_PLACEHOLDER.sub(lambda match: known[match.group(1)], word) for word in words]


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON; NaN and infinity are refused."""
    path.write_text(json.dumps(data, allow_nan=False, indent=1) + "\n", encoding="utf-8")
