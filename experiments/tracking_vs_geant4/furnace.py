"""The ladle furnace: angles and offsets behind steel and slag, and what the loss of energy does to the fill height."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from compare import Array, core, inner, row, side_by_side

from rl_detector.envs.muon_tomography.furnace import FILL_HEIGHTS, Muons, Rays, scatter
from rl_detector.envs.muon_tomography.geant4 import scattered
from rl_detector.envs.muon_tomography.problem import muon_tomography
from rl_detector.reach.paired import paired_difference
from rl_detector.simulators.geant4 import Geant4Tracker

FOUND = Path(__file__).parent.parent / "muon_tomography" / "results.json"
HIGHEST = len(FILL_HEIGHTS) - 1
MOMENTA = (2.0, 5.0, 20.0, 50.0)

NUMBERS = {
    "angle, 68 % [rad]": ("angle", core),
    "angle, inner 98 % [rad]": ("angle", inner),
    "offset, 68 % [m]": ("offset", core),
    "offset, inner 98 % [m]": ("offset", inner),
}


def vertical(momentum: float, muons: int) -> Muons:
    return Muons(Rays(np.full((2, muons), 0.5), np.zeros((2, muons))), np.full(muons, momentum))


def columns(rays: Rays, down: Array) -> dict[str, Array]:
    kept = down.astype(bool)
    return {"angle": rays.slope[:, kept].reshape(-1), "offset": (rays.position[:, kept] - 0.5).reshape(-1)}


def run(muons: int, volumes: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with Geant4Tracker(workers=1, threshold=0.01) as tracker:
        for momentum in MOMENTA:
            fills, many = np.full(muons, HIGHEST), 10 * muons
            one = scattered(tracker, vertical(momentum, muons), fills, np.ones(muons), 1)
            normals = np.random.default_rng(1).standard_normal((2, 2, many))
            other = scatter(vertical(momentum, many), np.full(many, HIGHEST), normals)
            rows = side_by_side(columns(*one), columns(*other), NUMBERS)
            result[f"{momentum:g} GeV"] = {**rows, "share that gets through": float(one[1].mean())}
    result["designs"] = designs(volumes)
    return result


def designs(events: int) -> dict[str, Any]:
    """Squared error of the fill height in m2, and ln(even / design) of the others, paired, in both simulators."""
    fast, geant4 = muon_tomography(), muon_tomography(simulator={"name": "geant4", "workers": 1})
    found = {each["name"]: each["design"] for each in json.loads(FOUND.read_text())["rows"]}
    layouts = {**fast.baselines, **{name: layout for name, layout in found.items() if name not in fast.baselines}}
    rows: dict[str, Any] = {}
    measured = {}
    for kind, problem in (("geant4", geant4), ("fast", fast)):
        readouts = problem.simulator.simulate_batch(list(layouts.values()), events, [5] * len(layouts))
        measured[kind] = dict(zip(layouts, map(problem.reach.measure, readouts), strict=True))
    for name in layouts:
        one, other = measured["geant4"][name], measured["fast"][name]
        rows[name] = row(one.metric, one.metric_error, other.metric, other.metric_error)
        if name != "even":
            for kind, all_ in measured.items():
                gain = paired_difference(all_[name], all_["even"])
                rows[name][f"{kind}_over_even"] = [gain.value, gain.error]
    return rows
