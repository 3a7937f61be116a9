"""Docstrings of the package are Markdown; autodoc reads reStructuredText: translate what differs."""

from __future__ import annotations

import re
from typing import Any

HEADING = re.compile(r"^#+ (.+)$")
CODE = re.compile(r"(?<![`:])`([^`\n]+)`(?!`)")
BULLET = re.compile(r"^\s*[-*] ")


def to_rst(lines: list[str]) -> list[str]:
    """Headings become rubrics, `code` becomes ``code``, and signs with a meaning in reStructuredText are escaped."""
    result: list[str] = []
    for line in lines:
        if heading := HEADING.match(line):
            result += [f".. rubric:: {heading[1]}", ""]
        elif line.lstrip().startswith((">>>", "...", "..")):
            result.append(line)
        elif result and line.startswith("    ") and _in_block(result):
            result.append(line)
        else:
            result.append(_inline(line))
    return result


def _in_block(before: list[str]) -> bool:
    """Whether an indented line continues a block of code: the last line without indent ended with a colon-free blank."""
    flush = [line for line in before if line and not line.startswith("    ")]
    return bool(flush) and flush[-1].endswith("::")


def _inline(line: str) -> str:
    parts = CODE.split(line)
    for index in range(0, len(parts), 2):
        start = BULLET.match(parts[index]) if index == 0 else None
        keep = start.end() if start else 0
        parts[index] = parts[index][:keep] + re.sub(r"(?<!\\)([*|])", r"\\\1", parts[index][keep:])
        parts[index] = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", parts[index])
    for index in range(1, len(parts), 2):
        parts[index] = f"``{parts[index]}``"
    return "".join(parts)


def setup(app: Any) -> dict[str, Any]:
    """Register the translation before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", lambda app, what, name, obj, options, lines: _replace(lines), priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _replace(lines: list[str]) -> None:
    lines[:] = to_rst(lines)
