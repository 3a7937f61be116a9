"""The map of radiation lengths as a design problem; its card is in the docstring of the package."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from rl_detector.envs.muon_map.fast import MapSimulator
from rl_detector.envs.muon_map.layout import BUDGET_KEUR, asked, baselines, built, components, space
from rl_detector.envs.muon_map.reach import MINIMUM_EVENTS, MapReach
from rl_detector.errors import ConfigError
from rl_detector.physics.materials import material
from rl_detector.problem import DesignProblem
from rl_detector.space import Design
from rl_detector.terms import Constraint, Cost

REFERENCE_SCANS, REFERENCE_SEED = 40, 20_251_017
"""Scans that give the zero of the reach, to about 8 %, and their seed; any fixed seed does."""


def muon_map(
    budget: float = BUDGET_KEUR,
    light: str = "water",
    muons_per_scan: int = 10_000,
    cost_weight: float = 0.1,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The panels as a design problem; `rl-detector list muon_map` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    _check(budget, light, muons_per_scan)
    simulator = MapSimulator(budget, muons_per_scan, light)

    def price(layout: Design) -> float:
        return asked(built(layout, budget))

    return DesignProblem(
        name="muon_map",
        space=space(),
        simulator=simulator,
        reach=MapReach(_reference(simulator), muons_per_scan, light),
        costs=(Cost("panels", "kEUR", budget, price),),
        constraints=(Constraint("budget", "kEUR", budget * (1 + 1e-9), price),),
        baselines=baselines(budget),
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"budget": budget, "muons_per_scan": float(muons_per_scan)},
        layout=partial(components, light=light),
        metric="rms error of ln X0 in a map",
        minimum_events=MINIMUM_EVENTS,
    )


MOST_MUONS_PER_SCAN = 10_000_000
"""Most muons of a scan that fit in the memory of one computer."""


def _check(budget: float, light: str, muons: int) -> None:
    if not 0 < budget < np.inf:
        raise ConfigError(f"the budget of muon_map must be positive and finite, got {budget}")
    if not MINIMUM_EVENTS <= muons <= MOST_MUONS_PER_SCAN:
        raise ConfigError(
            f"a scan of muon_map needs at least {MINIMUM_EVENTS} muons, got {muons}; the most are {MOST_MUONS_PER_SCAN}"
        )
    if material(light).radiation_length < 2 * material("Pb").radiation_length:
        raise ConfigError(f"light material of muon_map must have at least twice the X0 of lead, got {light!r}")


@lru_cache
def _reference(simulator: MapSimulator) -> float:
    """Metric of the first baseline."""
    start = next(iter(baselines(simulator.budget).values()))
    readout = simulator.simulate(start, REFERENCE_SCANS * simulator.muons, REFERENCE_SEED)
    return MapReach(1.0, simulator.muons, simulator.light).measure(readout).metric
