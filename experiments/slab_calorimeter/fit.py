"""Constants of the fast library from Geant4's events: starts from those in the package, prints where it ends.

Pions: profile behind the first vertex, scatter of the centre, widths, response and visible resolution at two samplings,
at 10 and 50 GeV (first parts of showers.npz), by Nelder and Mead. Photons: mean depth, fluctuations by thickness.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from rl_detector.envs.slab_calorimeter.fast import FITTED_SHOWERS, Showers, _pions, mean_photons
from rl_detector.envs.slab_calorimeter.library import STEEL
from rl_detector.envs.slab_calorimeter.sensors import FLUCTUATION, FLUCTUATION_POWER, sensor_variance, straggled
from rl_detector.envs.slab_calorimeter.stored import PLANE_PITCH, SILICON

FILE = np.load(Path(__file__).parent / "showers.npz")
PLANES = 400
DEPTH = (PLANE_PITCH * (np.arange(PLANES, dtype=np.float32)[:, None] + 1)).astype(np.float32)
PARTICLE = SILICON.mip_loss * 0.02 * 1000
"""Mean deposit of a fast particle in 0.2 mm of silicon, in MeV."""

EVENTS, EVALUATIONS = 1500, 300
ENERGIES = {10.0: 0.3, 50.0: 1.0}
"""Energies of the pions in GeV, and how much they count."""

NAMES = (
    "first_share", "second_share", "share_strength", "hadron_range", "spacing", "spacing_order", "hadron_clumping",
    "hadron_response", "hadron_spread", "neutral_spread", "growth",
)  # fmt: skip
TOLERANCES = {
    "offset": 0.03, "offset_spread": 0.08, "width": 0.04, "width_spread": 0.08, "response": 0.015, "resolution": 0.06,
    "peak": 0.04, "peak_spread": 0.08, "every_8": 0.06, "every_16": 0.08,
}  # fmt: skip
"""Relative differences that count 1."""

EDGES = (0, 4, 8, 12, 18, 25, 35, 45, 60, 80, 110, 150, 200, 240)
"""Bins of the profile behind the vertex, in planes; they count 1 at a difference of 6 %, or 15 % in the tail."""

FloatArray = NDArray[np.float64]


def vertices(seen: FloatArray) -> NDArray[np.intp]:
    """First plane from which four planes see more than ten particles each on average, [events]."""
    kept = np.minimum(seen, 30)
    found = (kept[:-3] + kept[1:-2] + kept[2:-1] + kept[3:]) / 4 > 10
    return np.where(found.any(axis=0), found.argmax(axis=0), PLANES - 1)


def profile(seen: FloatArray) -> FloatArray:
    """Mean number of particles behind the vertex, [planes], of pions that interact in the first 140 planes."""
    first, length = vertices(seen), EDGES[-1]
    return np.mean([seen[v : v + length, event] for event, v in enumerate(first) if v < 140], axis=0)


def observables(seen: FloatArray, scale: float) -> dict[str, float]:
    """What is compared besides the profile; `scale` is the number of particles of a photon of equal energy."""
    first, depth = vertices(seen), DEPTH[:, :1].astype(np.float64)
    seen, first = seen[:, first < PLANES // 2], first[first < PLANES // 2]
    total = seen.sum(axis=0)
    centre = (seen * depth).sum(axis=0) / total
    width = np.sqrt(np.maximum((seen * depth**2).sum(axis=0) / total - centre**2, 0))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(4) / 4, "same"), 0, seen)
    peak, offset = smooth.max(axis=0) / total, centre - depth[first, 0]
    found = {"offset": offset.mean(), "offset_spread": offset.std(), "width": width.mean(), "width_spread": width.std()}
    found |= {"response": total.mean() / scale, "resolution": total.std() / total.mean()}
    found |= {"peak": peak.mean(), "peak_spread": peak.std()}
    for step in (8, 16):
        sums = [seen[start::step].sum(axis=0) for start in range(step)]
        found[f"every_{step}"] = np.mean([each.std() / each.mean() for each in sums])
    return {name: float(value) for name, value in found.items()}


def fast(showers: Showers, energy: float) -> FloatArray:
    """The same planes in the fast library, [planes, events]."""
    shape, crossing = np.random.default_rng(1), np.random.default_rng(2)
    seen = _pions(showers, np.full(EVENTS, energy), DEPTH, shape, crossing)
    variance = np.full((PLANES, 1), sensor_variance(np.array([0.2]))[0], np.float32)
    noise = crossing.standard_normal(seen.shape, dtype=np.float32)
    return straggled(seen, variance, noise).astype(np.float64)


def compared(showers: Showers, energy: float, geant4: FloatArray, per_gev: float) -> dict[str, tuple[float, float]]:
    """Logarithm of fast over Geant4 and its tolerance, by observable."""
    other = fast(showers, energy)
    scales = per_gev * energy, energy / (STEEL.mip_loss * PLANE_PITCH)
    one, two = (observables(seen, scale) for seen, scale in zip((geant4, other), scales, strict=True))
    found = {name: (float(np.log(two[name] / one[name])), size) for name, size in TOLERANCES.items()}
    shapes = [profile(seen) / scale for seen, scale in zip((geant4, other), scales, strict=True)]
    for low, high in pairwise(EDGES):
        ratio = shapes[1][low:high].mean() / shapes[0][low:high].mean()
        found[f"planes {low}-{high}"] = float(np.log(ratio)), 0.06 if low < 110 else 0.15
    return found


def fit() -> Showers:
    """The constants of the pions."""
    per_gev = float(FILE["gamma 50"].astype(np.float64).sum(axis=1).mean()) / PARTICLE / 50
    data = {energy: FILE[f"pi+ {energy:g}"].astype(np.float64).T / PARTICLE for energy in ENERGIES}
    start = np.array([getattr(FITTED_SHOWERS, name) for name in NAMES])

    def showers(factors: Any) -> Showers:
        return replace(FITTED_SHOWERS, **dict(zip(NAMES, map(float, np.clip(factors, 0.3, 3) * start), strict=True)))

    def cost(factors: Any) -> float:
        terms = {e: compared(showers(factors), e, seen, per_gev) for e, seen in data.items()}
        return sum(ENERGIES[e] * sum((x / size) ** 2 for x, size in found.values()) for e, found in terms.items())

    ones = np.ones(len(NAMES))
    simplex = np.vstack([ones, ones + 0.1 * np.eye(len(NAMES))])
    best = minimize(cost, ones, method="Nelder-Mead", options={"maxfev": EVALUATIONS, "initial_simplex": simplex})
    print(f"cost {cost(ones):.1f} -> {best.fun:.1f}")
    for energy, seen in data.items():
        for name, (logarithm, size) in compared(showers(best.x), energy, seen, per_gev).items():
            print(f"{energy:g} GeV {name}: fast / Geant4 = {np.exp(logarithm):.3f} (tolerance {size:.3f})")
    return showers(best.x)


def photons() -> None:
    """Mean depth of 50 GeV, and variance over mean of the signals in particles, by thickness."""
    seen = FILE["gamma 50"].astype(np.float64).T
    expected = mean_photons(FITTED_SHOWERS, np.full(4000, 50.0), DEPTH, np.random.default_rng(1)).mean(axis=1)
    for label, each in (("Geant4", seen.mean(axis=1)), ("fast", expected)):
        print(f"{label}: mean depth of photons {float(each @ DEPTH[:, 0]) / each.sum():.2f} cm")
    total = seen.sum(axis=0) / PARTICLE
    print(f"0.2 mm, all planes: variance / mean {total.var() / total.mean():.2f}, fast {FLUCTUATION}")
    types = np.concatenate([FILE[name] for name in FILE.files if name.startswith("gamma 50 types")]).astype(np.float64)
    for index, thickness in enumerate((0.06, 0.12, 0.2, 0.3)):
        signals = types[:, index::4].sum(axis=1) / (PARTICLE * thickness / 0.2)
        value, law = signals.var() / signals.mean(), FLUCTUATION * (thickness / 0.2) ** FLUCTUATION_POWER
        print(f"{thickness} mm, every 4th: {value:.2f} +- {value * np.sqrt(2 / len(types)):.2f}, fast {law:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photons", action="store_true", help="only the comparison of photons")
    photons()
    if not parser.parse_args().photons:
        print(fit())


if __name__ == "__main__":
    main()
