"""Reads the settings of a simulator from its file in conf/simulator."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

from rl_detector.errors import ConfigError


def simulator_settings(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of conf/simulator/NAME.yaml with changes.

    Raises:
        ConfigError: unknown simulator or setting.
    """
    folder = files("rl_detector.conf") / "simulator"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise ConfigError(f"unknown simulator {name!r}: known are {', '.join(known)}")
    stored: Any = OmegaConf.create((folder / f"{name}.yaml").read_text())
    settings = {str(key): value for key, value in stored.get("simulator", stored).items()}
    unknown = [key for key in changes if key not in settings]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r} of simulator {name}: known are {', '.join(settings)}")
    return {**settings, **changes}
