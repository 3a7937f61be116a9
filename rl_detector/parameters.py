"""The atoms of a design: real, whole and named parameters with bounds, units and their own encoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rl_detector.errors import DesignError


def _number(name: str, value: Any, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DesignError(f"{name}: expected a number{f' in {unit}' if unit else ''}, got {value!r}")
    if not math.isfinite(value):
        raise DesignError(f"{name}: expected a finite number{f' in {unit}' if unit else ''}, got {value}")
    return float(value)


def _check_bounds(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        side, bound = ("below its lower", low) if value < low else ("above its upper", high)
        raise DesignError(f"{name}: {value:g} {unit} is {side} bound {bound:g} {unit}".replace("  ", " ").rstrip())


def _unit_interval(coordinate: float) -> float:
    """Map an encoded coordinate in [-1, 1] to [0, 1]; beyond the box it is clipped."""
    return min(max((float(coordinate) + 1) / 2, 0.0), 1.0)


def check_name(name: str) -> None:
    """Raise DesignError for a name that paths such as `layer[2].thickness` could not tell apart.

    Examples:
        >>> check_name("thickness")
        >>> try:
        ...     check_name("layer.thickness")
        ... except DesignError as error:
        ...     str(error)
        "the name of a parameter must not be empty nor hold . [ or ], got 'layer.thickness'"
    """
    if not name or any(character in name for character in ".[]"):
        raise DesignError(f"the name of a parameter must not be empty nor hold . [ or ], got {name!r}")


@dataclass(frozen=True)
class Continuous:
    """A real parameter between two bounds, on a linear or logarithmic scale.

    Attributes:
        name: unique in its space.
        low, high: bounds in `unit`, low < high; both > 0 when `log`.
        unit: physical unit, for people.
        log: whether the encoding is logarithmic.

    Examples:
        >>> import rl_detector as rd
        >>> thickness = rd.Continuous("thickness", 1, 5, "cm")
        >>> thickness.encode(3.0), thickness.decode(-1.0)
        (0.0, 1.0)
        >>> rd.Continuous("pitch", 10, 1000, "um", log=True).decode(0.0)
        100.0
    """

    name: str
    low: float
    high: float
    unit: str = ""
    log: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise DesignError(f"{self.name}: bounds must be finite with low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise DesignError(f"{self.name}: a logarithmic scale needs low > 0, got {self.low}")

    def check(self, value: Any, path: str) -> None:
        """Raise DesignError unless the value is a finite number within the bounds."""
        _check_bounds(path, _number(path, value, self.unit), self.low, self.high, self.unit)

    def nearest(self, value: Any, path: str) -> float:
        """The closest value within the bounds."""
        return min(max(_number(path, value, self.unit), self.low), self.high)

    def encode(self, value: float) -> float:
        """Coordinate in [-1, 1]."""
        low, high, x = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return 2 * (x - low) / (high - low) - 1

    def decode(self, coordinate: float) -> float:
        """Value in physical units; coordinates beyond [-1, 1] give the bound."""
        share = _unit_interval(coordinate)
        span = (self.high / self.low) ** share if self.log else (self.high - self.low) * share
        value = self.low * span if self.log else self.low + span
        return min(max(float(value), self.low), self.high)


@dataclass(frozen=True)
class Integer:
    """A whole number between two bounds, both included; ordered, so it is encoded on the continuous axis in equal bins.

    Attributes:
        name: unique in its space.
        low, high: bounds, low <= high.
        unit: physical unit, for people.

    Examples:
        >>> import rl_detector as rd
        >>> layers = rd.Integer("layers", 1, 3)
        >>> [layers.decode(x) for x in (-1, -0.3, 0.4)]
        [1, 2, 3]
    """

    name: str
    low: int
    high: int
    unit: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if int(self.low) != self.low or int(self.high) != self.high or self.low > self.high:
            raise DesignError(f"{self.name}: needs whole numbers low <= high, got {self.low} and {self.high}")

    def check(self, value: Any, path: str) -> None:
        """Raise DesignError unless the value is a whole number within the bounds."""
        number = _number(path, value, self.unit)
        if number != int(number):
            raise DesignError(f"{path}: expected a whole number, got {value}")
        _check_bounds(path, number, self.low, self.high, self.unit)

    def nearest(self, value: Any, path: str) -> int:
        """The closest whole number within the bounds."""
        return min(max(round(_number(path, value, self.unit)), self.low), self.high)

    def encode(self, value: int) -> float:
        """Centre of the value's bin in [-1, 1]."""
        return 2 * (value - self.low + 0.5) / (self.high - self.low + 1) - 1

    def decode(self, coordinate: float) -> int:
        """The whole number whose bin holds the coordinate."""
        return self.low + min(int(_unit_interval(coordinate) * (self.high - self.low + 1)), self.high - self.low)


@dataclass(frozen=True)
class Categorical:
    """A choice among names without order, such as a material.

    Attributes:
        name: unique in its space.
        choices: at least one distinct name.

    Examples:
        >>> import rl_detector as rd
        >>> absorber = rd.Categorical("absorber", ("Fe", "Pb"))
        >>> absorber.encode("Pb"), absorber.decode(0)
        (1, 'Fe')
    """

    name: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise DesignError(f"{self.name}: needs at least one choice and no repeats, got {self.choices}")

    def check(self, value: Any, path: str) -> None:
        """Raise DesignError unless the value is one of the choices."""
        if value not in self.choices:
            raise DesignError(f"{path}: expected one of {', '.join(self.choices)}, got {value!r}")

    def nearest(self, value: Any, path: str) -> str:
        """The value itself: choices have no distance, an unknown one is an error."""
        self.check(value, path)
        return str(value)

    def encode(self, value: str) -> int:
        """Index of the choice."""
        return self.choices.index(value)

    def decode(self, index: int) -> str:
        """Choice at an index."""
        if not 0 <= int(index) < len(self.choices):
            raise DesignError(f"{self.name}: expected a choice index 0..{len(self.choices) - 1}, got {index}")
        return self.choices[int(index)]


Atom: TypeAlias = Continuous | Integer | Categorical
