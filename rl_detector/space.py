"""What can be built: parameters, the space they span, and the one encoding that agents and environments share.

A design is plain JSON: a mapping from parameter names to values in physical units. Values are floats, integers, choice
names, and lists of such mappings for repeated components. Its encoding has two parts: `continuous` in [-1, 1]
(continuous and integer parameters, counts of repeated components) and `discrete` (indices of choices).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_detector.errors import DesignError
from rl_detector.parameters import Atom, Categorical, Continuous, Integer, check_name

Design: TypeAlias = Mapping[str, Any]
"""One detector that can be built: parameter name -> value in physical units, lists of components where they repeat."""

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]


LARGEST_SPACE = 100_000
"""Most entries of the encoding of a space; each takes time and memory in every design."""


class Encoding(NamedTuple):
    """One design or a batch of designs as arrays: continuous [..., c] in [-1, 1] and discrete indices [..., k].

    Examples:
        >>> import rl_detector as rd
        >>> space = rd.DesignSpace((rd.Continuous("thickness", 1, 5, "cm"), rd.Categorical("absorber", ("Fe", "Pb"))))
        >>> code = space.encode({"thickness": 3.0, "absorber": "Pb"})
        >>> code.continuous, code.discrete
        (array([0.]), array([1]))
    """

    continuous: FloatArray
    discrete: IntArray

    def rows(self) -> Iterator[Encoding]:
        """The designs of a batch, one by one."""
        for continuous, discrete in zip(self.continuous, self.discrete, strict=True):
            yield Encoding(continuous, discrete)

    def take(self, index: Sequence[int] | IntArray) -> Encoding:
        """The designs at these positions of a batch."""
        return Encoding(self.continuous[index], self.discrete[index])


@dataclass(frozen=True)
class Repeated:
    """A component that occurs a variable number of times.

    Attributes:
        name: unique in its space.
        space: the parameters of one component.
        minimum, maximum: allowed number of components, 0 <= minimum <= maximum, maximum >= 1. When they are equal, the
            number is no parameter and takes no place in the encoding.

    Examples:
        >>> import rl_detector as rd
        >>> layer = rd.DesignSpace((rd.Continuous("thickness", 1, 5, "cm"),))
        >>> space = rd.DesignSpace((rd.Repeated("layer", layer, minimum=1, maximum=2),))
        >>> [slot.path for slot in space.slots]
        ['layer.count', 'layer[0].thickness', 'layer[1].thickness']
        >>> space.contains({"layer": [{"thickness": 2.0}]})
        True
    """

    name: str
    space: DesignSpace
    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        check_name(self.name)
        if not (0 <= self.minimum <= self.maximum and self.maximum >= 1):
            raise DesignError(f"{self.name}: needs 0 <= minimum <= maximum >= 1, got {self.minimum}, {self.maximum}")

    @property
    def count(self) -> Integer:
        """The number of components as a parameter."""
        return Integer("count", self.minimum, self.maximum)


class Slot(NamedTuple):
    """One entry of the encoding: the full path of a parameter (`layer[2].thickness`) and the parameter itself."""

    path: str
    parameter: Atom


@dataclass(frozen=True)
class DesignSpace:
    """All designs that can be built: named parameters with bounds, and their encoding.

    Attributes:
        parameters: with distinct names; Repeated components nest a space of their own.

    Examples:
        >>> import rl_detector as rd
        >>> space = rd.DesignSpace((rd.Continuous("thickness", 1, 5, "cm"), rd.Categorical("absorber", ("Fe", "Pb"))))
        >>> space.gym_space
        Dict('continuous': Box(-1.0, 1.0, (1,), float64), 'discrete': MultiDiscrete([2]))
        >>> space.decode(space.encode({"thickness": 2.0, "absorber": "Fe"}))
        {'thickness': 2.0, 'absorber': 'Fe'}
        >>> try:
        ...     space.check({"thickness": 9.0, "absorber": "Fe"})
        ... except rd.DetectorError as error:
        ...     str(error)
        'thickness: 9 cm is above its upper bound 5 cm'
    """

    parameters: tuple[Atom | Repeated, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        names = [parameter.name for parameter in self.parameters]
        if not names or len(set(names)) != len(names):
            raise DesignError(f"a space needs at least one parameter and distinct names, got {names}")
        if self.size > LARGEST_SPACE:
            raise DesignError(f"a space has at most {LARGEST_SPACE} entries, this one has {self.size}")

    @cached_property
    def size(self) -> int:
        """Number of entries of the encoding, continuous and discrete."""
        return sum(_size(parameter) for parameter in self.parameters)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every entry of the encoding, in order of the parameters."""
        return tuple(_slots(self, ""))

    @cached_property
    def continuous(self) -> tuple[Slot, ...]:
        """The entries of the continuous part of the encoding, in order."""
        return tuple(slot for slot in self.slots if not isinstance(slot.parameter, Categorical))

    @cached_property
    def discrete(self) -> tuple[Slot, ...]:
        """The entries of the discrete part of the encoding, in order."""
        return tuple(slot for slot in self.slots if isinstance(slot.parameter, Categorical))

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of options of every choice."""
        return tuple(len(slot.parameter.choices) for slot in self.discrete if isinstance(slot.parameter, Categorical))

    def check(self, design: Design, prefix: str = "") -> None:
        """Raise DesignError, naming parameter, bound and value, unless the design can be built."""
        _check_names(self, design, prefix)
        for parameter in self.parameters:
            path, value = prefix + parameter.name, design[parameter.name]
            if isinstance(parameter, Repeated):
                _check_count(parameter, value, path)
                for index, component in enumerate(value):
                    parameter.space.check(component, f"{path}[{index}].")
            else:
                parameter.check(value, path)

    def contains(self, design: Design) -> bool:
        """Whether the design can be built."""
        try:
            self.check(design)
        except DesignError:
            return False
        return True

    def nearest(self, design: Design, prefix: str = "") -> dict[str, Any]:
        """The closest design within the bounds: values are clipped, surplus components dropped.

        Raises:
            DesignError: none is closest (missing or unknown names, unknown choices, NaN, too few components).
        """
        _check_names(self, design, prefix)
        result: dict[str, Any] = {}
        for parameter in self.parameters:
            path, value = prefix + parameter.name, design[parameter.name]
            if isinstance(parameter, Repeated):
                kept = value[: parameter.maximum] if isinstance(value, Sequence) else value
                _check_count(parameter, kept, path)
                result[parameter.name] = [parameter.space.nearest(x, f"{path}[{i}].") for i, x in enumerate(kept)]
            else:
                result[parameter.name] = parameter.nearest(value, path)
        return result

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random design, uniform in the encoding."""
        continuous = rng.uniform(-1, 1, size=len(self.continuous))
        discrete = np.array([rng.integers(size) for size in self.choices], dtype=np.int64)
        return self.decode(Encoding(continuous, discrete))

    def encode(self, design: Design) -> Encoding:
        """Encoding of one design, [c] and [k]; entries of absent components are 0.

        Raises:
            DesignError: the design cannot be built.
        """
        self.check(design)
        values: dict[str, Any] = {}
        _collect(self, design, "", values)
        continuous = [s.parameter.encode(values[s.path]) if s.path in values else 0.0 for s in self.continuous]
        discrete = [s.parameter.encode(values[s.path]) if s.path in values else 0 for s in self.discrete]
        return Encoding(np.array(continuous, dtype=np.float64), np.array(discrete, dtype=np.int64))

    def decode(self, encoding: Encoding) -> dict[str, Any]:
        """Design of one encoding; coordinates beyond [-1, 1] are clipped to the bounds.

        Raises:
            DesignError: wrong shapes, NaN, or a choice index that does not exist.
        """
        shapes = np.shape(encoding.continuous), np.shape(encoding.discrete)
        expected = (len(self.continuous),), (len(self.discrete),)
        if shapes != expected:
            raise DesignError(f"expected an encoding of shapes {expected}, got {shapes}")
        if np.isnan(encoding.continuous).any():
            bad = self.continuous[int(np.flatnonzero(np.isnan(encoding.continuous))[0])].path
            raise DesignError(f"{bad}: the action is NaN; the agent that proposed it has diverged")
        values: dict[str, Any] = {}
        for slots, entries in zip((self.continuous, self.discrete), encoding, strict=True):
            values.update({s.path: s.parameter.decode(x) for s, x in zip(slots, entries.tolist(), strict=True)})
        return _assemble(self, values, "")

    @property
    def gym_space(self) -> spaces.Space[Any]:
        """Native action space: Box(-1, 1), or Dict(continuous=Box, discrete=MultiDiscrete) with choices."""
        box = spaces.Box(-1.0, 1.0, (len(self.continuous),), np.float64)
        if not self.discrete:
            return box
        parts: dict[str, spaces.Space[Any]] = {"continuous": box, "discrete": spaces.MultiDiscrete(list(self.choices))}
        if not self.continuous:
            del parts["continuous"]
        return spaces.Dict(parts)

    def to_action(self, encoding: Encoding) -> Any:
        """The encoding (one or a batch) in the form of the native action space, clipped to the box."""
        continuous = np.clip(encoding.continuous, -1, 1)
        if not self.discrete:
            return continuous
        if not self.continuous:
            return {"discrete": encoding.discrete}
        return {"continuous": continuous, "discrete": encoding.discrete}

    def from_action(self, action: Any) -> Encoding:
        """The encoding of an action (one or a batch) of the native action space."""
        if not self.discrete:
            continuous = np.asarray(action, dtype=np.float64)
            return Encoding(continuous, np.zeros((*continuous.shape[:-1], 0), dtype=np.int64))
        discrete = np.asarray(action["discrete"], dtype=np.int64)
        if not self.continuous:
            return Encoding(np.zeros((*discrete.shape[:-1], 0)), discrete)
        return Encoding(np.asarray(action["continuous"], dtype=np.float64), discrete)

    def to_json(self) -> dict[str, Any]:
        """The space as JSON-ready data, see `from_json`."""
        return {"parameters": [_parameter_to_json(parameter) for parameter in self.parameters]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DesignSpace:
        """The inverse of `to_json`."""
        return DesignSpace(tuple(_parameter_from_json(item) for item in data["parameters"]))


_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Continuous, Integer, Categorical)}


def _parameter_to_json(parameter: Atom | Repeated) -> dict[str, Any]:
    if isinstance(parameter, Repeated):
        bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
        return {"kind": "Repeated", "name": parameter.name, "space": parameter.space.to_json(), **bounds}
    return {"kind": type(parameter).__name__, **asdict(parameter)}


def _parameter_from_json(data: Mapping[str, Any]) -> Atom | Repeated:
    kind, fields = data["kind"], {key: value for key, value in data.items() if key != "kind"}
    if kind == "Repeated":
        return Repeated(**{**fields, "space": DesignSpace.from_json(fields["space"])})
    if kind not in _KINDS:
        raise DesignError(f"unknown kind of parameter {kind!r}: known are {', '.join(_KINDS)}, Repeated")
    parameter: Atom = _KINDS[kind](**fields)
    return parameter


def _size(parameter: Atom | Repeated) -> int:
    if not isinstance(parameter, Repeated):
        return 1
    return (parameter.minimum < parameter.maximum) + parameter.maximum * parameter.space.size


def _slots(space: DesignSpace, prefix: str) -> Iterator[Slot]:
    for parameter in space.parameters:
        if isinstance(parameter, Repeated):
            if parameter.minimum < parameter.maximum:
                yield Slot(f"{prefix}{parameter.name}.count", parameter.count)
            for index in range(parameter.maximum):
                yield from _slots(parameter.space, f"{prefix}{parameter.name}[{index}].")
        else:
            yield Slot(prefix + parameter.name, parameter)


def _check_names(space: DesignSpace, design: Design, prefix: str) -> None:
    if not isinstance(design, Mapping):
        raise DesignError(f"{prefix or 'design'}: expected names and values, got {design!r}")
    known = [parameter.name for parameter in space.parameters]
    unknown, missing = [n for n in design if n not in known], [n for n in known if n not in design]
    if unknown:
        raise DesignError(f"unknown parameter {prefix}{unknown[0]}: known are {', '.join(known)}")
    if missing:
        raise DesignError(f"missing parameter {prefix}{missing[0]}: a design names all of {', '.join(known)}")


def _check_count(parameter: Repeated, value: Any, path: str) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DesignError(f"{path}: expected a list of components, got {value!r}")
    parameter.count.check(len(value), f"{path}.count")


def _collect(space: DesignSpace, design: Design, prefix: str, values: dict[str, Any]) -> None:
    for parameter in space.parameters:
        value = design[parameter.name]
        if isinstance(parameter, Repeated):
            values[f"{prefix}{parameter.name}.count"] = len(value)
            for index, component in enumerate(value):
                _collect(parameter.space, component, f"{prefix}{parameter.name}[{index}].", values)
        else:
            values[prefix + parameter.name] = value


def _assemble(space: DesignSpace, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    design: dict[str, Any] = {}
    for parameter in space.parameters:
        if isinstance(parameter, Repeated):
            stem = prefix + parameter.name
            count = values.get(f"{stem}.count", parameter.maximum)
            design[parameter.name] = [_assemble(parameter.space, values, f"{stem}[{i}].") for i in range(count)]
        else:
            design[parameter.name] = values[prefix + parameter.name]
    return design
