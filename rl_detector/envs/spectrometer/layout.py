"""Stations of the spectrometer: their space, price and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rl_detector.envs.spectrometer.fast import MINIMUM_HITS, Stations
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import material
from rl_detector.space import Design, DesignSpace, Repeated
from rl_detector.terms import Component

LENGTH_LIMIT = 400.0
"""Largest distance of the last station from the source in cm; our choice."""


MAGNET_START, MAGNET_LENGTH = 150.0, 100.0
"""Extent of the dipole in cm, in the middle of the allowed length; our choice."""


STATION_WIDTH = 100.0
"""Width and height of every station in cm; our choice."""


SMALLEST_GAP = 1.0
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


def space(stations: int = 8) -> DesignSpace:
    """3 to N stations, in any order, each with its distance from the source, its pitch and its material."""
    station = DesignSpace(
        (
            Continuous("position", SMALLEST_GAP, LENGTH_LIMIT, "cm"),
            Categorical("pitch", tuple(PITCHES)),
            Categorical("material", tuple(SENSORS)),
        )
    )
    return DesignSpace((Repeated("station", station, MINIMUM_HITS, stations),))


def design(positions: Sequence[float], pitch: str = "0.25 mm", sensor: str = "Si") -> dict[str, Any]:
    """A design of equal stations at these distances from the source in cm."""
    return {"station": [{"position": float(z), "pitch": pitch, "material": sensor} for z in positions]}


def outside_in(positions: Sequence[float]) -> list[float]:
    """Order positions: first the ends, then always the one that is farthest from those before.

    A search that leaves out the last stations of a list leaves out those that matter least.
    """
    left = sorted(positions)
    chosen = [left.pop(0), left.pop()]
    while left:
        distances = [min(abs(z - other) for other in chosen) for z in left]
        chosen.append(left.pop(int(np.argmax(distances))))
    return chosen


def baselines(stations: int = 8) -> dict[str, Design]:
    """Hand-made designs to compare with, all of silicon over the whole length.

    equidistant: N stations at equal distances.
    ends_and_middle: a quarter of them at each end, the others in the middle, the best places for a sagitta without
    scattering (Gluckstern 1963).
    three_fine: three stations at the ends and in the middle, of the finest pitch within the channels of the first one.
    """
    ends = max(stations // 4, 1)
    inner = stations - 2 * ends
    centre = (SMALLEST_GAP + LENGTH_LIMIT) / 2
    front, back = SMALLEST_GAP * np.arange(1, ends + 1), LENGTH_LIMIT - SMALLEST_GAP * np.arange(ends)
    middle = centre + SMALLEST_GAP * (np.arange(inner) - (inner - 1) / 2)
    allowed = stations * STATION_WIDTH / PITCHES["0.25 mm"] / 3
    fine = min((name for name in PITCHES if STATION_WIDTH / PITCHES[name] <= allowed), key=PITCHES.__getitem__)
    return {
        "equidistant": design(outside_in(np.linspace(SMALLEST_GAP, LENGTH_LIMIT, stations).tolist())),
        "ends_and_middle": design([*front, *back, *middle]),
        "three_fine": design([SMALLEST_GAP, LENGTH_LIMIT, centre], fine),
    }


def row(layout: Design) -> list[tuple[float, Mapping[str, Any]]]:
    """Position in cm and parameters of every station in the order of the beam.

    A station nearer than `SMALLEST_GAP` to the one before is moved behind it.
    Stations that are then beyond the limit of the length move back to it, with those before.
    So every design of the space can be built within the length.
    """
    stations = sorted(layout["station"], key=lambda each: float(each["position"]))
    places = np.array([station["position"] for station in stations], dtype=np.float64)
    steps = SMALLEST_GAP * np.arange(len(places))
    forward = np.maximum.accumulate(places - steps) + steps
    inside = np.minimum(forward, LENGTH_LIMIT - steps[::-1])
    return list(zip(inside.tolist(), stations, strict=True))


def pitch(station: Mapping[str, Any]) -> float:
    """Pitch of the readout of a station in cm."""
    return max(PITCHES[station["pitch"]], SENSORS[station["material"]].finest)


def channels(layout: Design) -> float:
    """Number of readout channels: width over pitch, summed over the stations."""
    return sum(STATION_WIDTH / pitch(station) for station in layout["station"])


def price(layout: Design) -> float:
    """Price in EUR: area and channels of all stations."""
    sensors = [(SENSORS[station["material"]], station) for station in layout["station"]]
    return sum(
        sensor.price * STATION_WIDTH**2 + sensor.channel * STATION_WIDTH / pitch(station) for sensor, station in sensors
    )


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
    """The stations at their places; they are drawn as long as the smallest gap, though the sensors are thinner."""
    return [
        Component(
            f"{10 * pitch(station):g} mm station {index}",
            station["material"],
            position - SMALLEST_GAP / 2,
            SMALLEST_GAP,
        )
        for index, (position, station) in enumerate(row(layout), start=1)
    ]
