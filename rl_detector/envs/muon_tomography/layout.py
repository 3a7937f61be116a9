"""Panels above and below the furnace: their space, price and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_detector.envs.muon_tomography.furnace import (
    FURNACE_BOTTOM,
    FURNACE_TOP,
    FURNACE_WIDTH,
    TOP_HEIGHT,
)
from rl_detector.parameters import Atom, Categorical, Continuous
from rl_detector.simulators.panels import Panels, Technology
from rl_detector.space import Design, DesignSpace, Repeated
from rl_detector.terms import Component

ABOVE_AND_BELOW = ("upper", "lower")
"""The two rows of panels, above and below the furnace."""


PANELS_PER_SIDE = 4
"""Number of panels above, and of those below."""


BUDGET_UNITS = 6.0
"""Budget; 1 m2 of a standard panel costs 1 unit (TomOpt, ladle furnace benchmark)."""


SMALLEST_SPAN, LARGEST_SPAN = 0.3, 1.5
"""Bounds of a panel's side in m; our choice."""


TECHNOLOGIES: Mapping[str, Technology] = {
    "standard": Technology(1e-4, 0.90, 1.0),
    "fine": Technology(0.5e-4, 0.95, 2.0),
    "coarse": Technology(1e-3, 0.95, 0.5),
}
"""standard: 0.1 mm and 90 % (TomOpt, ladle furnace benchmark); the others are our choice."""


def space(technologies: bool = False) -> DesignSpace:
    """Four panels above and four below: x, y, z of the centre and side, and the technology if that is free."""
    return DesignSpace(
        tuple(Repeated(side, _panel(side, technologies), PANELS_PER_SIDE, PANELS_PER_SIDE) for side in ABOVE_AND_BELOW)
    )


def _panel(side: str, technologies: bool) -> DesignSpace:
    low, high = (FURNACE_TOP, TOP_HEIGHT) if side == "upper" else (0.0, FURNACE_BOTTOM)
    numbers: list[Atom] = [Continuous(name, 0.0, FURNACE_WIDTH, "m") for name in ("x", "y")]
    numbers += [Continuous("z", low, high, "m"), Continuous("span", SMALLEST_SPAN, LARGEST_SPAN, "m")]
    choice = [Categorical("technology", tuple(TECHNOLOGIES))] if technologies else []
    return DesignSpace((*numbers, *choice))


def design(
    upper: Sequence[float], lower: Sequence[float], middle: float = FURNACE_WIDTH / 2, technologies: bool = False
) -> dict[str, Any]:
    """Panels of equal size at heights in m, all with x = y = middle; with the whole budget for standard ones."""
    side = (BUDGET_UNITS / (2 * PANELS_PER_SIDE)) ** 0.5
    kind = {"technology": "standard"} if technologies else {}
    heights = {"upper": upper, "lower": lower}
    return {s: [{"x": middle, "y": middle, "z": z, "span": side, **kind} for z in heights[s]] for s in ABOVE_AND_BELOW}


def baselines(technologies: bool = False) -> dict[str, Design]:
    """published_start: all panels close together over a corner. pairs, even: by hand (TomOpt, ladle furnace)."""
    return {
        "published_start": design((1.48, 1.47, 1.46, 1.45), (0.35, 0.34, 0.33, 0.32), 0.0, technologies),
        "pairs": design((1.80, 1.75, 1.50, 1.45), (0.35, 0.30, 0.05, 0.0), technologies=technologies),
        "even": design((1.75, 1.65, 1.55, 1.45), (0.35, 0.25, 0.15, 0.05), technologies=technologies),
    }


def price(layout: Design) -> float:
    """Units of the budget that panels of these sides take: area times price of the technology."""
    panels = [panel for side in ABOVE_AND_BELOW for panel in layout[side]]
    return float(sum(panel["span"] ** 2 * _technology(panel).price for panel in panels))


def _technology(panel: Mapping[str, Any]) -> Technology:
    return TECHNOLOGIES[panel.get("technology", "standard")]


def built(layout: Design, budget: float | None) -> dict[str, Any]:
    """The design that is built: with a budget, all sides are multiplied by the factor that spends it exactly."""
    factor = 1.0 if budget is None else (budget / price(layout)) ** 0.5
    return {side: [{**panel, "span": panel["span"] * factor} for panel in layout[side]] for side in ABOVE_AND_BELOW}


def panels(layout: Design, side: str) -> Panels:
    """The panels of one side as arrays."""
    parts = layout[side]
    spans = np.array([part["span"] for part in parts])
    return Panels.of(parts, [_technology(part) for part in parts], spans)


def components(layout: Design) -> list[Component]:
    """Panels and furnace along the way down, in cm from the top; a panel is drawn 1 cm thick."""
    furnace = Component("furnace", "steel", 100 * (TOP_HEIGHT - FURNACE_TOP), 100 * (FURNACE_TOP - FURNACE_BOTTOM))
    parts = [(side, i, panel) for side in ABOVE_AND_BELOW for i, panel in enumerate(layout[side])]
    drawn = [
        Component(
            f"{side} panel {i + 1}", panel.get("technology", "standard"), 100 * (TOP_HEIGHT - panel["z"]) - 0.5, 1.0
        )
        for side, i, panel in parts
    ]
    return [furnace, *drawn]
