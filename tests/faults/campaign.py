"""Faults injected on purpose: `make faults` writes results.json and results.md beside this file.

    python tests/faults/campaign.py [--seed N] [--out FOLDER] [--only PART ...]

Each part runs studies or `rl-detector` processes with and without faults, and compares their ledgers. Trials that can
succeed must be equal in every reproducible column. Trials that cannot must state both reasons. A part takes minutes and
ends every process that it has started.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import faulty_studies as studies
from fault_table import Table, write
from faulty_files import damage_all
from faulty_oracle import ENDS, LOST_TIME, SPOILS
from faulty_program import KINDS
from faulty_runs import (
    LOCAL,
    SERIAL,
    Chain,
    can_mount,
    end_all_with,
    end_with,
    fill_disk,
    jump,
    other_evaluator,
    other_place,
    other_times,
    pause,
    reproducible,
    run_chain,
)
from faulty_services import SERVERS, harm_cluster, kill_tracking, lose_tracking

TERM, INT, KILL = 15, 2, 9
TRIALS = 1600
WAITLESS = ("asynchronous=true",)
CRASHES = [kind for kind in (*ENDS, *SPOILS) if kind not in LOST_TIME]


@dataclass
class Campaign:
    """A campaign of faults, in parts.

    Attributes:
        folder: folder of all files that are written.
        seed: decides which fault each trial suffers, and when processes are killed.
        table: counts of the faults and their outcomes.
        hangs: number of reactions after the time limit, and of processes that did not end.
    """

    folder: Path
    seed: int
    table: Table = field(default_factory=Table)
    hangs: int = 0

    def plan(self, name: str, share: float, lasting: float, kinds: Any) -> tuple[Path, Any]:
        """Make a folder and a plan of faults."""
        place = self.folder / name
        return place, studies.with_faults(place, self.seed, share, lasting, kinds)

    def crashes(self) -> None:
        """Let simulations crash or return nonsense in worker processes; about a third of them in every attempt."""
        place, plan = self.plan("crashes", 0.4, 0.3, CRASHES)
        study = studies.faulty_oracle(place, plan, "worker process", 4 * 10.0 + 3)
        self.hangs += study.run(self.table, studies.watched("local", 4, 10.0, 2500), "random_search", 8)

    def hanging(self) -> None:
        """Let simulations run forever."""
        place, plan = self.plan("hanging", 0.25, 0.3, LOST_TIME)
        study = studies.faulty_oracle(place, plan, "worker process", 2 * 1.5 + 3)
        self.hangs += study.run(self.table, studies.watched("local", 2, 1.5, None), "random_search", 6)

    def learning(self) -> None:
        """Let simulations fail for an agent that learns from every result; it must not notice any fault."""
        place, plan = self.plan("learning", 0.35, 0.0, CRASHES)
        study = studies.faulty_oracle(place, plan, "worker process, agent that learns", 4 * 10.0 + 3)
        self.hangs += study.run(self.table, studies.watched("local", 4, 10.0, 2500), "reinforce", 8)

    def batches(self) -> None:
        """Let a simulator of many designs at once return nonsense for some of them."""
        place, plan = self.plan("batches", 0.3, 0.3, ["exception", "segmentation fault", *SPOILS])
        study = studies.faulty_oracle(place, plan, "simulator of batches", 8 * 10.0 + 3, batches=True)
        self.hangs += study.run(self.table, studies.watched("local", 8, 10.0, None), "random_search", 4)

    def through_dask(self) -> None:
        """Let simulations crash, hang or return nonsense in workers of dask."""
        place, plan = self.plan("dask", 0.3, 0.3, [*ENDS, *SPOILS])
        study = studies.faulty_oracle(place, plan, "dask", 4 * 1.5 + 3)
        self.hangs += study.run(self.table, studies.watched("dask", 4, 1.5, 2500), "random_search", 6)

    def programs(self) -> None:
        """Let a user's program fail as the simulator."""
        place, plan = self.plan("programs", 0.4, 0.3, KINDS)
        study = studies.faulty_program(place, plan, "simulator=command", 2.0, 4 * 2.0 + 3)
        self.hangs += study.run(self.table, studies.watched("local", 4, 60.0, None), "random_search", 8)

    def files(self) -> None:
        """Damage run folders."""
        damage_all(self.table, self.folder / "files", self.seed, 6)

    def cluster(self) -> None:
        """Kill workers and schedulers of dask."""
        harm_cluster(self.table, self.folder / "cluster", self.seed, 3)

    def processes(self) -> None:
        """Kill, end, pause, move and resume `rl-detector`; break servers of Weights & Biases; fill disks."""
        expected = self._undisturbed("undisturbed")
        waiting = self._undisturbed("asynchronous", WAITLESS)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(job) for job in (*self._chains(expected, waiting), *self._others(expected))]
            self.hangs += sum(job.result() or 0 for job in jobs)

    def _undisturbed(self, name: str, words: tuple[str, ...] = ()) -> list[Any]:
        chain = Chain(self.folder / name, TRIALS, random.Random(0), words, evaluator=dict(SERIAL))
        code, said = chain.finish()
        if code != 0:
            raise SystemExit(f"the training without faults ended with {code}: {said}")
        return reproducible(chain.ledger)

    def _chains(self, expected: list[Any], waiting: list[Any]) -> list[Callable[[], int]]:
        """Return one job per kind of disturbance: a run that is disturbed several times, then finished.

        The first disturbance comes some seconds after the start, later ones after random numbers of trials.
        """
        cases: list[tuple[str, Any, int, Any, dict[str, Any]]] = [
            ("study killed (SIGKILL)", end_with(KILL), 9, None, {}),
            ("study killed, other evaluator and workers", end_with(KILL), 9, other_evaluator, {}),
            ("study killed, folder moved", end_with(KILL), 6, other_place, {"evaluator": dict(SERIAL)}),
            ("study killed, files of the past and the future", end_with(KILL), 5, other_times, {}),
            ("study and its workers killed", end_all_with(KILL), 5, None, {}),
            ("asynchronous study killed", end_with(KILL), 6, None, {"evaluator": dict(SERIAL), "words": WAITLESS}),
            ("SIGTERM to the study", end_with(TERM), 6, None, {}),
            ("SIGTERM to all processes (batch system)", end_all_with(TERM), 6, other_evaluator, {}),
            ("Ctrl-C (SIGINT)", end_with(INT), 6, None, {}),
        ]  # fmt: skip
        jobs = []
        for number, (name, send, times, between, settings) in enumerate(cases):
            rng = random.Random(f"{self.seed}/{name}")
            chain = Chain(self.folder / f"chain{number}", TRIALS, rng, **settings)
            at = [-rng.uniform(0.2, 4.0), *sorted(rng.uniform(1, 0.95 * TRIALS) for _ in range(times - 1))]
            right = waiting if "asynchronous" in name else expected
            jobs.append(lambda c=chain, n=name, s=send, t=at, r=right, b=between: self._chain(c, n, s, t, r, b))
        return jobs  # type: ignore[return-value]

    def _chain(self, chain: Chain, name: str, send: Any, times: list[float], expected: Any, between: Any) -> int:
        options = {} if between is None else {"between": between}
        run_chain(self.table, chain, name, send, times, expected, **options)
        return chain.hung

    def _others(self, expected: list[Any]) -> list[Callable[[], Any]]:
        place, table = self.folder, self.table
        jobs: list[Callable[[], Any]] = [
            lambda: lose_tracking(table, place / "wandb", TRIALS, expected, list(SERVERS)),
            *(lambda s=s: kill_tracking(table, place / f"wandb{s}", TRIALS, expected, s) for s in (0.1, 0.4, 0.8)),  # type: ignore[misc]
        ]
        if can_mount():
            rng = random.Random(self.seed)
            sizes = [rng.randrange(60, 1000) for _ in range(6)]
            jobs += [lambda s=s: fill_disk(table, place / f"full{s}", TRIALS, s, expected) for s in sizes]  # type: ignore[misc]
        for everyone, name in ((False, "study paused (SIGSTOP)"), (True, "study and workers paused")):
            chain = Chain(place / f"paused{everyone}", TRIALS, random.Random(0), evaluator={**LOCAL, "timeout": 1.0})
            jobs.append(lambda c=chain, n=name, e=everyone: self._pause(c, n, expected, e))  # type: ignore[misc]
        for number in range(3):
            notes = place / f"jumping{number}.jumps"
            command = (sys.executable, str(studies.HERE / "clock_jumps.py"), str(notes), str(self.seed + number))
            chain = Chain(place / f"jumping{number}", TRIALS, random.Random(0), command=command)
            jobs.append(lambda c=chain: jump(table, c, expected))  # type: ignore[misc]
        return jobs

    def _pause(self, chain: Chain, name: str, expected: list[Any], everyone: bool) -> int:
        pause(self.table, chain, name, 5, expected, everyone)
        return chain.hung


PARTS = ("crashes", "hanging", "learning", "batches", "through_dask", "programs", "files", "cluster", "processes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"  # in workers, too
    for name in ("distributed", "distributed.client", "distributed.batched", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        campaign = Campaign(Path(place), options.seed)
        for part in options.only:
            campaign.table, campaign.hangs, started = Table(), 0, time.monotonic()
            getattr(campaign, part)()
            facts = {
                "seed": options.seed, "hangs": campaign.hangs, "seconds": round(time.monotonic() - started),
                "load": round(os.getloadavg()[1], 1),
            }  # fmt: skip
            totals = write(options.out, part, facts, campaign.table.to_json())
            print(f"{part}: {campaign.table.injected} faults, {campaign.table.lost} lost, {facts}", flush=True)
    sys.exit(bool(totals["lost"] or totals["hangs"]))


if __name__ == "__main__":
    main()
