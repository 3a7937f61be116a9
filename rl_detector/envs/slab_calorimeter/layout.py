"""Positions and types of the sensors: their space, price and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rl_detector.envs.slab_calorimeter.library import SLAB_LENGTH_CM
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import Material, material
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component

SLAB_LENGTH_MM = 10 * SLAB_LENGTH_CM
"""Length of the slab in mm."""


SMALLEST_GAP, LARGEST_GAP = 0.5, 120.0
"""Bounds of the steel in front of a sensor in mm; our choice."""


FEWEST_SENSORS = 10
"""Fewest sensors of a design; our choice."""


SENSOR_AREA = 150.0**2
"""Area of a sensor in cm2, that of the slab (CaloOptimization)."""


SILICON = material("Si")


class Sensor(NamedTuple):
    """A type of silicon sensor: thickness in mm, price in EUR per cm2."""

    thickness: float
    price: float


SENSOR_TYPES: Mapping[str, Sensor] = {
    "0.06 mm": Sensor(0.06, 3.6),
    "0.12 mm": Sensor(0.12, 4.2),
    "0.2 mm": Sensor(0.2, 5.0),
    "0.3 mm": Sensor(0.3, 6.0),
}
"""Thicknesses: 0.06, 0.12 and 0.2 mm as in CaloOptimization, 0.3 mm the usual one. Prices are our choice: 3 EUR/cm2 for
sensor and readout, and 10 EUR/cm2 per mm of silicon."""


def space(sensors: int = 60) -> DesignSpace:
    """A row of 10 to N sensors in the order of the beam, each with the steel in front of it and its type."""
    sensor = DesignSpace(
        (Continuous("gap", SMALLEST_GAP, LARGEST_GAP, "mm", log=True), Categorical("type", tuple(SENSOR_TYPES)))
    )
    return DesignSpace((Repeated("sensor", sensor, FEWEST_SENSORS, sensors),))


def design(*sensors: tuple[float, str]) -> dict[str, Any]:
    """A design from (gap in mm, type) per sensor."""
    return {"sensor": [{"gap": float(gap), "type": kind} for gap, kind in sensors]}


def in_steel(name: str, thickness: float, length: str) -> float:
    """Thickness of steel with as many radiation or interaction lengths as this thickness of another material."""

    def of(substance: Material) -> float:
        return float(getattr(substance, f"{length}_length"))

    return thickness * of(material("steel")) / of(material(name))


def baselines() -> dict[str, Design]:
    """The three reference designs of CaloOptimization, beta first: it is the zero of the reach.

    beta: 1 mm of steel, then 14 x [Si 0.2 mm | 6 | Si 0.2 | 2.8], 12 x [35 | Si 0.2 | 6], 16 x [68 | Si 0.2 | 6], all
    steel. gamma: beta with one sensor of 0.06 mm per pair of the first part; the second one is left out.
    alpha: 6 mm Cu, 2.1 mm Pb + 0.6 mm steel + 0.1 mm Cu, 6 mm Cu instead of the gaps of 6, 2.8 and 6 mm.
    Here they are steel of equal radiation lengths (first part) or interaction lengths (behind).
    Its first sensor has nothing in front and gets the smallest gap.
    """
    behind_first = in_steel("Pb", 2.1, "radiation") + 0.6 + in_steel("Cu", 0.1, "radiation")
    alpha = (SMALLEST_GAP, in_steel("Cu", 6.0, "radiation"), behind_first, in_steel("Cu", 6.0, "interaction"))
    return {
        "beta": _reference(1.0, 6.0, 2.8, 6.0),
        "alpha": _reference(*alpha),
        "gamma": _reference(1.0, 6.0, 2.8, 6.0, single=True),
    }


def _reference(entrance: float, first: float, second: float, after: float, single: bool = False) -> dict[str, Any]:
    """The row of sensors of a reference design from its absorbers in mm of steel."""
    kind = "0.06 mm" if single else "0.2 mm"
    sensors: list[tuple[float, str]] = []
    before = entrance
    for _ in range(14):
        sensors.append((before, kind))
        if not single:
            sensors.append((first, kind))
        before = first + second if single else second
    for number, front in ((12, 35.0), (16, 68.0)):
        for _ in range(number):
            sensors.append((before + front, "0.2 mm"))
            before = after
    return design(*sensors)


class Row(NamedTuple):
    """A design as arrays [sensors]: steel in front, place of the front, thickness, all in mm."""

    gap: FloatArray
    front: FloatArray
    thickness: FloatArray


def row(layout: Design) -> Row:
    """Places of the sensors. A sensor beyond the end of the slab sees nothing."""
    gap = np.array([sensor["gap"] for sensor in layout["sensor"]], dtype=np.float64)
    thickness = np.array([SENSOR_TYPES[sensor["type"]].thickness for sensor in layout["sensor"]])
    return Row(gap, np.cumsum(gap) + np.cumsum(thickness) - thickness, thickness)


def price(layout: Design) -> float:
    """Price in kEUR: area times price of the type, summed over all sensors, those beyond the slab too."""
    return SENSOR_AREA * sum(SENSOR_TYPES[sensor["type"]].price for sensor in layout["sensor"]) / 1000


def length(layout: Design) -> float:
    """Distance of the end of the last sensor from the front of the slab in mm."""
    built = row(layout)
    return float(built.front[-1] + built.thickness[-1])


def components(layout: Design) -> list[Component]:
    """The sensors and the steel in front of them, at their places along the beam in cm."""
    built, parts = row(layout), []
    for index, (gap, front, thickness) in enumerate(zip(*built, strict=True)):
        parts.append(Component(f"steel {index + 1}", "steel", (front - gap) / 10, gap / 10))
        parts.append(Component(f"sensor {index + 1}", "Si", front / 10, thickness / 10))
    return parts
