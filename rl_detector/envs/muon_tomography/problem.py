"""The ladle furnace as a design problem; its card is in the docstring of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from rl_detector.envs.muon_tomography.fast import TomographySimulator
from rl_detector.envs.muon_tomography.geant4 import ENERGY_THRESHOLD, LONGEST_STEP
from rl_detector.envs.muon_tomography.layout import BUDGET_UNITS, baselines, built, components, price, space
from rl_detector.envs.muon_tomography.reach import MINIMUM_EVENTS, FillHeightReach
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.simulators.trackers import tracker_of
from rl_detector.space import Design
from rl_detector.terms import Constraint, Cost

REFERENCE_EVENTS = 1_000_000


REFERENCE_SEED = 20_240_613
"""Events that give the zero of the reach, and their seed; any fixed seed does."""


def muon_tomography(
    budget: float = BUDGET_UNITS,
    fixed_budget: bool = True,
    technologies: bool = False,
    muons_per_volume: int = 1000,
    smoothness: float = 0.0,
    cost_weight: float = 0.0,
    penalty_weight: float = 5.0,
    simulator: str | Mapping[str, Any] = "fast",
) -> DesignProblem:
    """The panels around a ladle furnace as a design problem; `rl-detector list muon_tomography` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    _check(budget, muons_per_volume, smoothness)
    spent = budget if fixed_budget else None
    layouts = baselines(technologies)
    fast = TomographySimulator(spent, smoothness)
    tracker = tracker_of("muon_tomography", simulator, step=LONGEST_STEP, threshold=ENERGY_THRESHOLD)

    def amount(layout: Design) -> float:
        return price(built(layout, spent))

    return DesignProblem(
        name="muon_tomography",
        space=space(technologies),
        simulator=replace(fast, tracker=tracker),
        reach=FillHeightReach(_reference(fast, muons_per_volume), muons_per_volume),
        costs=(Cost("panels", "units", BUDGET_UNITS, amount),),
        constraints=(Constraint("budget", "units", budget, amount),),
        baselines=layouts,
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"budget": budget, "muons_per_volume": float(muons_per_volume)},
        layout=components,
        metric="squared error of the calibrated fill height [m2]",
        minimum_events=MINIMUM_EVENTS,
    )


MOST_MUONS_PER_VOLUME = 10_000_000
"""Most muons of a volume that fit in the memory of one computer."""


def _check(budget: float, muons_per_volume: int, smoothness: float) -> None:
    if not 0 < budget < np.inf:
        raise ConfigError(f"the budget of muon_tomography must be positive and finite, got {budget}")
    if not 1 <= muons_per_volume <= MOST_MUONS_PER_VOLUME:
        raise ConfigError(
            f"muon_tomography needs at least 1 muon per volume, got {muons_per_volume}; "
            f"the most are {MOST_MUONS_PER_VOLUME}"
        )
    if not 0 <= smoothness < np.inf:
        raise ConfigError(f"smoothness of the panels' edges must be finite and >= 0, got {smoothness}")


@lru_cache
def _reference(simulator: TomographySimulator, muons: int) -> float:
    """Metric of the published start in m2."""
    readout = simulator.simulate(baselines()["published_start"], REFERENCE_EVENTS, REFERENCE_SEED)
    return FillHeightReach(1.0, muons).measure(readout).metric
