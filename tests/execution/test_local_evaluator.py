"""Worker processes: the same numbers as without them, and what happens when they die, hang or lose their parent."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from helpers.processes import children
from helpers.studies import ledger_of
from rl_detector.assembly import build_evaluator, build_problem
from rl_detector.conf.schema import Config
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.execution.local import LocalEvaluator
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger
from rl_detector.running import launch
from rl_detector.terms import Group, Readout

pytestmark = pytest.mark.usefixtures("by_value")


def sockets() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if "socket" in str(entry.resolve())]


def talk(data: bytes, then: Callable[[], object] = lambda: None) -> None:
    """Write to what the parent listens to."""
    for descriptor in sockets():
        os.write(descriptor, data)
    then()


def hang_up() -> None:
    for descriptor in sockets():
        os.close(descriptor)
    time.sleep(1000)


FAULTS: dict[str, Callable[[], object]] = {
    "exit 0": lambda: os._exit(0),
    "exit 3": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit(4),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(1000),
    "hang with the GIL": lambda: ctypes.PyDLL(None).sleep(1000),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP) or time.sleep(0.01),
    "closed connection": hang_up,
    "garbage": lambda: talk(b"\0\0\0\x05hello"),
    "something else": lambda: talk(b"\0\0\0\x04\x80\x04N."),
    "half an answer": lambda: talk(b"\0\0\0\x64hello", lambda: time.sleep(1000)),
}


@dataclass(frozen=True)
class Faulty:
    """Noise around x; designs with x > 0.9 do what they should not."""

    fault: str

    def simulate(self, design, events, seed) -> Readout:
        if design["x"] > 0.9:
            FAULTS[self.fault]()
        return Readout({}, design["x"] + np.random.default_rng(seed).normal(size=(events, 1)))

    def describe(self):
        return {"simulator": "faulty"}


@pytest.fixture
def local() -> Iterator[Callable[..., LocalEvaluator]]:
    made: list[LocalEvaluator] = []

    def make(*arguments, **settings) -> LocalEvaluator:
        made.append(LocalEvaluator(*arguments, **settings))
        return made[-1]

    yield make
    for evaluator in made:
        evaluator.close()


def workers_of(parent: int) -> list[int]:
    return children(parent, "rl_detector.execution.worker")


def evaluate(evaluator, problem: DesignProblem, designs, events: int = 10, seeds=None) -> list[Evaluation]:
    numbers = list(range(len(designs))) if seeds is None else seeds
    return [found for group in evaluator.evaluate(problem, Group(designs, events, numbers)) for found in group]


def numbers(evaluations: list[Evaluation]) -> list:
    """All of them, in a form that == compares."""
    losses = [getattr(e.measurement, "losses", None) for e in evaluations]
    bare = [
        e if e.measurement is None else replace(e, measurement=replace(e.measurement, losses=None)) for e in evaluations
    ]
    return [(e, None if loss is None else loss.tobytes()) for e, loss in zip(bare, losses, strict=True)]


def sample(problem: DesignProblem, number: int):
    rng = np.random.default_rng(0)
    return [problem.space.sample(rng) for _ in range(number)]


FAST = {"env": {"name": "calorimeter"}, "simulator": {"name": "fast"}}
STUDIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "oracle": ({"env": {"name": "oracle", "kind": "mixed"}}, {"events": 50}),
    "calorimeter": (FAST, {"events": 50, "common_events": True}),
    "judged": (FAST, {"judge": "shared"}),
}
"""Problem, and options of the study."""


@pytest.fixture(scope="module")
def crews() -> Iterator[list[LocalEvaluator]]:
    """One, two and three workers, with groups of different sizes."""
    evaluators = [LocalEvaluator(1, 64), LocalEvaluator(2, 5), LocalEvaluator(3, 1)]
    yield evaluators
    for evaluator in evaluators:
        evaluator.close()


@pytest.mark.parametrize("name", STUDIES)
def test_the_ledger_is_the_same_with_any_number_of_workers(name, tmp_path, crews):
    config, options = STUDIES[name]
    problem = build_problem(config["env"], config.get("simulator"))
    expected = ledger_of(problem, tmp_path / "serial", SerialEvaluator(), **options)
    assert expected == ledger_of(problem, tmp_path / "small", SerialEvaluator(1), **options)
    for evaluator in crews:
        found = ledger_of(problem, tmp_path / f"{evaluator.workers}", evaluator, **options)
        assert expected == found, evaluator.workers
    assert bool(expected[1]) == (name == "judged")


def test_failing_designs_have_the_same_reasons_in_workers(failing_bowl, tmp_path, crews):
    expected = ledger_of(failing_bowl, tmp_path / "serial", SerialEvaluator(7), events=50)
    assert expected == ledger_of(failing_bowl, tmp_path / "local", crews[1], events=50)
    assert any("failed twice: this seed is unlucky" in str(row) for row in expected[0])


def test_a_recipe_builds_what_the_study_uses(tmp_path, local):
    problem = build_problem(FAST["env"], FAST["simulator"])
    unsendable = replace(problem, simulator=Unsendable(problem.simulator))
    evaluator = build_evaluator(Config(**FAST, evaluator={"name": "local", "workers": 1}), unsendable)
    try:
        designs = sample(problem, 3)
        for used, plain in (
            (unsendable, problem),
            (unsendable.for_judge(), problem.for_judge()),
            (unsendable.with_cost_weight(0.7), problem.with_cost_weight(0.7)),
        ):
            found = evaluate(evaluator, used, designs, 50)
            assert numbers(found) == numbers(evaluate(SerialEvaluator(), plain, designs, 50))
            assert [e.readout is None for e in found] == [not plain.keeps_readouts] * 3
        with pytest.raises(ConfigError, match="cannot be sent to worker processes"):
            evaluate(evaluator, replace(unsendable, reach=Unsendable(problem.reach)), designs, 50)
    finally:
        evaluator.close()


class Unsendable:
    """Holds what no other process can have."""

    def __init__(self, simulator) -> None:
        self.simulator, self.lock = simulator, threading.Lock()

    def __getattr__(self, name: str):
        return getattr(self.__dict__["simulator"], name)


def test_what_a_worker_cannot_import_is_said(local, bowl):
    cloudpickle.unregister_pickle_by_value(sys.modules[type(bowl.simulator).__module__])
    try:
        module = type("Nowhere", (), {"__module__": "nowhere", "__reduce__": lambda self: (missing, ())})
        with pytest.raises(ConfigError, match=r"could not build .*ZeroDivisionError.*import modules by name"):
            evaluate(local(1), replace(bowl, reach=module()), sample(bowl, 2))
    finally:
        cloudpickle.register_pickle_by_value(sys.modules[type(bowl.simulator).__module__])


def missing() -> None:
    raise ZeroDivisionError


def test_mistakes_end_a_study_with_their_message(local, bowl):
    class Mistaken(type(bowl.simulator)):
        def simulate(self, design, events, seed):
            raise ConfigError("no such physics list")

    with pytest.raises(ConfigError, match="no such physics list"):
        evaluate(local(1), replace(bowl, simulator=Mistaken()), sample(bowl, 2))


REASONS = {
    "exit 0": "ended with exit code 0",
    "exit 3": "ended with exit code 3",
    "sys.exit": "ended with exit code 4",
    "killed": "was killed by SIGKILL",
    "segfault": "was killed by SIGSEGV",
    "hang": "no result within 0.7 s per design",
    "hang with the GIL": "no result within 0.7 s per design",
    "stopped": "no result within 0.7 s per design",
    "closed connection": "closed its connection",
    "garbage": "sent something else than an answer (UnpicklingError",
    "something else": "sent something else than an answer (NoneType",
    "half an answer": "stopped within a message, for 1 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_design_fails_alone(fault, bowl, local, monkeypatch):
    monkeypatch.setattr("rl_detector.execution.worker_processes.STALL_SECONDS", 1)
    problem = replace(bowl, simulator=Faulty(fault))
    designs = sample(bowl, 8)
    for index, design in enumerate(designs):
        design["x"] = 0.95 if index == 2 else min(design["x"], 0.8)
    started = time.monotonic()
    found = evaluate(local(2, 4, timeout=0.7 if REASONS[fault].startswith("no") else None), problem, designs)
    assert time.monotonic() - started < 25
    assert [e.failed for e in found] == [index == 2 for index in range(8)]
    assert found[2].failure.startswith("failed twice: ") and found[2].failure.count(REASONS[fault]) == 2
    good = [index for index in range(8) if index != 2]
    assert [found[i] for i in good] == [problem.evaluate(designs[i], 10, i) for i in good]


def test_designs_that_always_kill_do_not_stop_a_study_unless_they_are_most(bowl, tmp_path, local):
    problem = replace(bowl, simulator=Faulty("exit 3"))
    rows, _ = ledger_of(problem, tmp_path / "few", local(2), events=50)
    failed = [row for row in rows if "FAILED" in row]
    assert len(rows) == 32 and 1 <= len(failed) <= 8
    assert all("exit code 3" in str(row) for row in failed)
    all_bad = replace(bowl, simulator=AlwaysFaulty("exit 3"))
    with pytest.raises(SimulationError, match=r"4 of 4 simulations of batch 0 failed.*exit code 3"):
        ledger_of(all_bad, tmp_path / "all", local(2), events=50, designs=4)


class AlwaysFaulty(Faulty):
    """Every design does what it should not."""

    def simulate(self, design, events, seed) -> Readout:
        return super().simulate({**design, "x": 1.0}, events, seed)


class Hungry(Faulty):
    """Designs with x > 0.9 want 4 GB."""

    def simulate(self, design, events, seed) -> Readout:
        if design["x"] > 0.9:
            return Readout({}, np.ones((events, 2**29 // events)))
        return super().simulate(design, events, seed)


def test_memory_has_a_limit(bowl, local):
    problem = replace(bowl, simulator=Hungry(""))
    design = sample(bowl, 1)[0]
    good, bad = evaluate(local(1, memory_mb=3000), problem, [{**design, "x": 0.0}, {**design, "x": 0.95}])
    assert not good.failed
    assert "MemoryError" in bad.failure


def test_a_worker_that_dies_while_it_is_idle_is_replaced_in_silence(bowl, local):
    evaluator, designs, others = local(1), sample(bowl, 2), workers_of(os.getpid())
    expected = evaluate(evaluator, bowl, designs)
    (before,) = set(workers_of(os.getpid())) - set(others)
    os.kill(before, signal.SIGKILL)
    assert evaluate(evaluator, bowl, designs) == expected
    (after,) = set(workers_of(os.getpid())) - set(others)
    assert after != before


def test_workers_start_with_the_first_group_and_end_at_once(bowl, local):
    evaluator, others = local(2), workers_of(os.getpid())
    evaluate(evaluator, bowl, sample(bowl, 4))
    assert len(workers_of(os.getpid())) == len(others) + 2
    busy = evaluator.submit(replace(bowl, simulator=AlwaysFaulty("hang")), Group(sample(bowl, 1), 10, [1]))
    time.sleep(0.3)
    started = time.monotonic()
    evaluator.close()
    assert time.monotonic() - started < 5
    assert busy.cancelled() and workers_of(os.getpid()) == others
    evaluate(evaluator, bowl, sample(bowl, 2))  # and start again


SCRIPT = """
import sys, ctypes, time, threading
from dataclasses import dataclass
from rl_detector.envs.oracles.problem import oracle
from rl_detector.execution.local import LocalEvaluator
from rl_detector.terms import Group
from dataclasses import replace

class Stuck:
    def simulate(self, design, events, seed):
        print("busy", flush=True)
        {hang}
    def describe(self):
        return {{"simulator": "stuck"}}

problem = replace(oracle(), simulator=Stuck())
evaluator = LocalEvaluator(2, group=1)
list(evaluator.evaluate(problem, Group([problem.start] * 4, 1, range(4))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("hang", ["time.sleep(1000)", "ctypes.PyDLL(None).sleep(1000)"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(hang, end):
    command = [sys.executable, "-c", SCRIPT.format(hang=hang)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert [parent.stdout.readline().strip() for _ in range(2)] == ["busy"] * 2
        workers = workers_of(parent.pid)
        assert len(workers) == 2
        parent.send_signal(end)
        try:
            parent.wait(10)
        finally:
            parent.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_workers_use_one_thread(local, bowl):
    found = evaluate(local(1), replace(bowl, simulator=Threads()), sample(bowl, 2))
    assert [e.measurement.reach for e in found] == [1.0, 1.0]


class Threads:
    """Signals say how many threads linear algebra may use."""

    def simulate(self, design, events, seed) -> Readout:
        from threadpoolctl import threadpool_info

        threads = max(pool["num_threads"] for pool in threadpool_info())
        return Readout({}, np.full((events, 1), float(threads)))

    def describe(self):
        return {"simulator": "threads"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "at least 1 worker"),
        ({"group": 0}, "at least 1 design"),
        ({"timeout": 0.0}, "timeout must be a positive number"),
        ({"memory_mb": 0}, "memory_mb must be a positive number"),
        ({"cores": 2}, "unknown setting evaluator.cores: known are workers, group, timeout, memory_mb"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_evaluator(Config.of({"evaluator": {"name": "local", **settings}}))


@pytest.mark.parametrize("name", ["serial", "local", "dask"])
def test_a_run_closes_its_evaluator_and_its_ledger_is_the_same(name, tmp_path, monkeypatch):
    rows = [trained(tmp_path / each, {"name": each}, monkeypatch) for each in ("serial", name)]
    assert rows[0] == rows[1] and len(rows[0]) == 32


def trained(runs: Path, evaluator: dict, monkeypatch: pytest.MonkeyPatch) -> list:
    """Rows of a run without its validation and report."""
    for after in ("validate_and_store", "_write_recommended", "_finish"):
        monkeypatch.setattr(launch, after, lambda *arguments: [])
    runs.mkdir(exist_ok=True)
    others = workers_of(os.getpid())
    config = {
        "env": {"name": "oracle"}, "simulator": {"name": "fast"}, "agent": {"name": "random_search"},
        "evaluator": {**evaluator, **({} if evaluator["name"] == "serial" else {"workers": 2})},
        "judge": {"name": "none"}, "tracker": {"name": "off"}, "seed": 0, "common_events": True, "runs": str(runs),
        "budget": {"events": 320, "events_per_design": 10, "designs_per_batch": 16}, "held_out": {"events": 50},
        "asynchronous": False, "flow": {"in_flight": 0, "told_at_once": 0, "designs_per_job": 1},
    }  # fmt: skip
    folder, complete = launch.start_run(config, "test")
    launch.run(folder, complete, lambda progress: None)
    assert workers_of(os.getpid()) == others
    ledger = Ledger(folder.ledger)
    rows = ledger.reproducible_rows()
    ledger.close()
    return rows


@pytest.mark.slow
@pytest.mark.geant4
@pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="needs the geant4 extra")
def test_geant4_in_workers_gives_the_same_ledger(tmp_path):
    simulator = {"name": "geant4", "physics_list": "data-free", "workers": None, "cut": 0.7}
    config = {"env": {"name": "calorimeter", "energy_high": 3.0}, "simulator": simulator}
    rows = []
    for evaluator in ({"name": "serial"}, {"name": "local", "workers": 2, "group": 1}):
        problem = build_problem(config["env"], simulator)
        built = build_evaluator(Config.of({**config, "evaluator": evaluator}), problem)
        rows.append(evaluate(built, problem, sample(problem, 4), 25))
        built.close()
        problem.simulator.close() if hasattr(problem.simulator, "close") else None
    assert numbers(rows[0]) == numbers(rows[1]) and not any(e.failed for e in rows[0])
