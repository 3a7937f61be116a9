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
    """Panels above or below the volume under study.

    Attributes:
        centres: x, y in m, [2, panels].
        heights: z in m, [panels].
        spans: side lengths in m, [panels] for squares, or [2, panels] for rectangles.
        resolutions, efficiencies: values of their technologies, [panels].
    """

    centres: FloatArray
    heights: FloatArray
    spans: FloatArray
    resolutions: FloatArray
    efficiencies: FloatArray

    @staticmethod
    def of(parts: Sequence[Mapping[str, Any]], technologies: Sequence[Technology], spans: FloatArray) -> Panels:
        """Make panels from their parameters x, y and z in m, their technologies, and their side lengths in m."""
        return Panels(
            np.array([[part[name] for part in parts] for name in ("x", "y")]),
            np.array([part["z"] for part in parts]),
            spans,
            np.array([technology.resolution for technology in technologies]),
            np.array([technology.efficiency for technology in technologies]),
        )


def nearness(true: FloatArray, panels: Panels, smoothness: float) -> FloatArray:
    """Return the share of its performance that a panel has at a point, per axis, [2, panels, muons].

    For smoothness s = 0 the share is 1 inside and 0 outside. Else it is sigmoid((1 - |d|) / s) / sigmoid(1 / s), with
    the distance d from the centre in half spans. That is the training model of TomOpt. It sees muons beside a panel,
    so it does not describe a real one.
    """
    away = np.abs(true - panels.centres[:, :, None]) / (panels.spans / 2)[..., None]
    if smoothness == 0:
        return (away <= 1).astype(np.float64)
    result: FloatArray = (1 + np.exp(-1 / smoothness)) / (1 + np.exp((away - 1) / smoothness))
    return result


def measured_tracks(
    panels: Panels, rays: Rays, start: float, errors: FloatArray, luck: FloatArray, smoothness: float
) -> tuple[Tracks, NDArray[np.bool_]]:
    """Fit straight tracks to the hits of rays in panels.

    Args:
        panels: the panels that see the rays.
        rays: positions and slopes [2, muons] at the height `start`.
        start: height in m.
        errors: standard normal numbers for the hit positions, [2, panels, muons].
        luck: uniform numbers in [0, 1) that decide which hits are seen, [panels, muons].
        smoothness: smoothness of the panels' edges, see `nearness`.

    Returns:
        The tracks, and whether each has at least two hits at different heights, [muons].
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
