"""Trains, resumes and validates: from a configuration to a finished run folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from rl_detector.assembly import Assembly, assemble
from rl_detector.conf.schema import Config, Group, fingerprint
from rl_detector.errors import ConfigError
from rl_detector.problem import RECOMMENDED, DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.records.run_folder import RunFolder, Session
from rl_detector.running.trust import accept
from rl_detector.running.wandb_tracker import Tracker, check_tracker, make_tracker
from rl_detector.space import Design
from rl_detector.study import Progress, describe_metrics
from rl_detector.study.contexts import ContextualStudy
from rl_detector.study.validation import ValidatedDesign, validate, validate_family

Listener = Callable[[Progress], None]


PACKAGES = ("rl_detector", "torch", "numpy", "gymnasium", "geant4_pybind")
"""Packages whose versions are kept with every run."""


SESSION_SECONDS = 2.0
"""Longest time between two writings of the times of a session, if no batch takes longer."""


class SessionClock:
    """Writes the times of a training session into the run folder, while it runs and however it ends.

    A killed session loses what came after the latest writing: SESSION_SECONDS, or one batch if that takes longer. A
    session that ends well without any tick had nothing to do and is not kept.

    Args:
        folder: of the run; earlier sessions in it stay.
        versions: package -> version of this process.
        agent_seconds: gives the agent's own time in this session so far.
    """

    def __init__(self, folder: RunFolder, versions: Mapping[str, str], agent_seconds: Callable[[], float]) -> None:
        self._folder, self._versions, self._agent_seconds = folder, versions, agent_seconds
        self._earlier, self._started = folder.read_sessions(), datetime.now(UTC)
        self._begin = time.monotonic()
        self._written: float | None = None

    def __enter__(self) -> SessionClock:
        return self

    def tick(self) -> None:
        """Write the times if the latest writing is old enough; to be called after every batch."""
        if self._written is None or time.monotonic() - self._written >= SESSION_SECONDS:
            self._write()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or self._written is not None:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        times = round(self._written - self._begin, 3), round(self._agent_seconds(), 3)
        sessions = [*self._earlier, Session(self._started, *times, self._versions)]
        self._folder.write_json(self._folder.sessions, {"sessions": [session.to_json() for session in sessions]})


def start_run(config: Config | Mapping[str, Any], command: str, trusted: bool = True) -> tuple[RunFolder, Assembly]:
    """Check a configuration by building everything once, then make its run folder.

    Args:
        config: of the run.
        command: kept as provenance.
        trusted: whether the user asks for the programs that it would start, see `trust.accept`.

    Raises:
        TrustError: they are neither asked for nor known.
    """
    assembly = assemble(config)
    accept(assembly.claims, trusted)
    assembly.check()
    resolved = assembly.resolved
    check_tracker(resolved.tracker)
    folder = RunFolder.create(Path(resolved.runs), resolved.env["name"], resolved.agent["name"])
    folder.write_config({**resolved.to_plain(), "run": {"command": command, "started": now(), "versions": versions()}})
    return folder, assembly


def run(
    folder: RunFolder, config: Config | Mapping[str, Any] | Assembly, listener: Listener, trusted: bool = False
) -> list[ValidatedDesign]:
    """Train or go on training until the budget is spent, then validate the recommended design on fresh events.

    Args:
        folder, config: of the run; the configuration may be assembled already.
        listener: is told after every batch.
        trusted: whether the user asks for the programs that the configuration would start, see `trust.accept`.

    Raises:
        TrustError: they are neither asked for nor known.
    """
    assembly = assemble(config)
    accept(assembly.claims, trusted)
    _ = assembly.agent  # what is wrong with it is told before the folder is locked
    with folder.locked():
        return _run(folder, assembly, listener)


def _run(folder: RunFolder, assembly: Assembly, listener: Listener) -> list[ValidatedDesign]:
    problem, config, plain = assembly.problem, assembly.config, assembly.resolved.to_plain()
    tracker = make_tracker(config.tracker, folder.path.name, {**plain, **_provenance(folder)}, folder.path.parent)
    with (
        closing(Ledger(folder.ledger, fingerprint(plain, problem.simulator.describe()))) as ledger,
        closing(assembly.evaluator),
    ):
        study = assembly.study(ledger, folder.checkpoint)

        def on_progress(progress: Progress) -> None:
            clock.tick()
            tracker.log(describe_metrics(progress))
            listener(progress)

        with SessionClock(folder, versions(), lambda: study.thinking.seconds) as clock:
            recommended = study.run(on_progress)
    rows = validate_and_store(folder, problem, recommended, config.held_out.events, config.seed)
    _write_recommended(folder, rows)
    if isinstance(study, ContextualStudy):
        _write_family(folder, study, rows)
    _finish(folder, tracker, rows)
    return rows


def _provenance(folder: RunFolder) -> dict[str, Any]:
    """What the tracker shows of the origin of a run, {} where it is not known."""
    known = folder.read_provenance()
    if known.started is None:
        return {}
    started = known.started.isoformat(timespec="seconds")
    return {"run": {"command": known.command, "started": started, "versions": dict(known.versions)}}


def validate_and_store(
    folder: RunFolder, problem: DesignProblem, recommended: Design, events: int, seed: int
) -> list[ValidatedDesign]:
    """Validate the recommended design and the baselines, and store the result under the simulator's name.

    A stored validation of the same design in the same simulator with more events is kept.
    """
    stored = folder.read_json(folder.validation, {})
    folder.write_json(folder.validation, stored)  # what cannot be stored must not be simulated
    rows = validate(problem, recommended, events, seed)
    section = rows[0].simulator.get("simulator", problem.name)
    if not _weaker(rows, stored.get(section, [])):
        stored[section] = [row.to_json() for row in rows]
        folder.write_json(folder.validation, stored)
    return rows


def _weaker(rows: list[ValidatedDesign], stored: Any) -> bool:
    """Whether the stored validation is of the same design in the same simulator with more events."""
    if not (isinstance(stored, list) and stored and isinstance(stored[0], dict)):
        return False
    same = stored[0].get("design") == rows[0].design and stored[0].get("simulator") == dict(rows[0].simulator)
    return same and stored[0].get("events", 0) > rows[0].events


def validate_run(
    folder: RunFolder, simulator: Group, events: int, seed: int | None = None, trusted: bool = False
) -> list[ValidatedDesign]:
    """Validate a run's recommended design with a simulator, on the run's own problem.

    Args:
        folder: of the run.
        simulator: group of the configuration.
        events: per design.
        seed: root of the held-out seed; None: the run's.
        trusted: whether the user asks for the programs that the simulator would start, see `trust.accept`.

    Raises:
        TrustError: they are neither asked for nor known.
        ConfigError: the run has no recommended design yet.
    """
    config = folder.read_config()
    recommended = folder.read_json(folder.recommended, {})
    if "design" not in recommended:
        raise ConfigError(
            f"{folder.path} has no recommended design yet: finish it with `rl-detector resume {folder.path}`"
        )
    assembly = assemble(replace(config, simulator=simulator))
    accept(assembly.simulator_claims, trusted)
    chosen = config.seed if seed is None else seed
    return validate_and_store(folder, assembly.problem, recommended["design"], events, chosen)


def _write_recommended(folder: RunFolder, rows: list[ValidatedDesign]) -> None:
    best = next(row for row in rows if row.name == RECOMMENDED).to_json()
    del best["name"], best["difference"]
    folder.write_json(folder.recommended, best)


def _write_family(folder: RunFolder, study: ContextualStudy, rows: list[ValidatedDesign]) -> None:
    """Validate the designs recommended for some cost weights, on the events of the validation."""
    designs = {weight: study.recommended_at(weight) for weight in study.contexts.grid()}
    first = rows[0]
    members = validate_family(study.problem, first.design, designs, first.events, study.seed)
    facts = {"simulator": dict(first.simulator), "events": first.events, "seed": first.seed}
    folder.write_json(folder.family, {**facts, "members": [member.to_json() for member in members]})


def _finish(folder: RunFolder, tracker: Tracker, rows: list[ValidatedDesign]) -> None:
    from rl_detector.report import write_report

    figures = write_report(folder)
    best = next(row for row in rows if row.name == RECOMMENDED)
    numbers = {"reach": best.reach, "reach_error": best.reach_error, "metric": best.metric, "reward": best.reward}
    summary = {**numbers, **best.costs}
    tracker.finish(summary, {name: path for name, path in figures.items() if name == "layouts"})


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter for a result."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
