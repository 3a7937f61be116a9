"""Files of strangers: regular files of bounded size and depth, or an error; no link, pipe or device is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DEEPEST = 30
"""Levels of nesting of a YAML file, the document and the stream among them."""


LARGEST_YAML = 200_000
"""Bytes of a YAML file."""


MOST_PARTS = 10_000
"""Names and values of a YAML file; OmegaConf takes up to a millisecond for each."""


LARGEST_NUMBER = 2**128
"""Bound on the size of whole numbers in a configuration."""


def read_bytes(path: Path, largest: int, links: bool = False) -> bytes:
    """A file of at most `largest` bytes; `links`: whether its own name may be a symbolic link.

    Raises:
        OSError: it is absent, cannot be read, is no regular file, a link or too large.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    if not links and path.is_symlink():
        raise OSError("it is a symbolic link, which is not followed")
    with os.fdopen(os.open(path, flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is no regular file")
        if state.st_size > largest or len(data := file.read(largest + 1)) > largest:
            raise OSError(f"it has more than {largest} bytes, the most that is read")
        return data


def refuse_specials(*paths: Path) -> None:
    """Refuse pipes, devices, folders and links.

    Raises:
        OSError: one of the paths is a pipe, a device, a folder or a link.
    """
    for path in paths:
        if (path.is_symlink() or path.exists()) and not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(f"{path} is no regular file")


def check_yaml(text: str, deepest: int = DEEPEST) -> None:
    """Refuse YAML that takes long to read though it is short: aliases, and deep nesting.

    Raises:
        ValueError: it has them, or is larger than LARGEST_YAML.
        yaml.YAMLError: it is no YAML.
    """
    import yaml  # type: ignore[import-untyped]

    if len(text) > LARGEST_YAML:
        raise ValueError(f"it has more than {LARGEST_YAML} bytes, the most that is read")
    try:
        _check_events(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), deepest)
    except yaml.YAMLError as error:
        if "nesting depth" not in str(error):
            raise
        raise ValueError(f"it is nested more than {deepest} deep") from error  # the parser has looked ahead


def _check_events(events: Iterable[Any], deepest: int) -> None:
    depth = 0
    for number, event in enumerate(events):
        if number > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} names and values, the most that are read")
        kind = type(event).__name__
        if kind == "AliasEvent":
            raise ValueError("it has aliases (*name), which are not allowed")
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > deepest:
            raise ValueError(f"it is nested more than {deepest} deep")


def check_plain(node: Any) -> None:
    """Refuse interpolations and huge whole numbers in plain data of bounded depth.

    An interpolation in a stranger's file, such as ${oc.env:NAME}, would read this user's environment.

    Raises:
        ValueError: there are some.
    """
    if isinstance(node, dict):
        node = [*node, *node.values()]
    if isinstance(node, list):
        for part in node:
            check_plain(part)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"it has an interpolation ({node[:40]}), which a stored configuration never has")
    elif isinstance(node, int) and abs(node) > LARGEST_NUMBER:
        raise ValueError(f"it has a whole number beyond {LARGEST_NUMBER:.1e}")
