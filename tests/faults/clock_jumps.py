"""`rl-detector` with clocks that jump: python clock_jumps.py FILE SEED, then the words of the command line.

The wall clock jumps in both directions, by up to a year. The monotonic clock, which systems never set back, jumps only
forwards, by up to a day. Every jump is noted in FILE.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import datetime
from pathlib import Path

READINGS_PER_JUMP = {"time": 3, "monotonic": 30}
"""Mean number of readings of a clock between two jumps."""


class Jumping:
    """A clock that jumps.

    Args:
        clock: the true clock.
        rng: decides when the clock jumps, and how far.
        longest: most seconds of a jump forwards, and backwards.
        notes: file with one line per jump.
    """

    def __init__(self, clock, rng: random.Random, longest: tuple[float, float], notes: Path) -> None:
        self.clock, self.rng, self.longest, self.notes = clock, rng, longest, notes
        self.offset = 0.0

    def __call__(self) -> float:
        """Jump at random; return the true time plus all jumps."""
        if self.rng.random() * READINGS_PER_JUMP[self.clock.__name__] < 1:
            forwards, backwards = self.longest
            self.offset += self.rng.uniform(-backwards, forwards)
            with self.notes.open("a") as file:
                file.write(f"{self.clock.__name__} {self.offset}\n")
        return self.clock() + self.offset


class JumpingDate(datetime):
    """Dates by the jumping clock."""

    @classmethod
    def now(cls, tz=None) -> datetime:
        """Return the date by the jumping clock."""
        return datetime.fromtimestamp(time.time(), tz)


def main(notes: str, seed: str, *words: str) -> None:
    """Run the command line with jumping clocks."""
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
