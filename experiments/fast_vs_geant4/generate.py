"""Simulate the reference designs with Geant4: `python generate.py training`, `... showers` and `... held_out`."""

from __future__ import annotations

import argparse
import time

import numpy as np
from reference import FOLDER, Sample, held_out_designs, save, training_designs

from rl_detector.errors import SimulationError
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Beam, Primaries

CUT, CHUNK = 0.7, 50
TRAINING_EVENTS, SHOWER_EVENTS, BEAM_EVENTS, ELECTRON_EVENTS = 500, 400, 600, 100


def training_primaries(seed: int) -> Primaries:
    """38 % photons, 12 % electrons, 50 % pions; uniform in ln E, to see low energies often."""
    rng = np.random.default_rng([1, seed])
    beam = Beam({"gamma": 0.38, "e-": 0.12, "pi+": 0.5}).sample(TRAINING_EVENTS, rng)
    return Primaries(beam.particles, np.exp(rng.uniform(0, np.log(20), TRAINING_EVENTS)))


def shower_primaries(seed: int) -> Primaries:
    """Photons and electrons alone, which are cheap: half of each, uniform in ln E."""
    rng = np.random.default_rng([3, seed])
    beam = Beam({"gamma": 0.5, "e-": 0.5}).sample(SHOWER_EVENTS, rng)
    return Primaries(beam.particles, np.exp(rng.uniform(0, np.log(20), SHOWER_EVENTS)))


def held_out_primaries(seed: int) -> Primaries:
    """The beam of the design study (50 % photons, 50 % pions, 1-20 GeV), then electrons."""
    rng = np.random.default_rng([2, seed])
    mixed = Beam({"gamma": 0.5, "pi+": 0.5}).sample(BEAM_EVENTS, rng)
    electrons = Beam({"e-": 1.0}).sample(ELECTRON_EVENTS, rng)
    return Primaries(mixed.particles + electrons.particles, np.concatenate([mixed.energies, electrons.energies]))


SAMPLES = {
    "held_out": (held_out_designs, held_out_primaries, 1),
    "training": (training_designs, training_primaries, 1001),
    "showers": (training_designs, shower_primaries, 2001),
}
"""Name -> designs, primaries, seed of the first design."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", choices=SAMPLES)
    sample = parser.parse_args().sample
    designs, draw, first_seed = SAMPLES[sample]
    engine, start = Geant4Simulator(cut=CUT, chunk=CHUNK), time.monotonic()
    samples: list[Sample] = []
    for index, (name, stack) in enumerate(designs().items()):
        primaries = draw(index)
        deposits = engine.deposits([stack], [primaries], [first_seed + index])[0]
        if isinstance(deposits, SimulationError):
            raise deposits
        samples.append(Sample(name, stack, primaries, deposits))
        print(f"{name}: {len(primaries)} events, {time.monotonic() - start:.0f} s since the start", flush=True)
        save(
            FOLDER / f"{sample}.npz",
            samples,
            {"simulator": dict(engine.describe()), "seconds": time.monotonic() - start},
        )
    engine.close()


if __name__ == "__main__":
    main()
