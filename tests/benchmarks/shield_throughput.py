"""Muons per second and core through the published muon shield, from the target to the sensitive plane.

python tests/benchmarks/shield_throughput.py

Processor time, so that other programs on the machine matter little. Muons of 60 GeV cross all magnets; those of the
table include soft ones that stop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from rl_detector.envs.muon_shield.fast import ShieldSimulator
from rl_detector.envs.muon_shield.layout import published, space
from rl_detector.envs.muon_shield.source import Primaries, PythiaSource

EVENTS, REPEATS = 20_000, 7
DISTANCE = 5000.0


@dataclass(frozen=True)
class Beam:
    """Muons of one momentum along the axis."""

    momentum: float

    def sample(self, events: int, rng: np.random.Generator) -> Primaries:
        momentum = np.zeros((3, events))
        momentum[2] = self.momentum
        charge = np.where(rng.random(events) < 0.5, -1.0, 1.0)
        return Primaries(rng.normal(0, 10, (2, events)), momentum, charge, np.ones(events))

    def describe(self) -> str:
        return f"{self.momentum:g} GeV"


def rate(simulator: ShieldSimulator, designs: int) -> float:
    """Median of muons per second."""
    rng = np.random.default_rng(0)
    layouts = [published(), *(space().sample(rng) for _ in range(designs - 1))]
    events, seconds = EVENTS // designs, []
    simulator.simulate_batch(layouts, events, [0] * designs)
    for seed in range(1, REPEATS + 1):
        started = time.process_time()
        found = simulator.simulate_batch(layouts, events, [seed] * designs)
        seconds.append(time.process_time() - started)
    through = np.mean([(readout.signals[:, 2] > 0).mean() for readout in found])
    print(f"{simulator.source.describe()}, {designs} designs: {events * designs / median(seconds):,.0f} per second, "
          f"{through:.0%} arrive")  # fmt: skip
    return events * designs / median(seconds)


def main() -> None:
    for designs in (1, 40):
        rate(ShieldSimulator(Beam(60.0), DISTANCE), designs)
        rate(ShieldSimulator(PythiaSource(), DISTANCE), designs)


if __name__ == "__main__":
    main()
