"""The telescope without events: the exact metric of any design, and the best design that an optimiser finds with it.

Hits and x0 are jointly Gaussian for a given momentum, so the best linear estimate of x0 has the variance
s^2 - s^4 1.C^-1.1 with the covariance C of the hits: C_ij = s^2 + t^2 z_i z_j + error_i^2 [i = j] plus, for every
scatterer k in front of both planes, <theta_k^2> (z_i - z_k) (z_j - z_k), the mean taken over the momenta.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.optimize import minimize

FloatArray = NDArray[np.float64]

SILICON, BERYLLIUM = 93.7, 352.8  # radiation lengths in mm (Particle Data Group)
PIPE = 15.0, 0.8 / BERYLLIUM  # position in mm, thickness in radiation lengths
SPOT, SLOPE = 1000.0, 0.1  # standard deviations of x0 in um and of the slope
SENSORS = {"strip": (80.0, 1000.0, 0.0), "pixel": (50.0, 150.0, 150.0)}  # pitch um, noise electrons, passive silicon um
NODES, WEIGHTS = leggauss(40)
LOW, HIGH = np.array([20.0, 50.0]), np.array([300.0, 500.0])  # bounds of z in mm and thickness in um


def scattering(lengths: float, low: float, high: float) -> float:
    """Mean square of Highland's angle over momenta uniform from low to high in GeV/c (equal: one momentum)."""
    momentum = (high + low) / 2 + (high - low) / 2 * NODES
    beta = momentum / np.hypot(momentum, 0.13957)
    angle = 0.0136 / (beta * momentum) * np.sqrt(lengths) * (1 + 0.038 * np.log(lengths / beta**2))
    return float(WEIGHTS @ angle**2 / 2)


def covariance(design: Any, low: float, high: float) -> FloatArray:
    """Covariance of the hits in um^2, [planes, planes], in the order of the design."""
    z = np.array([plane["z"] for plane in design["plane"]])
    result = SPOT**2 + (1e3 * SLOPE) ** 2 * np.outer(z, z)
    scatterers = [PIPE]
    for index, plane in enumerate(design["plane"]):
        pitch, noise, passive = SENSORS[plane["sensor"]]
        result[index, index] += np.hypot(1.5 * pitch * noise / (80.0 * plane["thickness"]), 2.0) ** 2
        scatterers.append((plane["z"], 1e-3 * (plane["thickness"] + passive) / SILICON))
    for position, lengths in scatterers:
        arm = 1e3 * np.clip(z - position, 0, None)
        result += scattering(lengths, low, high) * np.outer(arm, arm)
    return result


def metric(design: Any, low: float = 1.0, high: float = 5.0) -> float:
    """Mean squared error of x0 in um^2."""
    ones = np.ones(len(design["plane"]))
    return float(SPOT**2 - SPOT**4 * ones @ np.linalg.solve(covariance(design, low, high), ones))


def best(problem: Any, tries: int = 8, seed: int = 0) -> tuple[Any, float]:
    """The design with the highest reward that a local search from random starts finds, and its ln(1 / metric) - charge.

    All combinations of sensors are searched (the planes may stand in any order). A better design may exist: it is the
    best known.
    """
    rng, found = np.random.default_rng(seed), []
    for sensors in combinations_with_replacement(SENSORS, 4):
        for _ in range(tries):
            found.append(_search(problem, sensors, rng.uniform(size=8)))
    return max(found, key=lambda pair: pair[1])


def reward(problem: Any, design: Any) -> float:
    """ln(1 um^2 / metric) minus what the cost takes: the reward up to a constant."""
    costs = {cost.name: cost.amount(design) for cost in problem.costs}
    return float(-np.log(metric(design)) - problem.charge(costs, {}))


def _search(problem: Any, sensors: tuple[str, ...], start: FloatArray) -> tuple[Any, float]:
    def design(unit: FloatArray) -> Any:
        rows = (LOW + (HIGH - LOW) * unit.reshape(4, 2)).tolist()
        return {"plane": [{"z": z, "thickness": t, "sensor": s} for (z, t), s in zip(rows, sensors, strict=True)]}

    done = minimize(lambda unit: -reward(problem, design(unit)), start, bounds=[(0, 1)] * 8, method="L-BFGS-B")
    return design(np.clip(done.x, 0, 1)), -float(done.fun)
