"""The sampling calorimeter: N x (absorber, scintillator), thicknesses and materials free, judged by energy resolution.

The case of the AIDO study (github.com/KylianSchmidt/aido, full calorimeter example): three layers, six thicknesses and
six binary materials, 1-20 GeV photons and pions, limits on length and price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import material
from rl_detector.problem import DesignProblem
from rl_detector.reach.mutual_information import MutualInformationReach
from rl_detector.reach.resolution import MINIMUM_EVENTS, ResolutionReach
from rl_detector.settings import check_settings
from rl_detector.simulators.command import command_simulator
from rl_detector.simulators.command_needs import Needs
from rl_detector.simulators.fast_stack import FastStackSimulator
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Beam, Primaries, Stack, StackSimulator
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component, Constraint, Cost, Features, Readout, Simulator

ABSORBERS = ("Pb", "Fe")
SCINTILLATORS = ("PbWO4", "polystyrene")

PRICE_PER_CM: Mapping[str, float] = {"Pb": 25.0, "Fe": 4.166, "PbWO4": 2500.0, "polystyrene": 0.01}
"""EUR per cm of thickness (AIDO, full calorimeter example)."""

LENGTH_LIMIT = 200.0
"""Largest total length in cm (AIDO, full calorimeter example)."""

PRICE_LIMIT = 200_000.0
"""Largest price in EUR (AIDO, full calorimeter example)."""

THICKNESS_LIMIT = 50.0
"""Largest thickness of one absorber or scintillator in cm; our choice, the published study has no upper bound."""

PHOTOELECTRONS_PER_GEV: Mapping[str, float] = {"PbWO4": 4500.0, "polystyrene": 10_000.0}
"""Light yield. PbWO4: 4.5 photoelectrons per MeV with avalanche photodiodes (CMS, JINST 3 (2008) S08004, section 4.1).
Polystyrene: 10 per MeV, our choice, the order of tiles read out by wavelength-shifting fibres."""

REFERENCE_EVENTS = 20_000
REFERENCE_SAMPLES = 16
"""Samples of so many events of the fast simulator from which the zero of the reach is taken, to about 0.4 %."""

REFERENCE_SEED = 20_240_612
"""Seed of the first sample; any fixed number does."""


MOST_LAYERS = 500
"""Layers beyond which building the problem itself takes long."""


def space(layers: int = 3) -> DesignSpace:
    """N layers of (absorber, scintillator), each with a material and a thickness of 0-50 cm; 0 means absent."""
    layer = DesignSpace(
        (
            Categorical("absorber", ABSORBERS),
            Continuous("absorber_thickness", 0.0, THICKNESS_LIMIT, "cm"),
            Categorical("scintillator", SCINTILLATORS),
            Continuous("scintillator_thickness", 0.0, THICKNESS_LIMIT, "cm"),
        )
    )
    return DesignSpace((Repeated("layer", layer, layers, layers),))


def design(*layers: tuple[str, float, str, float]) -> dict[str, Any]:
    """A design from (absorber, cm, scintillator, cm) per layer."""
    names = ("absorber", "absorber_thickness", "scintillator", "scintillator_thickness")
    return {"layer": [dict(zip(names, layer, strict=True)) for layer in layers]}


def baselines(layers: int = 3) -> dict[str, Design]:
    """Hand-made designs to compare with.

    published_start: the start point of the published run. uniform_sandwich: equal iron plates and plastic tiles of the
    published start's length. homogeneous: a block of PbWO4 of the same length as the published first scintillator, deep
    enough for photons (42 X0), then iron and plastic against leakage. all_pbwo4: nothing but PbWO4, the whole price
    limit. For another number of layers the rules stay and the thicknesses are spread over the layers.
    """
    published = [
        ("Fe", 9.03, "polystyrene", 37.2),
        ("Fe", 10.4, "polystyrene", 29.7),
        ("Fe", 36.0, "polystyrene", 27.5),
    ]
    start = [published[i % 3] for i in range(layers)]
    scale = min(1.0, 3 / layers)
    tail = (layers - 1) or 1
    return {
        "published_start": design(*((a, x * scale, s, y * scale) for a, x, s, y in start)),
        "uniform_sandwich": design(*[("Fe", 60.0 / max(layers, 3), "polystyrene", 90.0 / max(layers, 3))] * layers),
        "homogeneous": design(
            ("Fe", 0.0, "PbWO4", 37.2),
            *[("Fe", 40.0 / max(tail, 2), "polystyrene", 60.0 / max(tail, 2))] * (layers - 1),
        ),
        "all_pbwo4": design(*[("Fe", 0.0, "PbWO4", min(80.0 / layers, THICKNESS_LIMIT))] * layers),
    }


def stack(layout: Design) -> Stack:
    """The design as flat layers in the order of the beam: absorber 1, scintillator 1, absorber 2, ..."""
    parts = [
        (layer[kind], layer[f"{kind}_thickness"]) for layer in layout["layer"] for kind in ("absorber", "scintillator")
    ]
    return Stack(tuple(name for name, _ in parts), tuple(thickness for _, thickness in parts))


def price(layout: Design) -> float:
    """Price in EUR: thickness times price per cm, summed over all layers."""
    built = stack(layout)
    return sum(
        PRICE_PER_CM[name] * thickness for name, thickness in zip(built.materials, built.thicknesses, strict=True)
    )


def length(layout: Design) -> float:
    """Total length in cm."""
    return stack(layout).length


def components(layout: Design) -> list[Component]:
    """The layers that are there, to scale along the beam."""
    built, result, position = stack(layout), [], 0.0
    for index, (name, thickness) in enumerate(zip(built.materials, built.thicknesses, strict=True)):
        label = f"{'absorber' if index % 2 == 0 else 'scintillator'} {index // 2 + 1}"
        if thickness > 0:
            result.append(Component(label, name, position, thickness))
        position += thickness
    return result


def view(layout: Design) -> FloatArray:
    """Where a design is, for a reconstruction shared by designs: 8 numbers of order 1 per scintillator, [8 layers].

    Depth in front of it and thickness of it and of its absorber, each in radiation and in interaction lengths
    (logarithms), its `sampling_weights` (logarithm), and whether it is PbWO4.
    """
    built, numbers, front = stack(layout), [], np.zeros(2)
    weights = sampling_weights(layout)
    parts = [material(name) for name in built.materials]
    per_cm = np.array([[1 / part.radiation_length, 1 / part.interaction_length] for part in parts])
    lengths = np.array(built.thicknesses)[:, None] * per_cm
    for index, weight in enumerate(weights):
        absorber, scintillator = lengths[2 * index], lengths[2 * index + 1]
        front = front + absorber
        depths = np.log1p(np.concatenate([front, scintillator, absorber]) * _UNITS) * _SPANS
        numbers += [
            *depths,
            np.log(weight) / 1.5,
            built.materials[2 * index + 1] == "PbWO4",
        ]
        front = front + scintillator
    return np.array(numbers, dtype=np.float64)


_UNITS = np.array([1.0, 2.0] * 3)
_SPANS = np.array([1 / 1.5, 1.0] * 3)
"""Logarithms of depths that span about 1 between the designs of the space."""

LARGEST_WEIGHT = 200.0
"""Bound of `sampling_weights`, where there is hardly any scintillator."""


def sampling_weights(layout: Design) -> FloatArray:
    """Energy lost in absorber and scintillator over that in the scintillator for a minimum-ionising particle, [layers].

    One over the sampling fraction: the signal times it is the classical estimate of the energy that a layer absorbs.
    """
    built = stack(layout)
    lost = np.array([material(n).mip_loss * t for n, t in zip(built.materials, built.thicknesses, strict=True)])
    weights: FloatArray = np.minimum(1 + lost[0::2] / (lost[1::2] + 0.01), LARGEST_WEIGHT)
    return weights


def event_features(layout: Design, signals: FloatArray) -> FloatArray:
    """What a linear fit may use of each event: 1, u, sqrt(u), sqrt(sum u) with u = signal * weight / 10 GeV.

    Those of `shower_features`, with every layer calibrated so that coefficients of different designs are alike.
    """
    calibrated = signals * sampling_weights(layout) / 10
    total = calibrated.sum(axis=1, keepdims=True)
    return np.concatenate([np.ones_like(total), calibrated, np.sqrt(calibrated), np.sqrt(total)], axis=1)


@dataclass(frozen=True)
class CalorimeterSimulator:
    """Signals of the scintillators: energy deposits of a stack simulator plus photostatistics.

    Attributes:
        engine: simulates showers in stacks.
        beam: what comes in.
    """

    engine: StackSimulator
    beam: Beam

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Readout of one design: truth `energy` [events] in GeV, signals [events, scintillators] in GeV."""
        readout = self.simulate_batch([design], events, [seed])[0]
        if isinstance(readout, SimulationError):
            raise readout
        return readout

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Readouts of many designs; equal seeds share primaries and random numbers."""
        draws = {seed: _Draws.of(self.beam, events, seed, _scintillators(designs)) for seed in seeds}
        stacks = [stack(design) for design in designs]
        primaries = [draws[seed].primaries for seed in seeds]
        deposits = self.engine.deposits(stacks, primaries, [draws[seed].shower_seed for seed in seeds])
        return [
            deposit if isinstance(deposit, SimulationError) else _readout(built, deposit, draws[seed])
            for built, deposit, seed in zip(stacks, deposits, seeds, strict=True)
        ]

    def replicas(self, design: Design, events: int, seed: int, copies: int) -> list[Readout]:
        """Readouts of the same primaries, each with other showers and other light; the first is that of `simulate`."""
        built, count = stack(design), _scintillators([design])
        first = _Draws.of(self.beam, events, seed, count)
        numbers = np.random.SeedSequence(seed, spawn_key=(3,)).generate_state(copies - 1, np.uint64) >> np.uint64(1)
        others = [_Draws.of(self.beam, events, int(number), count) for number in numbers]
        draws = [first, *(replace(other, primaries=first.primaries) for other in others)]
        found = self.engine.deposits([built] * copies, [first.primaries] * copies, [d.shower_seed for d in draws])
        for deposits in found:
            if isinstance(deposits, SimulationError):
                raise deposits
        good = (deposits for deposits in found if not isinstance(deposits, SimulationError))
        return [_readout(built, deposits, draw) for deposits, draw in zip(good, draws, strict=True)]

    def describe(self) -> Mapping[str, str]:
        """Facts of the engine and the beam."""
        shares = ", ".join(f"{share:.0%} {name}" for name, share in self.beam.fractions.items())
        return {**self.engine.describe(), "beam": f"{shares}, {self.beam.energy_low:g}-{self.beam.energy_high:g} GeV"}


@dataclass(frozen=True)
class _Draws:
    """The random numbers of one seed that do not depend on the design."""

    primaries: Primaries
    shower_seed: int
    light: FloatArray

    @staticmethod
    def of(beam: Beam, events: int, seed: int, scintillators: int) -> _Draws:
        beam_seed, shower_seed, light_seed = np.random.SeedSequence(seed).spawn(3)
        light = np.random.default_rng(light_seed).standard_normal((scintillators, events)).T
        shower = int(shower_seed.generate_state(1, np.uint64)[0] >> 1)
        return _Draws(beam.sample(events, np.random.default_rng(beam_seed)), shower, light)


def _scintillators(designs: Sequence[Design]) -> int:
    return max(len(design["layer"]) for design in designs)


def _readout(built: Stack, deposits: FloatArray, draws: _Draws) -> Readout:
    """Scintillator deposits plus photostatistics: N_pe has variance N_pe, so sigma(E)^2 = E / yield."""
    visible = deposits[:, 1::2]
    yields = np.array([PHOTOELECTRONS_PER_GEV[name] for name in built.materials[1::2]])
    noise = np.sqrt(np.clip(visible, 0, None) / yields) * draws.light[:, : visible.shape[1]]
    return Readout({"energy": draws.primaries.energies}, np.clip(visible + noise, 0, None))


ENGINES: Mapping[str, Callable[..., StackSimulator]] = {"fast": FastStackSimulator, "geant4": Geant4Simulator}


def engine(simulator: str | Mapping[str, Any]) -> StackSimulator:
    """A stack simulator from its name, or from its name and settings such as {"name": "geant4", "workers": 2}.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    settings = {"name": simulator} if isinstance(simulator, str) else dict(simulator)
    name = settings.pop("name")
    if name not in ENGINES:
        raise ConfigError(f"unknown simulator {name!r} of the calorimeter: known are {', '.join(ENGINES)}")
    return ENGINES[name](**check_settings("simulator", ENGINES[name], settings))


def _simulator(
    simulator: str | Mapping[str, Any] | StackSimulator, beam: Beam, layers: int, conditions: Mapping[str, float]
) -> Simulator:
    """An executable of the user (command) simulates beam and signals itself; a stack simulator gets both from here."""
    if not isinstance(simulator, (str, Mapping)):
        return CalorimeterSimulator(simulator, beam)
    if "command" in (simulator, simulator["name"] if isinstance(simulator, Mapping) else None):
        return command_simulator(simulator, Needs(space(layers), {"energy": "GeV"}, "GeV", layers, conditions))
    return CalorimeterSimulator(engine(simulator), beam)


def calorimeter(
    simulator: str | Mapping[str, Any] | StackSimulator = "fast",
    layers: int = 3,
    photon_fraction: float = 0.5,
    energy_low: float = 1.0,
    energy_high: float = 20.0,
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
    reach: str = "resolution",
) -> DesignProblem:
    """The calorimeter as a design problem.

    The zero of the reach is the metric of the published start point in the fast simulator with the same beam, whatever
    simulator is used: reach differences are what counts, and validation reports them pairwise in one simulator.

    Args:
        simulator: "fast", "geant4", one of them with settings, a stack simulator of one's own, or an executable,
            {"name": "command", "file": ...}, that simulates primaries and signals (see simulators/command.py).
        layers: number N of (absorber, scintillator) pairs.
        photon_fraction: share of photons in the beam, the others are pi+. For photons alone the reconstruction leaves
            the sum of the signals free (see ResolutionReach).
        energy_low, energy_high: uniform spectrum of kinetic energies in GeV.
        cost_weight: reach that spending the whole price limit must buy.
        penalty_weight: reach per relative violation of a limit.
        reach: "resolution" or "mutual_information" (of energy and signals, see MutualInformationReach).
    """
    if reach not in REACHES:
        raise ConfigError(f"unknown reach {reach!r} of the calorimeter: known are {', '.join(REACHES)}")
    if not 1 <= layers <= MOST_LAYERS:
        raise ConfigError(f"a calorimeter needs at least 1 layer, got {layers}; the most are {MOST_LAYERS}")
    beam = Beam({"gamma": photon_fraction, "pi+": 1 - photon_fraction}, energy_low, energy_high)
    conditions = {"photon_fraction": photon_fraction, "energy_low": energy_low, "energy_high": energy_high}
    problem = DesignProblem(
        name="calorimeter",
        space=space(layers),
        simulator=_simulator(simulator, beam, layers, conditions),
        reach=ResolutionReach(1.0),
        costs=(Cost("price", "EUR", PRICE_LIMIT, price),),
        constraints=(
            Constraint("length", "cm", LENGTH_LIMIT, length),
            Constraint("price", "EUR", PRICE_LIMIT, price),
        ),
        baselines=baselines(layers),
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions=conditions,
        layout=components,
        metric="mean (E_rec - E)^2 / (E + 1 GeV) [GeV]",
        minimum_events=MINIMUM_EVENTS,
        features=Features(view, event_features),
    )
    beamline = (layers, photon_fraction, energy_low, energy_high)
    if reach == "resolution":
        return replace(problem, reach=ResolutionReach(_reference(*beamline), photon_fraction == 1))
    information = MutualInformationReach("energy", _entropy(energy_low, energy_high), _information(*beamline))
    return replace(problem, reach=information, metric="minus the information on the energy [bits]")


REACHES = ("resolution", "mutual_information")


@lru_cache
def _reference(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> float:
    """Metric of the first baseline in the fast simulator, in GeV."""
    beamline = (layers, photon_fraction, energy_low, energy_high)
    reach = ResolutionReach(1.0, photon_fraction == 1)
    return float(np.mean([reach.measure(readout).metric for readout in _references(*beamline)]))


@lru_cache
def _information(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> float:
    """Information of the first baseline in the fast simulator, in bits."""
    reach = MutualInformationReach("energy", _entropy(energy_low, energy_high))
    beamline = (layers, photon_fraction, energy_low, energy_high)
    return float(np.mean([reach.measure(readout).diagnostics["bits"] for readout in _references(*beamline)]))


def _references(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> Iterator[Readout]:
    """Samples of the first baseline in the fast simulator."""
    beam = Beam({"gamma": photon_fraction, "pi+": 1 - photon_fraction}, energy_low, energy_high)
    start = next(iter(baselines(layers).values()))
    simulator = CalorimeterSimulator(FastStackSimulator(), beam)
    for seed in range(REFERENCE_SEED, REFERENCE_SEED + REFERENCE_SAMPLES):
        yield simulator.simulate(start, REFERENCE_EVENTS, seed)


def _entropy(energy_low: float, energy_high: float) -> float:
    """Entropy of the uniform spectrum in bits, for energies in GeV."""
    if energy_low >= energy_high:
        raise ConfigError("a beam of one energy has no information to give: reach=mutual_information needs a spectrum")
    return math.log2(energy_high - energy_low)
