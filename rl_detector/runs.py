"""The folder of a run: what lies where, how it is found and written."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rl_detector.checkpoint import write_atomically
from rl_detector.errors import RunFolderError

REQUIRED = ("seed", "common_events", "budget", "held_out", "env", "simulator", "agent", "evaluator", "tracker")
"""What a stored configuration must have."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Attributes:
        path: runs/<env>-<agent>-<date>-<id>/.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, resolved, with command and versions."""
        return self.path / "config.yaml"

    @property
    def ledger(self) -> Path:
        """Every evaluation."""
        return self.path / "ledger.sqlite"

    @property
    def checkpoint(self) -> Path:
        """State of the agent."""
        return self.path / "checkpoint.pt"

    @property
    def recommended(self) -> Path:
        """The recommended design, judged on held-out events."""
        return self.path / "recommended.json"

    @property
    def validation(self) -> Path:
        """Baselines and recommended design side by side, one section per simulator."""
        return self.path / "validation.json"

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of PNG figures."""
        return self.path / "figures"

    @staticmethod
    def create(runs: Path, env: str, agent: str) -> RunFolder:
        """Make a new, empty run folder.

        Raises:
            RunFolderError: it cannot be made.
        """
        name = f"{env}-{agent}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            (runs / name).mkdir(parents=True)
        except OSError as error:
            raise RunFolderError(
                f"cannot make the run folder {runs / name}: {error}. Choose a writable place with runs=FOLDER."
            ) from error
        return RunFolder(runs / name)

    @staticmethod
    def find(name: str, runs: Path = Path("runs")) -> RunFolder:
        """The run folder at a path, of a name under `runs`, or the newest one for "latest".

        Raises:
            RunFolderError: there is none; the message names those that are there.
        """
        if name == "latest":
            found = sorted(runs.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
            if not found:
                raise RunFolderError(f"there is no run under {runs.resolve()}: start one with `rl-detector train`")
            return RunFolder(found[-1].parent)
        for path in (Path(name), runs / name):
            if (path / "config.yaml").is_file():
                return RunFolder(path)
        near = ", ".join(sorted(path.parent.name for path in runs.glob("*/config.yaml"))[-5:]) or "none"
        raise RunFolderError(f"{name} is no run folder (it has no config.yaml). Newest runs under {runs}: {near}")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Store the configuration."""
        from omegaconf import OmegaConf

        write_atomically(self.config, OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode())

    def read_config(self) -> dict[str, Any]:
        """The stored configuration as plain data.

        Raises:
            RunFolderError: it cannot be read.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            config = OmegaConf.to_container(OmegaConf.load(self.config), resolve=False)
        except (OSError, ValueError, OmegaConfBaseException) as error:
            raise RunFolderError(f"cannot read {self.config}: {error}") from error
        missing = [name for name in REQUIRED if not isinstance(config, dict) or name not in config]
        if missing or not isinstance(config, dict):
            raise RunFolderError(f"{self.config} is not the configuration of a run: it lacks {', '.join(missing)}")
        return {str(name): value for name, value in config.items()}

    def write_json(self, path: Path, data: Any) -> None:
        """Store JSON as a whole or not at all; NaN is refused."""
        write_atomically(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())

    def read_json(self, path: Path) -> Any:
        """Stored JSON, or None when there is none.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} is damaged: {error}. Delete it and make it again.") from error
