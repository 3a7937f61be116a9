"""Services that a study may lose: workers and scheduler of a dask cluster, and the server of Weights & Biases."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fault_table import Table
from faulty_runs import LIMIT, SERIAL, Chain, alive, count, descendants, reproducible, wait_until
from faulty_studies import HERE, FaultyOracle, Rows, rows_of, with_faults

from rl_detector.envs.oracles.problem import oracle
from rl_detector.errors import SimulationError
from rl_detector.execution import cluster as dask_evaluator
from rl_detector.execution.cluster import DaskEvaluator
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import DesignProblem

BATCHES = 6


class Cluster:
    """A dask scheduler and two workers as processes of this computer, on loopback.

    Args:
        folder: folder of the scheduler file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.file = folder / "scheduler.json"
        self.hub = self._scheduler(0)
        wait_until(self.file.exists, 60)
        self.address = json.loads(self.file.read_text())["address"]
        self.workers = [self._worker(), self._worker()]

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(HERE / "simulators"), str(HERE)])
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard", "--host", "127.0.0.1"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **quiet)

    def _scheduler(self, port: int) -> subprocess.Popen[bytes]:
        return self._run("scheduler", "--port", str(port), "--scheduler-file", str(self.file))

    def _worker(self) -> subprocess.Popen[bytes]:
        return self._run("worker", self.address, "--nthreads", "1", "--no-nanny", "--death-timeout", "30")

    def kill_worker(self) -> None:
        """Kill one worker, and start a new one."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()
        self.workers.append(self._worker())

    def kill_simulation(self) -> None:
        """Kill the process that simulates for a worker."""
        for pid in descendants(self.workers[0].pid):
            os.kill(pid, signal.SIGKILL)

    def terminate_worker(self) -> None:
        """End a worker with SIGTERM, as batch systems do, and start a new one."""
        self.workers[0].terminate()
        self.workers.append(self._worker())
        self.workers.pop(0).wait(60)

    def restart_scheduler(self) -> None:
        """Kill the scheduler, and start it again at its address with new workers."""
        self.hub.kill()
        self.hub.wait()
        self.hub = self._scheduler(int(self.address.rsplit(":", 1)[1]))
        self.workers += [self._worker(), self._worker()]

    def kill_scheduler(self) -> None:
        """Kill the scheduler."""
        self.hub.kill()
        self.hub.wait()

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.hub):
            process.kill()
            process.wait()


HARMS: dict[str, Callable[[Cluster], None]] = {
    "dask worker killed": Cluster.kill_worker,
    "dask worker terminated": Cluster.terminate_worker,
    "simulating process of a dask worker killed": Cluster.kill_simulation,
    "dask scheduler killed and restarted": Cluster.restart_scheduler,
    "dask scheduler killed for good": Cluster.kill_scheduler,
}


class Saboteur:
    """An evaluator that harms its cluster repeatedly, each time after some groups.

    Args:
        evaluator: evaluator on the dask cluster.
        after: numbers of groups before each harm.
        harm: function that harms the cluster.
    """

    def __init__(self, evaluator: DaskEvaluator, after: Sequence[int], harm: Callable[[], None]) -> None:
        self.evaluator, self.left, self.harm, self.done = evaluator, list(after), harm, list[float]()
        self.workers, self.close, self.submit = evaluator.workers, evaluator.close, evaluator.submit

    def evaluate(self, *arguments: Any) -> Iterator[Any]:
        """Yield groups in order, and harm the cluster in between."""
        for group in self.evaluator.evaluate(*arguments):
            if self.left:
                self.left[0] -= 1
                if self.left[0] <= 0:
                    self.left.pop(0)
                    self.done.append(time.monotonic())
                    self.harm()
            yield group


def harm_cluster(table: Table, folder: Path, seed: int, times: int) -> None:
    """Do every harm several times: those to workers within one study, those to the scheduler once per study."""
    base = oracle("mixed")
    problem = replace(base, simulator=FaultyOracle(base.simulator, with_faults(folder, 0, 0.0, 0.0, ()), 0.02))
    expected = rows_of(base, folder / "honest", SerialEvaluator(), "reinforce", BATCHES)
    dask_evaluator.CONNECT_LIMIT = 5.0
    for name, harm in HARMS.items():
        rng = random.Random(f"{seed}/{name}")
        number = 1 if harm in (Cluster.kill_scheduler, Cluster.restart_scheduler) else times
        for each in range(times // number):
            place = folder / f"{name} {each}"
            with closing(Cluster(place)) as cluster, closing(DaskEvaluator(2, 2, 20.0, None, cluster.address)) as e:
                after = [rng.randrange(4, 80 // number) for _ in range(number)]
                saboteur = Saboteur(e, after, lambda harm=harm, cluster=cluster: harm(cluster))  # type: ignore[misc]
                _study_through(table, place / "run", problem, (name, saboteur, expected))


def _study_through(table: Table, folder: Path, problem: DesignProblem, case: tuple[str, Saboteur, Rows]) -> None:
    name, saboteur, expected = case
    happened, said, noticed = "went on", "", None
    try:
        found = rows_of(problem, folder, saboteur, "reinforce", BATCHES)
    except SimulationError as error:
        noticed = time.monotonic() - saboteur.done[-1]
        happened, said = "stopped in words, resumed with evaluator=serial", str(error)
        found = rows_of(problem, folder, SerialEvaluator(4), "reinforce", BATCHES)
    lost = sum(found.get(number) != row for number, row in expected.items())
    for each in range(len(saboteur.done)):
        table.note(name, "dask cluster", happened, lost=0 if each else lost, said=said, noticed=noticed)


class _Answer(BaseHTTPRequestHandler):
    """Gives every request one answer."""

    code = 500
    body = b'{"errors": [{"message": "no"}]}'

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@contextmanager
def answering(code: int, body: bytes = _Answer.body) -> Iterator[str]:
    """Run a server that gives every request this answer; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"code": code, "body": body}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """Run a server that accepts connections and sends nothing; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def hanging_up() -> Iterator[str]:
    """Run a server that closes every connection at once; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def nobody(address: str) -> Iterator[str]:
    """Yield an address at which there is no server."""
    yield address


SERVERS: dict[str, Callable[[], Any]] = {
    "W&B refuses connections": lambda: nobody("http://127.0.0.1:9"),
    "W&B has no address": lambda: nobody("http://no-such-host.invalid"),
    "W&B answers 401": lambda: answering(401),
    "W&B answers 403": lambda: answering(403),
    "W&B answers 500": lambda: answering(500),
    "W&B answers garbage": lambda: answering(200, b"<html>please log in to the hotel network</html>"),
    "W&B accepts and is silent": silent,
    "W&B hangs up": hanging_up,
}


def lose_tracking(table: Table, folder: Path, trials: int, expected: list[Any], names: Sequence[str]) -> int:
    """Run a training with each of the servers; return the number of hangs."""
    hung = 0
    for number, name in enumerate(names):
        with SERVERS[name]() as address:
            chain = _tracked(folder / str(number), trials, {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40})
            process = chain.start()
            ending = threading.Timer(LIMIT, process.kill)
            ending.start()
            said = [(time.monotonic(), line) for line in process.stderr or ()]
            hung += process.wait() == -signal.SIGKILL
            ending.cancel()
            process.communicate()
        started = next((moment for moment, line in said if line.startswith("run folder")), 0.0)
        told = [(moment - started, line) for moment, line in said if "Weights" in line]
        same = process.returncode == 0 and reproducible(chain.ledger) == expected
        happened = f"went on{', tracked offline' if told else ''}" if same else f"exit code {process.returncode}"
        noticed, message = told[0] if told else (None, said[-1][1] if said else "")
        table.note(name, "rl-detector train", happened, lost=int(not same), said=message, noticed=noticed)
    return hung


def _tracked(folder: Path, trials: int, variables: dict[str, str]) -> Chain:
    places = {f"WANDB_{name}_DIR": str(folder / name) for name in ("DATA", "CACHE", "CONFIG")}
    environment = {**places, "HOME": str(folder), **variables}
    words = ("tracker=wandb", "tracker.init_timeout=3")
    return Chain(folder / "runs", trials, random.Random(0), words, environment=environment, evaluator=dict(SERIAL))


def kill_tracking(table: Table, folder: Path, trials: int, expected: list[Any], share: float) -> int:
    """Kill the process of Weights & Biases in the middle of a run; return 1 if the run hangs, else 0."""
    chain = _tracked(folder, trials, {"WANDB_MODE": "offline"})
    process = chain.start()
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.communicate()[1].splitlines()))
    reader.start()
    wait_until(lambda: process.poll() is not None or count(chain.ledger) >= share * trials, 120)
    killed = [pid for pid in descendants(process.pid) if alive(pid)]
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    reader.join(120)
    hung = reader.is_alive()
    if hung:
        process.kill()
        reader.join()
    same = process.returncode == 0 and reproducible(chain.ledger) == expected
    said = "; ".join(line for line in lines if "Weights" in line) or "; ".join(lines[-2:])
    if killed:
        happened = "went on without tracking" if same else f"exit code {process.returncode}"
        table.note("W&B process killed", "rl-detector train", happened, lost=int(not same), said=said)
    return int(hung)
