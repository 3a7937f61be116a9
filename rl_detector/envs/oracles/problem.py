"""Oracles as design problems, and their simulator; the card is in the docstring of the package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.envs.oracles.landscapes import Landscape, heteroscedastic, multimodal, quadratic, valley
from rl_detector.envs.oracles.material_landscapes import binary, layers, mixed
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.simulators.batch import FromBatch
from rl_detector.space import Design, DesignSpace, FloatArray, IntArray
from rl_detector.terms import Measurement, Readout

KINDS: dict[str, tuple[Callable[[int, int], Landscape], int, float]] = {
    "quadratic": (quadratic, 20, 0.3),
    "valley": (valley, 6, 0.1),
    "multimodal": (multimodal, 10, 0.2),
    "heteroscedastic": (heteroscedastic, 12, 0.3),
    "mixed": (mixed, 12, 0.3),
    "binary": (binary, 12, 0.3),
    "layers": (layers, 24, 0.2),
}
"""Name of a kind -> its landscape for (dimensions, instance), usual dimensions, usual noise."""


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


@dataclass(frozen=True)
class GainReach:
    """reach = mean gain of the events; its standard error is the known spread of an event over sqrt(events)."""

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout with signals [events, 1] and truth `spread` [events]."""
        gain = float(readout.signals.mean())
        error = float(readout.truth["spread"][0]) / len(readout.signals) ** 0.5
        return Measurement(gain, error, gain, error)


MOST_DIMENSIONS = 2000
"""Dimensions beyond which a rotation takes long to draw."""


def oracle(
    kind: str = "quadratic", dimensions: int | None = None, noise: float | None = None, instance: int = 0
) -> DesignProblem:
    """A problem with a known best design; `rl-detector list oracle` explains the arguments.

    Raises:
        ConfigError: unknown kind, or dimensions, noise or instance that it does not have.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of oracle {kind!r}: known are {', '.join(KINDS)}")
    family, usual_dimensions, usual_noise = KINDS[kind]
    spread = usual_noise if noise is None else noise
    size = usual_dimensions if dimensions is None else dimensions
    _check(instance, spread, size)
    landscape = family(size, instance)
    start = {f"x{i}": 0.5 for i in range(landscape.continuous)}
    choices = {f"m{i}": landscape.names[0] for i in range(landscape.discrete)}
    return DesignProblem(
        name=f"{kind}_{size}",
        space=_space(landscape),
        simulator=OracleSimulator(landscape, spread, f"oracle {kind}, {size} dimensions, instance {instance}"),
        reach=GainReach(),
        baselines={"start": {**start, **choices}},
        metric="gain",
    )


def _check(instance: int, noise: float, dimensions: int) -> None:
    if instance < 0:
        raise ConfigError(f"instance of an oracle must be >= 0, got {instance}")
    if not 0 < noise < np.inf:
        raise ConfigError(f"noise of an oracle must be positive and finite, got {noise}")
    if dimensions > MOST_DIMENSIONS:
        raise ConfigError(f"an oracle has at most {MOST_DIMENSIONS} dimensions, got {dimensions}")


def _space(landscape: Landscape) -> DesignSpace:
    """Coordinates x0, x1, ... in [0, 1] and choices m0, m1, ... between two materials."""
    coordinates = [Continuous(f"x{i}", 0.0, 1.0) for i in range(landscape.continuous)]
    return DesignSpace((*coordinates, *(Categorical(f"m{i}", landscape.names) for i in range(landscape.discrete))))
