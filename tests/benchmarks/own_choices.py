"""How far the reach of the baselines moves when a constant that is our choice changes; the cards quote it.

python tests/benchmarks/own_choices.py

Light yield of plastic and crystals (calorimeter), error of a track that is not measured (spectrometer). Every row has
the reach of all baselines over the first one with the same constant, from the same events.
"""

from __future__ import annotations

import math
from unittest.mock import patch

from rl_detector.envs.calorimeter import layout as calorimeter_layout
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.envs.spectrometer import reach as spectrometer_reach
from rl_detector.envs.spectrometer.problem import spectrometer
from rl_detector.problem import DesignProblem

EVENTS, SEED = 20_000, 1
FACTORS = (0.5, 1.0, 2.0)


def reaches(problem: DesignProblem) -> str:
    """ln(metric of the first baseline / metric) of every baseline."""
    readouts = {name: problem.simulator.simulate(each, EVENTS, SEED) for name, each in problem.baselines.items()}
    metrics = {name: problem.reach.measure(readout).metric for name, readout in readouts.items()}
    first = next(iter(metrics.values()))
    return "  ".join(f"{name} {math.log(first / metric):+.3f}" for name, metric in metrics.items())


def main() -> None:
    yields = dict(calorimeter_layout.PHOTOELECTRONS_PER_GEV)
    for photons, beam in ((0.5, "mixed beam"), (1.0, "photons")):
        problem = calorimeter(photon_fraction=photons)
        for material in yields:
            for factor in FACTORS:
                changed = {material: factor * yields[material]}
                with patch.dict(calorimeter_layout.PHOTOELECTRONS_PER_GEV, changed):
                    print(f"calorimeter, {beam}, light yield of {material} x {factor:g}: {reaches(problem)}")
    for factor in FACTORS:
        unmeasured = factor * spectrometer_reach.UNMEASURED_ERROR
        with patch.object(spectrometer_reach, "UNMEASURED_ERROR", unmeasured):
            print(f"spectrometer, error of a lost track {unmeasured:.3f}: {reaches(spectrometer())}")


if __name__ == "__main__":
    main()
