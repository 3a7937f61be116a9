"""Muon tomography of a block of lead in light material: panels above and below, and a map of radiation lengths.

A block of lead of 0.5 x 0.1 x 0.1 m3 lies somewhere in 0.6 x 1 x 1 m3 of light material (x, y, z); where, changes from
scan to scan. Two to four panels above and below, each with position, size and technology, see the muons go in and come
out; the map of X0 in 600 voxels of 10 cm is judged. Physics as in TomOpt (G. C. Strong et al.,
github.com/GilesStrong/tomopt): cosmic muons at sea level with known momenta, multiple scattering, no energy loss.

An event is one muon that crosses the volume. A scan is so many events in a row; the events of a seed are the same
muons, scattered alike, for all designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from rl_detector.envs.muon_map_reach import CHANNELS, MINIMUM_EVENTS, MapReach, signals_of
from rl_detector.envs.muon_map_volume import BOTTOM, CEILING, PLACES, SIZE, TOP, densities, sample_muons, scatter
from rl_detector.envs.muon_tomography_panels import Panels, Technology, measured_tracks
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.physics.materials import material
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component, Constraint, Cost, Readout

SIDES = ("upper", "lower")
FEWEST, MOST = 2, 4
"""Panels above, and below."""

BUDGET = 30.0
"""kEUR for panels; our choice."""

SPAN_LOW, SPAN_HIGH = 0.3, 2.5
"""Bounds of a panel's sides in m; our choice."""

TECHNOLOGIES: Mapping[str, Technology] = {
    "drift tubes": Technology(2.5e-4, 0.93, 4.0),
    "RPC": Technology(5e-4, 0.95, 3.0),
    "scintillator strips": Technology(2e-3, 0.98, 2.0),
    "Micromegas": Technology(1e-4, 0.97, 10.0),
}
"""Resolution in m and efficiency of a hit in x and y, and price in kEUR per m2 with read-out: our choices, of the order
of present detectors."""

REFERENCE_SCANS, REFERENCE_SEED = 40, 20_251_017
"""Scans from which the zero of the reach is taken, to about 8 %, and their seed; any fixed number does."""


def space() -> DesignSpace:
    """Two to four panels above and below: centre x, y, z, sides along x and y, and technology."""
    return DesignSpace(tuple(Repeated(side, _panel(side), FEWEST, MOST) for side in SIDES))


def _panel(side: str) -> DesignSpace:
    low, high = (CEILING, TOP) if side == "upper" else (0.0, BOTTOM)
    return DesignSpace(
        (
            Continuous("x", 0.0, float(SIZE[0]), "m"),
            Continuous("y", 0.0, float(SIZE[1]), "m"),
            Continuous("z", low, high, "m"),
            Continuous("span_x", SPAN_LOW, SPAN_HIGH, "m"),
            Continuous("span_y", SPAN_LOW, SPAN_HIGH, "m"),
            Categorical("technology", tuple(TECHNOLOGIES)),
        )
    )


def design(distances: Sequence[float], technology: str, budget: float = BUDGET) -> dict[str, Any]:
    """Equal panels over the centre at distances in m from the volume, as wide as the budget allows, in its shape."""
    area = budget / (2 * len(distances) * TECHNOLOGIES[technology].price)
    side = float((area / (SIZE[0] * SIZE[1])) ** 0.5)
    spans = [float(np.clip(side * length, SPAN_LOW, SPAN_HIGH)) for length in SIZE[:2]]
    panel = {"x": float(SIZE[0]) / 2, "y": float(SIZE[1]) / 2, "span_x": spans[0], "span_y": spans[1]}
    places = {"upper": [CEILING + d for d in distances], "lower": [BOTTOM - d for d in distances]}
    return {s: [{**panel, "z": float(z), "technology": technology} for z in places[s]] for s in SIDES}


def baselines(budget: float = BUDGET) -> dict[str, Design]:
    """By hand: each technology spread over the height, RPCs first, and a compact telescope of drift tubes."""
    return {
        "rpc": design((0.02, 0.245, 0.47), "RPC", budget),
        "drift_tubes": design((0.02, 0.245, 0.47), "drift tubes", budget),
        "strips": design((0.02, 0.245, 0.47), "scintillator strips", budget),
        "micromegas": design((0.02, 0.47), "Micromegas", budget),
        "compact": design((0.02, 0.07, 0.12, 0.17), "drift tubes", budget),
    }


def asked(layout: Design) -> float:
    """Price in kEUR of the panels as they are written: area times price of the technology."""
    prices = [TECHNOLOGIES[panel["technology"]].price for side in SIDES for panel in layout[side]]
    areas = [panel["span_x"] * panel["span_y"] for side in SIDES for panel in layout[side]]
    return float(np.dot(prices, areas))


def built(layout: Design, budget: float = BUDGET) -> dict[str, Any]:
    """What is built: the design itself, or, if it is dearer than the budget, with all sides cut by one factor."""
    factor = min(1.0, (budget / asked(layout)) ** 0.5)
    cut = ("span_x", "span_y")
    return {s: [{**panel, **{name: factor * panel[name] for name in cut}} for panel in layout[s]] for s in SIDES}


def panels(layout: Design, side: str) -> Panels:
    """The panels of one side as arrays."""
    parts = layout[side]
    kinds = [TECHNOLOGIES[part["technology"]] for part in parts]
    return Panels(
        np.array([[part[name] for part in parts] for name in ("x", "y")]),
        np.array([part["z"] for part in parts]),
        np.array([[part[name] for part in parts] for name in ("span_x", "span_y")]),
        np.array([kind.resolution for kind in kinds]),
        np.array([kind.efficiency for kind in kinds]),
    )


@dataclass(frozen=True)
class MapSimulator:
    """Muons through light material with a block of lead, and their tracks above and below.

    Attributes:
        budget: kEUR, see `built`.
        muons: per scan, in which the block keeps its place.
        light: the light material.
    """

    budget: float = BUDGET
    muons: int = 10_000
    light: str = "water"

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Readout of one design: truth `place` of the block [events]; signals `CHANNELS` [events, 13]."""
        return self.simulate_batch([design], events, [seed])[0]

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; those with equal seeds share the muons."""
        layouts = [built(design, self.budget) for design in designs]
        signals = np.zeros((len(designs), events, len(CHANNELS)))
        places = np.empty((len(designs), events))
        for seed in dict.fromkeys(seeds):
            chosen = [i for i, other in enumerate(seeds) if other == seed]
            for first in range(0, events, self.muons):
                scan = slice(first, min(first + self.muons, events))
                draws = _Draws.of(seed, first // self.muons, scan.stop - first, self.light)
                places[chosen, scan] = draws.place
                for i in chosen:
                    _see(layouts[i], draws, signals[i, scan])
        return [Readout({"place": place}, each) for place, each in zip(places, signals, strict=True)]

    def describe(self) -> Mapping[str, str]:
        """What is simulated."""
        return {"simulator": f"muons through lead in {self.light}", "scan": f"{self.muons} muons"}


def _see(layout: Design, draws: _Draws, signals: FloatArray) -> None:
    """Write the signals of the muons that are seen above and below; below, only those seen above are traced."""
    upper, lower = (panels(layout, side) for side in SIDES)
    above, good = measured_tracks(upper, draws.muons.rays, TOP, *draws.noise(0, upper), 0.0)
    kept = np.flatnonzero(good & draws.down)
    errors, luck = (each[..., kept] for each in draws.noise(1, lower))
    below, good = measured_tracks(lower, draws.scattered.take(kept), BOTTOM, errors, luck, 0.0)
    both = np.flatnonzero(good)
    seen = kept[both]
    signals[seen] = signals_of(draws.muons.momentum[seen], above.take(seen), below.take(both))


@dataclass(frozen=True)
class _Draws:
    """What does not depend on the design: place of the block, muons, scattering, random numbers of the panels.

    Attributes:
        place: of the block.
        muons: at the top, [muons].
        scattered, down: at the floor of the volume, and whether they go down, [muons].
        errors, luck: of hits, for the upper and lower panels, [2, 2, panels, muons] and [2, panels, muons].
    """

    place: int
    muons: Muons
    scattered: Rays
    down: BoolArray
    errors: FloatArray
    luck: FloatArray

    @staticmethod
    def of(seed: int, scan: int, muons: int, light: str) -> _Draws:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(scan,)))
        place = int(rng.integers(PLACES.prod()))
        incoming = sample_muons(rng, muons)
        scattered, down = scatter(incoming, densities(place, light), rng.standard_normal((2, 2, muons)))
        errors = rng.standard_normal((len(SIDES), 2, MOST, muons))
        return _Draws(place, incoming, scattered, down, errors, rng.random((len(SIDES), MOST, muons)))

    def noise(self, side: int, panels: Panels) -> tuple[FloatArray, FloatArray]:
        """Errors and luck of the hits above (0) or below (1)."""
        count = len(panels.heights)
        return self.errors[side, :, :count], self.luck[side, :count]


def components(layout: Design, light: str = "water") -> list[Component]:
    """Panels and volume along the way down, in cm from the top; a panel is drawn 1 cm thick."""
    volume = Component("volume", light, 100 * (TOP - CEILING), 100 * (CEILING - BOTTOM))
    parts = [panel for side in SIDES for panel in layout[side]]
    drawn = [
        Component(f"panel {i + 1}", panel["technology"], 100 * (TOP - panel["z"]) - 0.5, 1.0)
        for i, panel in enumerate(parts)
    ]
    return [volume, *drawn]


def muon_map(
    budget: float = BUDGET,
    light: str = "water",
    muons_per_scan: int = 10_000,
    cost_weight: float = 0.1,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The panels around light material with a block of lead as a design problem.

    The zero of the reach is the metric of the first baseline, RPCs, with the same settings. Whole scans are sensible:
    eight give an error of the reach of about 0.2, half of it common to designs with the same muons.

    Args:
        budget: kEUR; a dearer design is built smaller, see `built`.
        light: the light material, one of `rl_detector.physics.materials`.
        muons_per_scan: muons that cross the volume in one scan; 10,000 are about a minute.
        cost_weight: reach that spending the whole budget must buy.
        penalty_weight: reach per relative excess over the budget, which `built` does not allow.

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


MOST_MUONS = 10_000_000
"""Muons of a scan that still fit in the memory of one computer."""


def _check(budget: float, light: str, muons: int) -> None:
    if not 0 < budget < np.inf:
        raise ConfigError(f"the budget of muon_map must be positive and finite, got {budget}")
    if not MINIMUM_EVENTS <= muons <= MOST_MUONS:
        raise ConfigError(
            f"a scan of muon_map needs at least {MINIMUM_EVENTS} muons, got {muons}; the most are {MOST_MUONS}"
        )
    if material(light).radiation_length < 2 * material("Pb").radiation_length:
        raise ConfigError(f"light material of muon_map must have at least twice the X0 of lead, got {light!r}")


@lru_cache
def _reference(simulator: MapSimulator) -> float:
    """Metric of the first baseline."""
    start = next(iter(baselines(simulator.budget).values()))
    readout = simulator.simulate(start, REFERENCE_SCANS * simulator.muons, REFERENCE_SEED)
    return MapReach(1.0, simulator.muons, simulator.light).measure(readout).metric
