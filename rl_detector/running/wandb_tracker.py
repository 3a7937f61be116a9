"""Speaks to Weights & Biases, or to nobody: the only file that imports wandb."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from rl_detector.errors import ConfigError
from rl_detector.settings import check_settings

Mode = Literal["auto", "online", "offline", "disabled"]


class Tracker(Protocol):
    """Hears what happens in a run."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Numbers of one batch; `events` is their axis."""
        ...

    def finish(self, summary: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Final numbers and pictures; nothing may be logged afterwards."""
        ...


class NoTracker:
    """Keeps nothing."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Nothing."""


class WandbTracker:
    """One Weights & Biases run, with simulated events as the axis of all metrics.

    Args:
        name, config: of the run; the name is also its id, so that a resumed run goes on in the same one.
        folder: where wandb keeps its files.
        project: name of the project.
        mode: online, offline, disabled, or auto: WANDB_MODE if set, else online with a key, offline without.
        init_timeout: seconds to wait for the server before going offline.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        folder: Path,
        project: str,
        mode: Mode = "auto",
        init_timeout: float = 30.0,
    ) -> None:
        import wandb

        def start(chosen: Any) -> Any:
            settings = wandb.Settings(init_timeout=init_timeout, silent=True, console="off")
            options: dict[str, Any] = {"dir": folder, "project": project, "name": name, "id": name, "resume": "allow"}
            return wandb.init(config=dict(config), mode=chosen, settings=settings, **options)

        self._image = wandb.Image
        self._failed = False
        try:
            self._run = start(_resolve(mode))
        except Exception as error:  # no network, wrong key, server error: it must never stop a study
            _tell(
                f"Weights & Biases cannot be reached ({str(error).splitlines()[0]}); tracking offline in {folder}/wandb"
            )
            wandb.teardown()
            self._run = start("offline")
        self._run.define_metric("events")
        self._run.define_metric("*", step_metric="events")

    def log(self, metrics: Mapping[str, float]) -> None:
        """Numbers of one batch; `events` is their axis."""
        self._safely(lambda: self._run.log(dict(metrics)))

    def finish(self, summary: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Final numbers and pictures; nothing may be logged afterwards."""
        self._safely(lambda: self._finish(summary, pictures))

    def _finish(self, summary: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        self._run.log({title: self._image(str(path)) for title, path in pictures.items()})
        for key, value in summary.items():
            self._run.summary[key] = value
        self._run.finish()

    def _safely(self, action: Callable[[], object]) -> None:
        """Do it, but never stop a study: after the first error nothing more is sent."""
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever wandb raises, for example when its own process was killed
            self._failed = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            _tell(f"Weights & Biases failed ({reason}); the study goes on without tracking")


def _resolve(mode: Mode) -> str:
    """The mode that wandb shall use for `auto`."""
    if mode != "auto":
        return mode
    if chosen := os.environ.get("WANDB_MODE"):
        return chosen
    import wandb

    if wandb.api.api_key:
        return "online"
    _tell("Weights & Biases: no key found, tracking offline (`wandb login` changes that)")
    return "offline"


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def check_tracker(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Checked settings of the Weights & Biases tracker, None when tracking is off.

    Raises:
        ConfigError: unknown tracker or setting, or WANDB_MODE is none of the modes.
    """
    kind = settings.get("name")
    if kind == "off":
        return None
    if kind != "wandb":
        raise ConfigError(f"unknown tracker {kind!r}: known are off, wandb")
    known = get_args(Mode)
    if (forced := os.environ.get("WANDB_MODE", "auto")) not in known:
        raise ConfigError(f"WANDB_MODE must be one of {', '.join(known)}, got {forced!r}")
    chosen = {key: value for key, value in settings.items() if key != "name"}
    for name in ("config", "folder"):
        if name in chosen:
            raise ConfigError(f"tracker.{name} is given by the run itself, remove it")
    return check_settings("tracker", WandbTracker, chosen)


def make_tracker(settings: Mapping[str, Any], name: str, config: Mapping[str, Any], folder: Path) -> Tracker:
    """The tracker of a configuration.

    Raises:
        ConfigError: as for `check_tracker`.
    """
    checked = check_tracker(settings)
    return NoTracker() if checked is None else WandbTracker(name, config, folder, **checked)
