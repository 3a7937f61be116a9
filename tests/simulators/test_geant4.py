"""Geant4 as a simulator of stacks: equal bits for equal seeds, energy balance, a reference table, all failures."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rl_detector.errors import ConfigError, DesignError, MissingDependency, SimulationError
from rl_detector.simulators.geant4 import Geant4Simulator, checks, physics_lists, worker, workers
from rl_detector.simulators.geant4.pool import WorkerPool
from rl_detector.simulators.stack import Beam, Primaries, Stack

pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="geant4 extra not installed"),
]

IRON = Stack(("Fe", "polystyrene", "Fe"), (10.0, 0.5, 10.0))
TUNGSTATE = Stack(("PbWO4", "Al", "Pb"), (15.0, 0.0, 2.0))
MIXED = Beam({"gamma": 0.4, "e-": 0.2, "pi+": 0.4}, 0.5, 2.0)

REFERENCE = {1.0: (7.60, 0.24), 2.0: (5.02, 0.22), 5.0: (3.12, 0.18)}
"""Energy of electrons in GeV -> sigma/E in %, and its error.

Stack of 75 x (2 mm Pb + 4 mm polystyrene), production cut 1 mm, 500, 260 and 150 events. Simulated by Geant4 11.4 with
the electromagnetic processes of the data-free list.
"""

HOOKS = """
import os, signal, time
from rl_detector.simulators.geant4 import worker

def abort(settings, chunk):
    if chunk.seeds == SEEDS:
        os.kill(os.getpid(), signal.SIGABRT)
    return worker.run_chunk(settings, chunk)

def hang(settings, chunk):
    if chunk.seeds == SEEDS:
        time.sleep(600)
    return worker.run_chunk(settings, chunk)

def nan(settings, chunk):
    return worker.run_chunk(settings, chunk) + (float("nan") if chunk.seeds == SEEDS else 0.0)
"""


def primaries(events: int, seed: int = 0, beam: Beam = MIXED) -> Primaries:
    return beam.sample(events, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Geant4Simulator]:
    with Geant4Simulator(workers=2, chunk=10) as geant4:
        yield geant4


@pytest.fixture
def bad_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make the module `geant4_hooks` importable in workers; its functions misbehave for chunk 0 of this seed."""
    seed = 99
    text = HOOKS.replace("SEEDS", str(workers.chunk_seeds(seed, 0)))
    (tmp_path / "geant4_hooks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "geant4_hooks", raising=False)
    return seed


def misbehave(monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    monkeypatch.setattr(worker, "run_chunk", getattr(importlib.import_module("geant4_hooks"), hook))


def test_same_seed_same_bits_on_any_worker_in_any_batch(two_workers: Geant4Simulator) -> None:
    first, second = primaries(25, 1), primaries(12, 2)
    batch = two_workers.deposits([IRON, TUNGSTATE, IRON], [first, second, second], [7, 8, 9])
    with Geant4Simulator(workers=1, chunk=10) as fresh:
        alone = fresh.deposits([TUNGSTATE], [second], [8])
        reverse = fresh.deposits([IRON, IRON], [second, first], [9, 7])
    for one, other in zip(batch, [*reverse[::-1], *alone], strict=False):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
    np.testing.assert_array_equal(batch[1], alone[0])
    np.testing.assert_array_equal(batch[0], reverse[1])
    np.testing.assert_array_equal(batch[2], reverse[0])


def test_an_old_worker_gives_the_bits_of_a_fresh_one() -> None:
    """Simulate every stack again after all others in one process: nothing may leak from one run into the next.

    The pions are energetic because they make ions, which G4ionIonisation would remember from event to event.
    """
    stacks = [IRON, TUNGSTATE, Stack(("C", "Si") * 8, (3.0, 0.1) * 8), Stack(("water", "Al"), (50.0, 20.0))]
    sent = [primaries(15, seed, Beam({"pi+": 1.0}, 5.0, 15.0)) for seed in range(4)]
    with Geant4Simulator(workers=1) as old:
        first = old.deposits(stacks, sent, range(4))
        again = old.deposits(stacks[::-1], sent[::-1], range(3, -1, -1))[::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with Geant4Simulator(workers=1) as fresh:
        np.testing.assert_array_equal(fresh.deposits(stacks[3:], sent[3:], [3])[0], first[3])


def test_other_seeds_and_chunks_are_independent(two_workers: Geant4Simulator) -> None:
    same = Primaries(("e-",) * 20, np.full(20, 1.0))
    one, other = two_workers.deposits([IRON, IRON], [same, same], [0, 1])
    rows = np.concatenate([one, other])
    assert len(np.unique(rows, axis=0)) == 40


def test_photons_deposit_their_energy_in_a_thick_block(two_workers: Geant4Simulator) -> None:
    sent = Primaries(("gamma",) * 20, np.linspace(0.1, 5.0, 20))
    (deposits,) = two_workers.deposits([Stack(("Pb",), (60.0,))], [sent], [3])
    fraction = deposits.sum(axis=1) / sent.energies
    assert np.all(fraction <= 1 + 1e-6)
    assert fraction.mean() > 0.97


def test_thin_layer_of_pions_sees_a_minimum_ionising_particle(two_workers: Geant4Simulator) -> None:
    """Median loss in 1 cm of polystyrene; PDG: 1.936 MeV cm2/g at the minimum, up to 20 % more for 2 GeV pions."""
    sent = Primaries(("pi+",) * 200, np.full(200, 2.0))
    (deposits,) = two_workers.deposits([Stack(("polystyrene",), (1.0,))], [sent], [4])
    assert 0.85 * 2.05e-3 < np.median(deposits) < 1.15 * 2.05e-3


def test_absent_layers_deposit_nothing_and_change_nothing(two_workers: Geant4Simulator) -> None:
    sent = primaries(10)
    padded = Stack(("W", *IRON.materials, "Pb"), (0.0, *IRON.thicknesses, 1e-7))
    with_gaps, plain, nothing = two_workers.deposits(
        [padded, IRON, Stack(("Fe",) * 2, (0.0, 0.0))], [sent] * 3, [5] * 3
    )
    np.testing.assert_array_equal(with_gaps, np.pad(plain, ((0, 0), (1, 1))))
    np.testing.assert_array_equal(nothing, np.zeros((10, 2)))


def test_no_stack_and_no_event_are_legal(two_workers: Geant4Simulator) -> None:
    assert two_workers.deposits([], [], []) == []
    (empty,) = two_workers.deposits([IRON], [Primaries((), np.zeros(0))], [0])
    assert empty.shape == (0, 3)


@pytest.mark.parametrize(("energy", "events"), [(1.0, 300), pytest.param(2.0, 300, marks=pytest.mark.slow),
                                                pytest.param(5.0, 250, marks=pytest.mark.slow)])  # fmt: skip
def test_resolution_of_a_sampling_calorimeter(energy: float, events: int) -> None:
    """sigma/E agrees with the reference table within 4 combined standard errors."""
    stack = Stack(("Pb", "polystyrene") * 75, (0.2, 0.4) * 75)
    with Geant4Simulator(workers=2, cut=1.0) as geant4:
        (deposits,) = geant4.deposits([stack], [Primaries(("e-",) * events, np.full(events, energy))], [11])
    signal_ = deposits[:, 1::2].sum(axis=1)
    resolution = 100 * signal_.std(ddof=1) / signal_.mean()
    expected, error = REFERENCE[energy]
    assert abs(resolution - expected) < 4 * np.hypot(error, resolution / np.sqrt(2 * (events - 1)))


def test_a_crash_fails_its_own_stack_only(bad_seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, "abort")
    sent = primaries(5)
    with Geant4Simulator(workers=2) as geant4:
        good, bad, fine = geant4.deposits([IRON, IRON, TUNGSTATE], [sent] * 3, [1, bad_seed, 2])
        assert isinstance(bad, SimulationError)
        assert "stack 1" in str(bad) and "exit code -6" in str(bad)
        assert isinstance(fine, np.ndarray)
        np.testing.assert_array_equal(geant4.deposits([IRON], [sent], [1])[0], good)


def test_a_hang_ends_with_the_time_limit(bad_seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, "hang")
    sent = primaries(5)
    with Geant4Simulator(workers=2, timeout=5.0) as geant4:
        bad, good = geant4.deposits([IRON, IRON], [sent] * 2, [bad_seed, 1])
        assert isinstance(bad, SimulationError) and "no result within" in str(bad)
        assert isinstance(good, np.ndarray)
        assert isinstance(geant4.deposits([IRON], [sent], [2])[0], np.ndarray)


def test_nan_is_an_error_with_its_count(bad_seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, "nan")
    with Geant4Simulator(workers=1) as geant4:
        (bad,) = geant4.deposits([IRON], [primaries(4)], [bad_seed])
    assert isinstance(bad, SimulationError) and "12 of 12 deposits are not finite" in str(bad)


def test_a_killed_worker_is_replaced() -> None:
    """After SIGKILL in the middle of a batch, one stack fails; the others and the next call succeed."""
    long = Primaries(("gamma",) * 50, np.full(50, 10.0))
    with Geant4Simulator(workers=2) as geant4:
        geant4.deposits([IRON], [primaries(2)], [0])
        victim = next(iter(geant4._pool._pool._pool_manager.worker_manager.workers))
        threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()
        results = geant4.deposits([IRON, TUNGSTATE, IRON], [long] * 3, [1, 2, 3])
        failed = [result for result in results if isinstance(result, SimulationError)]
        assert len(failed) == 1 and "exit code -9" in str(failed[0])
        assert isinstance(geant4.deposits([IRON], [primaries(2)], [0])[0], np.ndarray)


def test_killed_idle_workers_are_replaced() -> None:
    with Geant4Simulator(workers=2) as geant4:
        (before,) = geant4.deposits([IRON], [primaries(4)], [0])
        for victim in list(geant4._pool._pool._pool_manager.worker_manager.workers):
            os.kill(victim, signal.SIGKILL)
        time.sleep(0.5)
        np.testing.assert_array_equal(geant4.deposits([IRON], [primaries(4)], [0])[0], before)


def test_a_pool_that_stops_answering_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl_detector.simulators.geant4.pool.GRACE", 0.5)
    pool = WorkerPool(1, worker.start)
    started = time.monotonic()
    (outcome,) = pool.run(time.sleep, [(60,)], [0.0])
    assert isinstance(outcome, TimeoutError) and "stopped answering" in str(outcome)
    assert time.monotonic() - started < 15
    pool.stop()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


SCRIPT = """
import sys
import numpy as np
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Primaries, Stack
print("script runs", flush=True)
geant4 = Geant4Simulator(workers=2)
shoot = lambda n, e: geant4.deposits([Stack(("Pb",), (30.0,))], [Primaries(("e-",) * n, np.full(n, e))], [1])[0]
print(shoot(10, 1.0).sum() > 5, *geant4._pool._pool._pool_manager.worker_manager.workers, flush=True)
if "stay" in sys.argv:
    shoot(2000, 20.0)
"""


def test_a_script_without_main_guard_runs_once_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "script.py")],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "script runs" and lines[1].startswith("True ") and len(lines) == 2
    assert done.stderr == ""
    assert not any(alive(int(pid)) for pid in lines[1].split()[1:])


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), "stay"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        parent.stdout.readline()
        pids = [int(pid) for pid in parent.stdout.readline().split()[1:]]
        assert all(alive(pid) for pid in pids)
        time.sleep(0.5)
        parent.kill()
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)


def test_a_missing_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, sys
from rl_detector.simulators.geant4 import data_free, physics_lists, worker
data_free._LIGHT_NUCLEI = ("G4Unobtainium",)
chunk = worker.Chunk((), 1, ("e-",), (1.0,), (1, 2, 3, 4), 60.0)
for _ in range(2):
    try:
        worker.run_chunk(worker.Settings(physics_lists.choose("data-free"), 0.7, 200.0), chunk)
    except Exception as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stderr.splitlines()) == 2
    assert all("MissingDependency" in line and "G4Unobtainium" in line for line in done.stderr.splitlines())


def test_geant4_is_not_imported_by_the_parent() -> None:
    assert "geant4_pybind" not in sys.modules


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'rl_detector\[geant4\]'"):
        Geant4Simulator()


def test_missing_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_data(monkeypatch, tmp_path)
    with pytest.raises(MissingDependency, match=r"G4NDL4.7.1 \(variable G4NEUTRONHPDATA\).*physics_list=data-free"):
        Geant4Simulator("QGSP_BERT_HP")
    with pytest.raises(MissingDependency) as caught:
        Geant4Simulator("FTFP_BERT_EMZ")
    assert "G4LEDATA" in str(caught.value) and "G4NEUTRONHPDATA" not in str(caught.value)
    assert Geant4Simulator("auto").physics.name == "data-free"


def test_auto_takes_the_stock_list_when_its_data_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_data(monkeypatch, tmp_path)
    for folder in physics_lists.DATA_SETS.values():
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "file").touch()
    monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path / "data"))
    physics = Geant4Simulator("auto").physics
    assert physics.label == "FTFP_BERT"
    assert physics.data["G4LEDATA"] == str(tmp_path / "data" / "G4EMLOW8.8")


def no_data(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for variable in ("GEANT4_DATA_DIR", *physics_lists.DATA_SETS):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", lambda: home)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"physics_list": "FTFP_BURT"}, "unknown physics_list 'FTFP_BURT'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"cut": 0.0}, "cut must be positive and finite, got 0.0"),
        ({"width": float("nan")}, "width must be positive and finite, got nan"),
        ({"timeout": -1.0}, "timeout must be positive"),
    ],
)
def test_bad_settings(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Geant4Simulator(**options)


@pytest.mark.parametrize("thickness", [float("nan"), -1.0, float("inf")])
def test_bad_thickness_never_reaches_geant4(thickness: float) -> None:
    with pytest.raises(DesignError, match="thickness must be finite"):
        Stack(("Fe",), (thickness,))


@pytest.mark.parametrize(
    ("stack", "sent", "message"),
    [
        (IRON, Primaries(("mu+",), np.ones(1)), "unknown particles"),
        (IRON, Primaries(("e-",), np.zeros(1)), "finite energy > 0"),
        (IRON, Primaries(("e-",), np.array([np.nan])), "finite energy > 0"),
        (IRON, Primaries(("e-", "e-"), np.ones(1)), "finite energy > 0"),
        (IRON, Primaries(("pi+",), np.array([50.0])), "pions only up to 30.0 GeV, got 50 GeV"),
        (Stack(("U",), (1.0,)), Primaries(("pi+",), np.ones(1)), "no pions in uranium"),
    ],
)
def test_bad_primaries(two_workers: Geant4Simulator, stack: Stack, sent: Primaries, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        two_workers.deposits([stack], [sent], [0])


def chunk_of(particle: str, energy: float) -> worker.Chunk:
    return worker.Chunk((), 2, (particle,), (energy,), (1, 2, 3, 4), 1.0)


@pytest.mark.parametrize(
    ("deposits", "particle", "message"),
    [
        (np.array([[0.5, 0.5]]), "e-", None),
        (np.array([[0.5, 0.6]]), "pi+", None),
        (np.array([[0.5, 0.51]]), "gamma", "energy balance"),
        (np.array([[0.9, 0.4]]), "pi+", "energy balance: event 0 deposits 1.3 GeV from a pi+ of 1 GeV"),
        (np.array([[0.5, -0.1]]), "e-", "negative deposit -0.1 GeV"),
        (np.array([[0.5, np.inf]]), "e-", "1 of 2 deposits are not finite"),
        (np.zeros((1, 3)), "e-", "expected deposits of shape"),
        (None, "e-", "expected deposits of shape"),
    ],
)
def test_checks_can_fail(deposits: object, particle: str, message: str | None) -> None:
    found = checks.violation(deposits, chunk_of(particle, 1.0))
    if message is None:
        assert found is None
    else:
        assert found is not None
        assert message in found


def test_results_state_their_physics(two_workers: Geant4Simulator) -> None:
    facts = two_workers.describe()
    assert facts["simulator"] == "geant4"
    assert facts["physics_list"].startswith("data-free")
    assert facts["version"] == "Geant4 11.4.1 (geant4_pybind 0.1.3)"
    assert facts["cut"] == "0.7 mm"


def test_closed_simulators_can_be_used_again() -> None:
    geant4 = Geant4Simulator(workers=1)
    (before,) = geant4.deposits([IRON], [primaries(3)], [0])
    geant4.close()
    geant4.close()
    np.testing.assert_array_equal(geant4.deposits([IRON], [primaries(3)], [0])[0], before)
    geant4.close()


def test_strings_make_energetic_pions_interact() -> None:
    """pi+ of 60 GeV, which the cascade alone refuses, deposit 0.75 to 0.95 of their energy in 1.6 m of iron."""
    deep, pions = Stack(("Fe",), (160.0,)), Primaries(("pi+",) * 8, np.full(8, 60.0))
    with Geant4Simulator("data-free-ftfp", workers=1) as geant4:
        found = geant4.deposits([deep], [pions], [3])[0]
        assert "FTFP" in geant4.describe()["physics_list"]
        with pytest.raises(ConfigError, match=r"physics_list=data-free-ftfp simulates pions only up to 200.0 GeV"):
            geant4.deposits([deep], [Primaries(("pi+",), np.array([300.0]))], [3])
    assert not isinstance(found, SimulationError)
    assert 0.75 < float(found.mean()) / 60 < 0.95


def test_a_chunk_that_fails_leaves_no_alarm_that_kills_its_worker_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def run(self, chunk: object) -> None:
            raise SimulationError("overlap")

    monkeypatch.setattr(worker, "_ready", lambda settings: Broken())
    chunk = worker.Chunk((), 0, (), (), (1, 2, 3, 4), 60.0)
    with pytest.raises(SimulationError, match="overlap"):
        worker.run_chunk(None, chunk)  # type: ignore[arg-type]
    assert signal.alarm(0) == 0


def test_a_folder_that_somebody_else_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker._own_folder(tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(SimulationError, match="link is no folder of this user"):
        worker._own_folder(tmp_path / "link")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(SimulationError, match="set TMPDIR"):
        worker._own_folder(tmp_path / "mine")
