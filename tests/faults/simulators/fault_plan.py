"""Plan of faults: a seeded function of trial and attempt, and a folder that records the injected faults.

Only the standard library, so that a faulty program starts quickly.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """A fault that is about to happen.

    Attributes:
        kind: kind of the fault.
        trial: seed of the trial, as the simulator sees it.
        attempt: number of earlier faults of this trial.
        time: seconds on the monotonic clock, which all processes of a computer share.
    """

    kind: str
    trial: int
    attempt: int
    time: float


class Plan(NamedTuple):
    """A seeded function of (trial, attempt).

    Attributes:
        folder: folder that records the faults, one file each.
        seed: seed of the plan.
        share: share of the trials that have a fault.
        lasting: share of these trials that have it in every attempt; the others have it only in the first.
        kinds: kinds of faults.
    """

    folder: str
    seed: int
    share: float
    lasting: float
    kinds: tuple[str, ...]

    def numbers(self, trial: int) -> list[float]:
        """Derive three numbers in [0, 1) from a trial."""
        digest = hashlib.blake2b(f"{self.seed}/{trial}".encode(), digest_size=24).digest()
        return [int.from_bytes(digest[first : first + 8], "little") / 2**64 for first in (0, 8, 16)]

    def fails_always(self, trial: int) -> bool:
        """Return whether no attempt of a trial can succeed."""
        any_fault, how_long, which = self.numbers(trial)
        slow = self.kinds[int(which * len(self.kinds))].endswith("slow") if self.kinds else True
        return any_fault < self.share and how_long < self.lasting and not slow

    def kind(self, trial: int, attempt: int) -> str | None:
        """Return the kind of fault in an attempt of a trial; None for no fault."""
        any_fault, _, which = self.numbers(trial)
        if any_fault >= self.share or (attempt > 0 and not self.fails_always(trial)):
            return None
        return self.kinds[int(which * len(self.kinds))]

    def next(self, trial: int) -> str | None:
        """Return the kind of fault in the next attempt, and record it before it happens."""
        attempt = len(list(Path(self.folder).glob(f"{trial}.*")))
        kind = self.kind(trial, attempt)
        if kind is not None:
            path = Path(self.folder) / f".{os.getpid()}.new"
            path.write_text(json.dumps(Fault(kind, trial, attempt, time.monotonic())))
            path.rename(Path(self.folder) / f"{trial}.{attempt}")
        return kind

    def injected(self) -> list[Fault]:
        """Return all faults that were recorded so far."""
        return [Fault(*json.loads(path.read_text())) for path in Path(self.folder).glob("[0-9]*")]
