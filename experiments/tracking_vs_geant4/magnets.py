"""The published muon shield: muons of the source behind every magnet, fast and in Geant4, muon by muon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from compare import Array, row
from numpy.typing import NDArray

from rl_detector.envs.muon_shield.fast import ABSORBER_STEPS, MAGNET_STEPS
from rl_detector.envs.muon_shield.layout import absorber, magnets, published, shield_blocks
from rl_detector.envs.muon_shield.problem import muon_source
from rl_detector.envs.muon_shield.source import START_Z, Primaries
from rl_detector.errors import SimulationError
from rl_detector.physics.muon_transport import IronTransport, Muons, Noise, Stage
from rl_detector.simulators.geant4 import Geant4Tracker
from rl_detector.simulators.hall import Charged, Hall

HALF_WIDTH = 1500.0
MOMENTUM = 1.0
"""GeV below which muons do not count."""
RESAMPLES = 100
SLICES = ((5.0, 15.0), (15.0, 40.0), (40.0, 80.0), (80.0, 400.0))
"""GeV at the target: muons are compared in these slices, else the comparison is one of spectra."""

ROW = (*absorber(), *magnets(published()))
ENDS = tuple(np.cumsum([2 * magnet.half_length for magnet in ROW]).tolist())

State = NDArray[np.float64]
"""x, y in cm, slopes p_x/p_z and p_y/p_z, momentum in GeV, nan where a muon is gone: [muons, planes, 5]."""


def in_geant4(primaries: Primaries, seed: int) -> State:
    position = np.concatenate([primaries.position, np.full((1, len(primaries.charge)), START_Z)]).T
    sent = Charged.muons(position, primaries.momentum.T, primaries.charge)
    with Geant4Tracker(workers=1, threshold=0.85) as tracker:
        (found,) = tracker.crossings([Hall(shield_blocks(published()), ENDS, half_width=HALF_WIDTH)], [sent], [seed])
    if isinstance(found, SimulationError):
        raise found
    momentum = found.momentum
    along = np.where(found.seen, momentum[..., 2], 1.0)
    total = np.sqrt((momentum**2).sum(axis=2))
    state = np.stack([*np.moveaxis(found.position, 2, 0), momentum[..., 0] / along, momentum[..., 1] / along, total], 2)
    return np.where((found.seen & (total > MOMENTUM))[..., None], state, np.nan)


def in_fast(primaries: Primaries, seed: int, highland: bool = True) -> State:
    rng, events = np.random.default_rng(seed), len(primaries.charge)
    muons = Muons.of(*primaries.position, primaries.momentum, primaries.charge).drift(-START_Z)
    which, source = np.zeros(events, dtype=np.intp), np.arange(events)
    state = np.full((events, len(ROW), 5), np.nan)
    for plane, (magnet, steps) in enumerate(zip(ROW, (*ABSORBER_STEPS, *MAGNET_STEPS), strict=True)):
        noise = Noise.draw(rng, steps, events)
        muons, which, source = IronTransport(highland=highland).through(muons, which, source, Stage.of([magnet]), noise)
        w = np.sqrt(1 - muons.u**2 - muons.v**2)
        state[source, plane] = np.stack([muons.x, muons.y, muons.u / w, muons.v / w, muons.momentum], axis=1)
    inside = np.abs(state[..., :2]).max(axis=2) < HALF_WIDTH
    return np.where(inside[..., None], state, np.nan)


def numbers(state: State, charge: Array) -> Array:
    """Share that is there; of those: medians and 68 % widths of q x, its slope, y, its slope; quantiles of p."""
    there = np.isfinite(state[:, 4])
    kept, q = state[there], charge[there]
    if len(kept) < 50:
        return np.full(len(NAMES), np.nan)
    columns = [q * kept[:, 0], q * kept[:, 2], kept[:, 1], kept[:, 3]]
    low, middle, high = np.quantile(np.stack(columns), [0.16, 0.5, 0.84], axis=1)
    return np.concatenate([[there.mean()], middle, (high - low) / 2, np.quantile(kept[:, 4], [0.16, 0.5, 0.84])])


NAMES = (
    "share that is there",
    *(f"{name}, median" for name in ("q x [cm]", "q x'", "y [cm]", "y'")),
    *(f"{name}, 68 %" for name in ("q x [cm]", "q x'", "y [cm]", "y'")),
    *(f"p, {share} % quantile [GeV]" for share in (16, 50, 84)),
)


def compared(one: State, other: State, charge: Array) -> dict[str, Any]:
    """Numbers of both; the error of their difference is that of pairs of the same muon (bootstrap)."""
    rng, rows = np.random.default_rng(0), {}
    values = numbers(one, charge), numbers(other, charge)
    draws = []
    for _ in range(RESAMPLES):
        pick = rng.integers(len(charge), size=len(charge))
        draws.append((numbers(one[pick], charge[pick]), numbers(other[pick], charge[pick])))
    first, second = np.moveaxis(np.array(draws), 1, 0)
    errors, paired = (first.std(axis=0), second.std(axis=0)), (second - first).std(axis=0)
    for index, name in enumerate(NAMES):
        a, b, error = values[0][index], values[1][index], paired[index]
        if np.isfinite(a + b + error):
            rows[name] = {**row(a, errors[0][index], b, errors[1][index]), "sigma": (b - a) / error if error else 0.0}
            rows[name]["paired_error"] = error
    return rows


def run(muons: int, planes: Sequence[int] = range(len(ROW))) -> dict[str, Any]:
    primaries = muon_source("pythia").sample(muons, np.random.default_rng(1))
    one, other, thick = in_geant4(primaries, 1), in_fast(primaries, 2), in_fast(primaries, 2, highland=False)
    p = np.sqrt((primaries.momentum**2).sum(axis=0))
    result = {}
    for low, high in SLICES:
        inside = (low < p) & (p <= high)
        for plane in planes:
            rows = compared(one[inside, plane], other[inside, plane], primaries.charge[inside])
            for name, value in zip(NAMES, numbers(thick[inside, plane], primaries.charge[inside]), strict=True):
                if name in rows:
                    rows[name]["thick"] = float(value)
            if rows:
                result[f"{low:g}-{high:g} GeV, magnet {plane + 1}"] = rows
    return result
