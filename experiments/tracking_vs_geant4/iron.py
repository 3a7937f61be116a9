"""One block of iron, 1 m at 1.7 T: the fast transport of muons, closed forms, and Geant4."""

from __future__ import annotations

from typing import Any

import numpy as np
from compare import Array, core, inner, quantile, side_by_side

from rl_detector.errors import SimulationError
from rl_detector.physics.energy_loss import mean_loss
from rl_detector.physics.magnets import Block, Magnet, Section
from rl_detector.physics.muon_transport import IronTransport, Muons, Noise, Stage
from rl_detector.physics.scattering import covariance, highland_angle, velocity
from rl_detector.simulators.geant4 import Geant4Tracker
from rl_detector.simulators.hall import Charged, Hall

LENGTH, FIELD, STEPS = 100.0, 1.7, 5
RADIATION_LENGTH = 1.757
SQUARE = np.array([[-300.0, -300], [300, -300], [300, 300], [-300, 300]])
HALL = Hall((Block(0.0, LENGTH, SQUARE, SQUARE, (0.0, FIELD, 0.0)),), (LENGTH,), half_width=400.0)

NUMBERS = {
    "kick, median [rad]": ("kick", lambda v: float(np.median(v))),
    "loss, mean [GeV]": ("loss", lambda v: float(v.mean())),
    "loss, median [GeV]": ("loss", lambda v: float(np.median(v))),
    "loss, 16 % quantile [GeV]": ("loss", quantile(0.16)),
    "loss, 84 % quantile [GeV]": ("loss", quantile(0.84)),
    "loss, 98 % quantile [GeV]": ("loss", quantile(0.98)),
    "angle, 68 % [rad]": ("angle", core),
    "angle, inner 98 % [rad]": ("angle", inner),
    "offset, 68 % [cm]": ("offset", core),
    "offset, inner 98 % [cm]": ("offset", inner),
    "bent offset, median [cm]": ("bent", lambda v: float(np.median(v))),
}


def geant4(tracker: Geant4Tracker, momentum: float, muons: int, seed: int) -> dict[str, Array]:
    start = np.zeros((muons, 3))
    sent = Charged.muons(start, np.tile([0.0, 0.0, momentum], (muons, 1)), np.ones(muons))
    (found,) = tracker.crossings([HALL], [sent], [seed])
    if isinstance(found, SimulationError):
        raise found
    there = found.seen[:, 0]
    return columns(momentum, found.momentum[there, 0].T, *found.position[there, 0].T)


def fast(momentum: float, muons: int, seed: int, highland: bool = True) -> dict[str, Array]:
    zeros = np.zeros(muons)
    sent = Muons.of(zeros, zeros, np.stack([zeros, zeros, zeros + momentum]), np.ones(muons))
    section = Section(300.0, 300.0, 0.0)
    stage = Stage.of([Magnet(LENGTH / 2, section, section, FIELD)])
    noise = Noise.draw(np.random.default_rng(seed), STEPS, muons)
    out, _, _ = IronTransport(highland=highland).through(sent, zeros.astype(np.intp), np.arange(muons), stage, noise)
    p = out.momentum
    w = np.sqrt(1 - out.u**2 - out.v**2)
    return columns(momentum, np.stack([p * out.u, p * out.v, p * w]), out.x, out.y)


def columns(start: float, momentum: Array, x: Array, y: Array) -> dict[str, Array]:
    px, py, pz = momentum
    loss = start - np.sqrt((momentum**2).sum(axis=0))
    return {"kick": -np.arctan2(px, pz), "angle": np.arctan2(py, pz), "loss": loss, "bent": -x, "offset": y}


def closed_forms(momentum: float) -> dict[str, float]:
    """Loss without fluctuations; kick 0.3 B times the integral of dz / p; Highland at the mean of 1 / p^2."""
    p, step = momentum, LENGTH / 1000
    inverse = squared = 0.0
    for _ in range(1000):
        inverse, squared = inverse + step / p, squared + step / p**2
        p -= float(mean_loss(p)) * step
    middle = 1000 / np.sqrt(squared / LENGTH)
    theta = float(highland_angle(middle, velocity(middle), LENGTH / RADIATION_LENGTH))
    return {
        "kick, median [rad]": float(np.arcsin(0.00299792458 * FIELD * inverse)),
        "loss, mean [GeV]": momentum - p,
        "angle, inner 98 % [rad]": theta,
        "offset, inner 98 % [cm]": float(np.sqrt(covariance(theta, LENGTH)[1, 1])),
    }


def run(momenta: tuple[float, ...], muons: int) -> dict[str, Any]:
    result = {}
    with Geant4Tracker(workers=1) as tracker:
        for number, momentum in enumerate(momenta):
            samples = geant4(tracker, momentum, muons, number + 1), fast(momentum, 10 * muons, number + 1)
            rows = side_by_side(*samples, NUMBERS)
            thick = fast(momentum, 10 * muons, number + 1, highland=False)
            for name, (column, function) in NUMBERS.items():
                rows[name]["thick"] = function(thick[column])
            for name, value in closed_forms(momentum).items():
                rows[name]["closed_form"] = value
            result[f"{momentum:g} GeV"] = rows
    return result
