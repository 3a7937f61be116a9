"""Files of strangers: only regular files of bounded size and depth are read, never a link, pipe or device."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DEEPEST = 30
"""Most levels of nesting in a YAML file, counting the document and the stream."""

LARGEST_YAML = 200_000
"""Most bytes in a YAML file."""

_MOST_YAML_EVENTS = 10_000
"""Most names and values in a YAML file; OmegaConf takes up to a millisecond for each."""

_LARGEST_INTEGER = 2**128
"""Largest absolute value of whole numbers in a configuration."""


def read_bytes(path: Path, largest: int, links: bool = False) -> bytes:
    """Read a regular file.

    Args:
        path: file to read.
        largest: most bytes that are read.
        links: whether the file itself may be a symbolic link.

    Raises:
        OSError: the file is absent, unreadable, not a regular file, a link, or too large.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    if not links and path.is_symlink():
        raise OSError("it is a symbolic link, which is not followed")
    with os.fdopen(os.open(path, flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is not a regular file")
        if state.st_size > largest or len(data := file.read(largest + 1)) > largest:
            raise OSError(f"it has more than {largest} bytes, the limit for this file")
        return data


def refuse_specials(*paths: Path) -> None:
    """Refuse pipes, devices, folders and links.

    Raises:
        OSError: one of the paths is a pipe, a device, a folder or a link.
    """
    for path in paths:
        if (path.is_symlink() or path.exists()) and not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(f"{path} is not a regular file")


def check_yaml(text: str, deepest: int = DEEPEST) -> None:
    """Refuse YAML that is short but slow to read: with aliases, deep nesting or many parts.

    Raises:
        ValueError: the text is such YAML, or larger than LARGEST_YAML.
        yaml.YAMLError: the text is not YAML.
    """
    import yaml  # type: ignore[import-untyped]

    if len(text) > LARGEST_YAML:
        raise ValueError(f"it has more than {LARGEST_YAML} bytes, the limit for YAML files")
    try:
        _check_events(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), deepest)
    except yaml.YAMLError as error:
        if "nesting depth" not in str(error):
            raise
        raise ValueError(f"it is nested more than {deepest} levels deep") from error  # the parser looks ahead


def _check_events(events: Iterable[Any], deepest: int) -> None:
    depth = 0
    for number, event in enumerate(events):
        if number > _MOST_YAML_EVENTS:
            raise ValueError(f"it has more than {_MOST_YAML_EVENTS} names and values, the limit for YAML files")
        kind = type(event).__name__
        if kind == "AliasEvent":
            raise ValueError("it has aliases (*name), which are not allowed")
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > deepest:
            raise ValueError(f"it is nested more than {deepest} levels deep")


def check_plain(node: Any) -> None:
    """Refuse interpolations and huge whole numbers in plain data of bounded depth.

    An interpolation in a stranger's file, such as ${oc.env:NAME}, would read this user's environment.

    Raises:
        ValueError: the data contain one.
    """
    if isinstance(node, dict):
        node = [*node, *node.values()]
    if isinstance(node, list):
        for part in node:
            check_plain(part)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"it has an interpolation ({node[:40]}), which a stored configuration never has")
    elif isinstance(node, int) and abs(node) > _LARGEST_INTEGER:
        raise ValueError(f"it has a whole number beyond {_LARGEST_INTEGER:.1e}")
