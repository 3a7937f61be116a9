"""Thin rectangular detector panels: hits with resolution and efficiency, inside a sharp or a smooth edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.closest_approach import Tracks, fit_tracks
from rl_detector.physics.cosmic_muons import Rays
from rl_detector.space import FloatArray


@dataclass(frozen=True)
class Technology:
    """A kind of panel.

    Attributes:
        resolution: standard deviation of a hit in m, in x and y.
        efficiency: probability that a muon through the panel is seen.
        price: units of the budget per m2.
    """

    resolution: float
    efficiency: float
    price: float


@dataclass(frozen=True)
class Panels:
    """Some panels above or below what is looked into.

    Attributes:
        centres: x, y in m, [2, panels].
        heights: z in m, [panels].
        spans: sides in m, [panels] of squares or [2, panels].
        resolutions, efficiencies: [panels].
    """

    centres: FloatArray
    heights: FloatArray
    spans: FloatArray
    resolutions: FloatArray
    efficiencies: FloatArray

    @staticmethod
    def of(parts: Sequence[Mapping[str, Any]], technologies: Sequence[Technology], spans: FloatArray) -> Panels:
        """Panels from their parameters x, y and z in m, their technologies, and their sides in m."""
        return Panels(
            np.array([[part[name] for part in parts] for name in ("x", "y")]),
            np.array([part["z"] for part in parts]),
            spans,
            np.array([technology.resolution for technology in technologies]),
            np.array([technology.efficiency for technology in technologies]),
        )


def nearness(true: FloatArray, panels: Panels, smoothness: float) -> FloatArray:
    """How much of its performance a panel has at a point, per axis, [2, panels, muons].

    1 inside and 0 outside for smoothness 0; else sigmoid((1 - |d|) / s) / sigmoid(1 / s), d from the centre in half
    spans: the training model of TomOpt, which sees muons beside a panel and is no model of a real one.
    """
    away = np.abs(true - panels.centres[:, :, None]) / (panels.spans / 2)[..., None]
    if smoothness == 0:
        return (away <= 1).astype(np.float64)
    result: FloatArray = (1 + np.exp(-1 / smoothness)) / (1 + np.exp((away - 1) / smoothness))
    return result


def measured_tracks(
    panels: Panels, rays: Rays, start: float, errors: FloatArray, luck: FloatArray, smoothness: float
) -> tuple[Tracks, NDArray[np.bool_]]:
    """Straight tracks fitted to the hits of rays.

    Args:
        panels: where the hits are.
        rays: [2, muons] at the height `start` in m.
        errors: standard normal, [2, panels, muons].
        luck: uniform in [0, 1), [panels, muons].
        smoothness: of the edges, see `nearness`.

    Returns:
        The tracks, and whether there were two hits at least at different heights, [muons].
    """
    depths = start - panels.heights
    true = rays.position[:, None] + rays.slope[:, None] * depths[:, None]
    near = nearness(true, panels, smoothness)
    seen = luck < panels.efficiencies[:, None] * near[0] * near[1]
    precision = (seen / panels.resolutions[:, None] ** 2)[None]
    if smoothness == 0:
        hits = true + errors * panels.resolutions[:, None]
    else:
        hits = true + errors * panels.resolutions[:, None] / np.maximum(near, 1e-9)
        precision = precision * near**2
    tracks = fit_tracks(panels.heights, hits, precision)
    return tracks, tracks.good & (np.count_nonzero(seen, axis=0) >= 2)
