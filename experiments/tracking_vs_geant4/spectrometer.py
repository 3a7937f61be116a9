"""Silicon stations in a dipole with helium between them: momentum errors, true positions and angles."""

from __future__ import annotations

from typing import Any

import numpy as np
from compare import Array, core, inner, row, side_by_side

from rl_detector.envs.spectrometer.fast import Draws
from rl_detector.envs.spectrometer.geant4 import TrackedSpectrometer, curvature, hall, muons
from rl_detector.envs.spectrometer.layout import stations_of
from rl_detector.envs.spectrometer.problem import SpectrometerSimulator, spectrometer
from rl_detector.errors import SimulationError
from rl_detector.terms import Readout

NUMBERS = {
    "momentum error, 68 %": ("error", core),
    "momentum error, inner 98 %": ("error", inner),
    "momentum error, median": ("error", lambda v: float(np.median(v))),
    "x at the last station, 68 % [mm]": ("x", core),
    "x at the last station, inner 98 % [mm]": ("x", inner),
    "x in front of the magnet, 68 % [mm]": ("middle", core),
}


def relative(readout: Readout) -> Array:
    known = readout.signals[:, 2] >= 3
    return readout.signals[known, 0] / readout.truth["kappa"][known] - 1


def scattered(simulator: SpectrometerSimulator, layout: Any, tracks: int, seed: int) -> dict[str, Array]:
    """How far tracks are from their unscattered path at the fourth and last station, in mm, and their errors."""
    apparatus, built = simulator.spectrometer, stations_of(layout)
    fast = apparatus.spectrometer if isinstance(apparatus, TrackedSpectrometer) else apparatus
    draws = Draws.of(fast.beam, tracks, seed, len(built.position))
    z, sent = built.position[:, None], draws.tracks
    linear = sent.x + sent.slope_x * z + sent.kappa * fast.magnet.bend(z)
    if isinstance(apparatus, TrackedSpectrometer):
        (found,) = apparatus.tracker.crossings([hall(built, fast.magnet, apparatus.medium)], [muons(sent)], [seed])
        if isinstance(found, SimulationError):
            raise found
        there = found.seen.all(axis=1)
        away = found.position[there, :, 0].T / 100 - (linear + curvature(z, sent, fast.magnet))[:, there]
    else:
        away = fast._positions(built, fast.steps(built, sent), draws) - linear
    readout = simulator.simulate(layout, tracks, seed)
    return {"error": relative(readout), "middle": 1000 * away[3], "x": 1000 * away[-1]}


def run(momenta: tuple[float, ...], tracks: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    geant4 = {"name": "geant4", "workers": 1}
    for momentum in momenta:
        settings: dict[str, Any] = {"momentum_low": momentum, "momentum_high": momentum, "pion_fraction": 0.0}
        one, other = spectrometer(**settings, simulator=geant4), spectrometer(**settings)
        samples = scattered(one.simulator, one.start, tracks, 1), scattered(other.simulator, one.start, 20 * tracks, 2)
        result[f"{momentum:g} GeV"] = side_by_side(*samples, NUMBERS)
    result["spectrum"] = spectrum(4 * tracks)
    return result


def spectrum(tracks: int) -> dict[str, Any]:
    """Metric of the baselines over the whole spectrum, same tracks; and the gain of one over the other, paired."""
    fast, geant4 = spectrometer(), spectrometer(simulator={"name": "geant4", "workers": 1})
    rows = {}
    for name, layout in fast.baselines.items():
        one, other = (
            problem.reach.measure(problem.simulator.simulate(layout, tracks, 7)) for problem in (geant4, fast)
        )
        rows[name] = row(one.metric, one.metric_error, other.metric, other.metric_error)
        rows[name]["pull"] = one.diagnostics["pull"]
    return rows
