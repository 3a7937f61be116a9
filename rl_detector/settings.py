"""Settings from a configuration, checked against the annotated arguments of what they build."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from rl_detector.errors import ConfigError


def split_name(group: str, node: Any) -> tuple[str, dict[str, Any]]:
    """Name and settings of a config group such as {name: fast, ...}.

    Raises:
        ConfigError: the group has no name.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        raise ConfigError(f"{group} must be a group with a name, got {node!r}")
    return node["name"], {key: value for key, value in node.items() if key != "name"}


def check_settings(where: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings to the annotated types of a function's arguments.

    Raises:
        ConfigError: an unknown name or a wrong type; the message says what is expected.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # slow to import, needed only when something is built

    parameters = inspect.signature(function).parameters
    target = function.__init__ if inspect.isclass(function) else function
    hints = get_type_hints(target)
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in parameters:
            raise ConfigError(f"unknown setting {where}.{name}: known are {', '.join(parameters)}")
        try:
            plain = ConfigDict(arbitrary_types_allowed=True)
            checked[name] = TypeAdapter(hints.get(name, Any), config=plain).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ConfigError(f"{where}.{name}: {reason}, got {value!r}") from error
    return checked
