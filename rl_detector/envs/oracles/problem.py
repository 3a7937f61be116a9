"""Oracles as design problems; their card is in the docstring of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.oracles.fast import OracleSimulator
from rl_detector.envs.oracles.landscapes import Landscape, heteroscedastic, multimodal, quadratic, valley
from rl_detector.envs.oracles.material_landscapes import binary, layers, mixed
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import DesignSpace
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
