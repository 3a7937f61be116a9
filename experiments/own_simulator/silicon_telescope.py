"""A silicon telescope simulated by a program of your own: what can be built, what it is worth, what it costs."""

from pathlib import Path

import numpy as np

import rl_detector as rd
from rl_detector.simulators.command import Needs, command_simulator
from rl_detector.terms import Component

DESCRIPTION = Path(__file__).with_name("telescope.yaml")
PRICE = {"strip": 10.0, "pixel": 50.0}  # EUR per cm^2, our choice
PLANES = 4


def space() -> rd.DesignSpace:
    """Four planes, in any order along the beam: where, how thick, and which sensor."""
    z, thickness = rd.Continuous("z", 20, 300, "mm"), rd.Continuous("thickness", 50, 500, "um")
    plane = rd.DesignSpace((z, thickness, rd.Categorical("sensor", tuple(PRICE))))
    return rd.DesignSpace((rd.Repeated("plane", plane, PLANES, PLANES),))


def planes(z, thickness, sensor):
    """A design from PLANES positions in mm, thicknesses in um and sensors."""
    rows = zip(z, thickness, sensor, strict=True)
    return {"plane": [{"z": float(a), "thickness": float(b), "sensor": c} for a, b, c in rows]}


BASELINES = {
    "strips": planes((50, 120, 200, 300), (300,) * 4, ("strip",) * 4),
    "pixels in front": planes((25, 100, 200, 300), (150, 300, 300, 300), ("pixel", "strip", "strip", "strip")),
}


def price(design):
    """EUR: each plane is a square that covers slopes of three standard deviations, +-0.3, and 5 mm around."""
    return sum(PRICE[plane["sensor"]] * (0.06 * plane["z"] + 1.0) ** 2 for plane in design["plane"])


class Impact:
    """reach = ln(reference / metric), metric = mean squared error in um^2 of x0 fitted linearly to the hits.

    Each event is compared with a fit to the others: its residual over 1 - leverage. The error is that of a mean of n.
    """

    def __init__(self, reference):
        self.reference = reference

    def measure(self, readout):
        hits, x0 = readout.signals, readout.truth["x0"]
        basis = np.linalg.qr(np.column_stack([np.ones(len(hits)), hits]))[0]
        losses = ((x0 - basis @ (basis.T @ x0)) / (1 - (basis**2).sum(axis=1))) ** 2
        metric, error = losses.mean(), losses.std(ddof=1) / np.sqrt(len(losses))
        return rd.Measurement(np.log(self.reference / metric), error / metric, metric, error, losses)


def layout(design):
    """The planes for the picture, in cm."""
    ordered = sorted(design["plane"], key=lambda plane: plane["z"])
    return [Component(f"plane {i + 1}", p["sensor"], p["z"] / 10, p["thickness"] / 1e4) for i, p in enumerate(ordered)]


def telescope(
    simulator: object = None, momentum_low: float = 1.0, momentum_high: float = 5.0, cost_weight: float = 0.5
) -> rd.DesignProblem:
    """The problem; `simulator` is what the command line chose, by default the program beside this file."""
    conditions = {"momentum_low": momentum_low, "momentum_high": momentum_high}  # GeV/c
    needs = Needs(space(), {"x0": "um"}, signals="um", channels=PLANES, conditions=conditions)
    program = command_simulator(simulator, needs, DESCRIPTION)
    start = program.simulate(next(iter(BASELINES.values())), 20_000, seed=1)
    return rd.DesignProblem(
        name="silicon_telescope",
        space=space(),
        simulator=program,
        reach=Impact(Impact(1.0).measure(start).metric),
        costs=(rd.Cost("price", "EUR", 10_000.0, price),),
        baselines=BASELINES,
        cost_weight=cost_weight,
        conditions=conditions,
        layout=layout,
        metric="mean (x0_rec - x0)^2 [um^2]",
        minimum_events=20,
    )
