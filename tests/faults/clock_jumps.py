"""`rl-detector` with clocks that jump: CLOCK_JUMPS=FILE SEED, then the words of the command line.

The wall clock jumps in both directions, by up to a year; the monotonic clock, which systems never set back, only
forwards. Every jump is noted in the file.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import datetime
from pathlib import Path

EVERY = {"time": 3, "monotonic": 30}
"""A clock jumps about every so many looks at it."""


class Jumping:
    """A clock that jumps.

    Args:
        clock: the true one.
        rng: decides when and how far.
        longest: seconds of a jump forwards, and backwards.
        notes: file with one line per jump.
    """

    def __init__(self, clock, rng: random.Random, longest: tuple[float, float], notes: Path) -> None:
        self.clock, self.rng, self.longest, self.notes = clock, rng, longest, notes
        self.offset = 0.0

    def __call__(self) -> float:
        """The time, jumped or not."""
        if self.rng.random() * EVERY[self.clock.__name__] < 1:
            forwards, backwards = self.longest
            self.offset += self.rng.uniform(-backwards, forwards)
            with self.notes.open("a") as file:
                file.write(f"{self.clock.__name__} {self.offset}\n")
        return self.clock() + self.offset


class JumpingDate(datetime):
    """Dates by the jumping clock."""

    @classmethod
    def now(cls, tz=None) -> datetime:
        """The date."""
        return datetime.fromtimestamp(time.time(), tz)


def main(notes: str, seed: str, *words: str) -> None:
    """Run the command line."""
    from rl_detector import cli  # first, so that threading and queue keep the true clock
    from rl_detector.records import run_folder as runs
    from rl_detector.running import launch

    rng = random.Random(int(seed))
    year, day = 3.2e7, 86400.0
    time.time = Jumping(time.time, rng, (year, year), Path(notes))
    time.monotonic = Jumping(time.monotonic, rng, (day, 0.0), Path(notes))
    for module in (runs, launch):
        module.datetime = JumpingDate
    cli.main(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
