"""The muon shield as a design problem; its card is in the docstring of the package."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rl_detector.envs.muon_shield.fast import ShieldSimulator
from rl_detector.envs.muon_shield.geant4 import ENERGY_THRESHOLD, TrackedShieldSimulator
from rl_detector.envs.muon_shield.layout import (
    CLOSING_HALF_LENGTH,
    absorber,
    length,
    magnets,
    mass,
    money,
    published,
    space,
)
from rl_detector.envs.muon_shield.reach import ShieldReach
from rl_detector.envs.muon_shield.source import ExponentialSource, MuonSource, PythiaSource
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.simulators.trackers import tracker_of
from rl_detector.space import Design
from rl_detector.terms import Component, Constraint, Cost

PUBLISHED_MASS = 1.27e6
"""Mass in kg of the published design, which counts as 1."""


CAVERN = ((0.0, 355.0, 169.0), (1837.8, 455.0, 335.0))
"""Half width and half height in cm of the cavern from a distance z in cm on."""


REFERENCE_EVENTS = 30_000


REFERENCE_SEED = 20_020_046
"""Events that give the zero of the reach, and their seed."""


MINIMUM_EVENTS = 10
"""Fewest muons per design that give a mean and its error."""


COSTS: dict[str, tuple[str, float, Callable[[Design], float]]] = {
    "mass": ("kg", PUBLISHED_MASS, mass),
    "money": ("kCHF", 13_000.0, money),
}
"""What is charged: unit, reference, amount. The reference of money is that of the newer studies, 13 million."""


def components(layout: Design) -> list[Component]:
    """The magnets at their places along the beam."""
    parts, z = [], 0.0
    for index, magnet in enumerate((*absorber(), *magnets(layout)), start=1):
        name = "closing magnet" if magnet.half_length == CLOSING_HALF_LENGTH else f"{magnet.field:+g} T magnet {index}"
        parts.append(Component(name, "Fe", z, 2 * magnet.half_length))
        z += 2 * magnet.half_length
    return parts


def metres(layout: Design) -> float:
    """Length of the shield in m."""
    return length(layout) / 100


def cavern_use(layout: Design) -> float:
    """Largest share of the width or height of the cavern that a magnet takes; the fixed absorber does not count."""
    z, shares = sum(2 * magnet.half_length for magnet in absorber()), []
    for magnet in magnets(layout):
        for section, place in ((magnet.entrance, z), (magnet.exit, z + 2 * magnet.half_length)):
            _, x, y = next(limits for limits in reversed(CAVERN) if place >= limits[0])
            shares += [section.half_width / x, section.half_height / y]
        z += 2 * magnet.half_length
    return max(shares)


def muon_shield(  # noqa: PLR0913 - the settings of the environment
    source: str = "pythia",
    part: str = "all",
    mass_limit: float | None = 1.05,
    length_limit: float | None = None,
    cavern: bool = False,
    cost: str = "mass",
    distance: float = 50.0,
    blur: float = 1.0,
    knee: float | None = None,
    cost_weight: float = 0.0,
    penalty_weight: float = 30.0,
    simulator: str | Mapping[str, Any] = "fast",
) -> DesignProblem:
    """The muon shield as a design problem; `rl-detector list muon_shield` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    _check(cost, distance, blur, knee)
    reach = ShieldReach(1.0, blur, math.inf if knee is None else knee)
    unit, reference, amount = COSTS[cost]
    fast = ShieldSimulator(muon_source(source, part), 100 * distance)
    tracker = tracker_of("the muon shield", simulator, threshold=ENERGY_THRESHOLD)
    problem = DesignProblem(
        name="muon_shield",
        space=space(),
        simulator=fast if tracker is None else TrackedShieldSimulator(fast, tracker),
        reach=reach,
        costs=(Cost(cost, unit, reference, amount),),
        constraints=_constraints(mass_limit, length_limit, cavern),
        baselines={"published": published()},
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"distance": distance},
        layout=components,
        metric=f"objective FCN, hits blurred by {blur:g} m" if blur > 0 else "objective FCN",
        minimum_events=MINIMUM_EVENTS,
    )
    return replace(problem, reach=replace(reach, reference=_reference(fast, reach)))


def muon_source(source: str, part: str = "all") -> MuonSource:
    """A source of muons by name.

    Raises:
        ConfigError: unknown source, or unknown part of the table.
    """
    if source == "exponential":
        return ExponentialSource()
    if source != "pythia":
        raise ConfigError(f"unknown source {source!r} of the muon shield: known are pythia, exponential")
    return PythiaSource(part)


def _check(cost: str, distance: float, blur: float, knee: float | None) -> None:
    if cost not in COSTS:
        raise ConfigError(f"unknown cost {cost!r} of the muon shield: known are {', '.join(COSTS)}")
    if not 0 < distance < math.inf:
        raise ConfigError(f"the sensitive plane needs a distance > 0 m from the shield, got {distance}")
    if not 0 <= blur < math.inf:
        raise ConfigError(f"the blur of hits must be >= 0 m, got {blur}")
    if knee is not None and not 0 < knee < math.inf:
        raise ConfigError(f"the knee of the blur must be > 0 GeV or null, got {knee}")


def _constraints(mass_limit: float | None, length_limit: float | None, cavern: bool) -> tuple[Constraint, ...]:
    limits = []
    for name, limit in (("mass_limit", mass_limit), ("length_limit", length_limit)):
        if limit is not None and not 0 < limit < math.inf:
            raise ConfigError(f"{name} of the muon shield must be > 0 or null, got {limit}")
    if mass_limit is not None:
        limits.append(Constraint("mass", "kg", 1e6 * mass_limit, mass))
    if length_limit is not None:
        limits.append(Constraint("length", "m", length_limit, metres))
    if cavern:
        limits.append(Constraint("cavern", "of the cavern", 1.0, cavern_use))
    return tuple(limits)


@lru_cache
def _reference(simulator: ShieldSimulator, reach: ShieldReach) -> float:
    """Metric of the published design."""
    return reach.measure(simulator.simulate(published(), REFERENCE_EVENTS, REFERENCE_SEED)).metric
