"""Geant4 showers in a steel slab with silicon planes: `python generate.py` -> showers.npz (needs the geant4 extra).

400 x (4.8 mm stainless steel, 0.2 mm silicon): every plane is a place where a design may put a sensor. Deposits in MeV.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Primaries, Stack

FOLDER = Path(__file__).parent
PLANES, STEEL, SILICON = 400, 0.48, 0.02
"""Number of planes; cm of steel before each, and its thickness in cm."""

SAMPLES = {"gamma": {50.0: 300, 100.0: 300, 20.0: 200}, "pi+": {30.0: 600, 20.0: 300, 10.0: 300}}
"""Events by particle and kinetic energy in GeV. Pions end at 30 GeV, the limit of the data-free physics list."""

CHUNK, FIRST_SEED = 5, 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, help="events of every sample, for a trial")
    parser.add_argument("--out", default="showers.npz")
    given = parser.parse_args()
    stack = Stack(("steel", "Si") * PLANES, (STEEL, SILICON) * PLANES)
    engine, arrays, seconds = Geant4Simulator(workers=1, chunk=CHUNK, timeout=600.0), {}, {}
    for index, (particle, energies) in enumerate(SAMPLES.items()):
        for energy, number in energies.items():
            events, start = given.events or number, time.monotonic()
            primaries = Primaries((particle,) * events, np.full(events, energy))
            found = engine.deposits([stack], [primaries], [FIRST_SEED + 100 * index + int(energy)])[0]
            if isinstance(found, SimulationError):
                raise found
            name = f"{particle} {energy:g}"
            arrays[name], seconds[name] = (1000 * found[:, 1::2]).astype(np.float16), time.monotonic() - start
            arrays[f"steel {name}"] = (1000 * found[:, 0::2]).mean(axis=0).astype(np.float32)
            print(name, events, f"events, {seconds[name]:.0f} s", flush=True)
            facts: dict[str, Any] = {**engine.describe(), "seconds": seconds, "steel_cm": STEEL, "silicon_cm": SILICON}
            np.savez_compressed(FOLDER / given.out, header=np.array(json.dumps(facts)), **arrays)
    engine.close()


if __name__ == "__main__":
    main()
