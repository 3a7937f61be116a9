"""A telescope of flat planes that measures the slope of straight tracks, announced by an entry point."""

import math

import numpy as np

from rl_detector.parameters import Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import DesignSpace
from rl_detector.terms import Cost, Measurement, Readout

RESOLUTION = 0.1  # mm, of one plane


class Tracks:
    """Straight tracks x = slope * z with a Gaussian error in each plane; the signal is the fitted slope."""

    def simulate(self, design, events, seed):
        rng = np.random.default_rng(seed)
        z, slope = np.array(list(design.values())), rng.uniform(-0.1, 0.1, events)
        x = slope[:, None] * z + rng.normal(0, RESOLUTION, (events, len(z)))
        lever = z - z.mean()
        fitted = x @ lever / max(lever @ lever, 1.0)
        return Readout({"slope": slope}, fitted[:, None])

    def describe(self):
        return {"simulator": "toy tracks", "version": "1"}


class SlopeResolution:
    """reach = -ln(sigma / 1 mrad), sigma = standard deviation of fitted minus true slope."""

    def measure(self, readout):
        sigma = float((readout.signals[:, 0] - readout.truth["slope"]).std())
        error = 1 / math.sqrt(2 * len(readout.signals))
        return Measurement(-math.log(sigma / 1e-3), error, sigma, sigma * error)


def telescope(planes: int = 3, cost_weight: float = 0.1) -> DesignProblem:
    """Planes at free positions on 1 m; the cost is the length."""
    names = [f"z{i}" for i in range(planes)]
    return DesignProblem(
        name="toy_telescope",
        space=DesignSpace(tuple(Continuous(name, 0.0, 1000.0, "mm") for name in names)),
        simulator=Tracks(),
        reach=SlopeResolution(),
        costs=(Cost("length", "mm", 1000.0, lambda design: max(design.values()) - min(design.values())),),
        baselines={"equal": {name: 1000.0 * (i + 0.5) / planes for i, name in enumerate(names)}},
        cost_weight=cost_weight,
        metric="slope resolution",
    )
