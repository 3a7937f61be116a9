"""Whether the stated errors of a problem are true: repeated simulations of some designs against many events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.checks.agents import require
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.reach.paired import difference, measurement_of
from rl_detector.space import Design, FloatArray


@dataclass(frozen=True)
class ErrorBars:
    """What repeated simulations of one design say about its stated errors.

    Attributes:
        name: of the design.
        events, repeats: simulated events of each repeat, and the number of repeats.
        reach, reach_error: of many events, and its error; the truth that the repeats are compared with.
        spread: standard deviation of the reach between repeats.
        stated: root mean square of the stated errors over the spread; 1 is right.
        bias: mean reach minus the truth, in root mean square stated errors.
        coverage: share of the repeats whose stated error covers the truth; 0.683 is right for a normal distribution.
        paired: as `stated`, of the difference from the first design on the same events; None for the first design.
    """

    name: str
    events: int
    repeats: int
    reach: float
    reach_error: float
    spread: float
    stated: float
    bias: float
    coverage: float
    paired: float | None


def measure_error_bars(
    problem: DesignProblem,
    designs: Mapping[str, Design],
    events: int,
    repeats: int = 100,
    many: int | None = None,
    seed: int = 0,
) -> list[ErrorBars]:
    """Compare stated errors with the scatter of `repeats` simulations, and their mean with that of many events.

    The standard deviation of `repeats` repeats is known to 1 / sqrt(2 repeats) if the reach is normal, the bias to
    1 / sqrt(repeats) stated errors.

    Args:
        problem: with the simulator and the reach whose errors are checked.
        designs: by name; differences are taken from the first one.
        events: per repeat.
        repeats: simulations of each design, at least 2; all designs share their event seeds.
        many: events of the truth, simulated in one go; default: 20 times `events`, at least 20,000.
        seed: of the first repeat; the truth has a seed of its own.

    Raises:
        CheckFailed: fewer than two repeats.
        SimulationError: a design could not be simulated.

    Examples:
        >>> import gymnasium as gym
        >>> import rl_detector as rd
        >>> problem = gym.make("rl_detector/Oracle-v0", dimensions=2).unwrapped.problem
        >>> (found,) = measure_error_bars(problem, {"start": problem.start}, events=50, repeats=200)
        >>> bool(0.8 < found.stated < 1.2), bool(0.5 < found.coverage < 0.85)
        (True, True)
    """
    require(repeats >= 2, "at least 2 repeats", repeats)
    seeds = [seed + number for number in range(repeats)]
    first: list[Evaluation] = []
    rows = []
    for name, design in designs.items():
        found = problem.evaluate_batch([design] * repeats, events, seeds)
        truth = measurement_of(problem.evaluate(design, many or max(20 * events, 20_000), seed + 2**31))
        paired = _paired(found, first) if first else None
        first = first or found
        rows.append(_row(name, found, truth.reach, truth.error, paired))
    return rows


def _row(name: str, found: Sequence[Evaluation], truth: float, truth_error: float, paired: float | None) -> ErrorBars:
    measured = [measurement_of(evaluation) for evaluation in found]
    reaches, errors = (np.array(values) for values in zip(*((m.reach, m.error) for m in measured), strict=True))
    stated, spread = _root_mean_square(errors), float(reaches.std(ddof=1))
    return ErrorBars(
        name=name,
        events=found[0].events,
        repeats=len(found),
        reach=truth,
        reach_error=truth_error,
        spread=spread,
        stated=stated / spread if spread else math.inf,
        bias=float(reaches.mean() - truth) / stated if stated else 0.0,
        coverage=float(np.mean(np.abs(reaches - truth) <= np.hypot(errors, truth_error))),
        paired=paired,
    )


def _paired(found: Sequence[Evaluation], first: Sequence[Evaluation]) -> float:
    """Stated errors of the differences over their spread."""
    pairs = [difference(one, other) for one, other in zip(found, first, strict=True)]
    spread = float(np.std([pair.value for pair in pairs], ddof=1))
    stated = _root_mean_square(np.array([pair.error for pair in pairs]))
    return stated / spread if spread else math.inf


def _root_mean_square(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
