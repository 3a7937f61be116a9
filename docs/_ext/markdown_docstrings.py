"""Docstrings of the package are Markdown; autodoc reads reStructuredText: translate what differs."""

from __future__ import annotations

import re
from typing import Any

HEADING = re.compile(r"^#+ (.+)$")
CODE = re.compile(r"(?<![`:])`([^`\n]+)`(?!`)")
SECTION = re.compile(r"^[A-Z]\w+:$")
BULLET = re.compile(r"^\s*[-*] ")


def to_rst(lines: list[str]) -> list[str]:
    """Headings become rubrics, `code` ``code``, indented paragraphs literal blocks; signs with a meaning escaped."""
    result: list[str] = []
    text, code = "", -1  # the latest line of text, and the indent of the running block of code (-1: none)
    for line in lines:
        indent = len(line) - len(line.lstrip())
        blank = not line.strip()
        if code >= 0 and (blank or indent >= code):
            result.append(line)
            continue
        code = -1
        if not blank and _begins_code(line, result, text):
            result += [" " * (len(text) - len(text.lstrip())) + "::", ""]
            code = indent
        if heading := HEADING.match(line):
            result += [f".. rubric:: {heading[1]}", ""]
        elif code >= 0 or line.lstrip().startswith("..") or (not blank and _in_doctest(line, result)):
            result.append(line)
        else:
            result.append(_inline(line))
        text = line if not blank else text
    return result


def _begins_code(line: str, before: list[str], text: str) -> bool:
    """Whether an indented line after a blank one begins a block of code, as in Markdown."""
    deeper = len(line) - len(line.lstrip()) >= len(text) - len(text.lstrip()) + 4
    return bool(text) and deeper and bool(before) and not before[-1].strip() and not SECTION.match(text)


def _in_doctest(line: str, before: list[str]) -> bool:
    """Whether a line belongs to an example: from >>> to the next blank line."""
    paragraph = [line]
    for earlier in reversed(before):
        if not earlier.strip():
            break
        paragraph.append(earlier)
    return any(part.lstrip().startswith(">>>") for part in paragraph)


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


NAMES = re.compile(r"^(\s+)(\w+(?:, \w+)+)(: .*)$")


def one_name_each(lines: list[str]) -> list[str]:
    """`low, high: bounds` in a section Attributes becomes two entries; napoleon does that for Args only."""
    result: list[str] = []
    inside, index = False, 0
    while index < len(lines):
        line, index = lines[index], index + 1
        if line and not line.startswith(" "):
            inside = line == "Attributes:"
        match = NAMES.match(line) if inside else None
        if match is None:
            result.append(line)
            continue
        more = []
        while index < len(lines) and lines[index].startswith(match[1] + " "):
            more.append(lines[index])
            index += 1
        for name in match[2].split(", "):
            result += [match[1] + name + match[3], *more]
    return result


def setup(app: Any) -> dict[str, Any]:
    """Register the translation before napoleon reads the sections."""

    def translate(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = to_rst(one_name_each(lines))
        if what in ("attribute", "data", "property") and lines:
            lines[0] = f": {lines[0]}"  # no type stands before the first colon

    app.connect("autodoc-process-docstring", translate, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
