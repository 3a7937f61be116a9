"""Building a design piece by piece: partial designs, allowed actions, and the partial design after an action."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rl_detector.encodings import one_hot, only_repeated
from rl_detector.errors import ConfigError, DesignError
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

STOP, ADD, MOVE, REMOVE, SWAP, SET = "stop", "add", "move", "remove", "swap", "set"


Mask: TypeAlias = NDArray[np.int8]


MayFit: TypeAlias = Callable[[Design, Design], bool]
"""(partial design, component) -> whether the component may be added without breaking a limit for certain."""


MOST_PROBES = 128
"""Most components that are tried to find out what still fits; with more kinds of them no choice is masked."""


class Action(NamedTuple):
    """One decision.

    Attributes:
        operation: one of `Builder.operations`.
        place: index of the edited component.
        component: encoded coordinates and choices of a component.
        head: encoded parameters outside the Repeated.
    """

    operation: str
    place: int
    component: Encoding
    head: Encoding


@dataclass(frozen=True)
class PartialDesign:
    """A design under construction.

    Attributes:
        components: those chosen so far.
        head: values of the parameters outside the Repeated; None before they are chosen.
        steps: decisions so far.
        stopped: whether it is declared finished.
    """

    components: tuple[Mapping[str, Any], ...] = ()
    head: Mapping[str, Any] | None = None
    steps: int = 0
    stopped: bool = False


class Builder:
    """The rules of construction for a problem whose space has exactly one Repeated.

    Building begins with nothing. The first decision sets the parameters outside the Repeated, where there are any. Then
    components are added at the end until stop, until the maximum, or until none fits.

    Editing begins with a finished design and takes at most `edits` decisions. A component is added before an index,
    moved (new coordinates), swapped (new choices) or removed.

    A component does not fit if it breaks a limit of the problem at all bounds of its coordinates. This is certain where
    an amount grows with every component and is monotonous in each coordinate. A limit that cannot be evaluated on a
    partial design forbids nothing. `may_fit` replaces this rule by another one.

    Attributes:
        problem: whose designs are built.
        repeated: its one Repeated.
        head_space: parameters outside of it; None where there are none.
        operations: names of the operations.
        edits: most decisions of an episode of editing; None: it is built from nothing.
    """

    def __init__(self, problem: DesignProblem, edits: int | None = None, may_fit: MayFit | None = None) -> None:
        if edits is not None and edits < 1:
            raise ConfigError(f"editing needs at least 1 edit per episode, got {edits}")
        self.problem, self.edits, self._may_fit = problem, edits, may_fit
        self.repeated = only_repeated(problem.space)
        others = tuple(p for p in problem.space.parameters if p is not self.repeated)
        self.head_space = DesignSpace(others) if others else None
        setting = (SET,) if others else ()
        space = self.repeated.space
        changes = (MOVE,) * bool(space.continuous) + (REMOVE,) + (SWAP,) * bool(space.discrete)
        self.operations = (STOP, ADD, *(changes if edits is not None else ()), *setting)
        self._probes = None if edits is not None else _probes(space)

    @property
    def budgets(self) -> tuple[str, ...]:
        """Names of what `remaining` gives: limits, costs over their references, decisions."""
        limits, costs = self.problem.constraints, self.problem.costs
        return (*(limit.name for limit in limits), *(cost.name for cost in costs), "steps")

    def begin(self, design: Design | None = None) -> PartialDesign:
        """The partial design that begins an episode; editing begins with `design` or the problem's first baseline.

        Raises:
            DesignError: the design cannot be built, or there is none.
        """
        if self.edits is None:
            if design is not None:
                raise DesignError("building begins with nothing; use edits=... to begin with a design")
            return PartialDesign(head={} if self.head_space is None else None)
        design = self.problem.start if design is None else design
        if design is None:
            raise DesignError(f"editing {self.problem.name} needs a design: it has no baseline to begin with")
        self.problem.space.check(design)
        head = {name: value for name, value in design.items() if name != self.repeated.name}
        return PartialDesign(tuple(design[self.repeated.name]), head)

    def design(self, partial: PartialDesign) -> dict[str, Any]:
        """The design so far, finished or not; what is not chosen yet has the value of the first baseline."""
        head, start = partial.head, self.problem.start
        if head is None and self.head_space is not None:
            values = _centre(self.head_space) if start is None else start
            head = {parameter.name: values[parameter.name] for parameter in self.head_space.parameters}
        values = {**(head or {}), self.repeated.name: list(partial.components)}
        return {parameter.name: values[parameter.name] for parameter in self.problem.space.parameters}

    def complete(self, partial: PartialDesign) -> bool:
        """Whether it is a design that can be built."""
        return partial.head is not None and len(partial.components) >= self.repeated.minimum

    def legal(self, partial: PartialDesign) -> dict[str, bool]:
        """Operation -> whether it is allowed."""
        count, low, high = len(partial.components), self.repeated.minimum, self.repeated.maximum
        if partial.head is None:
            return {name: name == SET for name in self.operations}
        rules = {
            STOP: count >= low,
            ADD: count < high and (count < low or self._fitting(partial) is not None),
            MOVE: count > 0,
            REMOVE: count > low,
            SWAP: count > 0,
            SET: self.edits is not None,
        }
        return {name: rules[name] for name in self.operations}

    def choice_masks(self, partial: PartialDesign) -> list[Mask]:
        """Options that may still fit, for every choice of a component; all where none does or nothing is known."""
        choices = self.repeated.space.choices
        fitting = self._fitting(partial) or []
        masks = [np.zeros(size, dtype=np.int8) for size in choices]
        for combination in fitting:
            for mask, choice in zip(masks, combination, strict=True):
                mask[choice] = 1
        return [mask if mask.any() else np.ones(len(mask), dtype=np.int8) for mask in masks]

    def _fitting(self, partial: PartialDesign) -> list[tuple[int, ...]] | None:
        """Combinations of choices that may fit; [] where all may; None where none does."""
        if self._probes is None or (self._may_fit is None and not self.problem.constraints):
            return []
        fits = self._may_fit or self._within_limits
        so_far = self.design(partial)
        found = [choices for choices, components in self._probes if any(fits(so_far, each) for each in components)]
        return found or None

    def _within_limits(self, so_far: Design, component: Design) -> bool:
        larger = {**so_far, self.repeated.name: [*so_far[self.repeated.name], component]}
        return all(not _broken(limit.violation, larger) for limit in self.problem.constraints)

    def done(self, partial: PartialDesign) -> bool:
        """Whether the episode is over: stopped, no decision left, or nothing to decide but to stop."""
        if partial.stopped or (self.edits is not None and partial.steps >= self.edits):
            return True
        legal = self.legal(partial)
        return self.edits is None and legal[STOP] and not legal[ADD]

    def apply(self, partial: PartialDesign, action: Action) -> PartialDesign:
        """The partial design after a decision.

        Raises:
            DesignError: the operation is not allowed, or the component is NaN.
        """
        if not self.legal(partial).get(action.operation, False):
            allowed = ", ".join(name for name, allowed in self.legal(partial).items() if allowed)
            raise DesignError(f"{action.operation!r} is not allowed here: allowed are {allowed}")
        after = replace(partial, steps=partial.steps + 1)
        if action.operation == STOP:
            return replace(after, stopped=True)
        if action.operation == SET and self.head_space is not None:
            return replace(after, head=self.head_space.decode(action.head))
        return replace(after, components=self._changed(partial, action))

    def _changed(self, partial: PartialDesign, action: Action) -> tuple[Mapping[str, Any], ...]:
        components, given = list(partial.components), self.repeated.space.decode(action.component)
        if action.operation == ADD:
            components.insert(len(components) if self.edits is None else action.place, given)
            return tuple(components)
        index = min(max(action.place, 0), len(components) - 1)
        if action.operation == REMOVE:
            del components[index]
            return tuple(components)
        old = self.repeated.space.encode(components[index])
        new = action.component
        parts = (new.continuous, old.discrete) if action.operation == MOVE else (old.continuous, new.discrete)
        components[index] = self.repeated.space.decode(Encoding(*parts))
        return tuple(components)

    def remaining(self, partial: PartialDesign) -> FloatArray:
        """Share that is left of every budget, [budgets]: 1 at the beginning, negative beyond, 1 if unknown."""
        so_far = self.design(partial)
        limits = [(limit.amount, limit.limit) for limit in self.problem.constraints]
        references = [(cost.amount, cost.reference) for cost in self.problem.costs]
        left = [1 - _amount(amount, so_far) / whole for amount, whole in (*limits, *references)]
        steps = len(partial.components) / self.repeated.maximum if self.edits is None else partial.steps / self.edits
        return np.array([*left, 1 - steps])

    def charge(self, partial: PartialDesign) -> float:
        """What cost and limits take from the reward of the design so far; unknown amounts take nothing."""
        so_far, problem = self.design(partial), self.problem
        costs = {cost.name: _amount(cost.amount, so_far) for cost in problem.costs}
        return problem.charge(costs, {limit.name: _amount(limit.violation, so_far) for limit in problem.constraints})

    def table(self, partial: PartialDesign) -> FloatArray:
        """Components, [maximum, features]: coordinates in [-1, 1], choices as zeros and ones, padded with zeros."""
        space = self.repeated.space
        rows = np.zeros((self.repeated.maximum, len(space.continuous) + sum(space.choices)))
        for row, component in zip(rows, partial.components, strict=False):
            code = space.encode(component)
            row[:] = np.concatenate([code.continuous, one_hot(code.discrete, space.choices)])
        return rows

    def head(self, partial: PartialDesign) -> FloatArray:
        """Parameters outside the Repeated, [features]: coordinates, then choices; zeros before they are chosen."""
        if self.head_space is None:
            return np.zeros(0)
        if partial.head is None:
            return np.zeros(len(self.head_space.continuous) + sum(self.head_space.choices))
        code = self.head_space.encode(partial.head)
        return np.concatenate([code.continuous, one_hot(code.discrete, self.head_space.choices)])


def _centre(space: DesignSpace) -> dict[str, Any]:
    return space.decode(Encoding(np.zeros(len(space.continuous)), np.zeros(len(space.discrete), dtype=np.int64)))


def _probes(space: DesignSpace) -> list[tuple[tuple[int, ...], list[dict[str, Any]]]] | None:
    """Choices -> components with them at the bounds of the coordinates; None where there are too many."""
    combinations = math.prod(space.choices)
    corners = list(_corners(len(space.continuous), MOST_PROBES // combinations)) if combinations else []
    if not corners:
        return None
    choices = itertools.product(*(range(size) for size in space.choices))
    return [(each, [space.decode(Encoding(c, np.array(each, dtype=np.int64))) for c in corners]) for each in choices]


def _corners(coordinates: int, most: int) -> Iterator[FloatArray]:
    """All corners of the box; beyond `most` corners the lowest and the highest one; none if `most` is below 2."""
    if most < 2:
        return
    if 2**coordinates <= most:
        yield from (np.array(corner, dtype=np.float64) for corner in itertools.product((-1.0, 1.0), repeat=coordinates))
    else:
        yield from (np.full(coordinates, bound) for bound in (-1.0, 1.0))


def _amount(amount: Callable[[Design], float], design: Design) -> float:
    """An amount of a partial design; 0 where it has none, as terms are written for complete designs."""
    try:
        value = float(amount(design))
    except Exception:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _broken(violation: Callable[[Design], float], design: Design) -> bool:
    return _amount(violation, design) > 0
