"""Geant4 showers in a steel slab with silicon planes: `python generate.py` -> showers.npz (needs the geant4 extra).

Goes on where it was interrupted. Two slabs: 400 x (4.8 mm stainless steel, 0.2 mm silicon), and 100 groups of four such
planes of 0.06, 0.12, 0.2 and 0.3 mm. Stored: deposits in silicon in MeV, [events, planes], and their mean in steel.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Primaries, Stack

FOLDER = Path(__file__).parent
FILE = FOLDER / "showers.npz"
PLANES, STEEL = 400, 0.48
EQUAL, TYPES = (0.02,) * 4, (0.006, 0.012, 0.02, 0.03)
"""Number of planes, cm of steel before each, and cm of silicon of each group of four."""


class Sample(NamedTuple):
    """Events of one particle and kinetic energy in GeV."""

    particle: str
    energy: float
    events: int
    silicon: tuple[float, ...] = EQUAL
    part: int = 1

    @property
    def name(self) -> str:
        name = f"{self.particle} {self.energy:g}{'' if self.silicon == EQUAL else ' types'}"
        return name if self.part == 1 else f"{name} part {self.part}"

    @property
    def stack(self) -> Stack:
        return Stack(("steel", "Si") * PLANES, tuple(x for size in self.silicon for x in (STEEL, size)) * (PLANES // 4))


SAMPLES = (
    Sample("gamma", 50.0, 300),
    Sample("pi+", 50.0, 150),
    Sample("gamma", 50.0, 100, TYPES),
    Sample("pi+", 10.0, 200),
    Sample("pi+", 100.0, 80),
    Sample("gamma", 100.0, 60),
    Sample("pi+", 50.0, 40, TYPES),
    Sample("gamma", 20.0, 100),
    Sample("gamma", 50.0, 300, TYPES, part=2),
    Sample("pi+", 100.0, 220, part=2),
    Sample("gamma", 100.0, 140, part=2),
)
CHUNK, FIRST_SEED = 5, 8050


def main() -> None:
    engine = Geant4Simulator("data-free-ftfp", workers=1, chunk=CHUNK, timeout=1800.0)
    arrays: dict[str, Any] = dict(np.load(FILE)) if FILE.exists() else {}
    seconds = json.loads(str(arrays.pop("header")))["seconds"] if arrays else {}
    for number, sample in enumerate(SAMPLES):
        if sample.name in arrays:
            continue
        start = time.monotonic()
        primaries = Primaries((sample.particle,) * sample.events, np.full(sample.events, sample.energy))
        found = engine.deposits([sample.stack], [primaries], [FIRST_SEED + number])[0]
        if isinstance(found, SimulationError):
            raise found
        arrays[sample.name] = (1000 * found[:, 1::2]).astype(np.float16)
        arrays[f"steel {sample.name}"] = (1000 * found[:, 0::2]).mean(axis=0).astype(np.float32)
        seconds[sample.name] = time.monotonic() - start
        print(sample.name, sample.events, f"events, {seconds[sample.name]:.0f} s", flush=True)
        header = np.array(json.dumps({**engine.describe(), "seconds": seconds}))
        np.savez_compressed(FILE, header=header, **arrays)
    engine.close()


if __name__ == "__main__":
    main()
