"""The magnetic spectrometer: stations along a dipole, positions, pitches and materials free, judged by sigma_p / p.

The second case of reinforcement-learning design by Qasim, Owen and Serra (arXiv:2412.10237): longitudinal placement and
transverse segmentation of trackers. Their simulation is not public; magnet, beam and prices here are our choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rl_detector.envs.spectrometer_hall import STEP, THRESHOLD, TrackedSpectrometer
from rl_detector.envs.spectrometer_tracking import MINIMUM_HITS, Spectrometer, Stations, TrackBeam
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import material
from rl_detector.physics.tracks import Dipole
from rl_detector.problem import DesignProblem
from rl_detector.reach.unseen import JEFFREYS, Logarithm, Rate, carrying
from rl_detector.simulators.trackers import tracker_of
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component, Constraint, Cost, Measurement, Readout

LENGTH_LIMIT = 400.0
"""Largest distance of the last station from the source in cm; our choice."""

MAGNET_START, MAGNET_LENGTH = 150.0, 100.0
"""Extent of the dipole in cm, in the middle of the allowed length; our choice."""

WIDTH = 100.0
"""Width and height of every station in cm; our choice."""

GAP = 1.0
"""Smallest distance in cm between stations, and of the first one from the source."""

PITCHES: Mapping[str, float] = {"0.05 mm": 0.005, "0.1 mm": 0.01, "0.25 mm": 0.025, "0.5 mm": 0.05, "1 mm": 0.1}
"""Classes of transverse pitch, in cm."""


class Sensor(NamedTuple):
    """What a station of one material is like: our choices, of the order of present detectors.

    Attributes:
        thickness: of the sensor in cm.
        support: of mechanics, cooling and cables, in radiation lengths.
        finest: pitch in cm below which nothing is gained: a finer class reads out this pitch.
        efficiency: probability of a hit.
        price: EUR per cm2.
        channel: EUR per readout channel.
    """

    thickness: float
    support: float
    finest: float
    efficiency: float
    price: float
    channel: float


SENSORS: Mapping[str, Sensor] = {
    "Si": Sensor(0.03, 0.003, 0.005, 0.99, 5.0, 2.0),
    "polystyrene": Sensor(0.135, 0.007, 0.025, 0.98, 1.0, 2.0),
}
"""Silicon strips of 0.3 mm; scintillating fibres, six layers of 0.25 mm fibres in a mat of 1.35 mm."""

GASES: Mapping[str, float] = {"vacuum": math.inf, "helium": 5671.0, "air": 303.9}
"""Radiation length in m of what fills the gaps (PDG 2024, at 20 C and 1 atm)."""

UNKNOWN = 1 / 3
"""Relative error of a track that is not measured, and the largest of one that is: beyond it not even the sign of the
charge is known to three standard deviations."""

REFERENCE_EVENTS = 20_000
REFERENCE_SAMPLES = 10
REFERENCE_SEED = 20_241_215
"""Samples from which the zero of the reach is taken, to about 0.3 %, and the seed of the first one."""


MOST_STATIONS = 500
"""Stations beyond which building the problem itself takes long."""


def space(stations: int = 8) -> DesignSpace:
    """3 to N stations, in any order, each with its distance from the source, its pitch and its material."""
    station = DesignSpace(
        (
            Continuous("position", GAP, LENGTH_LIMIT, "cm"),
            Categorical("pitch", tuple(PITCHES)),
            Categorical("material", tuple(SENSORS)),
        )
    )
    return DesignSpace((Repeated("station", station, MINIMUM_HITS, stations),))


def design(positions: Sequence[float], pitch: str = "0.25 mm", sensor: str = "Si") -> dict[str, Any]:
    """A design of equal stations at these distances from the source in cm."""
    return {"station": [{"position": float(z), "pitch": pitch, "material": sensor} for z in positions]}


def outside_in(positions: Sequence[float]) -> list[float]:
    """The same positions, first the ends, then always the one that is farthest from those before.

    A search that leaves out the last stations of a list then leaves out those that matter least.
    """
    left = sorted(positions)
    chosen = [left.pop(0), left.pop()]
    while left:
        distances = [min(abs(z - other) for other in chosen) for z in left]
        chosen.append(left.pop(int(np.argmax(distances))))
    return chosen


def baselines(stations: int = 8) -> dict[str, Design]:
    """Hand-made designs to compare with, all of silicon over the whole length.

    equidistant: N stations of equal pitch. ends_and_middle: the same stations, a quarter at each end and the others in
    the middle, the best places for a sagitta without scattering (Gluckstern 1963). three_fine: three stations at the
    ends and in the middle, of the finest pitch that the channels of the first baseline allow.
    """
    ends = max(stations // 4, 1)
    inner = stations - 2 * ends
    centre = (GAP + LENGTH_LIMIT) / 2
    front, back = GAP * np.arange(1, ends + 1), LENGTH_LIMIT - GAP * np.arange(ends)
    middle = centre + GAP * (np.arange(inner) - (inner - 1) / 2)
    allowed = stations * WIDTH / PITCHES["0.25 mm"] / 3
    fine = min((name for name in PITCHES if WIDTH / PITCHES[name] <= allowed), key=PITCHES.__getitem__)
    return {
        "equidistant": design(outside_in(np.linspace(GAP, LENGTH_LIMIT, stations).tolist())),
        "ends_and_middle": design([*front, *back, *middle]),
        "three_fine": design([GAP, LENGTH_LIMIT, centre], fine),
    }


def row(layout: Design) -> list[tuple[float, Mapping[str, Any]]]:
    """Position in cm and parameters of every station in the order of the beam.

    A station that is nearer than `GAP` to the one before is moved behind it; what then is beyond the limit of the
    length moves up to it, with those before. So every design of the space can be built within the length.
    """
    stations = sorted(layout["station"], key=lambda each: float(each["position"]))
    places = np.array([station["position"] for station in stations], dtype=np.float64)
    steps = GAP * np.arange(len(places))
    forward = np.maximum.accumulate(places - steps) + steps
    inside = np.minimum(forward, LENGTH_LIMIT - steps[::-1])
    return list(zip(inside.tolist(), stations, strict=True))


def pitch(station: Mapping[str, Any]) -> float:
    """Pitch of the readout of a station in cm."""
    return max(PITCHES[station["pitch"]], SENSORS[station["material"]].finest)


def channels(layout: Design) -> float:
    """Number of readout channels: width over pitch, summed over the stations."""
    return sum(WIDTH / pitch(station) for station in layout["station"])


def price(layout: Design) -> float:
    """Price in EUR: area and channels of all stations."""
    sensors = [(SENSORS[station["material"]], station) for station in layout["station"]]
    return sum(sensor.price * WIDTH**2 + sensor.channel * WIDTH / pitch(station) for sensor, station in sensors)


def length(layout: Design) -> float:
    """Distance of the last station from the source in cm."""
    return row(layout)[-1][0]


def stations_of(layout: Design) -> Stations:
    """The design in the units of the simulation."""
    positions, stations = zip(*row(layout), strict=True)
    sensors = [SENSORS[station["material"]] for station in stations]
    matter = [material(station["material"]) for station in stations]
    thickness = np.array([sensor.thickness for sensor in sensors])
    support = np.array([sensor.support for sensor in sensors])
    return Stations(
        position=np.array(positions) / 100,
        pitch=np.array([pitch(station) for station in stations]) / 100,
        radiation=thickness / np.array([m.radiation_length for m in matter]) + support,
        interaction=thickness / np.array([m.interaction_length for m in matter]),
        efficiency=np.array([sensor.efficiency for sensor in sensors]),
    )


def components(layout: Design) -> list[Component]:
    """The stations where they stand; their lengths are those of the smallest gap, the sensors are thinner."""
    return [
        Component(f"{10 * pitch(station):g} mm station {index}", station["material"], position - GAP / 2, GAP)
        for index, (position, station) in enumerate(row(layout), start=1)
    ]


@dataclass(frozen=True)
class SpectrometerSimulator:
    """Tracks and their fitted momenta for designs of this space.

    Attributes:
        spectrometer: magnet, gas, aperture and beam, with fast tracks or tracks from another simulator.
    """

    spectrometer: Spectrometer | TrackedSpectrometer

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Readout of one design: truth `kappa` = q / p, signals fitted kappa, its error [1/GeV], number of hits."""
        readout = self.simulate_batch([design], events, [seed])[0]
        if isinstance(readout, SimulationError):
            raise readout
        return readout

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Sequence[Readout | SimulationError]:
        """Readouts of many designs; equal seeds share tracks and random numbers."""
        return self.spectrometer.readouts([stations_of(layout) for layout in designs], events, seeds)

    def describe(self) -> Mapping[str, str]:
        """Facts of magnet and beam."""
        return self.spectrometer.describe()


@dataclass(frozen=True)
class MomentumReach:
    """reach = ln(reference / metric), metric = mean relative momentum error over all tracks of the spectrum.

    The loss of a track is sqrt(pi / 2) |kappa_fit - kappa| / |kappa|, at most `UNKNOWN`, where kappa = q / p: for
    normal errors the mean of |error| is sqrt(2 / pi) sigma, so the metric is sigma_p / p averaged over the spectrum. A
    track outside the acceptance or with fewer than three hits has the loss `UNKNOWN`: no design gains by losing a
    track, and the expected metric is a smooth function of the positions. One lost track can outweigh all others, so a
    few tracks that are all measured do not show that none is lost: see `mean_logarithm` for value and error.

    Attributes:
        reference: metric of the baseline design, so that its reach is 0.
    """

    reference: float

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `SpectrometerSimulator`."""
        kappa, (fitted, error, hits) = readout.truth["kappa"], readout.signals.T
        known = hits >= MINIMUM_HITS
        relative = (fitted - kappa) / kappa
        losses = np.where(known, np.minimum(math.sqrt(math.pi / 2) * np.abs(relative), UNKNOWN), UNKNOWN)
        logarithm = mean_logarithm(losses)
        metric = math.exp(logarithm.value)
        spread = logarithm.error * metric
        return Measurement(
            reach=math.log(self.reference / metric),
            error=logarithm.error,
            metric=metric,
            metric_error=spread,
            losses=carrying(losses, metric, spread, math.inf) if np.ptp(losses) > 0 else np.full(len(losses), metric),
            diagnostics={
                "measured": float(known.mean()),
                **_of_measured(losses[known], (fitted - kappa)[known], error[known]),
            },
        )


def mean_logarithm(losses: FloatArray) -> Logarithm:
    """ln of the mean loss, [tracks], where the share of losses of `UNKNOWN` has Jeffreys' prior.

    Half a lost track is added to the distribution; from a hundred tracks with some lost on this is the plain mean.
    """
    tracks, lost = len(losses), losses >= UNKNOWN
    measured = np.where(lost, 0.0, losses)
    share = (np.count_nonzero(lost) + JEFFREYS) / (tracks + 2 * JEFFREYS)
    shape = share * (tracks + 2) / (1 - share)  # a Gamma distribution with mean and variance of the binomial share
    found = Rate(shape, share * UNKNOWN / shape, 0.0).logarithm(float(measured.mean()))
    inside = float(measured[~lost].var(ddof=1)) * np.count_nonzero(~lost) if np.count_nonzero(~lost) > 1 else 0.0
    return Logarithm(found.value, math.hypot(found.error, inside**0.5 / tracks / math.exp(found.value)))


def _of_measured(losses: FloatArray, residuals: FloatArray, errors: FloatArray) -> dict[str, float]:
    """Mean loss of the measured tracks, and rms of residual over error, 1 for a right fit; nothing without tracks."""
    if not len(losses):
        return {}
    return {"resolution": float(losses.mean()), "pull": float(np.sqrt(np.mean((residuals / errors) ** 2)))}


def spectrometer(
    stations: int = 8,
    field: float = 1.0,
    momentum_low: float = 2.0,
    momentum_high: float = 200.0,
    pion_fraction: float = 0.5,
    gas: str = "helium",
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
    simulator: str | Mapping[str, Any] = "fast",
) -> DesignProblem:
    """The spectrometer as a design problem: at most the channels of the equidistant baseline, at most 4 m.

    The zero of the reach is the metric of that baseline in the fast simulator, whatever simulator is used.

    Args:
        stations: number of stations of the baseline, and the most that can be built.
        field: of the dipole in T.
        momentum_low, momentum_high: spectrum in GeV, even in ln p.
        pion_fraction: share of charged pions, the others are muons.
        gas: what fills the gaps: vacuum, helium or air.
        cost_weight: reach that the baseline's price must buy.
        penalty_weight: reach per relative violation of a limit.
        simulator: "fast", or "geant4" for tracks in Geant4, or one of them with settings.

    Raises:
        ConfigError: an impossible setting.
    """
    if not MINIMUM_HITS < stations <= MOST_STATIONS:
        raise ConfigError(
            f"a spectrometer needs more than {MINIMUM_HITS} stations, got {stations}; the most are {MOST_STATIONS}"
        )
    if gas not in GASES:
        raise ConfigError(f"unknown gas {gas!r} of the spectrometer: known are {', '.join(GASES)}")
    if not 0 < field < math.inf:
        raise ConfigError(f"a spectrometer needs a field > 0 T, got {field}")
    magnet = Dipole(field, MAGNET_START / 100, MAGNET_LENGTH / 100)
    beam = TrackBeam(momentum_low, momentum_high, pion_fraction)
    layouts = baselines(stations)
    fast = Spectrometer(magnet, GASES[gas], WIDTH / 100, beam)
    tracker = tracker_of("the spectrometer", simulator, step=STEP, threshold=THRESHOLD)
    start = layouts["equidistant"]
    problem = DesignProblem(
        name="spectrometer",
        space=space(stations),
        simulator=SpectrometerSimulator(fast if tracker is None else TrackedSpectrometer(fast, tracker, gas)),
        reach=MomentumReach(1.0),
        costs=(Cost("price", "EUR", price(start), price),),
        constraints=(Constraint("channels", "channels", channels(start), channels),),
        baselines=layouts,
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={
            "field": field,
            "momentum_low": momentum_low,
            "momentum_high": momentum_high,
            "pion_fraction": pion_fraction,
        },
        layout=components,
        metric="mean relative error of the momentum",
        minimum_events=MINIMUM_EVENTS,
    )
    return replace(problem, reach=MomentumReach(_reference(SpectrometerSimulator(fast), stations)))


MINIMUM_EVENTS = 10
"""Fewest tracks per design from which a mean error and its own error can be judged."""


@lru_cache
def _reference(simulator: SpectrometerSimulator, stations: int) -> float:
    """Metric of the first baseline."""
    start = baselines(stations)["equidistant"]
    seeds = range(REFERENCE_SEED, REFERENCE_SEED + REFERENCE_SAMPLES)
    found = [MomentumReach(1.0).measure(simulator.simulate(start, REFERENCE_EVENTS, seed)) for seed in seeds]
    return float(np.mean([measurement.metric for measurement in found]))
