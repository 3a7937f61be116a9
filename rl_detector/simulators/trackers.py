"""Choice of the simulator that follows the tracks of an environment, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl_detector.errors import ConfigError
from rl_detector.settings import check_settings
from rl_detector.simulators.geant4 import Geant4Tracker
from rl_detector.simulators.hall import Tracker

FAST = "fast"


def tracker_of(environment: str, simulator: str | Mapping[str, Any], **defaults: float) -> Tracker | None:
    """Make the Geant4 tracker from its settings, or return None for the environment's own fast simulator.

    Args:
        environment: name of the environment, for messages.
        simulator: "fast", "geant4", or a name with settings such as {"name": "geant4", "workers": 2}. A setting of
            None takes the default of the environment.
        defaults: settings of Geant4 that suit the environment.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    settings = {"name": simulator} if isinstance(simulator, str) else dict(simulator)
    name = settings.pop("name")
    if name == FAST:
        check_settings("simulator", _no_settings, settings)
        return None
    if name != Geant4Tracker.name:
        raise ConfigError(f"unknown simulator {name!r} of {environment}: known are {FAST}, {Geant4Tracker.name}")
    given = {key: value for key, value in settings.items() if value is not None}
    return Geant4Tracker(**check_settings("simulator", Geant4Tracker, {**defaults, **given}))


def _no_settings() -> None:
    """Take no settings: the fast simulators have none."""
