"""The sequential calorimeter: showers of the library, sensors cut out of them, and what they are worth."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rl_detector.envs.slab_calorimeter.fast import (
    FITTED_SHOWERS,
    PION_INTERACTION_LENGTH,
    PLANE_PITCH,
    FastLibrary,
    _counted,
    mean_photons,
)
from rl_detector.envs.slab_calorimeter.layout import (
    FEWEST_SENSORS,
    SENSOR_AREA,
    SENSOR_TYPES,
    SLAB_LENGTH_MM,
    SMALLEST_GAP,
    baselines,
    components,
    design,
    in_steel,
    length,
    price,
    row,
    space,
)
from rl_detector.envs.slab_calorimeter.library import CALIBRATION_SAMPLE, SAMPLES, STEEL, Events
from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter
from rl_detector.envs.slab_calorimeter.reach import (
    BETA_RESOLUTIONS,
    WORST_RESOLUTION,
    SlabReach,
    layer_weights,
    resolution,
)
from rl_detector.envs.slab_calorimeter.sensors import EVENTS_PER_BOOK, SlabSimulator, sensor_variance, straggled
from rl_detector.errors import ConfigError, DesignError
from rl_detector.problem import DesignProblem
from rl_detector.reach.paired import paired_difference
from rl_detector.reach.unseen import width_logarithm
from rl_detector.reproducible import held_out_seed, trial_seed
from rl_detector.space import Design
from rl_detector.study.validation import validate
from rl_detector.terms import Measurement, Readout

EVENLY = design(*[(33.0, "0.2 mm")] * 60)
"""60 sensors over the whole slab."""


def measure(layout: Design, events: int = 2000, seed: int = 1, problem: DesignProblem | None = None) -> Measurement:
    measured = (problem or slab_calorimeter()).evaluate(layout, events, seed).measurement
    assert measured is not None
    return measured


def random_designs(number: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [space().sample(rng) for _ in range(number)]


# What can be built


def test_the_baselines_have_their_sensors_and_prices() -> None:
    """56, 56 and 42 sensors; 5 EUR/cm2 each, but 3.6 for the 14 thin ones of gamma."""
    layouts = baselines()
    assert {name: len(layout["sensor"]) for name, layout in layouts.items()} == {"beta": 56, "alpha": 56, "gamma": 42}
    assert price(layouts["beta"]) == price(layouts["alpha"]) == pytest.approx(56 * 5.0 * SENSOR_AREA / 1000)
    assert price(layouts["gamma"]) == pytest.approx((14 * 3.6 + 28 * 5.0) * SENSOR_AREA / 1000)
    assert all(length(layout) < SLAB_LENGTH_MM for layout in layouts.values())


def test_the_absorbers_of_beta() -> None:
    """1 + 14 x 8.8 + 12 x 41 + 16 x 74 mm of steel less the last 6 mm, which nothing follows."""
    gaps = row(baselines()["beta"]).gap
    assert gaps.sum() == pytest.approx(1 + 14 * 8.8 + 12 * 41 + 16 * 74 - 6)
    np.testing.assert_allclose(gaps[:4], [1.0, 6.0, 2.8, 6.0])
    np.testing.assert_allclose(gaps[27:30], [6.0, 2.8 + 35, 35 + 6])
    np.testing.assert_allclose(gaps[39:42], [35 + 6, 6 + 68, 68 + 6])


def test_alpha_in_steel() -> None:
    """Pairs of 11.7 X0 in all (Cu 14.36, Pb 5.61, steel 17.42 mm), 35 mm and 6 mm of copper by interaction lengths."""
    gaps = row(baselines()["alpha"]).gap
    first = 14 * 6 / 14.36 + 13 * (2.1 / 5.612 + 0.6 / 17.424 + 0.1 / 14.36)
    assert gaps[1:28].sum() == pytest.approx(first * 17.424, rel=1e-3)
    assert gaps[0] == SMALLEST_GAP
    assert gaps[30] == pytest.approx(35 + 6 * 165.88 / 153.2, rel=1e-3)
    assert in_steel("steel", 5.0, "radiation") == pytest.approx(5.0)


def test_gamma_is_beta_with_half_of_the_first_sensors() -> None:
    beta, gamma = row(baselines()["beta"]), row(baselines()["gamma"])
    np.testing.assert_allclose(gamma.gap[1:14], beta.gap[1:27:2] + beta.gap[2:28:2])
    np.testing.assert_allclose(gamma.gap[15:], beta.gap[29:])
    assert (gamma.thickness[:14] == 0.06).all()


def test_where_the_sensors_are() -> None:
    layout = design((10.0, "0.3 mm"), (20.0, "0.06 mm"), (5.0, "0.2 mm"))
    np.testing.assert_allclose(row(layout).front, [10.0, 30.3, 35.36])
    assert length(layout) == pytest.approx(35.56)
    parts = components(layout)
    assert [part.material for part in parts] == ["steel", "Si"] * 3
    assert tuple(parts[3]) == ("sensor 2", "Si", pytest.approx(3.03), pytest.approx(0.006))
    ends = [part.start + part.length for part in parts]
    np.testing.assert_allclose(ends[:-1], [part.start for part in parts[1:]])


def test_beyond_the_slab_nothing_is_seen_but_paid_for() -> None:
    inside, beyond = design(*[(100.0, "0.2 mm")] * 19), design(*[(100.0, "0.2 mm")] * 25)
    one, other = (SlabSimulator().simulate(layout, 100, 1).signals for layout in (inside, beyond))
    np.testing.assert_array_equal(one, other[:, :19])
    assert (other[:, 19:] == 0).all()
    assert price(beyond) == pytest.approx(price(inside) * 25 / 19)
    violations = slab_calorimeter().evaluate(beyond, 100, 1).violations
    assert violations["length"] == pytest.approx(25 * 100.2 - SLAB_LENGTH_MM)


@given(
    gaps=st.lists(st.floats(SMALLEST_GAP, 120.0), min_size=FEWEST_SENSORS, max_size=60),
    kind=st.sampled_from(sorted(SENSOR_TYPES)),
)
def test_every_design_of_the_space_can_be_measured(gaps: list[float], kind: str) -> None:
    evaluation = slab_calorimeter().evaluate(design(*((gap, kind) for gap in gaps)), 50, 1)
    assert not evaluation.failed
    assert evaluation.measurement is not None
    assert evaluation.measurement.error > 0


# Showers


def test_photons_leave_all_their_energy_in_the_slab() -> None:
    depth = (np.arange(1000, dtype=np.float32)[:, None] + 0.5) * np.float32(PLANE_PITCH)
    energy = np.array([20.0, 50.0, 200.0])
    seen = (
        mean_photons(FITTED_SHOWERS, energy, depth, np.random.default_rng(0)).sum(axis=0) * STEEL.mip_loss * PLANE_PITCH
    )
    np.testing.assert_allclose(seen, energy, rtol=5e-3)


def test_photons_convert_after_nine_sevenths_of_a_radiation_length() -> None:
    """The first plane with anything of 20,000 photons, within four errors and half a plane."""
    depth = (np.arange(1000, dtype=np.float32)[:, None] + 0.5) * np.float32(PLANE_PITCH)
    seen = mean_photons(FITTED_SHOWERS, np.full(20_000, 50.0), depth, np.random.default_rng(0)) > 0
    expected = 9 / 7 * STEEL.radiation_length
    assert depth[seen.argmax(axis=0), 0].mean() == pytest.approx(
        expected + PLANE_PITCH / 2, abs=4 * expected / 141 + PLANE_PITCH / 4
    )


def test_pions_are_alone_until_their_first_vertex() -> None:
    """Up to a depth z one particle crosses every plane for a share exp(-z / lambda) of the pions: four errors."""
    book = FastLibrary().book(3, 4_000)
    pions = book.crossings[:, book.events.pion]
    for depth in (5.0, 20.0, 60.0):
        alone = (pions[: round(depth / PLANE_PITCH)] == 1).all(axis=0).mean()
        expected = math.exp(-(depth - PLANE_PITCH / 2) / PION_INTERACTION_LENGTH)
        assert alone == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / pions.shape[1]) + 1e-3)


def test_counts_have_the_stated_mean_and_variance() -> None:
    rng, mean = np.random.default_rng(0), np.full((200, 1000), 7.0, np.float32)
    for clumping in (1.0, 4.0):
        counts = _counted(mean, np.float32(clumping), rng)
        assert counts.mean() == pytest.approx(7, abs=4 * math.sqrt(7 * clumping / counts.size))
        assert counts.var() == pytest.approx(7 * clumping, rel=0.03)
    assert (_counted(0 * mean, np.float32(2.0), rng) == 0).all()


@pytest.mark.parametrize(("number", "variance"), [(1.0, 0.2), (3.4, 1.1), (3.4, 3.9), (100.0, 3.9)])
def test_the_signal_of_some_particles(number: float, variance: float) -> None:
    """Mean n and variance v n within 1 % and 4 %, never negative; no particle, no signal."""
    spread = np.array([[variance]], np.float32)
    normal = np.random.default_rng(0).standard_normal((1, 200_000), dtype=np.float32)
    signals = straggled(np.full((1, 200_000), number, np.float32), spread, normal)
    assert signals.mean() == pytest.approx(number, rel=0.01)
    assert signals.var() == pytest.approx(variance * number, rel=0.04)
    assert (signals >= 0).all()
    assert (straggled(np.zeros((1, 9), np.float32), spread, normal[:, :9]) == 0).all()


def test_samples_take_turns() -> None:
    events = Events.of(1000, np.random.default_rng(0))
    counts = [int((events.sample == number).sum()) for number in range(5)]
    assert counts == [200] * 5
    for number, (particle, energy) in enumerate(SAMPLES):
        chosen = events.sample == number
        assert (events.energy[chosen] == energy).all()
        assert (events.pion[chosen] == (particle == "pi+")).all()
    calibration = events.sample == CALIBRATION_SAMPLE
    assert events.pion[calibration].mean() == 0.5
    assert 9 <= events.energy[calibration].min() < 20 < 180 < events.energy[calibration].max() <= 200


# Cutting sensors out of stored events


def test_sensors_cut_out_of_the_library_see_what_a_direct_simulation_of_them_sees() -> None:
    """Photons of 50 GeV in 60 sensors: mean and width of E_rec within four errors of showers developed at them."""
    built = row(EVENLY)
    depth = ((built.front + built.thickness / 2) / 10).astype(np.float32)[:, None]
    rng = np.random.default_rng(5)
    direct = _counted(
        mean_photons(FITTED_SHOWERS, np.full(4000, 50.0), depth, rng), np.float32(FITTED_SHOWERS.clumping), rng
    )
    variance = sensor_variance(built.thickness).astype(np.float32)[:, None]
    direct = straggled(direct, variance, rng.standard_normal(direct.shape, dtype=np.float32))
    readout = SlabSimulator().simulate(EVENLY, 10_000, 6)
    stored = readout.signals[readout.truth["sample"] == 0].sum(axis=1)
    scale = built.gap[0] / 10 * 1.664 * 2.329e-3
    one, other = direct.sum(axis=0) * scale, stored
    assert one.mean() == pytest.approx(other.mean(), abs=4 * one.std() * math.sqrt(1 / 4000 + 1 / 2000))
    assert one.std() == pytest.approx(other.std(), rel=4 * math.sqrt(0.5 / 4000 + 0.5 / 2000))


def test_every_plane_together_sees_all_of_the_energy() -> None:
    """The limit of dense sampling: sum of the planes times their distance is the energy, up to counting."""
    book = FastLibrary().book(1, 2000)
    photons = book.events.sample == 2
    energy = book.crossings[:, photons].sum(axis=0) * STEEL.mip_loss * PLANE_PITCH
    width = math.sqrt(FITTED_SHOWERS.clumping * STEEL.mip_loss * PLANE_PITCH / 100)
    assert energy.mean() == pytest.approx(100, abs=4 * 100 * width / 20)
    assert energy.std() / energy.mean() == pytest.approx(width, rel=4 / math.sqrt(800))


def test_seeds_have_events_of_their_own() -> None:
    """No energy of a calibration event of one seed is among those of another, be it of a trial or of a validation."""
    seeds = [trial_seed(0, trial) for trial in range(20)] + [held_out_seed(0)]
    simulator = SlabSimulator()
    truths = [simulator.simulate(EVENLY, 100, seed).truth for seed in seeds]
    energies = np.concatenate([truth["energy"][truth["sample"] == CALIBRATION_SAMPLE] for truth in truths])
    assert len(np.unique(energies)) == len(energies) == 21 * 20


def test_equal_seeds_share_their_events_whatever_the_design() -> None:
    simulator = SlabSimulator()
    readouts = [simulator.simulate(layout, 2 * EVENTS_PER_BOOK + 50, 5) for layout in baselines().values()]
    for other in readouts[1:]:
        np.testing.assert_array_equal(readouts[0].truth["energy"], other.truth["energy"])
    again = simulator.simulate(baselines()["beta"], 2 * EVENTS_PER_BOOK + 50, 5)
    np.testing.assert_array_equal(again.signals, readouts[0].signals)


def test_books_of_one_seed_differ() -> None:
    truth = SlabSimulator().simulate(EVENLY, 2 * EVENTS_PER_BOOK, 5).truth
    chosen = truth["energy"][truth["sample"] == CALIBRATION_SAMPLE]
    assert len(np.unique(chosen)) == len(chosen)


def test_a_design_chosen_on_few_stored_events_is_validated_on_others() -> None:
    """The best of 300 designs that hardly differ: too good on the events that it was chosen by, as beta on others."""
    problem, rng = slab_calorimeter(), np.random.default_rng(0)
    steps = rng.choice([-0.01, 0.01], (300, 56))
    gaps = row(problem.baselines["beta"]).gap * np.exp(steps)
    layouts = [design(*((gap, "0.2 mm") for gap in line)) for line in gaps]
    seed = trial_seed(0, 0)
    found = [evaluation.measurement for evaluation in problem.evaluate_batch(layouts, 50, [seed] * 300)]
    reaches = np.array([measured.reach for measured in found if measured is not None])
    best = layouts[int(reaches.argmax())]
    recommended = validate(problem, best, 4000, 0)[0]
    assert reaches.max() - reaches.mean() > 0.02
    assert abs(recommended.reach) < 0.01


# What it is worth


def test_resolution_of_normal_numbers() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(50, 5, 20_000)
    found = resolution(numbers)
    unbiased = numbers.std(ddof=1) * math.exp(width_logarithm(20_000).value)
    assert found.value == pytest.approx(unbiased / numbers.mean(), rel=1e-9)
    assert found.influence.mean() == pytest.approx(0, abs=1e-9)
    assert found.influence.std() == pytest.approx(math.sqrt(0.5 + 0.01), rel=0.03)
    assert resolution(np.zeros(10)).value == WORST_RESOLUTION


def readout_of(energies: np.ndarray[Any, Any]) -> Readout:
    """One sensor, calibration events without error, samples in turn."""
    sample = np.arange(len(energies)) % 5.0
    truth = np.where(sample == CALIBRATION_SAMPLE, 30.0, np.array([50.0, 50.0, 100.0, 100.0, 0.0])[sample.astype(int)])
    return Readout({"sample": sample, "energy": truth, "pion": sample % 2}, (truth * energies)[:, None])


def test_the_reach_is_the_weighted_mean_of_the_improvements() -> None:
    """Relative errors half as large as the baseline's for photons, a third for pions: w ln 2 + (1 - w) ln 3."""
    rng = np.random.default_rng(0)
    sample = np.arange(200_000) % 5
    spreads = np.array(
        [BETA_RESOLUTIONS[0] / 2, BETA_RESOLUTIONS[1] / 3, BETA_RESOLUTIONS[2] / 2, BETA_RESOLUTIONS[3] / 3, 0.0]
    )
    readout = readout_of(1 + spreads[sample] * rng.standard_normal(200_000))
    for weight in (0.0, 0.3, 1.0):
        found = SlabReach(weight).measure(readout)
        assert found.reach == pytest.approx(weight * math.log(2) + (1 - weight) * math.log(3), abs=4 * found.error)
        assert found.losses is not None
        assert found.losses.mean() == pytest.approx(found.metric)
    assert found.diagnostics["linearity gamma 50 GeV"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("calibration", ["global", "layers"])
def test_stated_errors_are_the_scatter_of_repeated_measurements(calibration: str) -> None:
    """100 x 250 events, single and paired: mean stated error over scatter, 7 % from 100 samples."""
    problem = slab_calorimeter(calibration=calibration)
    beta, alpha = (problem.baselines[name] for name in ("beta", "alpha"))
    found = [problem.evaluate_batch([beta, alpha], 250, [seed, seed]) for seed in range(100)]
    pairs = [(one.measurement, other.measurement) for one, other in found]
    singles = np.array([(one.reach, one.error) for one, _ in pairs if one is not None])
    differences = [paired_difference(one, other) for one, other in pairs if one is not None and other is not None]
    paired = np.array([(difference.value, difference.error) for difference in differences])
    for values in (singles, paired) if calibration == "global" else (singles,):
        assert 0.75 < values[:, 1].mean() / values[:, 0].std() < 1.35


def test_beta_is_the_zero_of_the_reach() -> None:
    """Its 20,000 held-out events within four errors, those of the constants included."""
    measured = measure(baselines()["beta"], 20_000, 77)
    assert measured.reach == pytest.approx(0, abs=4 * 1.1 * measured.error)


def test_layer_weights_find_what_makes_the_energy() -> None:
    """Two layers, the second one twice as sensitive as the formula says, third of pure noise: weights in this order."""
    rng = np.random.default_rng(0)
    energies = rng.uniform(9, 200, 5000)
    share = rng.uniform(0.2, 0.8, 5000)
    signals = np.stack([share * energies, 2 * (1 - share) * energies, rng.exponential(1, 5000)], axis=1)
    weights = layer_weights(signals, energies)
    np.testing.assert_allclose(weights[:2], [1.0, 0.5], rtol=0.02)
    assert abs(weights[2]) < 0.5


def test_more_sensors_and_thicker_ones_are_better() -> None:
    gaps = np.full(60, 33.0)
    thick, thin = (design(*((gap, kind) for gap in gaps)) for kind in ("0.3 mm", "0.06 mm"))
    few = design(*((2 * gap, "0.3 mm") for gap in gaps[:30]))
    problem = slab_calorimeter()
    best, worse, worst = (measure(layout, 10_000, 1, problem) for layout in (thick, thin, few))
    for other in (worse, worst):
        difference = paired_difference(best, other)
        assert difference.value > 3 * difference.error


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sensors": 40}, "room for the 56 sensors of its baselines, got sensors=40"),
        ({"electromagnetic_weight": 1.5}, r"must lie in \[0, 1\], got 1.5"),
        ({"electromagnetic_weight": math.nan}, r"must lie in \[0, 1\], got nan"),
        ({"calibration": "neural"}, "unknown calibration 'neural': known are global, layers"),
        ({"cost_weight": -1.0}, "cost_weight of slab_calorimeter must be finite and >= 0"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        slab_calorimeter(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": math.nan}, r"sensor\[0\].gap: expected a finite number in mm"),
        ({"gap": -1.0}, "below its lower bound 0.5 mm"),
        ({"type": "1 mm"}, "expected one of 0.06 mm, 0.12 mm, 0.2 mm, 0.3 mm, got '1 mm'"),
    ],
)
def test_impossible_designs(change: dict[str, Any], message: str) -> None:
    layout = {"sensor": [{**EVENLY["sensor"][0], **change}, *EVENLY["sensor"][1:]]}
    with pytest.raises(DesignError, match=message):
        slab_calorimeter().evaluate(layout, 100, 1)


def test_too_few_events_and_sensors() -> None:
    with pytest.raises(DesignError, match=r"whole number >= 50 for slab_calorimeter, got 49"):
        slab_calorimeter().evaluate(EVENLY, 49, 1)
    with pytest.raises(DesignError, match=r"sensor.count: 9 is below its lower bound 10"):
        slab_calorimeter().evaluate({"sensor": EVENLY["sensor"][:9]}, 100, 1)


def test_results_say_what_made_them() -> None:
    facts = slab_calorimeter().simulator.describe()
    assert facts["simulator"] == "slab"
    assert facts["parameters"].startswith("fitted to Geant4")
    changed = FastLibrary(replace(FITTED_SHOWERS, clumping=2.0))
    assert changed.describe()["parameters"] == "given by the caller"


def test_the_yaml_holds_the_defaults_of_the_factory() -> None:
    config = OmegaConf.to_container(OmegaConf.load(str(files("rl_detector.conf") / "env" / "slab_calorimeter.yaml")))
    assert isinstance(config, dict)
    assert config.pop("name") == "slab_calorimeter"
    parameters = inspect.signature(slab_calorimeter).parameters
    assert config == {name: parameter.default for name, parameter in parameters.items()}
