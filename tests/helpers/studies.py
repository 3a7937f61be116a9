"""Short studies: run to their end, killed on the way, or with random designs on an evaluator of choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rl_detector.agents import make_agent
from rl_detector.assembly import build_judge
from rl_detector.conf.schema import Config
from rl_detector.execution.evaluator import Evaluator, SerialEvaluator
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.space import Design
from rl_detector.study import Budget, Study

Rows = list[tuple[Any, ...]]


class Killed(BaseException):
    """Stands for a kill: nothing in the package catches it."""


class DyingEvaluator(SerialEvaluator):
    """Dies after a number of groups of five designs."""

    def __init__(self, groups: int) -> None:
        super().__init__(5)
        object.__setattr__(self, "left", [groups])

    def evaluate(self, *arguments: Any) -> Iterator[Any]:
        for group in super().evaluate(*arguments):
            if self.left[0] == 0:  # type: ignore[attr-defined]
                raise Killed
            self.left[0] -= 1  # type: ignore[attr-defined]
            yield group


def outcome(study: Study) -> tuple[Rows, Design]:
    """Run a study to its end: the rows of its ledger, which is closed then, and the recommended design."""
    with closing(study.ledger):
        design = study.run()
        return study.ledger.reproducible_rows(), design


def random_study(
    problem: DesignProblem, folder: Path, evaluator: Evaluator, judge: str = "none", events: int = 10, **options: Any
) -> Study:
    """Two batches of 16 random designs, or of `designs`."""
    folder.mkdir(exist_ok=True)
    agent = make_agent("random_search", problem.space, 3, problem.start)
    scored = build_judge(Config(seed=0, judge={"name": judge}), problem)
    size = options.pop("designs", 16)
    budget = Budget(2 * size * events, events, size)
    return Study(
        problem, agent, Ledger(folder / "ledger.sqlite", {}), budget, evaluator=evaluator, judge=scored, **options
    )


def ledger_of(*arguments: Any, **options: Any) -> tuple[Rows, list[tuple[Any, ...]]]:
    """Rows and readouts of the ledger of a finished `random_study`."""
    study = random_study(*arguments, **options)
    with closing(study.ledger):
        study.run()
        stored = study.ledger.readouts().items()
        return study.ledger.reproducible_rows(), [(n, r.signals.tobytes(), sorted(r.truth)) for n, r in stored]
