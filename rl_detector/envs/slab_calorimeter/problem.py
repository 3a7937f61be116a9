"""The slab as a design problem; its card is in the docstring of the package."""

from __future__ import annotations

from rl_detector.envs.slab_calorimeter.fast import FastLibrary
from rl_detector.envs.slab_calorimeter.layout import SLAB_LENGTH_MM, baselines, components, length, price, space
from rl_detector.envs.slab_calorimeter.reach import MINIMUM_EVENTS, SlabReach
from rl_detector.envs.slab_calorimeter.sensors import SlabSimulator
from rl_detector.envs.slab_calorimeter.stored import StoredLibrary
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.terms import Constraint, Cost

MOST_SENSORS = 5000
"""Sensors beyond which building the problem itself takes long."""


def slab_calorimeter(
    library: str = "fast",
    sensors: int = 60,
    electromagnetic_weight: float = 0.5,
    calibration: str = "global",
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The slab as a design problem; `rl-detector list slab_calorimeter` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    layouts = baselines()
    most = max(len(layout["sensor"]) for layout in layouts.values())
    if not most <= sensors <= MOST_SENSORS:
        raise ConfigError(
            f"the slab needs room for the {most} sensors of its baselines, got sensors={sensors}; "
            f"the most are {MOST_SENSORS}"
        )
    start = layouts["beta"]
    return DesignProblem(
        name="slab_calorimeter",
        space=space(sensors),
        simulator=SlabSimulator(FastLibrary() if library == "fast" else StoredLibrary(library), sensors),
        reach=SlabReach(electromagnetic_weight, calibration),
        costs=(Cost("price", "kEUR", price(start), price),),
        constraints=(
            Constraint("price", "kEUR", price(start), price),
            Constraint("length", "mm", SLAB_LENGTH_MM, length),
        ),
        baselines=layouts,
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"electromagnetic_weight": electromagnetic_weight},
        layout=components,
        metric="weighted geometric mean of sigma / mean",
        minimum_events=MINIMUM_EVENTS,
    )
