"""The command `sweep`: run the trainings of a sweep file in processes, without a server, and make their table."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from rl_detector.errors import ConfigError, RunFolderError
from rl_detector.records.files import write_atomically
from rl_detector.records.run_folder import RunFolder
from rl_detector.safety.safe_path import FLAG
from rl_detector.sweeps.file import Sweep, read_sweep
from rl_detector.sweeps.processes import Pool, Processes, failure_reason, wait_until_free
from rl_detector.sweeps.search import Search
from rl_detector.sweeps.table import DONE, FAILED, RUNNING, SweepRun, table

Listener = Callable[[SweepRun], None]


def find_sweep(name: str) -> Path:
    """A sweep file at a path, or one of the package by its name.

    Raises:
        ConfigError: there is none.
    """
    if Path(name).is_file():
        return Path(name)
    folder = Path(str(files("rl_detector.conf"))) / "sweep"
    if (folder / f"{name}.yaml").is_file():
        return folder / f"{name}.yaml"
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise ConfigError(f"there is no sweep file {name}: give a path, or one of {known}")


@dataclass(frozen=True)
class SweepSession:
    """A sweep in its folder: sweep.json, results.csv, runs/NUMBER/RUN.

    Attributes:
        search: what is tried.
        folder: where everything lies.
        jobs: trainings at the same time.
        track: whether trainings keep the tracker that the file asks for; without a server there is none.
        trust: whether trainings may start programs that nobody has trained with here, see rl_detector.running.trust.
    """

    search: Search
    folder: Path
    jobs: int = 1
    track: bool = False
    trust: bool = False

    @staticmethod
    def open(
        path: Path,
        folder: Path,
        jobs: int = 1,
        runs: int | None = None,
        seed: int = 0,
        track: bool = False,
        trust: bool = False,
    ) -> SweepSession:
        """A session of a sweep file; finished trainings of its folder are not run again."""
        return SweepSession(Search(read_sweep(path), seed, runs), folder, jobs, track, trust)

    @property
    def sweep(self) -> Sweep:
        """The swept parameters and their values."""
        return self.search.sweep

    def run(self, listener: Listener = lambda run: None) -> list[SweepRun]:
        """Start, resume or skip every training, and return all of them.

        The listener hears of every one that ends. An interruption leaves trainings that the next call goes on with.

        Raises:
            ConfigError: the folder holds another sweep, or the metric is none of the numbers of a result.
            RunFolderError: the folder cannot be written, or another process works on it.
        """
        with self._locked():
            known = [self._examined(run) for run in self._stored()]
            runs = {run.number: replace(run, state=RUNNING, reason="") if run.failed else run for run in known}
            with Pool(self.jobs) as pool:
                self._run(runs, pool, listener)
            return self._store(runs)

    def _run(self, runs: dict[int, SweepRun], pool: Pool, listener: Listener) -> None:
        waiting = iter([run.number for run in runs.values() if run.state == RUNNING])
        todo = iter(number for group in (waiting, range(len(runs), self.search.total)) for number in group)
        going: set[Future[SweepRun]] = set()
        while True:
            while len(going) < self.jobs and (number := next(todo, None)) is not None:
                if number not in runs:
                    runs[number] = SweepRun(number, self.search.propose(number, list(runs.values())))
                self._store(runs)
                going.add(pool.submit(self._train, runs[number]))
            if not going:
                return
            ended, going = wait(going, return_when=FIRST_COMPLETED)
            for run in (future.result() for future in ended):
                runs[run.number] = run
                self._store(runs)
                listener(run)

    def _train(self, run: SweepRun, processes: Processes) -> SweepRun:
        """Start or resume one training; runs in a thread."""
        folder = self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        begun = self._begun(run)
        if begun is not None:
            wait_until_free(begun)
            if (examined := self._examined(run)).state == DONE:
                return examined
        train = ["train", *([] if self.trust else ["--check-trust"]), *self._words(run), f"runs={folder}"]
        words = ["resume", str(begun.path), *(["--trust"] if self.trust else [])] if begun else train
        code = processes.run([sys.executable, FLAG, "-m", "rl_detector", *words], folder / "log.txt", self.jobs > 1)
        ended = self._examined(run)
        return (
            ended
            if ended.state == DONE
            else replace(ended, state=FAILED, reason=failure_reason(code, folder / "log.txt"))
        )

    def _words(self, run: SweepRun) -> list[str]:
        """Words of `rl-detector train`, as the agent of Weights & Biases makes them."""
        words = [word for word in self.sweep.words if self.track or not word.startswith(("tracker=", "tracker."))]
        return [*words, *(f"{name}={value}" for name, value in run.parameters.items())]

    def _folder(self, run: SweepRun) -> Path:
        return self.folder.absolute() / "runs" / f"{run.number:04d}"

    def _begun(self, run: SweepRun) -> RunFolder | None:
        found = sorted(self._folder(run).glob("*/config.yaml"))
        return RunFolder(found[-1].parent) if found else None

    def _examined(self, run: SweepRun) -> SweepRun:
        """The run as its folder shows it."""
        begun = self._begun(run)
        if begun is None:
            return run
        run = replace(run, folder=str(begun.path.relative_to(self.folder.absolute())))
        best = begun.read_json(begun.recommended, {})
        if "reach" not in best:
            return run
        names = ("reach", "reach_error", "reward", "metric", "metric_error")
        numbers = {**{name: float(best[name]) for name in names}, **best.get("costs", {})}
        if self.sweep.metric not in numbers:
            raise ConfigError(f"metric.name must be one of {', '.join(numbers)}, got {self.sweep.metric!r}")
        return replace(run, state=DONE, numbers=numbers, value=numbers[self.sweep.metric], reason="")

    def _stored(self) -> list[SweepRun]:
        path = self.folder / "sweep.json"
        if not path.exists():
            return []
        data = RunFolder(self.folder).read_json(path, {})
        if data.get("sweep") != self._identity():
            raise ConfigError(f"{self.folder} holds another sweep or seed: choose another folder with --out")
        return [SweepRun(row["number"], row["parameters"], row["state"]) for row in data["runs"]]

    def _identity(self) -> Any:
        return json.loads(json.dumps({**self.sweep.identity(), "seed": self.search.seed}))

    def _store(self, runs: Mapping[int, SweepRun]) -> list[SweepRun]:
        rows = list(runs.values())
        states = [{"number": run.number, "parameters": dict(run.parameters), "state": run.state} for run in rows]
        text = json.dumps({"sweep": self._identity(), "runs": states}, indent=2)
        write_atomically(self.folder / "sweep.json", (text + "\n").encode())
        write_atomically(self.folder / "results.csv", table(rows).encode())
        return rows

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise RunFolderError(f"cannot write in {self.folder}: {error}. Choose another place with --out.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(f"another process works on {self.folder}: wait for it, or stop it") from error
            yield
