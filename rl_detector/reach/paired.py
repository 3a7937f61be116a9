"""The difference of two designs on the same events, where most of their noise is common and cancels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rl_detector.errors import SimulationError
from rl_detector.problem import Evaluation
from rl_detector.terms import Measurement


@dataclass(frozen=True)
class Difference:
    """Difference of two reaches measured on the same events, and its standard error."""

    value: float
    error: float

    @property
    def significance(self) -> float:
        """The difference in units of its error; of an exact one infinite, or 0 if there is none."""
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


def difference(first: Evaluation, second: Evaluation) -> Difference:
    """Reach of the first minus reach of the second; exactly 0 for equal designs on equal events.

    Raises:
        SimulationError: one of the evaluations failed.

    Examples:
        >>> import gymnasium as gym
        >>> import rl_detector as rd
        >>> problem = gym.make("rl_detector/Oracle-v0", dimensions=2).unwrapped.problem
        >>> start = problem.evaluate(problem.start, events=100, seed=0)
        >>> difference(start, start)
        Difference(value=0.0, error=0.0)
    """
    measured = measurement_of(first), measurement_of(second)
    if (first.design, first.events, first.seed) == (second.design, second.events, second.seed):
        return Difference(0.0, 0.0)
    return paired_difference(*measured)


def paired_difference(first: Measurement, second: Measurement) -> Difference:
    """Reach of the first minus reach of the second, both measured on the same events.

    Where the metrics m are means of per-event losses l, the difference is ln(m2 / m1). Its error is that of the mean of
    l1 / m1 - l2 / m2 (delta method). Without losses the errors are added in quadrature.
    """
    if first.losses is None or second.losses is None:
        return Difference(first.reach - second.reach, math.hypot(first.error, second.error))
    terms = first.losses / first.metric - second.losses / second.metric
    return Difference(math.log(second.metric / first.metric), float(terms.std(ddof=1) / math.sqrt(len(terms))))


def measurement_of(evaluation: Evaluation) -> Measurement:
    """The measurement of an evaluation that did not fail.

    Raises:
        SimulationError: it failed.
    """
    if evaluation.measurement is None:
        raise SimulationError(f"the design could not be measured: {evaluation.failure}")
    return evaluation.measurement
