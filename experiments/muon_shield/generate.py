"""Makes the table of muons from 400 GeV protons on a dense target: rl_detector/envs/muon_shield/source.npz.

pip install 'rl_detector[generators]'; python generate.py     # about two minutes of processor time

One proton interacts once, with a proton at rest (Pythia, SoftQCD:inelastic). Muons come from
* charged pions and kaons, which decay with the probability LAMBDA m / (p c tau) before they interact,
* rho, omega and phi into two muons,
* charm (Pythia, HardQCD:hardccbar), scaled to CHARM pairs per proton.
Left out: the cascade of secondary hadrons, the Dalitz decays, hyperons, the nucleus but for CHARM.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.envs.muon_shield.source import LOWEST_MOMENTUM, TABLE_FILE

SOFT, HARD = 300_000, 150_000
"""Events of each kind."""

ROWS = 40_000
"""Rows of the table."""

SEED = 400

LAMBDA = 0.15
"""Nuclear interaction length in m of pions and kaons in the target (molybdenum and tungsten), rounded."""

CHARM = 1.7e-3
"""Pairs of charm per proton that interacts in molybdenum (SHiP, arXiv:1504.04956, sec. 5)."""

MUON = 0.1056583755
MESONS = {211: (0.13957, 7.8045, 0.9999), 321: (0.49368, 3.711, 0.6356)}
"""Mass in GeV, c tau in m, branching ratio into mu nu (PDG 2024)."""

PAIRS = {113: 4.55e-5, 223: 7.4e-5, 333: 2.85e-4}
"""Branching ratios of rho0, omega and phi into two muons (PDG 2024)."""

BEAM = ("Beams:frameType = 2", "Beams:idA = 2212", "Beams:idB = 2212", "Beams:eA = 400.", "Beams:eB = 0.")
QUIET = ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {SEED}")
STABLE = tuple(f"{code}:mayDecay = off" for code in (211, 321))


def events(number: int, *settings: str) -> Iterator[list[Any]]:
    """Particles of each event."""
    import pythia8mc  # lazily: only this function needs the extra

    pythia = pythia8mc.Pythia("", False)
    for line in (*BEAM, *QUIET, *settings):
        if not pythia.readString(line):
            raise RuntimeError(f"Pythia does not know {line!r}")
    if not pythia.init():
        raise RuntimeError("Pythia could not be initialised")
    for _ in range(number):
        if pythia.next():
            yield list(pythia.event)


def boosted(parent: np.ndarray, mass: float, energy: float, momentum: float, rng: np.random.Generator) -> np.ndarray:
    """Momenta [n, 3] of an isotropic daughter of the parents' [n, 3] rest frame."""
    cosine, phi = rng.uniform(-1, 1, len(parent)), rng.uniform(0, 2 * math.pi, len(parent))
    sine = np.sqrt(1 - cosine**2)
    own = momentum * np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)
    total = np.sqrt((parent**2).sum(axis=1) + mass**2)
    along = (own * parent).sum(axis=1) / (total + mass)
    return own + parent * ((energy + along) / mass)[:, None]


def from_mesons(rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Muons [n, 5] (p, charge, weight) of pions and kaons."""
    muons = []
    for code, (mass, ctau, branching) in MESONS.items():
        mine = rows[np.abs(rows[:, 0]) == code]
        parent = mine[:, 1:4]
        total = np.sqrt((parent**2).sum(axis=1))
        energy = (mass**2 + MUON**2) / (2 * mass)
        momentum = boosted(parent, mass, energy, (mass**2 - MUON**2) / (2 * mass), rng)
        chance = branching * (1 - np.exp(-LAMBDA * mass / (total * ctau)))
        muons.append(np.column_stack([momentum, np.sign(mine[:, 0]), chance / SOFT]))
    return muons


def from_pairs(rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Muons of rho, omega and phi; of each pair the positive one, then with the momentum mirrored the negative one."""
    muons = []
    for code, branching in PAIRS.items():
        for charge in (1.0, -1.0):
            for parent in rows[rows[:, 0] == code]:
                mass = max(parent[4], 2 * MUON + 1e-6)
                own = math.sqrt(mass**2 / 4 - MUON**2)
                momentum = boosted(parent[None, 1:4], mass, mass / 2, own, rng)[0]
                muons.append([*momentum, charge, branching / SOFT])
    return [np.array(muons).reshape(-1, 5)]


def soft(rng: np.random.Generator) -> list[np.ndarray]:
    """Muons of pions, kaons and light vector mesons."""
    wanted = {*MESONS, *PAIRS}
    found = [
        (particle.id(), particle.px(), particle.py(), particle.pz(), particle.m())
        for event in events(SOFT, "SoftQCD:inelastic = on", *STABLE)
        for particle in event
        if abs(particle.id()) in wanted and particle.e() > LOWEST_MOMENTUM
    ]
    rows = np.array(found)
    return [*from_mesons(rows, rng), *from_pairs(rows, rng)]


def hard() -> list[np.ndarray]:
    """Muons of charm."""
    found = [
        (particle.px(), particle.py(), particle.pz(), -math.copysign(1, particle.id()), CHARM / HARD)
        for event in events(HARD, "HardQCD:hardccbar = on", "PhaseSpace:pTHatMin = 0.", *STABLE)
        for particle in event
        if abs(particle.id()) == 13 and particle.isFinal() and particle.e() > LOWEST_MOMENTUM
    ]
    return [np.array(found)]


def thinned(muons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the rows, drawn in proportion to weight times momentum, so that hard muons are kept; weights follow."""
    p, rows = np.sqrt((muons[:, :3] ** 2).sum(axis=1)), ROWS // 2
    bounds = np.cumsum(muons[:, 4] * p)
    places = (np.arange(rows) + rng.random()) / rows * bounds[-1]
    which = rng.permutation(np.minimum(np.searchsorted(bounds, places, side="right"), len(bounds) - 1))
    weight = bounds[-1] / rows / p[which]
    return np.column_stack([p[which], np.hypot(*muons[which, :2].T), muons[which, 3], weight])


def halves(muons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Even rows from one half of the muons, odd rows from the other, so that the halves of the table share none."""
    mixed = rng.permutation(muons)
    return np.stack([thinned(mixed[0::2], rng), thinned(mixed[1::2], rng)], axis=1).reshape(-1, 4)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = np.random.default_rng(SEED)
    parts = {"pions, kaons, vector mesons": soft(rng), "charm": hard()}
    kept = {name: np.concatenate(part) for name, part in parts.items()}
    kept = {name: part[np.sqrt((part[:, :3] ** 2).sum(axis=1)) > LOWEST_MOMENTUM] for name, part in kept.items()}
    for name, part in kept.items():
        p = np.sqrt((part[:, :3] ** 2).sum(axis=1))
        rates = ", ".join(
            f"{part[p > cut, 4].sum():.2e} above {cut:g} GeV" for cut in (LOWEST_MOMENTUM, 20, 50, 100, 200)
        )
        print(f"{name}: {len(part)} muons; per proton {rates}")
    p, p_t, charge, weight = halves(np.concatenate(list(kept.values())), rng).T
    Path(TABLE_FILE).parent.mkdir(exist_ok=True)
    arrays = {"momentum": p, "transverse": p_t, "weight": weight}
    single = {name: values.astype(np.float32) for name, values in arrays.items()}
    np.savez_compressed(TABLE_FILE, charge=charge.astype(np.int8), **single)
    print(f"{ROWS} rows, {weight.sum():.2e} muons per proton, {TABLE_FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
