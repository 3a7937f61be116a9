"""The folder of a run: its files, finding it, and writing and reading them."""

from __future__ import annotations

import fcntl
import json
import math
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_detector.errors import RunFolderError
from rl_detector.records.files import flush_folder, refuse_links, write_atomically
from rl_detector.safety.untrusted import LARGEST_YAML, check_plain, check_yaml, read_bytes

if TYPE_CHECKING:
    from rl_detector.conf.schema import Config

LARGEST_TEXT = 16_000_000
"""Most bytes of a JSON file of a run; of config.yaml fewer are read, see untrusted.LARGEST_YAML."""


LONGEST_COMMAND, LONGEST_NAME, MOST_VERSIONS = 10_000, 100, 50
"""Most letters of a stored command and of a package's name or version, and most packages, that are shown."""


@dataclass(frozen=True)
class Provenance:
    """Where a run comes from, as config.yaml says; what it does not say, or not in this form, is empty.

    Attributes:
        command: which started it.
        started: time in UTC, None if unknown.
        versions: package -> version.
    """

    command: str = ""
    started: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(data: Any) -> Provenance:
        """Take from data of unknown origin what has the right type and a sensible length."""
        stored = data if isinstance(data, Mapping) else {}
        found = stored.get("versions")
        pairs = list(found.items())[:MOST_VERSIONS] if isinstance(found, Mapping) else []
        versions = {name: value for name, value in pairs if _short(name, LONGEST_NAME) and _short(value, LONGEST_NAME)}
        command = str(stored.get("command")) if _short(stored.get("command"), LONGEST_COMMAND) else ""
        return Provenance(command, _time(stored.get("started")), versions)


@dataclass(frozen=True)
class Session:
    """One process that trained: from the start of a run, or of a `resume`, to its end.

    Attributes:
        started: time in UTC.
        wall_seconds: wall time of the training in it.
        agent_seconds: the share of the agent, which proposes and learns.
        versions: package -> version.
    """

    started: datetime
    wall_seconds: float
    agent_seconds: float
    versions: Mapping[str, str]

    @staticmethod
    def of(data: Any) -> Session:
        """Take from data of unknown origin; raises ValueError if it is no session."""
        source, stored = Provenance.of(data), data if isinstance(data, Mapping) else {}
        wall, own = (_seconds(stored.get(name)) for name in ("wall_seconds", "agent_seconds"))
        if source.started is None or wall is None or own is None:
            raise ValueError("a session needs the time of its start and the numbers wall_seconds and agent_seconds")
        return Session(source.started, wall, own, source.versions)

    def to_json(self) -> dict[str, Any]:
        """The session as JSON-ready data."""
        return {**asdict(self), "started": self.started.isoformat(timespec="seconds")}


def _short(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest


def _time(value: Any) -> datetime | None:
    """A time with its zone, in UTC."""
    try:
        found = datetime.fromisoformat(value)
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value < 1e12 and math.isfinite(value) else None


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
        """The recommended design and its results on held-out events."""
        return self.path / "recommended.json"

    @property
    def validation(self) -> Path:
        """Baselines and recommended design side by side, one section per simulator."""
        return self.path / "validation.json"

    @property
    def sessions(self) -> Path:
        """How long the run took: the times of every session."""
        return self.path / "sessions.json"

    @property
    def family(self) -> Path:
        """Designs over the price of cost, where one training served many."""
        return self.path / "family.json"

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
            flush_folder(runs)
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on this run; the lock ends with the process, however it ends.

        Raises:
            RunFolderError: another process works on it.
        """
        refuse_links(self.config)
        with self.config.open("r+") as file:  # for writing: network file systems lock no other files
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(f"another process works on {self.path}: wait for it, or stop it first") from error
            yield

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Store the configuration.

        Raises:
            RunFolderError: it cannot be written, or is larger than what would be read again.
        """
        from omegaconf import OmegaConf

        data = OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode()
        if len(data) > LARGEST_YAML:
            raise RunFolderError(f"the configuration has {len(data)} bytes, at most {LARGEST_YAML} can be stored")
        write_atomically(self.config, data)

    def read_config(self) -> Config:
        """The stored configuration, typed; `Config.to_plain` gives it as names and values.

        Raises:
            RunFolderError: it cannot be read.
        """
        from omegaconf import OmegaConf

        from rl_detector.conf.schema import Config

        try:
            known = {key: value for key, value in self._read_yaml().items() if key != "run"}
            check_plain(known)
            merged = OmegaConf.merge(OmegaConf.structured(Config), known)
            plain: Any = OmegaConf.to_container(merged, resolve=False, throw_on_missing=True)
            return Config.of(plain)
        except Exception as error:  # whatever damaged or hostile YAML leads to; nothing in it is executed
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunFolderError(f"{self.config} is not the configuration of a run: {reason}") from error

    def read_provenance(self) -> Provenance:
        """Command, start and versions of the run, kept beside its configuration.

        Raises:
            RunFolderError: config.yaml cannot be read.
        """
        try:
            return Provenance.of(self._read_yaml().get("run"))
        except Exception as error:  # whatever damaged or hostile YAML leads to; nothing in it is executed
            raise RunFolderError(f"{self.config} is not the configuration of a run: {error}") from error

    def _read_yaml(self) -> dict[Any, Any]:
        from omegaconf import OmegaConf

        text = self.read_text(self.config)
        check_yaml(text)
        stored: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        return stored if isinstance(stored, dict) else {}

    def read_sessions(self) -> list[Session]:
        """The sessions that trained so far, [] where none was recorded.

        Raises:
            RunFolderError: the file is damaged.
        """
        stored = self.read_json(self.sessions, {}).get("sessions", [])
        try:
            return [Session.of(data) for data in stored]
        except (TypeError, ValueError) as error:
            raise RunFolderError(
                f"{self.sessions} is damaged: {error}. Delete it: the run itself does not need it, but its wall time "
                "until here is then lost."
            ) from error

    def read_text(self, path: Path) -> str:
        """Text of a file of the run that people can read, bytes that are none replaced.

        Raises:
            RunFolderError: it is no file, cannot be read or is larger than what a run writes.
        """
        try:
            largest = LARGEST_YAML if path == self.config else LARGEST_TEXT
            return read_bytes(path, largest).decode(errors="replace")
        except OSError as error:
            raise RunFolderError(f"{path} is damaged: {error}. Delete it and make it again.") from error

    def write_json(self, path: Path, data: Any) -> None:
        """Store JSON as a whole or not at all; NaN is refused."""
        write_atomically(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())

    def read_json(self, path: Path, default: dict[str, Any]) -> dict[str, Any]:
        """Stored JSON object, or the default when there is none.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not (path.exists() or path.is_symlink()):
            return default
        try:
            data = json.loads(self.read_text(path))
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"{path} is damaged: {error}. Delete it and make it again.") from error
        if not isinstance(data, dict):
            raise RunFolderError(f"{path} is damaged: it holds no JSON object. Delete it and make it again.")
        return data
