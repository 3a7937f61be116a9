"""Send a design problem to another process: as a recipe if it came from a configuration, else pickled.

A problem may hold what cannot leave its process, such as a simulator with worker processes or an open file. A recipe
says how to build it again: environment and simulator settings. Parcels are pickles, so they go only from a study to
its own workers and are read from nowhere else.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, Protocol

from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem

PLAIN_FIELDS = frozenset(
    {"name", "cost_weight", "penalty_weight", "minimum_events", "keeps_readouts", "conditions", "baselines", "metric"}
)
"""Plain data of a problem, in which it may differ from what its recipe builds (see `for_judge`)."""


class Recipe(Protocol):
    """How another process builds the problem; it can be pickled."""

    def build(self) -> DesignProblem:
        """Build the problem."""

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe, followed by replacing fields of the problem it builds."""


class Parcel(NamedTuple):
    """A problem that is sent to a worker.

    Attributes:
        key: digest of the content; a worker gets no content twice.
        content: a pickled recipe or DesignProblem.
    """

    key: str
    content: bytes

    def unpack(self) -> DesignProblem:
        """The problem. Call this only for parcels that this study has made."""
        content = pickle.loads(self.content)  # noqa: S301 - from the process that started this one
        problem: DesignProblem = content if isinstance(content, DesignProblem) else content.build()
        return problem


class Packer:
    """Makes the parcels of one evaluator, one for each problem.

    Args:
        recipe: how to build `built`; None: all problems are pickled.
        built: the problem of the recipe in this process.
    """

    def __init__(self, recipe: Recipe | None = None, built: DesignProblem | None = None) -> None:
        self._recipe, self._built = recipe, built
        self._packed: list[tuple[DesignProblem, Parcel]] = []

    def pack(self, problem: DesignProblem) -> Parcel:
        """The parcel of a problem.

        Raises:
            ConfigError: there is no recipe and it cannot be pickled.
        """
        for known, parcel in self._packed:
            if known is problem:
                return parcel
        content = self._content(problem)
        parcel = Parcel(hashlib.sha256(content).hexdigest(), content)
        self._packed = [*self._packed[-3:], (problem, parcel)]
        return parcel

    def _content(self, problem: DesignProblem) -> bytes:
        import cloudpickle  # type: ignore[import-untyped]

        changes = self._changes(problem)
        thing = problem if self._recipe is None or changes is None else self._recipe.with_changes(changes)
        try:
            content: bytes = cloudpickle.dumps(thing)
        except Exception as error:  # whatever a user's class raises when it is pickled
            raise ConfigError(
                f"the problem {problem.name} cannot be sent to worker processes ({type(error).__name__}: {error}). "
                "Use evaluator=serial, or register its factory and run it from a configuration, or remove what cannot "
                "be pickled from the simulator."
            ) from error
        return content

    def _changes(self, problem: DesignProblem) -> dict[str, Any] | None:
        """Plain fields that differ from what the recipe built; None where others differ too."""
        if self._built is None:
            return None
        names = [each.name for each in fields(problem)]
        changed = {name: getattr(problem, name) for name in names}
        changed = {name: value for name, value in changed.items() if value is not getattr(self._built, name)}
        return changed if changed.keys() <= PLAIN_FIELDS else None
