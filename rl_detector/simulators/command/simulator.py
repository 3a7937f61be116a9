"""Any executable as a simulator: a YAML file describes its input and its output.

Every trial runs in its own scratch folder. The design is written as design.json and fills the templates; then the
command runs, and its output is read and checked. A failed trial keeps its folder and says where it is. All processes
of the executable end with it (on Linux also those that left its process group). See experiments/own_simulator.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.claims import Claim
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.settings import check_settings
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.command import inputs, scratch
from rl_detector.simulators.command.description import CONDITIONS, DESIGN
from rl_detector.simulators.command.needs import Needs, check_needs, output_format
from rl_detector.simulators.command.output import read_output
from rl_detector.simulators.command.process import STDERR, STDOUT, Job, printable, run, tail
from rl_detector.simulators.command.program import Program, claim, find_executable, read_program
from rl_detector.space import Design
from rl_detector.terms import Readout

_VERSION_SECONDS, _VERSION_BYTES = 60.0, 300
"""Time limit of a version command in seconds, and the bytes of its output that are kept."""


class CommandSimulator(FromBatch):
    """An executable that simulates one design per run.

    Equal (design, events, seed) give equal commands and files, up to the name of the scratch folder. Up to `workers`
    trials of a batch run at once, each in a thread that waits for its process. The object can be sent to other
    processes.

    Args:
        file: path of the description, see `description.Description`.
        needs: needs of the problem, which are checked against the description.
        workers: number of trials that run at the same time; None takes that of the description.

    Raises:
        ConfigError: the description is wrong, does not fit the problem, or the executable is missing.
        MissingDependency: the format of the output needs a library that is not installed.
    """

    def __init__(self, file: str | Path, needs: Needs | None = None, workers: int | None = None) -> None:
        self.program = read_program(Path(file))
        self.needs = Needs() if needs is None else needs
        self.workers = self.program.description.workers if workers is None else workers
        if self.workers < 1:
            raise ConfigError(f"command: workers must be at least 1, got {self.workers}")
        try:
            if needs is not None:
                check_needs(self.program, needs)
            self._format = output_format(self.program.description.output, self.needs)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        self._version: str | None = None

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Simulate events in every design; an interruption ends all processes."""
        stop = threading.Event()
        with ThreadPoolExecutor(min(self.workers, max(len(designs), 1))) as pool:
            futures = [
                pool.submit(self._trial, _Trial(design, events, seed, stop))
                for design, seed in zip(designs, seeds, strict=True)
            ]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def describe(self) -> Mapping[str, str]:
        """Return name, command, digest of everything that decides results, and the output of the version command."""
        description = self.program.description
        facts = {
            "simulator": description.name,
            "command": " ".join(word if word.split() == [word] else repr(word) for word in description.command),
            "description": self.program.digest,
        }
        return facts if description.version is None else {**facts, "version": self._ask_version(description.version)}

    def claims(self) -> list[Claim]:
        """Return the executable, for a user to trust."""
        return [claim(self.program)]

    def _trial(self, trial: _Trial) -> Readout | SimulationError:
        try:
            folder = self._scratch()
        except OSError as error:
            return SimulationError(f"cannot make a scratch folder: {error}")
        kept = False
        try:
            return self._measure(folder, trial)
        except (SimulationError, OSError) as error:
            said = tail(folder / STDERR)
            kept = not trial.stop.is_set() and scratch.keep(folder, self.program.description.limits.kept_failures)
            return SimulationError(self._reason(folder, error, said, kept))
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, folder: Path, trial: _Trial) -> Readout:
        limits = self.program.description.limits
        command = self._prepare(folder, trial)
        seconds, size = limits.timeout + limits.timeout_per_event * trial.events, int(limits.megabytes * 1e6)
        run(Job(command, folder, self._environment(), seconds, size, trial.stop))
        return read_output(folder, self._format, trial.events, size)

    def _prepare(self, folder: Path, trial: _Trial) -> list[str]:
        """Write the files of a trial; return its command."""
        design, conditions = inputs.plain_design(trial.design), inputs.plain_design(self.needs.conditions)
        given = dict(inputs.values(design))
        self._check_parameters(given)
        inputs.write_json(folder / DESIGN, design)
        inputs.write_json(folder / CONDITIONS, conditions)
        output = self.program.description.output.file
        numbers = {"events": int(trial.events), "seed": _seed(trial.seed, self.program.description.seed_bits)}
        known = {**given, **{f"conditions.{name}": value for name, value in conditions.items()}, **numbers}
        for name, template in self.program.templates.items():
            (folder / name).write_text(inputs.fill(name, template, {**known, "output": output}), encoding="utf-8")
        files = {"design": folder / DESIGN, "conditions": folder / CONDITIONS, "output": folder / output}
        places = {"here": self.program.here, "scratch": folder, **files, **numbers}
        words = inputs.insert(self.program.description.command, {name: str(place) for name, place in places.items()})
        return [self.program.executable, *words[1:]]

    def _check_parameters(self, given: Mapping[str, Any]) -> None:
        """Raise SimulationError unless the design has exactly the parameters of the description."""
        stated = self.program.description.parameters
        paths = {inputs.without_indices(path.removeprefix("design.")) for path in given if not path.endswith(".count")}
        unknown = sorted(paths - set(stated))
        if unknown:
            raise SimulationError(f"the design has {unknown[0]!r}, the description only {', '.join(stated)}")
        missing = sorted(path for path in stated if "[]" not in path and path not in paths)
        if missing:
            raise SimulationError(f"the design lacks {missing[0]!r}, which the description states")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.program.description.environment}

    def _scratch(self) -> Path:
        place = self.program.description.scratch
        parent = None if place is None else self.program.here / place
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return scratch.make(parent)

    def _reason(self, folder: Path, error: Exception, said: str, kept: bool) -> str:
        """Return the error, the end of stderr, and where the files are, if they are kept."""
        stderr = f"; stderr: {said}" if said else ""
        place = f"files kept in {folder}" if kept else "files removed (limits.kept_failures)"
        return f"{self.program.description.name}: {error}{stderr}; {place}"

    def _ask_version(self, command: Sequence[str]) -> str:
        """Return the output of the version command on one line; run it only once."""
        if self._version is None:
            self._version = _version(self.program, command, self._environment())
        return self._version


@dataclass(frozen=True)
class _Trial:
    design: Design
    events: int
    seed: int
    stop: threading.Event


def _seed(seed: int, bits: int) -> int:
    """Return a seed from 1 to below 2^bits: equal for equal seeds, unrelated for neighbouring ones."""
    word = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    return max(word >> (64 - bits), 1)


def _version(program: Program, command: Sequence[str], environment: Mapping[str, str]) -> str:
    words = inputs.insert(command, {"here": str(program.here)})
    words[0] = find_executable(command[0], program.here)
    with tempfile.TemporaryDirectory(prefix="rl_detector-version-") as name:
        folder = Path(name)
        try:
            run(Job(words, folder, environment, _VERSION_SECONDS, 1_000_000, threading.Event()))
        except SimulationError as error:
            raise ConfigError(f"the version command {shlex.join(command)} failed: {error}") from error
        with (folder / STDOUT).open("rb") as file:
            said = printable(file.read(_VERSION_BYTES))
    if not said:
        raise ConfigError(f"the version command {shlex.join(command)} printed nothing")
    return said


@dataclass(frozen=True)
class Settings:
    """The configuration `simulator=command`, see conf/simulator/command.yaml.

    Attributes:
        file: path of the description; None takes the environment's own, if it has one.
        workers: number of trials that run at the same time; None takes that of the description.
    """

    file: str | None = None
    workers: int | None = None


def command_simulator(
    chosen: str | Mapping[str, Any] | None, needs: Needs, default: str | Path | None = None
) -> CommandSimulator:
    """Make the simulator for the argument `simulator` of a problem factory.

    Args:
        chosen: the argument: {"name": "command", "file": ..., "workers": ...}, "command", or None. The command line
            passes {"name": "fast"} if nothing was chosen; with a default it means the default.
        needs: needs of the problem.
        default: path of the description of the environment's own executable.

    Raises:
        ConfigError: the simulator or a setting is unknown, or there is no description.
    """
    settings = {"name": chosen} if isinstance(chosen, str) else dict(chosen or {"name": "command"})
    name = settings.pop("name", None)
    if name != "command" and not (name == "fast" and default is not None):
        raise ConfigError(f"unknown simulator {name!r} of this environment: known is command")
    found = Settings(**check_settings("simulator", Settings, settings)) if name == "command" else Settings()
    file = default if found.file is None else found.file
    if file is None:
        raise ConfigError("simulator=command needs a description of the executable: simulator.file=PATH.yaml")
    return CommandSimulator(file, needs, found.workers)
