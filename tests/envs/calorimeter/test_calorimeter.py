"""The calorimeter: published numbers, limits of the physics, and a readout with the right fluctuations."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.envs.calorimeter import layout as layout_module
from rl_detector.envs.calorimeter.fast import CalorimeterSimulator
from rl_detector.envs.calorimeter.layout import (
    LENGTH_LIMIT,
    PHOTOELECTRONS_PER_GEV,
    PRICE_LIMIT,
    PRICE_PER_CM,
    THICKNESS_LIMIT,
    baselines,
    components,
    design,
    length,
    price,
    space,
    stack,
)
from rl_detector.envs.calorimeter.problem import REFERENCE_EVENTS, REFERENCE_SAMPLES, calorimeter
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.simulators.stack import Beam, Primaries, Stack
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Measurement

PHOTONS = Beam({"gamma": 1.0}, 10.0, 10.0)


def measure(layout: Design, events: int = 4000, **settings: Any) -> Measurement:
    measured = calorimeter(layers=len(layout["layer"]), **settings).evaluate(layout, events, 1).measurement
    assert measured is not None
    return measured


@dataclass
class Constant:
    """The same deposit in every layer; stacks thinner than 1 cm fail."""

    deposit: float = 1.0
    name: str = "constant"

    def describe(self) -> Mapping[str, str]:
        return {"simulator": self.name}

    def deposits(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int]
    ) -> list[FloatArray | SimulationError]:
        return [
            np.full((len(beam), len(built.materials)), self.deposit)
            if built.length > 1
            else SimulationError("too thin")
            for built, beam in zip(stacks, primaries, strict=True)
        ]

    def close(self) -> None: ...


def test_published_start_point() -> None:
    """AIDO, full calorimeter example: 9.03 + 37.2 + 10.4 + 29.7 + 36.0 + 27.5 = 149.8 cm, 232 EUR."""
    start = calorimeter().start
    assert start is not None
    assert length(start) == pytest.approx(149.83)
    assert price(start) == pytest.approx(55.43 * 4.166 + 94.4 * 0.01)
    assert price(start) == pytest.approx(232, abs=0.5)


def test_price_of_a_crystal_block() -> None:
    assert price(design(("Fe", 0.0, "PbWO4", 37.2))) == pytest.approx(93_000)


def test_the_whole_price_limit_buys_80_cm_of_crystal() -> None:
    for layers in (2, 3, 6):
        assert price(baselines(layers)["all_pbwo4"]) == pytest.approx(PRICE_LIMIT)


@pytest.mark.parametrize("layers", range(1, 7))
def test_baselines_are_possible_and_within_the_limits(layers: int) -> None:
    for name, layout in baselines(layers).items():
        space(layers).check(layout)
        assert 0 < length(layout) <= LENGTH_LIMIT, name
        assert price(layout) <= PRICE_LIMIT * (1 + 1e-12), name


@pytest.mark.parametrize("layers", [2, 3, 4, 6])
def test_the_rules_of_the_baselines_do_not_depend_on_the_number_of_layers(layers: int) -> None:
    if layers >= 3:
        assert length(baselines(layers)["uniform_sandwich"]) == pytest.approx(150)
        assert length(baselines(layers)["homogeneous"]) == pytest.approx(137.2)
    assert length(baselines(layers)["all_pbwo4"]) == pytest.approx(80)


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_the_problem_keeps_its_contract(layers: int) -> None:
    problem = calorimeter(layers=layers)
    check_problem(problem, events=100)
    check_simulator(problem.simulator, list(problem.baselines.values()))


def test_a_calorimeter_needs_a_layer() -> None:
    with pytest.raises(ConfigError, match="at least 1 layer, got 0"):
        calorimeter(layers=0)


def test_the_stack_follows_the_beam() -> None:
    layout = design(("Pb", 1.0, "PbWO4", 2.0), ("Fe", 3.0, "polystyrene", 4.0))
    assert stack(layout) == Stack(("Pb", "PbWO4", "Fe", "polystyrene"), (1.0, 2.0, 3.0, 4.0))


def test_components_are_to_scale_and_leave_out_what_is_absent() -> None:
    layout = design(("Pb", 0.0, "PbWO4", 2.0), ("Fe", 3.0, "polystyrene", 4.0))
    assert [tuple(part) for part in components(layout)] == [
        ("scintillator 1", "PbWO4", 0.0, 2.0),
        ("absorber 2", "Fe", 2.0, 3.0),
        ("scintillator 2", "polystyrene", 5.0, 4.0),
    ]


def test_one_signal_per_scintillator_in_its_place() -> None:
    layout = design(("Pb", 0.0, "PbWO4", 0.0), ("Fe", 0.0, "PbWO4", 40.0))
    readout = calorimeter(layers=2).simulator.simulate(layout, 50, 0)
    assert readout.signals.shape == (50, 2)
    assert (readout.signals[:, 0] == 0).all()
    assert (readout.signals[:, 1] > 0).all()


def test_nothing_built_sees_nothing() -> None:
    """The best guess is then one constant energy, and the reach is far below zero."""
    nothing = design(*[("Fe", 0.0, "polystyrene", 0.0)] * 3)
    problem = calorimeter()
    readout = problem.simulator.simulate(nothing, 4000, 1)
    assert (readout.signals == 0).all()
    energy = readout.truth["energy"]
    guess = np.average(energy, weights=1 / (energy + 1))
    measured = measure(nothing)
    assert measured.metric == pytest.approx(np.mean((energy - guess) ** 2 / (energy + 1)), rel=0.01)
    assert measured.reach < -1.5


@pytest.mark.parametrize("scintillator", ["PbWO4", "polystyrene"])
def test_light_fluctuates_as_photoelectrons_do(scintillator: str) -> None:
    """sigma(E)^2 = E / yield for a deposit of E, without bias, independently in every scintillator."""
    simulator = CalorimeterSimulator(Constant(2.0), PHOTONS)
    layout = design(("Fe", 1.0, scintillator, 1.0), ("Fe", 1.0, scintillator, 1.0))
    signals = simulator.simulate(layout, 20_000, 0).signals
    expected = 2.0 / PHOTOELECTRONS_PER_GEV[scintillator]
    assert signals.mean() == pytest.approx(2.0, abs=4 * math.sqrt(expected / 40_000))
    np.testing.assert_allclose(signals.var(axis=0), expected, rtol=0.04)
    assert abs(np.corrcoef(signals.T)[0, 1]) < 0.03


def test_a_failed_stack_fails_alone() -> None:
    simulator = CalorimeterSimulator(Constant(), PHOTONS)
    thick, thin = design(("Fe", 1.0, "PbWO4", 1.0)), design(("Fe", 0.0, "PbWO4", 0.5))
    good, failed = simulator.simulate_batch([thick, thin], 10, [0, 1])
    assert not isinstance(good, SimulationError)
    assert isinstance(failed, SimulationError)
    with pytest.raises(SimulationError, match="too thin"):
        simulator.simulate(thin, 10, 0)


def test_equal_seeds_share_their_primaries_whatever_the_design() -> None:
    problem = calorimeter()
    truths = [problem.simulator.simulate(layout, 50, 5).truth["energy"] for layout in problem.baselines.values()]
    for truth in truths[1:]:
        np.testing.assert_array_equal(truth, truths[0])


def test_the_published_start_is_the_zero_of_the_reach() -> None:
    """24 x 20,000 other events: their mean within 4 errors, the reference's own included."""
    problem = calorimeter()
    assert problem.start is not None
    found = problem.evaluate_batch([problem.start] * 24, REFERENCE_EVENTS, list(range(24)))
    reaches = np.array([evaluation.measurement.reach for evaluation in found if evaluation.measurement])
    assert abs(reaches.mean()) < 4 * reaches.std() * math.sqrt(1 / 24 + 1 / REFERENCE_SAMPLES)


def test_deeper_is_better_until_the_shower_is_contained() -> None:
    depths = [2.0, 5.0, 10.0, 20.0, 40.0]
    blocks = [design(("Fe", 0.0, "PbWO4", depth)) for depth in depths]
    reaches = [measure(block, photon_fraction=1.0).reach for block in blocks]
    assert reaches == sorted(reaches)


def test_an_absorber_in_front_of_a_crystal_hurts() -> None:
    reaches = [measure(design(("Pb", x, "PbWO4", 25.0)), photon_fraction=1.0).reach for x in (0.0, 2.0, 10.0)]
    assert reaches == sorted(reaches, reverse=True)


def test_crystal_beats_sandwich_for_photons() -> None:
    layouts = baselines()
    assert (
        measure(layouts["homogeneous"], photon_fraction=1.0).reach
        > measure(layouts["uniform_sandwich"], photon_fraction=1.0).reach
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"photon_fraction": 1.2}, r"share of gamma in the beam must lie in \[0, 1\], got 1.2"),
        ({"photon_fraction": -0.1}, "share of gamma"),
        ({"photon_fraction": math.nan}, "share of gamma"),
        ({"energy_low": 0.0}, "0 < low <= high"),
        ({"energy_low": 30.0}, "0 < low <= high, got 30.0 to 20.0 GeV"),
        ({"energy_high": math.inf}, "0 < low <= high"),
        ({"simulator": "fats"}, "unknown simulator 'fats' of the calorimeter: known are fast, geant4"),
    ],
)
def test_impossible_beams_and_simulators(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        calorimeter(**settings)


def test_results_say_what_made_them() -> None:
    facts = calorimeter(photon_fraction=0.3).simulator.describe()
    assert facts["simulator"] == "fast"
    assert facts["beam"] == "30% gamma, 70% pi+, 1-20 GeV"


def test_the_defaults_of_yaml_and_python_are_the_same() -> None:
    settings = OmegaConf.to_container(
        OmegaConf.create((files("rl_detector.conf") / "env/calorimeter.yaml").read_text())
    )
    assert isinstance(settings, dict)
    assert settings.pop("name") == "calorimeter"
    parameters = inspect.signature(calorimeter).parameters
    assert settings == {name: p.default for name, p in parameters.items() if name != "simulator"}


def test_thickness_bounds() -> None:
    assert {slot.parameter.high for slot in space(2).continuous if hasattr(slot.parameter, "high")} == {THICKNESS_LIMIT}


def test_another_material_is_an_edit_of_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "ABSORBERS", ("Pb", "Fe", "W"))
    monkeypatch.setitem(PRICE_PER_CM, "W", 100.0)
    problem = calorimeter()
    built = design(("W", 1.0, "PbWO4", 30.0), ("Fe", 10.0, "polystyrene", 5.0), ("W", 2.0, "polystyrene", 5.0))
    assert problem.space.contains(built)
    assert price(built) == pytest.approx(3 * 100 + 30 * 2500 + 10 * 4.166 + 10 * 0.01)
    assert np.isfinite(problem.evaluate(built, 200, 0).reward)
