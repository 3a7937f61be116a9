"""A telescope of planes, to be built piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace, Repeated
from rl_detector.terms import Constraint, Cost, Measurement, Readout

PLANE = DesignSpace((Continuous("z", 0.0, 10.0, "cm"), Categorical("kind", ("thin", "thick", "huge"))))

WEIGHTS = {"thin": 1.0, "thick": 3.0, "huge": 100.0}


class Counting:
    """Signals around the number of thin planes less their distance from z = 5 cm; counts its calls, fails on demand."""

    def __init__(self, fails: bool = False) -> None:
        self.calls, self.fails = 0, fails

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        self.calls += 1
        if self.fails:
            raise SimulationError("overheated")
        planes = design["plane"]
        value = sum((plane["kind"] == "thin") - abs(plane["z"] - 5) / 5 for plane in planes)
        return Readout({}, value + np.random.default_rng(seed).normal(0, 0.01, (events, 1)))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "counting"}


class Mean:
    def measure(self, readout: Readout) -> Measurement:
        mean = float(readout.signals.mean())
        return Measurement(mean, 0.1, mean, 0.1)


def mass(design: Design) -> float:
    return sum(WEIGHTS[plane["kind"]] for plane in design["plane"])


def last(design: Design) -> float:
    """Not defined without planes, as many terms are not."""
    return float(max(plane["z"] for plane in design["plane"]))


def planes(*kinds: str, z: float = 5.0) -> list[dict[str, Any]]:
    return [{"z": z, "kind": kind} for kind in kinds]


def telescope(head: bool = False, minimum: int = 1, maximum: int = 5, fails: bool = False) -> DesignProblem:
    others = (Integer("channels", 1, 9), Categorical("gas", ("air", "helium"))) if head else ()
    values = {"channels": 3, "gas": "helium"} if head else {}
    return DesignProblem(
        name="telescope",
        space=DesignSpace((*others, Repeated("plane", PLANE, minimum, maximum))),
        simulator=Counting(fails),
        reach=Mean(),
        costs=(Cost("mass", "kg", 10.0, mass),),
        constraints=(Constraint("load", "kg", 8.0, mass), Constraint("length", "cm", 20.0, last)),
        baselines={"start": {**values, "plane": planes(*("thin", "thick", "thin", "thin", "thin")[: max(minimum, 2)])}},
        cost_weight=0.5,
    )
