"""Simulations through dask: the same numbers, and what happens when workers or the scheduler go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from helpers.studies import ledger_of, random_study
from rl_detector.assembly import build_evaluator
from rl_detector.conf.schema import Config
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.envs.oracles.problem import oracle
from rl_detector.errors import ConfigError, MissingDependency, SimulationError
from rl_detector.execution import cluster as dask_evaluator
from rl_detector.execution import scheduler_connection
from rl_detector.execution.cluster import DaskEvaluator
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import DesignProblem
from rl_detector.terms import Group, Readout

pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("by_value")


@dataclass(frozen=True)
class Slow:
    """Noise around x after a while; the worst designs end or stop their process."""

    seconds: float = 0.0

    def simulate(self, design, events, seed) -> Readout:
        time.sleep(self.seconds)
        if design["x"] > 0.9:
            os._exit(0)
        if design["x"] < -0.9:
            time.sleep(1000)
        return Readout({}, design["x"] + np.random.default_rng(seed).normal(size=(events, 1)))

    def describe(self):
        return {"simulator": "slow"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskEvaluator]:
    evaluator = DaskEvaluator(2, group=5, timeout=20.0)
    yield evaluator
    evaluator.close()


@pytest.mark.parametrize("name", ["oracle", "failing", "judged"])
def test_the_ledger_is_that_of_the_serial_evaluator(name, tmp_path, cluster, failing_bowl):
    problem = {"oracle": oracle("mixed"), "failing": failing_bowl, "judged": calorimeter()}[name]
    settings = {"judge": "shared"} if name == "judged" else {}
    expected = ledger_of(problem, tmp_path / "serial", SerialEvaluator(), **settings)
    assert expected == ledger_of(problem, tmp_path / "dask", cluster, **settings)
    assert bool(expected[1]) == (name == "judged")


def test_bad_designs_fail_alone(bowl):
    problem = replace(bowl, simulator=Slow())
    designs = [{"x": x, "y": 0.0, "material": "good"} for x in (0.1, 0.95, 0.2, -0.95, 0.3)]
    evaluator = DaskEvaluator(2, timeout=0.7)
    try:
        groups = evaluator.evaluate(problem, Group(designs, 10, range(5)))
        found = [evaluation for group in groups for evaluation in group]
    finally:
        evaluator.close()
    assert [e.failed for e in found] == [False, True, False, True, False]
    assert found[1].failure.count("ended with exit code 0") == 2
    assert found[3].failure.count("no result within 0.7 s per design") == 2
    assert found[4] == problem.evaluate(designs[4], 10, 4)


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dask", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def scheduler(file: Path, port: int = 0):
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--scheduler-file", str(file))
    return running("scheduler", *words)


def worker(file: Path):
    words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "30", "--host", "127.0.0.1")
    return running("worker", "--scheduler-file", str(file), *words)


def wait_for(condition: Callable[[], bool], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Saboteur:
    """An evaluator that hurts the cluster after some groups."""

    def __init__(self, evaluator: DaskEvaluator, after: int, harm: Callable[[], object]) -> None:
        self.evaluator, self.after, self.harm = evaluator, after, harm
        self.workers, self.close, self.submit = evaluator.workers, evaluator.close, evaluator.submit

    def evaluate(self, *arguments):
        for group in self.evaluator.evaluate(*arguments):
            self.after -= 1
            if self.after == 0:
                self.harm()
            yield group


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"\nPPid:\t{parent}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def gentle(bowl: DesignProblem) -> DesignProblem:
    """Nobody dies by design: x is within (-0.9, 0.9)."""
    x, *others = bowl.space.parameters
    space = replace(bowl.space, parameters=(replace(x, low=-0.8, high=0.8), *others))
    return replace(bowl, space=space, simulator=Slow(0.05))


def test_a_killed_worker_and_a_killed_scheduler(bowl, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_evaluator, "CONNECT_LIMIT", 3.0)
    problem, file = gentle(bowl), tmp_path / "scheduler.json"
    expected = ledger_of(problem, tmp_path / "serial", SerialEvaluator())
    with scheduler(file) as hub, worker(file) as first, worker(file):
        wait_for(file.exists)
        evaluator = DaskEvaluator(2, group=1, cluster=str(file))
        started = list(evaluator.evaluate(problem, Group([problem.start] * 4, 10, range(4))))
        assert len(started) == 4
        simulating = children(first.pid)
        harmed = Saboteur(evaluator, 3, first.kill)
        assert ledger_of(problem, tmp_path / "worker", harmed) == expected
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in simulating))
        with pytest.raises(SimulationError, match=r"the dask scheduler is gone .* continue with `rl-detector resume`"):
            ledger_of(problem, tmp_path / "scheduler", Saboteur(evaluator, 3, hub.kill))
        evaluator.close()
    study = random_study(problem, tmp_path / "scheduler", SerialEvaluator())
    assert 0 < study.ledger.count() < 32
    study.ledger.close()
    assert ledger_of(problem, tmp_path / "scheduler", SerialEvaluator()) == expected


@pytest.mark.slow
def test_a_scheduler_that_comes_back_is_used_again(bowl, tmp_path):
    problem, file, again = gentle(bowl), tmp_path / "scheduler.json", tmp_path / "again.json"
    expected = ledger_of(problem, tmp_path / "serial", SerialEvaluator())
    with scheduler(file) as hub, worker(file):
        wait_for(file.exists)
        address = json.loads(file.read_text())["address"]
        port = int(address.rsplit(":", 1)[1])
        evaluator = DaskEvaluator(1, group=1, cluster=address)
        restarted = []

        def restart() -> None:
            hub.kill()
            hub.wait()
            for make in (lambda: scheduler(again, port), lambda: worker(again)):
                restarted.append(make())
                restarted[-1].__enter__()
                wait_for(again.exists)

        try:
            assert ledger_of(problem, tmp_path / "restarted", Saboteur(evaluator, 3, restart)) == expected
        finally:
            evaluator.close()
            for each in restarted:
                each.__exit__(None, None, None)


class Remote:
    """A task that is done; its result is lost on the way, or never came to be."""

    def __init__(self, status: str, error: Exception | None = None) -> None:
        self.status, self.error = status, error

    def add_done_callback(self, call: Callable[[Remote], None]) -> None:
        call(self)

    def result(self) -> list:
        if self.error is not None:
            raise self.error
        return ["evaluations"]


class Client:
    """Gives these remote tasks one after the other."""

    status, cluster = "running", None

    def __init__(self, *remotes: Remote) -> None:
        self.remotes = list(remotes)

    def submit(self, *arguments, **settings) -> Remote:
        return self.remotes.pop(0)

    def nthreads(self) -> dict:
        return {"worker": 1}

    def close(self, timeout: float) -> None:
        pass


@pytest.mark.parametrize("lost", [Remote("finished", OSError("Stream is closed")), Remote("cancelled")])
def test_a_result_that_is_lost_on_its_way_is_made_again(lost):
    connection = scheduler_connection.SchedulerConnection(Client(lost, Remote("finished")), abs, lambda cluster: None)
    try:
        assert connection.submit(None).result(10) == ["evaluations"]
    finally:
        connection.close()


def test_what_a_dask_worker_cannot_do_is_said():
    broken = Client(Remote("error", OSError("no such library")))
    connection = scheduler_connection.SchedulerConnection(broken, abs, lambda cluster: None)
    try:
        with pytest.raises(ConfigError, match=r"could not run a group \(OSError: no such library\)"):
            connection.submit(None).result(10)
    finally:
        connection.close()


def test_no_scheduler_is_said(bowl, monkeypatch):
    monkeypatch.setattr(dask_evaluator, "CONNECT_LIMIT", 0.5)
    evaluator = DaskEvaluator(1, cluster="tcp://127.0.0.1:9")
    with pytest.raises(SimulationError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        evaluator.submit(bowl, Group([bowl.start], 10, [1]))


def test_a_scheduler_without_workers_is_said(bowl, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler_connection, "NO_WORKERS", 0.1)
    said = []
    monkeypatch.setattr(
        scheduler_connection.warnings, "warn", lambda message, *others, **settings: said.append(message)
    )
    file = tmp_path / "scheduler.json"
    with scheduler(file):
        wait_for(file.exists)
        evaluator = DaskEvaluator(1, cluster=str(file))
        waiting = evaluator.submit(bowl, Group([bowl.start], 10, [1]))
        wait_for(lambda: bool(said))
        evaluator.close()
    assert "has had no worker for" in said[0] and "tcp://127.0.0.1" in said[0]
    assert waiting.cancelled()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2, "cluster": "sge"}, "unknown evaluator.cluster 'sge': known are local, slurm, htcondor"),
        ({"cluster": "slurm"}, "workers must say how many workers cluster=slurm has"),
        ({"workers": 2, "settings": {"jobs": {}}}, "unknown evaluator.settings.jobs: known are job, security"),
        ({"workers": 2, "cluster": "tls://10.0.0.1:8786"}, "needs the certificates in evaluator.settings.security"),
        ({"workers": 2, "memory": 3}, "unknown setting evaluator.memory"),
        ({"workers": 2, "timeout": -1}, "timeout must be a positive number"),
    ],
)  # fmt: skip
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_evaluator(Config.of({"evaluator": {"name": "dask", **settings}}))


def test_a_wrong_security_is_said(bowl):
    evaluator = DaskEvaluator(1, cluster="tcp://127.0.0.1:9", settings={"security": {"certificate": "x"}})
    with pytest.raises(ConfigError, match=r"security=.*certificate"):
        evaluator.submit(bowl, Group([bowl.start], 10, [1]))


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rl_detector\[cluster\]'"):
        DaskEvaluator(1)


CONFS = Path(str(files("rl_detector.conf"))) / "evaluator"

LINES = {
    "slurm": ("#SBATCH -p long", "#SBATCH -t 08:00:00", "#SBATCH --mem=2G"),
    "htcondor": ("MY.DaskWorkerCores = 1", "MY.DaskWorkerMemory = 2000000000", "MY.DaskWorkerDisk = 1000000000"),
    "pbs": ("#PBS -q long", "#PBS -l walltime=08:00:00"),
    "lsf": ("#BSUB -q long", "#BSUB -W 08:00", "#BSUB -n 1"),
}


@pytest.mark.parametrize("name", LINES)
def test_jobs_of_batch_systems_are_as_configured(name, monkeypatch):
    """The shipped settings build a cluster whose scheduler listens on loopback and whose jobs ask for what they say."""
    from distributed import SpecCluster
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(OmegaConf.load(CONFS / f"{name}.yaml"))
    if name != "htcondor":
        config["settings"]["job"]["queue"] = "long"
    with pytest.raises(ConfigError, match=f"cluster={name} needs the command .*, which is not on this computer"):
        build_evaluator(Config.of({"evaluator": config}))
    asked = []
    monkeypatch.setattr(dask_evaluator.shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(SpecCluster, "scale", lambda self, number, **others: asked.append(number))
    evaluator = build_evaluator(Config.of({"evaluator": config}))
    cluster = evaluator._batch_system()
    try:
        script = cluster.job_script()
        assert [line for line in LINES[name] if line not in script] == []
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        assert asked == [8]
    finally:
        cluster.close()


SBATCH = """#!/bin/sh
cp "$1" {jobs}.$$
setsid sh {jobs}.$$ > {jobs}.$$.log 2>&1 &
echo $! >> {jobs}
echo $!
"""


@pytest.mark.slow
def test_a_batch_system_runs_the_simulations(bowl, tmp_path, monkeypatch):
    """A `sbatch` that starts jobs on this computer, with the scheduler on loopback."""
    bin_folder, jobs = tmp_path / "bin", tmp_path / "jobs"
    bin_folder.mkdir()
    for name, text in (("sbatch", SBATCH.format(jobs=jobs)), ("scancel", "#!/bin/sh\nkill -9 -- -$1\n")):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    problem = gentle(bowl)
    job = {"cores": 1, "memory": "1GB"}
    evaluator = DaskEvaluator(2, group=2, cluster="slurm", settings={"job": job})
    try:
        expected = ledger_of(problem, tmp_path / "serial", SerialEvaluator())
        assert ledger_of(problem, tmp_path / "slurm", evaluator) == expected
    finally:
        evaluator.close()
        wait_for(lambda: not any(_alive(int(pid)) for pid in jobs.read_text().split()), 20)
    assert len(jobs.read_text().split()) == 2


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls(bowl, tmp_path, monkeypatch):
    """With a certificate the simulations run; without one nobody is let in."""
    monkeypatch.setattr(dask_evaluator, "CONNECT_LIMIT", 5.0)
    key, certificate, file = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "scheduler.json"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ("--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key))
    shared = ("--scheduler-file", str(file), "--host", "tls://127.0.0.1", "--no-dashboard", *tls)
    with running("scheduler", "--port", "0", *shared), running("worker", "--nthreads", "1", "--no-nanny", *shared):
        wait_for(file.exists)
        address = json.loads(file.read_text())["address"]
        assert address.startswith("tls://127.0.0.1:")
        files = {"tls_ca_file": certificate, "tls_client_cert": certificate, "tls_client_key": key}
        security = {**{name: str(path) for name, path in files.items()}, "require_encryption": True}
        evaluator = DaskEvaluator(1, cluster=address, settings={"security": security})
        found = evaluator.submit(bowl, Group([bowl.start], 10, [1])).result(60)
        evaluator.close()
        assert found == [bowl.evaluate(bowl.start, 10, 1)]
        naked = address.replace("tls://", "tcp://")
        with pytest.raises(SimulationError, match="no dask scheduler answers"):
            DaskEvaluator(1, cluster=naked).submit(bowl, Group([bowl.start], 10, [1]))


def test_a_killed_study_leaves_no_process(tmp_path):
    script = (
        "import time\nfrom rl_detector.envs.oracles.problem import oracle\n"
        "from rl_detector.execution.cluster import DaskEvaluator\nfrom rl_detector.terms import Group\n"
        "p = oracle()\ne = DaskEvaluator(2, group=1)\nlist(e.evaluate(p, Group([p.start] * 4, 1, range(4))))\n"
        "print('ready', flush=True)\ntime.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        simulating = children(parent.pid)
        assert len(simulating) == 2
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in simulating))
