"""Where simulations run: designs in, evaluations out, in small groups so that little is lost when something dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.space import Design


class Evaluator(Protocol):
    """Evaluates designs. The evaluations depend on (design, events, seed) alone, never on where or in what order."""

    def evaluate(
        self, problem: DesignProblem, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Iterator[list[Evaluation]]:
        """Evaluations in the order of the designs, in groups as they become ready."""
        ...


@dataclass(frozen=True)
class SerialEvaluator:
    """Calls the simulator from this process; a simulator with workers of its own spreads each group over them.

    A failed evaluation is tried once more with the same seed (a simulator replaces a dead worker by a fresh one).

    Attributes:
        group: designs per call of the simulator; what an interruption loses at most.
    """

    group: int = 64

    def __post_init__(self) -> None:
        if self.group < 1:
            raise ConfigError(f"the evaluator needs a group of at least 1 design, got {self.group}")

    def evaluate(
        self, problem: DesignProblem, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Iterator[list[Evaluation]]:
        """Evaluations in the order of the designs, in groups as they become ready."""
        for first in range(0, len(designs), self.group):
            part = slice(first, first + self.group)
            evaluations = problem.evaluate_batch(designs[part], events, seeds[part])
            yield _retried(problem, evaluations)


def _retried(problem: DesignProblem, evaluations: list[Evaluation]) -> list[Evaluation]:
    failed = [index for index, evaluation in enumerate(evaluations) if evaluation.failed]
    for index in failed:
        first = evaluations[index]
        again = problem.evaluate(first.design, first.events, first.seed)
        reason = f"failed twice: {first.failure}; then: {again.failure}"
        evaluations[index] = replace(again, failure=reason) if again.failed else again
    return evaluations
