"""Simulations on a cluster through dask: SLURM, HTCondor, PBS, LSF, or any running dask scheduler.

Dask distributes the groups and deals with nodes that vanish. Each dask worker simulates in a separate process, which
handles crashes, hangs and memory limits (see worker_processes). This is the only module that imports dask; it needs
the extra `cluster`.
"""

from __future__ import annotations

import ipaddress
import logging
import shutil
import sys
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rl_detector.errors import ConfigError, DetectorError, MissingDependency, SimulationError
from rl_detector.execution.evaluator import Evaluations, ParallelEvaluator, WorkerLost
from rl_detector.execution.local import available_cores, check_limits
from rl_detector.execution.parcel import Parcel
from rl_detector.execution.scheduler_connection import SchedulerConnection, Task
from rl_detector.execution.worker_processes import WorkerProcesses
from rl_detector.safety.safe_path import FLAG, named_folders
from rl_detector.terms import Group

BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "htcondor": "HTCondorCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
}
"""Batch system -> class of dask-jobqueue that submits to it."""


LOOPBACK = "127.0.0.1"
"""Address that only this computer reaches."""


CONNECT_LIMIT = 30.0
"""Seconds in which a scheduler must answer, at the start and after a lost connection."""


class DaskEvaluator(ParallelEvaluator):
    """Sends groups to a dask scheduler, in any order of completion; the cluster starts with the first group.

    Args:
        workers: groups that run at once, and workers of a cluster that this evaluator starts. None: one per core of
            this computer (cluster=local only).
        group: designs per task at most.
        timeout: seconds per design after which its process is ended; None: no limit.
        memory_mb: address space of each simulating process in MB; None: no limit.
        cluster: local, slurm, htcondor, pbs, lsf, the address of a scheduler (tcp://..., tls://...), or its file.
        listen: address or network interface where the scheduler of a batch system listens. Loopback serves only jobs
            on this computer; other nodes need an address that they can reach. Use a private network or `security`:
            anybody who can connect to a scheduler without TLS can run programs as you.
        settings: job, for dask-jobqueue (queue, walltime, cores, memory, ...); security, TLS for dask's Security
            (tls_ca_file, tls_client_cert, tls_client_key, tls_scheduler_cert, ..., require_encryption: true).
    """

    def __init__(
        self,
        workers: int | None = None,
        group: int = 64,
        timeout: float | None = None,
        memory_mb: int | None = None,
        cluster: str = "local",
        listen: str = LOOPBACK,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if workers is None and cluster != "local":
            raise ConfigError(f"evaluator.workers must say how many workers cluster={cluster} has, got null")
        super().__init__(available_cores() if workers is None else workers, group)
        check_limits(timeout, memory_mb)
        _require(cluster)
        self.cluster, self.listen, self.settings = cluster, listen, dict(settings or {})
        if unknown := self.settings.keys() - {"job", "security"}:
            raise ConfigError(f"unknown evaluator.settings.{min(unknown)}: known are job, security")
        if cluster.startswith("tls://") and not self.settings.get("security"):
            raise ConfigError(f"evaluator.cluster={cluster} needs the certificates in evaluator.settings.security")
        self._limits = timeout, memory_mb
        self._connection: SchedulerConnection | None = None
        self._finalizer: Any = None

    def start(self, parcel: Parcel, group: Group) -> Future[Evaluations]:
        """Send one group to the scheduler."""
        if self._connection is None:
            self._connection = SchedulerConnection(self._client(), run_task, _end_processes_of)
            self._finalizer = weakref.finalize(self, self._connection.close)
        return self._connection.submit(Task(self._limits, parcel, group, tuple(named_folders())))

    def close(self) -> None:
        """Leave the scheduler; a cluster that was started here ends."""
        if self._finalizer is not None:
            self._finalizer()
        self._connection = self._finalizer = None

    def _client(self) -> Any:
        from distributed import Client

        where, security = self._cluster_or_address(), self._security()
        try:
            return Client(  # type: ignore[no-untyped-call]
                **where, security=security, timeout=CONNECT_LIMIT, set_as_default=False, name="rl_detector"
            )
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise SimulationError(
                f"no dask scheduler answers at {self.cluster} ({type(error).__name__}: {error}). Start it, or correct "
                "evaluator.cluster."
            ) from error

    def _cluster_or_address(self) -> dict[str, Any]:
        """Arguments of a client: the cluster, started here, or where the scheduler is."""
        if self.cluster == "local":
            return {"address": self._local()}
        if self.cluster in BATCH_SYSTEMS:
            return {"address": self._batch_system()}
        return {"scheduler_file" if _is_file(self.cluster) else "address": self.cluster}

    def _local(self) -> Any:
        """Scheduler and workers in this process, without any port; only the simulations have processes."""
        from distributed import LocalCluster

        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=self.workers, threads_per_worker=1, processes=False, protocol="inproc://", memory_limit=0,
            dashboard_address=f"{LOOPBACK}:0", silence_logs=logging.ERROR,
        )  # fmt: skip

    def _batch_system(self) -> Any:
        import dask_jobqueue

        job = {name: value for name, value in self.settings.get("job", {}).items() if value is not None}
        job.setdefault("processes", job.get("cores", 1))
        job["python"] = f"{job.get('python', sys.executable)} {FLAG}"  # jobs start in the folder of this process
        options = {"dashboard_address": f"{LOOPBACK}:0", **_listening(self.listen), **job.pop("scheduler_options", {})}
        start, security = getattr(dask_jobqueue, BATCH_SYSTEMS[self.cluster]), self._security()
        try:
            cluster = start(scheduler_options=options, security=security, **job)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise ConfigError(
                f"dask-jobqueue cannot start a {self.cluster} cluster with evaluator.settings.job={job} and "
                f"evaluator.listen={self.listen}: {error}"
            ) from error
        cluster.scale(self.workers)
        return cluster

    def _security(self) -> Any:
        from distributed.security import Security

        chosen = self.settings.get("security")
        if not chosen:
            return None
        try:
            return Security(**chosen)  # type: ignore[no-untyped-call]
        except (TypeError, ValueError, OSError) as error:
            raise ConfigError(f"evaluator.settings.security={dict(chosen)}: {error}") from error


_processes: dict[tuple[Any, ...], WorkerProcesses] = {}
"""Simulating processes of the dask workers in this process, by address of the worker, limits and folders."""


_starting = threading.Lock()


def run_task(task: Task) -> Evaluations | Exception:
    """Evaluate a group in a separate process of a dask worker, which keeps the process for its next group.

    Returns expected errors instead of raising them, because dask prints a traceback for every error.
    """
    from distributed import get_worker

    worker = get_worker()
    key = (worker.address, *task.limits, task.folders)
    with _starting:
        if key not in _processes:
            _processes[key] = WorkerProcesses(worker.state.nthreads, *task.limits, task.folders)
    try:
        return _processes[key].submit(task.parcel, task.group).result()
    except (WorkerLost, DetectorError) as error:
        return error


def _end_processes_of(cluster: Any) -> None:
    """End the simulating processes of a local cluster, whose dask workers live in this process."""
    workers = [getattr(worker, "address", None) for worker in getattr(cluster, "workers", {}).values()]
    with _starting:
        ended = [_processes.pop(key) for key in list(_processes) if key[0] in workers]
    for processes in ended:
        processes.stop()


def _is_file(cluster: str) -> bool:
    return cluster.endswith(".json") or Path(cluster).is_file()


def _listening(listen: str) -> dict[str, str]:
    """Options of a scheduler that listens at an address, or else at a network interface."""
    try:
        ipaddress.ip_address(listen)
    except ValueError:
        return {"interface": listen}
    return {"host": listen}


def _require(cluster: str) -> None:
    """Raise ConfigError for unknown clusters and MissingDependency without the extra."""
    known = "://" in cluster or _is_file(cluster) or cluster in ("local", *BATCH_SYSTEMS)
    if not known:
        names = ", ".join(("local", *BATCH_SYSTEMS))
        raise ConfigError(
            f"unknown evaluator.cluster {cluster!r}: known are {names}, the address of a scheduler such as "
            "tcp://10.0.0.1:8786, or its scheduler file"
        )
    try:
        import distributed  # noqa: F401

        if cluster in BATCH_SYSTEMS:
            import dask_jobqueue

            command: str = getattr(dask_jobqueue, BATCH_SYSTEMS[cluster]).job_cls.submit_command.split()[0]
            if shutil.which(command) is None:
                raise ConfigError(
                    f"evaluator.cluster={cluster} needs the command {command}, which is not on this computer"
                )
    except ImportError as error:
        raise MissingDependency(
            f"evaluator=dask with cluster={cluster} needs dask: pip install 'rl_detector[cluster]' ({error})"
        ) from error
