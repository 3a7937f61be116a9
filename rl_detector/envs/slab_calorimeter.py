"""The sequential calorimeter: thin silicon sensors one after the other in a 2 m steel slab, judged by their resolution.

The first case of reinforcement-learning design by Qasim, Owen and Serra (arXiv:2412.10237), after the public simulation
github.com/shahrukhqasim/CaloOptimization: showers in a solid slab are stored once, a design is scored by cutting its
sensors out of them. Slab, samples, layer weights and the three baselines are those of that simulation; prices and the
types of sensors that may be bought are our choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rl_detector.envs.slab_calorimeter_library import FITTED, SLAB, Book, FastLibrary, Library, SinglePrecision
from rl_detector.envs.slab_calorimeter_reach import MINIMUM_EVENTS, SlabReach
from rl_detector.envs.slab_calorimeter_stored import StoredLibrary
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import Material, material
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component, Constraint, Cost, Readout

LENGTH = 10 * SLAB
"""Length of the slab in mm."""

GAP_LOW, GAP_HIGH = 0.5, 120.0
"""Bounds of the steel in front of a sensor in mm; our choice."""

FEWEST = 10
"""Fewest sensors of a design; our choice."""

AREA = 150.0**2
"""Area of a sensor in cm2, that of the slab (CaloOptimization)."""

SILICON = material("Si")


class Sensor(NamedTuple):
    """A type of silicon sensor: thickness in mm, price in EUR per cm2."""

    thickness: float
    price: float


TYPES: Mapping[str, Sensor] = {
    "0.06 mm": Sensor(0.06, 3.6),
    "0.12 mm": Sensor(0.12, 4.2),
    "0.2 mm": Sensor(0.2, 5.0),
    "0.3 mm": Sensor(0.3, 6.0),
}
"""Thicknesses: 0.06, 0.12 and 0.2 mm as in CaloOptimization, 0.3 mm the usual one. Prices are our choice: 3 EUR/cm2 for
sensor and readout, and 10 EUR/cm2 per mm of silicon."""


MOST_SENSORS = 5000
"""Sensors beyond which building the problem itself takes long."""


def space(sensors: int = 60) -> DesignSpace:
    """A row of 10 to N sensors in the order of the beam, each with the steel in front of it and its type."""
    sensor = DesignSpace((Continuous("gap", GAP_LOW, GAP_HIGH, "mm", log=True), Categorical("type", tuple(TYPES))))
    return DesignSpace((Repeated("sensor", sensor, FEWEST, sensors),))


def design(*sensors: tuple[float, str]) -> dict[str, Any]:
    """A design from (gap in mm, type) per sensor."""
    return {"sensor": [{"gap": float(gap), "type": kind} for gap, kind in sensors]}


def in_steel(name: str, thickness: float, length: str) -> float:
    """Thickness of steel with as many radiation or interaction lengths as so much of another material."""

    def of(substance: Material) -> float:
        return float(getattr(substance, f"{length}_length"))

    return thickness * of(material("steel")) / of(material(name))


def baselines() -> dict[str, Design]:
    """The three reference designs of CaloOptimization, beta first: it is the zero of the reach.

    beta: 1 mm of steel, then 14 x [Si 0.2 mm | 6 | Si 0.2 | 2.8], 12 x [35 | Si 0.2 | 6], 16 x [68 | Si 0.2 | 6], all
    steel. gamma: beta with one sensor of 0.06 mm per pair of the first part, where the second one is left out. alpha:
    the same with 6 mm Cu, 2.1 mm Pb + 0.6 mm steel + 0.1 mm Cu, 6 mm Cu; in a slab of steel these are as much steel as
    has the same radiation lengths (first part) or interaction lengths (behind). Its first sensor, which has nothing in
    front, gets the smallest gap.
    """
    behind_first = in_steel("Pb", 2.1, "radiation") + 0.6 + in_steel("Cu", 0.1, "radiation")
    alpha = (GAP_LOW, in_steel("Cu", 6.0, "radiation"), behind_first, in_steel("Cu", 6.0, "interaction"))
    return {
        "beta": _reference(1.0, 6.0, 2.8, 6.0),
        "alpha": _reference(*alpha),
        "gamma": _reference(1.0, 6.0, 2.8, 6.0, single=True),
    }


def _reference(entrance: float, first: float, second: float, after: float, single: bool = False) -> dict[str, Any]:
    """The row of sensors of a reference design from its absorbers in mm of steel."""
    kind = "0.06 mm" if single else "0.2 mm"
    sensors: list[tuple[float, str]] = []
    before = entrance
    for _ in range(14):
        sensors.append((before, kind))
        if not single:
            sensors.append((first, kind))
        before = first + second if single else second
    for number, front in ((12, 35.0), (16, 68.0)):
        for _ in range(number):
            sensors.append((before + front, "0.2 mm"))
            before = after
    return design(*sensors)


class Row(NamedTuple):
    """A design as arrays [sensors]: steel in front, place of the front, thickness, all in mm."""

    gap: FloatArray
    front: FloatArray
    thickness: FloatArray


def row(layout: Design) -> Row:
    """Where the sensors are. What lies beyond the end of the slab sees nothing."""
    gap = np.array([sensor["gap"] for sensor in layout["sensor"]], dtype=np.float64)
    thickness = np.array([TYPES[sensor["type"]].thickness for sensor in layout["sensor"]])
    return Row(gap, np.cumsum(gap) + np.cumsum(thickness) - thickness, thickness)


def price(layout: Design) -> float:
    """Price in kEUR: area times price of the type, summed over all sensors, those beyond the slab too."""
    return AREA * sum(TYPES[sensor["type"]].price for sensor in layout["sensor"]) / 1000


def length(layout: Design) -> float:
    """Distance of the end of the last sensor from the front of the slab in mm."""
    built = row(layout)
    return float(built.front[-1] + built.thickness[-1])


def components(layout: Design) -> list[Component]:
    """The sensors where they stand, in steel; positions in cm."""
    built, parts = row(layout), []
    for index, (gap, front, thickness) in enumerate(zip(*built, strict=True)):
        parts.append(Component(f"steel {index + 1}", "steel", (front - gap) / 10, gap / 10))
        parts.append(Component(f"sensor {index + 1}", "Si", front / 10, thickness / 10))
    return parts


FLUCTUATION, FLUCTUATION_POWER = 4.5, -0.4
"""Variance over mean of the signal of photon showers, in units of the mean signal of one particle, in 0.2 mm of
silicon, and the power of the thickness with which it changes: fitted to Geant4, experiments/slab_calorimeter."""


def sensor_variance(thickness: FloatArray) -> FloatArray:
    """Relative variance per particle that sensors of these thicknesses in mm add to that of the crossings."""
    whole = FLUCTUATION * (thickness / 0.2) ** FLUCTUATION_POWER
    added: FloatArray = np.maximum(whole - FITTED.clumping, 0.0)
    return added


BOOK = 2000
"""Events of one book; more events are several books. A multiple of the number of samples."""


@dataclass(frozen=True)
class SlabSimulator:
    """Signals of sensors that are cut out of stored showers.

    A sensor sees the particles that cross the plane next to it. Each leaves the energy of a minimum-ionising particle,
    with fluctuations: n particles make a signal that is Gamma distributed with the mean n and the variance v n, v from
    `sensor_variance` (in the approximation of Wilson and Hilferty). The straggling of the k-th sensor of all
    designs of one seed is the same. Left out: electronic noise, dead areas, the silicon's own effect on the shower.

    Attributes:
        library: where the showers come from.
        sensors: largest number of sensors.
    """

    library: Library = field(default_factory=FastLibrary)
    sensors: int = 60

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Readout of one design.

        Truth [events]: `sample` (see slab_calorimeter_library.SAMPLES), `energy` in GeV, `pion`. Signals [events,
        sensors]: deposit in GeV times the published layer weight gap / thickness.
        """
        return self.simulate_batch([design], events, [seed])[0]

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; equal seeds share stored events and random numbers."""
        rows = [row(layout) for layout in designs]
        parts: list[list[Readout]] = [[] for _ in designs]
        for start in range(0, events, BOOK):
            for built, seed, collected in zip(rows, seeds, parts, strict=True):
                collected.append(self._cut_out(built, min(BOOK, events - start), seed, start // BOOK))
        return [_joined(collected) for collected in parts]

    def describe(self) -> Mapping[str, str]:
        """Facts of the library."""
        return self.library.describe()

    def _cut_out(self, built: Row, events: int, seed: int, number: int) -> Readout:
        """Readout of one book."""
        book = self.library.book(_book_seed(seed, number), events)
        return cut_out(built, book, _normals(seed, number, events, self.sensors)[: len(built.gap)])


def cut_out(built: Row, book: Book, normal: SinglePrecision) -> Readout:
    """Readout of sensors in stored events; `normal` [sensors, events] are the standard normal numbers of straggling."""
    centre = (built.front + built.thickness / 2) / 10
    particles = book.crossings[book.planes(centre)]
    particles[centre >= SLAB] = 0
    variance = sensor_variance(built.thickness)
    if book.thickness is not None:
        variance = np.maximum(variance - sensor_variance(np.array(book.thickness)), 0.0)
    signals = straggled(particles, variance.astype(np.float32)[:, None], normal)
    signals *= (built.gap / 10 * SILICON.mip_loss).astype(np.float32)[:, None]
    return Readout(book.events.truth, signals.T.astype(np.float64))


def straggled(particles: SinglePrecision, variance: SinglePrecision, normal: SinglePrecision) -> SinglePrecision:
    """Signals of so many particles in units of the mean signal of one, same shape."""
    ratio = variance / (9 * np.maximum(particles, np.float32(1e-3)))
    root = 1 - ratio + np.sqrt(ratio) * normal
    np.maximum(root, 0, out=root)
    signals: SinglePrecision = particles * (root * root * root)
    return signals


def _book_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number, 0)).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=8)
def _normals(seed: int, number: int, events: int, sensors: int) -> SinglePrecision:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 1)))
    return rng.standard_normal((sensors, events), dtype=np.float32)


def _joined(parts: Sequence[Readout]) -> Readout:
    if len(parts) == 1:
        return parts[0]
    truth = {name: np.concatenate([part.truth[name] for part in parts]) for name in parts[0].truth}
    return Readout(truth, np.concatenate([part.signals for part in parts]))


def slab_calorimeter(
    library: str = "fast",
    sensors: int = 60,
    electromagnetic_weight: float = 0.5,
    calibration: str = "global",
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The slab as a design problem: at most the price of the baseline beta, at most 2 m.

    Args:
        library: "fast", or the file of a stored library (see slab_calorimeter_stored): for the validation of designs,
            the zero of the reach stays that of the fast one.
        sensors: largest number of sensors, at least the 56 of the baselines.
        electromagnetic_weight: weight of the photons' resolution in the reach, the pions have the rest.
        calibration: "global", one number for all layers with the published weights, or "layers", fitted weights.
        cost_weight: reach that the baseline's price must buy.
        penalty_weight: reach per relative violation of a limit.

    Raises:
        ConfigError: an impossible setting.
    """
    layouts = baselines()
    most = max(len(layout["sensor"]) for layout in layouts.values())
    if not most <= sensors <= MOST_SENSORS:
        raise ConfigError(
            f"the slab needs room for the {most} sensors of its baselines, got sensors={sensors}; "
            f"the most are {MOST_SENSORS}"
        )
    start = layouts["beta"]
    return DesignProblem(
        name="slab_calorimeter",
        space=space(sensors),
        simulator=SlabSimulator(FastLibrary() if library == "fast" else StoredLibrary(library), sensors),
        reach=SlabReach(electromagnetic_weight, calibration),
        costs=(Cost("price", "kEUR", price(start), price),),
        constraints=(
            Constraint("price", "kEUR", price(start), price),
            Constraint("length", "mm", LENGTH, length),
        ),
        baselines=layouts,
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"electromagnetic_weight": electromagnetic_weight},
        layout=components,
        metric="weighted geometric mean of sigma / mean",
        minimum_events=MINIMUM_EVENTS,
    )
