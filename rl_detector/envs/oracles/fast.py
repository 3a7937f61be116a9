"""The simulator of the oracles: gains of a landscape with noise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.envs.oracles.landscapes import Landscape
from rl_detector.simulators.batch import FromBatch
from rl_detector.space import Design, FloatArray, IntArray
from rl_detector.terms import Readout


@dataclass(frozen=True)
class OracleSimulator(FromBatch):
    """Noisy gains of a landscape.

    The noise of an event depends on the seed and on the design, so designs with common events do not share it.

    Attributes:
        landscape: the function of the design.
        noise: standard deviation of one event at the best design, in units of the gain.
        name: what the simulator calls itself.
    """

    landscape: Landscape
    noise: float
    name: str

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs.

        Signals [events, 1] are gains with noise, truth `spread` [events] its sd.
        """
        x, choices = self._numbers(designs)
        spreads = self.noise * self.landscape.spread(x, choices)
        keys = zip(seeds, x, choices, strict=True)
        normal = [_normal(seed, row.tobytes() + chosen.tobytes(), events) for seed, row, chosen in keys]
        signals = self._gain(x, choices)[:, None] + spreads[:, None] * np.array(normal).reshape(-1, events)
        return [
            Readout({"spread": np.full(events, spread)}, row[:, None])
            for spread, row in zip(spreads, signals, strict=True)
        ]

    def truth(self, design: Design) -> float:
        """Gain of a design without noise."""
        return float(self.truths([design])[0])

    def truths(self, designs: Sequence[Design]) -> FloatArray:
        """Gains of many designs without noise, [designs]."""
        return self._gain(*self._numbers(designs))

    def best(self) -> dict[str, Any]:
        """The design with gain 1."""
        x, choices = self.landscape.best
        numbers = {f"x{i}": float(value) for i, value in enumerate(x)}
        return numbers | {f"m{i}": self.landscape.names[k] for i, k in enumerate(choices)}

    def best_assignment(self, design: Design) -> bool:
        """Whether all choices of a design are those of the best design."""
        return bool(np.array_equal(self._numbers([design])[1][0], self.landscape.best[1]))

    def describe(self) -> Mapping[str, str]:
        """Name and noise."""
        return {"simulator": self.name, "noise": f"{self.noise:g} per event"}

    def _gain(self, x: FloatArray, choices: IntArray) -> FloatArray:
        start, best = self.landscape.start_value, self.landscape.best_value
        return (self.landscape.value(x, choices) - start) / (best - start)

    def _numbers(self, designs: Sequence[Design]) -> tuple[FloatArray, IntArray]:
        """Positions [designs, continuous] in [0, 1] and indices of choices [designs, choices]."""
        x = _column("x", self.landscape.continuous, designs).astype(np.float64)
        return x, (_column("m", self.landscape.discrete, designs) == self.landscape.names[1]).astype(np.int64)


def _column(letter: str, number: int, designs: Sequence[Design]) -> NDArray[Any]:
    """The values x0, x1, ... or m0, m1, ... of designs, [designs, number]."""
    if number == 0:
        return np.zeros((len(designs), 0))
    get = itemgetter(*(f"{letter}{i}" for i in range(number)))
    return np.array([get(design) for design in designs]).reshape(len(designs), number)


def _normal(seed: int, design: bytes, events: int) -> FloatArray:
    """Standard normal numbers of a seed and a design, [events]: Philox (Salmon et al. 2011) with both as its key."""
    key = hashlib.blake2b(seed.to_bytes(16, "little") + design, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).standard_normal(events)
