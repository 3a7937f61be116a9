"""Which trial suffers which fault in which attempt: a seeded function, and a folder that remembers what was injected.

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
        kind: what happens.
        trial: seed of the trial, as the simulator sees it.
        attempt: counts the faults of this trial from 0.
        time: on the monotonic clock, which all processes of a computer share.
    """

    kind: str
    trial: int
    attempt: int
    time: float


class Plan(NamedTuple):
    """A seeded function of (trial, attempt).

    Attributes:
        folder: where the faults are noted, one file each.
        seed: of the plan.
        share: of the trials that have a fault.
        lasting: share of those that have it in every attempt; the others only in their first.
        kinds: what may happen.
    """

    folder: str
    seed: int
    share: float
    lasting: float
    kinds: tuple[str, ...]

    def numbers(self, trial: int) -> list[float]:
        """Three numbers from 0 to below 1 that belong to a trial."""
        digest = hashlib.blake2b(f"{self.seed}/{trial}".encode(), digest_size=24).digest()
        return [int.from_bytes(digest[first : first + 8], "little") / 2**64 for first in (0, 8, 16)]

    def fails_always(self, trial: int) -> bool:
        """Whether no attempt can succeed."""
        any_fault, how_long, which = self.numbers(trial)
        slow = self.kinds[int(which * len(self.kinds))].endswith("slow") if self.kinds else True
        return any_fault < self.share and how_long < self.lasting and not slow

    def kind(self, trial: int, attempt: int) -> str | None:
        """What happens; None: nothing."""
        any_fault, _, which = self.numbers(trial)
        if any_fault >= self.share or (attempt > 0 and not self.fails_always(trial)):
            return None
        return self.kinds[int(which * len(self.kinds))]

    def next(self, trial: int) -> str | None:
        """What happens now; it is noted before it happens."""
        attempt = len(list(Path(self.folder).glob(f"{trial}.*")))
        kind = self.kind(trial, attempt)
        if kind is not None:
            path = Path(self.folder) / f".{os.getpid()}.new"
            path.write_text(json.dumps(Fault(kind, trial, attempt, time.monotonic())))
            path.rename(Path(self.folder) / f"{trial}.{attempt}")
        return kind

    def injected(self) -> list[Fault]:
        """All faults so far."""
        return [Fault(*json.loads(path.read_text())) for path in Path(self.folder).glob("[0-9]*")]
