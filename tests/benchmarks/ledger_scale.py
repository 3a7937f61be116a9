"""What a long study costs: appending, resuming and reporting a million trials, and the memory of a study at work.

    python tests/benchmarks/ledger_scale.py [TRIALS [STUDY_TRIALS]]

Trials are those of a calorimeter of three layers with random results, in batches of 64, each batch one transaction that
is flushed to the disk. A resume is timed after a clean end and after a kill (a copy of the run while it writes, whose
file is then checked as a whole). The study at work has an agent without memory, so that what grows is the study's.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from rl_detector.agents import make_agent
from rl_detector.conf.schema import fingerprint
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.records.run_folder import RunFolder
from rl_detector.running.launch import start_run
from rl_detector.study import Budget, Study
from rl_detector.study.memory import Counts

TRIALS, STUDY_TRIALS, BATCH, EVENTS = 1_000_000, 100_000, 64, 20


def config(folder: Path, trials: int) -> dict[str, object]:
    return {
        "seed": 0, "common_events": False, "runs": str(folder), "held_out": {"events": 200},
        "budget": {"events": trials * EVENTS, "events_per_design": EVENTS, "designs_per_batch": BATCH},
        "env": {"name": "calorimeter", "layers": 3}, "simulator": {"name": "fast"},
        "agent": {"name": "random_search"}, "evaluator": {"name": "serial"}, "tracker": {"name": "off"},
        "judge": {"name": "none"}, "asynchronous": False,
        "flow": {"in_flight": 0, "told_at_once": 0, "designs_per_job": 1},
    }  # fmt: skip


def batches(problem: DesignProblem, trials: int) -> Iterator[list[Trial]]:
    """Trials with the sizes of real ones; every design is another."""
    rng = np.random.default_rng(0)
    encoding = problem.space.encode(problem.start)
    pattern = problem.evaluate(problem.start, EVENTS, 1)
    for first in range(0, trials, BATCH):
        made = []
        for number in range(first, min(first + BATCH, trials)):
            action = encoding._replace(continuous=rng.uniform(-1, 1, encoding.continuous.shape))
            reward = float(rng.normal())
            measured = replace(pattern.measurement, reach=reward, metric=float(np.exp(-reward)))
            design = problem.space.decode(action)
            found = replace(pattern, design=design, seed=number, reward=reward, measurement=measured)
            made.append(Trial(number, first // BATCH, action, found, 0.001))
        yield made


class Stopwatch:
    """Seconds on the clock and of the processor; on a busy machine the clock runs on while the process waits."""

    def __init__(self) -> None:
        self.clock = self.processor = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.clock += time.perf_counter() - self._started[0]
        self.processor += time.process_time() - self._started[1]


def say(name: str, value: float, unit: str, goal: str) -> None:
    print(f"{name:52} {value:10,.1f} {unit:9} ({goal})", flush=True)


def append(folder: RunFolder, settings: dict[str, object], problem: DesignProblem, trials: int) -> Path:
    """Fill the ledger; gives a copy that was made while the ledger was open for writing."""
    ledger = Ledger(folder.ledger, fingerprint(settings, problem.simulator.describe()))
    watch = Stopwatch()
    for batch in batches(problem, trials):
        with watch:
            ledger.append(batch)
    say("append, batches of 64, each flushed", trials / watch.clock, "trials/s", "goal: at least 5000")
    say("  by time of the processor", trials / watch.processor, "trials/s", "no goal")
    agent = make_agent("random_search", problem.space, 0, problem.start)
    study = Study(problem, agent, ledger, budget(trials), checkpoint=folder.checkpoint)
    counts = Counts(-(-trials // BATCH), trials, 0)
    best = ledger.best(counts.batch)
    study.memory.save(counts, {**study.state(), "scoring": {"best": best.number if best else None}})
    copy = folder.path.with_name("copy")
    shutil.copytree(folder.path, copy)
    ledger.close()
    say("size of the ledger", folder.ledger.stat().st_size / 1e6, "MB", "no goal")
    return copy


def budget(trials: int) -> Budget:
    return Budget(trials * EVENTS, EVENTS, BATCH)


def resume(name: str, folder: RunFolder, settings: dict[str, object], problem: DesignProblem, trials: int) -> None:
    agent = make_agent("random_search", problem.space, 0, problem.start)
    with Stopwatch() as watch:
        ledger = Ledger(folder.ledger, fingerprint(settings, problem.simulator.describe()))
        study = Study(problem, agent, ledger, budget(trials), checkpoint=folder.checkpoint)
    if study.trials != trials or study.best is None:
        raise SystemExit(f"resumed with {study.trials} of {trials} trials")
    ledger.close()
    say(f"resume {name}", watch.clock, "s", "goal: under 5")
    say("  by time of the processor", watch.processor, "s", "no goal")


def report(folder: RunFolder) -> None:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rl_detector", "report", str(folder.path)], check=True, capture_output=True)
    say("rl-detector report, the whole process", time.perf_counter() - started, "s", "goal: under 30")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say("  by time of the processor", used.ru_utime + used.ru_stime, "s", "no goal")
    largest = used.ru_maxrss / 1024
    say("  largest memory of the process", largest, "MB", "goal: under 1000")


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def study_memory(folder: Path, problem: DesignProblem, trials: int) -> None:
    ledger = Ledger(folder / "study.sqlite")
    agent = make_agent("random_search", problem.space, 0, problem.start)
    study = Study(problem, agent, ledger, budget(trials), checkpoint=folder / "study.pt")
    study.step(BATCH)
    study.save()
    before, started = resident(), time.perf_counter()
    study.run()
    say(f"study of {trials:,} trials, memory at its start", before, "MB", "no goal")
    say("  more at its end", resident() - before, "MB", "goal: under 200")
    say("  speed with simulation", trials / (time.perf_counter() - started), "trials/s", "no goal")
    ledger.close()


def main() -> None:
    trials, study_trials = [*map(int, sys.argv[1:3]), *(TRIALS, STUDY_TRIALS)[len(sys.argv) - 1 :]][:2]
    problem = calorimeter(layers=3)
    with tempfile.TemporaryDirectory() as place:
        settings = config(Path(place), trials)
        folder, _ = start_run(settings, "rl-detector train")
        stored = folder.read_config().to_plain()
        study_memory(Path(place), problem, study_trials)
        copy = append(folder, stored, problem, trials)
        resume("after a clean end", folder, stored, problem, trials)
        resume("of a copy made at work (checked as a whole)", RunFolder(copy), stored, problem, trials)
        report(folder)


if __name__ == "__main__":
    main()
