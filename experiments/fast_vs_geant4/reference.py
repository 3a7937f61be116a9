"""The designs that Geant4 simulates, and how their events are stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.simulators.stack import PARTICLES, Primaries, Stack

FOLDER = Path(__file__).parent
ABSORBERS, SCINTILLATORS = ("Pb", "Fe"), ("PbWO4", "polystyrene")


@dataclass(frozen=True)
class Sample:
    """Geant4 events of one design: deposits in GeV, [events, layers]."""

    name: str
    stack: Stack
    primaries: Primaries
    deposits: NDArray[np.float64]

    @property
    def scintillators(self) -> NDArray[np.bool_]:
        """Which layers are read out."""
        return np.array([material in SCINTILLATORS for material in self.stack.materials])


def box(rng: np.random.Generator, low: float, high: float) -> Stack:
    """Three (absorber, scintillator) pairs with random materials and uniform thicknesses in cm."""
    names: list[str] = []
    thicknesses: list[float] = []
    for _ in range(3):
        names += [group[rng.integers(2)] for group in (ABSORBERS, SCINTILLATORS)]
        thicknesses += rng.uniform(low, high, 2).round(2).tolist()
    return Stack(tuple(names), tuple(thicknesses))


def crystal_first(rng: np.random.Generator) -> Stack:
    """Thick PbWO4 with little or nothing in front, then anything; the optimum lies here."""
    start = box(rng, 0, 50)
    materials, thicknesses = list(start.materials), list(start.thicknesses)
    materials[1] = "PbWO4"
    thicknesses[0] = float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 3)]))
    thicknesses[1] = float(rng.uniform(15, 50))
    variant = rng.integers(4)
    if variant < 2:
        thicknesses[2 + 2 * variant] = 0.0
    elif variant == 2:
        materials[3], thicknesses[2] = "PbWO4", float(rng.uniform(0, 5))
    return Stack(tuple(materials), tuple(round(thickness, 2) for thickness in thicknesses))


def training_designs() -> dict[str, Stack]:
    """Blocks and sampling stacks in fine layers, and designs like those that agents propose."""
    rng = np.random.default_rng(20240)
    blocks = {"PbWO4": 2.0, "Fe": 4.0, "Pb": 2.0, "polystyrene": 16.0}
    designs = {f"block {name}": Stack((name,) * 15, (step,) * 15) for name, step in blocks.items()}
    pairs = (("Pb", 0.7, "polystyrene", 1.0, 14), ("Fe", 2.0, "PbWO4", 1.0, 12), ("Fe", 2.0, "polystyrene", 2.0, 14))
    for first, step, second, other, repeats in pairs:
        designs[f"sampling {first} {second}"] = Stack((first, second) * repeats, (step, other) * repeats)
    designs |= {f"random {i}": box(rng, 1, 30) for i in range(16)}
    designs |= {f"crystal {i}": crystal_first(rng) for i in range(16)}
    return designs | {f"box {i}": box(rng, 0, 50) for i in range(5)}


def held_out_designs() -> dict[str, Stack]:
    """Designs that no fit has seen: 8 crystals, 20 of the published range, 4 of the whole box, 2 hand-made."""
    rng = np.random.default_rng(202)
    designs = {f"crystal {i}": crystal_first(rng) for i in range(8)}
    designs |= {f"random {i}": box(rng, 1, 30) for i in range(20)}
    designs |= {f"box {i}": box(rng, 0, 50) for i in range(4)}
    iron = ("Fe", "polystyrene")
    designs["published start"] = Stack(iron * 3, (9.03, 37.2, 10.4, 29.7, 36.0, 27.5))
    designs["homogeneous"] = Stack(("Fe", "PbWO4", *iron * 2), (0.0, 37.2, 20.0, 30.0, 20.0, 30.0))
    return designs


def save(path: Path, samples: Iterable[Sample], facts: dict[str, Any]) -> None:
    """Write samples; deposits are stored as float16 fractions of the beam energy (relative precision 5e-4)."""
    arrays: dict[str, NDArray[Any]] = {}
    designs = []
    for index, sample in enumerate(samples):
        designs.append([sample.name, sample.stack.materials, sample.stack.thicknesses])
        arrays[f"energies_{index}"] = sample.primaries.energies.astype(np.float32)
        kinds = [PARTICLES.index(particle) for particle in sample.primaries.particles]
        arrays[f"particles_{index}"] = np.array(kinds, dtype=np.uint8)
        arrays[f"fractions_{index}"] = (sample.deposits / sample.primaries.energies[:, None]).astype(np.float16)
    np.savez_compressed(path, header=np.array(json.dumps({"designs": designs, **facts})), **arrays)


def load(path: Path) -> list[Sample]:
    """Read what `save` wrote."""
    samples = []
    with np.load(path) as data:
        for index, (name, materials, thicknesses) in enumerate(json.loads(str(data["header"]))["designs"]):
            energies = data[f"energies_{index}"].astype(np.float64)
            particles = tuple(PARTICLES[kind] for kind in data[f"particles_{index}"])
            deposits = data[f"fractions_{index}"].astype(np.float64) * energies[:, None]
            stack = Stack(tuple(materials), tuple(thicknesses))
            samples.append(Sample(name, stack, Primaries(particles, energies), deposits))
    return samples
