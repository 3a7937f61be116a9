"""Panels of the map: their space, budget and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_detector.envs.muon_map.volume import CEILING_HEIGHT, FLOOR_HEIGHT, TOP_HEIGHT, VOLUME_SIZE
from rl_detector.parameters import Categorical, Continuous
from rl_detector.simulators.panels import Panels, Technology
from rl_detector.space import Design, DesignSpace, Repeated
from rl_detector.terms import Component

ABOVE_AND_BELOW = ("upper", "lower")
"""The two rows of panels, above and below the volume."""


FEWEST_PANELS, MOST_PANELS = 2, 4
"""Bounds of the number of panels above, and of that below."""


BUDGET_KEUR = 30.0
"""Budget of the panels in kEUR; our choice."""


SMALLEST_SPAN, LARGEST_SPAN = 0.3, 2.5
"""Bounds of a panel's sides in m; our choice."""


TECHNOLOGIES: Mapping[str, Technology] = {
    "drift tubes": Technology(2.5e-4, 0.93, 4.0),
    "RPC": Technology(5e-4, 0.95, 3.0),
    "scintillator strips": Technology(2e-3, 0.98, 2.0),
    "Micromegas": Technology(1e-4, 0.97, 10.0),
}
"""Resolution in m and efficiency of a hit in x and y, and price in kEUR per m2 with read-out: our choices, of the order
of present detectors."""


def space() -> DesignSpace:
    """Two to four panels above and below: centre x, y, z, sides along x and y, and technology."""
    return DesignSpace(tuple(Repeated(side, _panel(side), FEWEST_PANELS, MOST_PANELS) for side in ABOVE_AND_BELOW))


def _panel(side: str) -> DesignSpace:
    low, high = (CEILING_HEIGHT, TOP_HEIGHT) if side == "upper" else (0.0, FLOOR_HEIGHT)
    return DesignSpace(
        (
            Continuous("x", 0.0, float(VOLUME_SIZE[0]), "m"),
            Continuous("y", 0.0, float(VOLUME_SIZE[1]), "m"),
            Continuous("z", low, high, "m"),
            Continuous("span_x", SMALLEST_SPAN, LARGEST_SPAN, "m"),
            Continuous("span_y", SMALLEST_SPAN, LARGEST_SPAN, "m"),
            Categorical("technology", tuple(TECHNOLOGIES)),
        )
    )


def design(distances: Sequence[float], technology: str, budget: float = BUDGET_KEUR) -> dict[str, Any]:
    """Equal panels over the centre at distances in m from the volume, as wide as the budget allows, in its shape."""
    area = budget / (2 * len(distances) * TECHNOLOGIES[technology].price)
    side = float((area / (VOLUME_SIZE[0] * VOLUME_SIZE[1])) ** 0.5)
    spans = [float(np.clip(side * length, SMALLEST_SPAN, LARGEST_SPAN)) for length in VOLUME_SIZE[:2]]
    panel = {"x": float(VOLUME_SIZE[0]) / 2, "y": float(VOLUME_SIZE[1]) / 2, "span_x": spans[0], "span_y": spans[1]}
    places = {"upper": [CEILING_HEIGHT + d for d in distances], "lower": [FLOOR_HEIGHT - d for d in distances]}
    return {s: [{**panel, "z": float(z), "technology": technology} for z in places[s]] for s in ABOVE_AND_BELOW}


def baselines(budget: float = BUDGET_KEUR) -> dict[str, Design]:
    """Layouts by hand, RPCs first: each technology spread over the height, and a compact telescope of drift tubes."""
    return {
        "rpc": design((0.02, 0.245, 0.47), "RPC", budget),
        "drift_tubes": design((0.02, 0.245, 0.47), "drift tubes", budget),
        "strips": design((0.02, 0.245, 0.47), "scintillator strips", budget),
        "micromegas": design((0.02, 0.47), "Micromegas", budget),
        "compact": design((0.02, 0.07, 0.12, 0.17), "drift tubes", budget),
    }


def asked(layout: Design) -> float:
    """Price in kEUR of the panels before they are cut to the budget: area times price of the technology."""
    prices = [TECHNOLOGIES[panel["technology"]].price for side in ABOVE_AND_BELOW for panel in layout[side]]
    areas = [panel["span_x"] * panel["span_y"] for side in ABOVE_AND_BELOW for panel in layout[side]]
    return float(np.dot(prices, areas))


def built(layout: Design, budget: float = BUDGET_KEUR) -> dict[str, Any]:
    """The design that is built: all sides are cut by one factor if the design costs more than the budget."""
    factor = min(1.0, (budget / asked(layout)) ** 0.5)
    cut = ("span_x", "span_y")
    return {
        s: [{**panel, **{name: factor * panel[name] for name in cut}} for panel in layout[s]] for s in ABOVE_AND_BELOW
    }


def panels(layout: Design, side: str) -> Panels:
    """The panels of one side as arrays."""
    parts = layout[side]
    spans = np.array([[part[name] for part in parts] for name in ("span_x", "span_y")])
    return Panels.of(parts, [TECHNOLOGIES[part["technology"]] for part in parts], spans)


def components(layout: Design, light: str = "water") -> list[Component]:
    """Panels and volume along the way down, in cm from the top; a panel is drawn 1 cm thick."""
    volume = Component("volume", light, 100 * (TOP_HEIGHT - CEILING_HEIGHT), 100 * (CEILING_HEIGHT - FLOOR_HEIGHT))
    parts = [panel for side in ABOVE_AND_BELOW for panel in layout[side]]
    drawn = [
        Component(f"panel {i + 1}", panel["technology"], 100 * (TOP_HEIGHT - panel["z"]) - 0.5, 1.0)
        for i, panel in enumerate(parts)
    ]
    return [volume, *drawn]
