"""The ladle furnace in the released TomOpt: run by throughput.py with a Python that has it (pip install tomopt==0.1.0).

Reads JSON from stdin: layouts (name -> upper and lower panels x, y, z, span), volumes per layout, muons, seed. Writes
JSON to stdout: per layout the true and the predicted heights and the processor seconds of every volume.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from tomopt.benchmarks.ladle_furnace import LadleFurnacePassiveGenerator, PocaZLadleFurnaceFillLevelInferrer
from tomopt.inference import ScatterBatch
from tomopt.muon import MuonBatch, MuonGenerator2016
from tomopt.volume import PanelDetectorLayer, PassiveLayer, SigmoidDetectorPanel, Volume

HEIGHTS = [round(0.6 + 0.1 * i, 1) for i in range(8)]
ROUNDING = 1e-3
"""Added to fill heights in m, so that their float32 values do not fall below the edge of a layer."""


def volume(layout: Any) -> Volume:
    """The furnace between panels with 0.1 mm resolution, 90 % efficiency and sharp edges."""
    width, size = torch.tensor([1.0, 1.0]), 0.1

    def detector(pos: str, z: float, panels: Any) -> PanelDetectorLayer:
        made = [
            SigmoidDetectorPanel(
                smooth=1.0, res=1e4, eff=0.9, init_xyz=(p["x"], p["y"], p["z"]), init_xy_span=(p["span"], p["span"])
            )
            for p in panels
        ]
        return PanelDetectorLayer(pos=pos, lw=width, z=z, size=0.4, panels=made)

    passive = [PassiveLayer(lw=width, z=round(1.4 - size * i, 2), size=size) for i in range(10)]
    layers = [detector("above", 1.8, layout["upper"]), *passive, detector("below", 0.4, layout["lower"])]
    return Volume(torch.nn.ModuleList(layers)).eval()


def scan(furnace: Volume, height: float, generator: MuonGenerator2016, muons: int) -> float:
    """The raw fill height that one volume shows; NaN if no muon is seen."""
    passive, _ = LadleFurnacePassiveGenerator(furnace)._generate(height + ROUNDING, height + 0.1 + ROUNDING)
    furnace.load_rad_length(passive)
    batch = MuonBatch(generator(muons), init_z=furnace.h)
    furnace(batch)
    inferrer = PocaZLadleFurnaceFillLevelInferrer(volume=furnace)
    inferrer.add_scatters(ScatterBatch(mu=batch, volume=furnace))
    found = inferrer.get_prediction()
    return float("nan") if found is None else float(found.item())


def main() -> None:
    task = json.load(sys.stdin)
    torch.set_num_threads(1)
    result = {}
    for name, layout in task["layouts"].items():
        np.random.seed(task["seed"])  # noqa: NPY002 (TomOpt draws from it)
        torch.manual_seed(task["seed"])
        furnace = volume(layout)
        generator = MuonGenerator2016.from_volume(furnace, fixed_mom=task["momentum"])
        rows = []
        for i in range(task["volumes"]):
            started = time.process_time()
            found = scan(furnace, HEIGHTS[i % len(HEIGHTS)], generator, task["muons"])
            rows.append([HEIGHTS[i % len(HEIGHTS)], found, time.process_time() - started])
        result[name] = rows
        print(name, np.median([task["muons"] / row[2] for row in rows]), "muons / s", file=sys.stderr, flush=True)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
