"""The spectrometer: closed forms of its resolution, what it costs, and how lost tracks count."""

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

from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.envs.spectrometer.fast import Spectrometer, Stations, TrackBeam
from rl_detector.envs.spectrometer.layout import (
    LENGTH_LIMIT,
    MAGNET_LENGTH,
    MAGNET_START,
    PITCHES,
    SENSORS,
    SMALLEST_GAP,
    STATION_WIDTH,
    baselines,
    channels,
    components,
    design,
    length,
    outside_in,
    price,
    row,
    space,
    stations_of,
)
from rl_detector.envs.spectrometer.problem import GASES, REFERENCE_EVENTS, REFERENCE_SAMPLES, spectrometer
from rl_detector.envs.spectrometer.reach import UNMEASURED_ERROR, MomentumReach
from rl_detector.errors import ConfigError
from rl_detector.physics.constants import CURVATURE_GEV_PER_T_M, MUON_MASS_MEV
from rl_detector.physics.scattering import highland_angle, velocity
from rl_detector.physics.tracks import Dipole, basis, scattering_covariance, weighted_fit
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Measurement, Readout

EVENTS = 100_000
TOLERANCE = 4 / math.sqrt(2 * EVENTS)
"""Four standard deviations of a sample standard deviation of so many normal numbers: 0.9 %."""

UNIFORM = Dipole(1.0, 0.0, 4.0)


def muons(momentum: float, divergence: float = 0.0) -> TrackBeam:
    return TrackBeam(momentum, momentum, 0.0, divergence)


def stations(z: FloatArray, pitch: float = 1e-3, radiation: float = 0.0, efficiency: float = 1.0) -> Stations:
    ones = np.ones(len(z))
    return Stations(np.asarray(z), pitch * ones, radiation * ones, 0 * ones, efficiency * ones)


def fitted(layout: Stations, apparatus: Spectrometer, seed: int = 1) -> Readout:
    return apparatus.readouts([layout], EVENTS, [seed])[0]


def spread(readout: Readout) -> float:
    """Standard deviation of kappa over all tracks, in 1/GeV."""
    return float((readout.signals[:, 0] - readout.truth["kappa"]).std())


def measure(layout: Design, events: int = 4000, **settings: Any) -> Measurement:
    measured = spectrometer(**settings).evaluate(layout, events, 1).measurement
    assert measured is not None
    return measured


@pytest.mark.parametrize("points", [4, 9])
def test_gluckstern(points: int) -> None:
    """100,000 muons, no matter: sigma of the curvature is eps sqrt(A_N) / L^2, eps = pitch / sqrt 12."""
    n = points - 1
    constant = 720 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3))
    expected = 1e-3 / math.sqrt(12) * math.sqrt(constant) / 4.0**2 / (CURVATURE_GEV_PER_T_M * UNIFORM.field)
    apparatus = Spectrometer(UNIFORM, math.inf, 100.0, muons(50.0, 0.05))
    assert spread(fitted(stations(np.linspace(0, 4, points)), apparatus)) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("magnet", [UNIFORM, Dipole(1.0, 1.5, 1.0)])
def test_the_best_places_for_a_sagitta(magnet: Dipole) -> None:
    """Two stations at each end, four in the middle: the variance of the sagitta is eps^2 / 2; no others are better."""
    apparatus = Spectrometer(magnet, math.inf, 100.0, muons(50.0))
    best = spread(fitted(stations(np.repeat([0.0, 2.0, 4.0], [2, 4, 2])), apparatus))
    sagitta = float(magnet.bend(4.0) / 2 - magnet.bend(2.0))
    assert best == pytest.approx(1e-3 / math.sqrt(24) / sagitta, rel=TOLERANCE)
    rng = np.random.default_rng(0)
    for places in (np.linspace(0, 4, 8), *(np.sort(rng.uniform(0, 4, (3, 8))))):
        assert spread(fitted(stations(places), apparatus)) > best


def test_scattering_alone_is_constant_in_momentum() -> None:
    """Perfect points: sigma_p / p at 10, 30 and 100 GeV agree within four errors (beta is 1 to 6e-5)."""
    layout = stations(np.linspace(0, 4, 6), pitch=1e-9, radiation=0.01)
    apparatus = Spectrometer(Dipole(1.0, 1.5, 1.0), math.inf, 100.0, muons(10.0))
    relative = [p * spread(fitted(layout, replace(apparatus, beam=muons(p)), seed=int(p))) for p in (10.0, 30.0, 100.0)]
    assert relative == pytest.approx([np.mean(relative)] * 3, rel=TOLERANCE)


def test_scattering_with_a_thin_magnet_by_hand() -> None:
    """Two perfect points before and two after the magnet: the angle between them scatters at the inner two and the gas.

    Inner stations at the edges of the magnet kick fully; the gap between them by theta^2 (its offset too, which the
    fit of four points cannot tell apart): compared with the full covariance, and bounded by the two kicks from below.
    """
    z, magnet, p = np.array([0.0, 1.9, 2.1, 4.0]), Dipole(1.0, 1.95, 0.1), 20.0
    layout = stations(z, pitch=1e-8, radiation=0.01)
    theta = float(highland_angle(1000 * p, velocity(1000 * p, MUON_MASS_MEV), 0.04)) / 2
    found = spread(fitted(layout, Spectrometer(magnet, math.inf, 100.0, muons(p)))) * float(magnet.kick(4.0))
    assert math.sqrt(2) * theta < found * (1 + TOLERANCE)
    assert found == pytest.approx(math.sqrt(2) * theta, rel=0.06)


@pytest.mark.parametrize("momentum", [3.0, 30.0])
def test_simulation_and_closed_form_agree_on_every_baseline(momentum: float) -> None:
    """Stations, helium and pitch together: spread of the fits = the full covariance, and the stated error is right."""
    apparatus = spectrometer().simulator.spectrometer  # type: ignore[attr-defined]
    magnet = Dipole(1.0, MAGNET_START / 100, MAGNET_LENGTH / 100)
    for layout in baselines().values():
        built = replace(stations_of(layout), efficiency=np.ones(len(layout["station"])))
        found = fitted(built, replace(apparatus, beam=muons(momentum), width=100.0))
        gas = np.diff(built.position) / GASES["helium"]
        whole = float(built.radiation.sum() + gas.sum())
        theta = float(highland_angle(1000 * momentum, velocity(1000 * momentum), whole))
        scattered = scattering_covariance(
            built.position, theta * np.sqrt(built.radiation / whole), theta * np.sqrt(gas / whole)
        )
        covariance = scattered + np.diag(built.pitch**2 / 12)
        expected = math.sqrt(weighted_fit(basis(built.position, magnet), covariance)[1][2, 2])
        assert spread(found) == pytest.approx(expected, rel=TOLERANCE)
        np.testing.assert_allclose(found.signals[:, 1], expected, rtol=1e-3)


def test_a_fit_that_knows_the_momentum_only_roughly_is_as_good() -> None:
    """The fit weighs hits by the true momentum: 10 % beside it the variance grows by less than 1 %."""
    built, magnet = stations_of(baselines()["equidistant"]), Dipole(1.0, 1.5, 1.0)
    design_matrix, errors = basis(built.position, magnet), np.diag(built.pitch**2 / 12)
    for momentum in (2000.0, 10_000.0, 50_000.0):
        thetas = [highland_angle(p, 1.0, 0.05) * np.sqrt(built.radiation / 0.05) for p in (momentum, 1.1 * momentum)]
        right, wrong = (scattering_covariance(built.position, theta) + errors for theta in thetas)
        weights = weighted_fit(design_matrix, wrong)[0][2]
        assert weights @ right @ weights < 1.01 * weighted_fit(design_matrix, right)[1][2, 2]


def test_no_field_no_momentum() -> None:
    with pytest.raises(ConfigError, match="needs a field > 0 T, got 0"):
        spectrometer(field=0.0)


def test_the_problem_keeps_its_contract() -> None:
    problem = spectrometer()
    check_problem(problem, events=100)
    check_simulator(problem.simulator, list(problem.baselines.values()))


@pytest.mark.parametrize("number", [4, 5, 6, 8, 12])
def test_baselines_are_possible_and_within_the_limits(number: int) -> None:
    problem = spectrometer(stations=number)
    for name, layout in problem.baselines.items():
        space(number).check(layout)
        assert length(layout) == pytest.approx(LENGTH_LIMIT), name
        assert all(limit.violation(layout) == 0 for limit in problem.constraints), name


def test_the_equidistant_baseline() -> None:
    """8 stations of 4000 channels: 32,000 channels; 8 (50,000 + 8000) EUR; 57 cm apart."""
    layout = baselines()["equidistant"]
    assert channels(layout) == pytest.approx(32_000)
    assert price(layout) == pytest.approx(464_000)
    np.testing.assert_allclose(np.diff([position for position, _ in row(layout)]), 57.0)


def test_outside_in() -> None:
    assert outside_in([1.0, 2.0, 3.0, 4.0, 5.0]) == [1.0, 5.0, 3.0, 2.0, 4.0]


def test_the_order_of_stations_does_not_matter() -> None:
    layout = baselines()["ends_and_middle"]
    other = {"station": layout["station"][::-1]}
    problem = spectrometer()
    assert problem.evaluate(layout, 100, 3).measurement.reach == problem.evaluate(other, 100, 3).measurement.reach  # type: ignore[union-attr]


def test_stations_that_are_too_close_move_apart() -> None:
    positions = [position for position, _ in row(design([200.0, 200.0, 1.0, 200.5, 400.0, 400.0]))]
    assert positions == [1.0, 200.0, 200.0 + SMALLEST_GAP, 200.0 + 2 * SMALLEST_GAP, 400.0 - SMALLEST_GAP, 400.0]


@given(places=st.lists(st.floats(SMALLEST_GAP, LENGTH_LIMIT), min_size=3, max_size=8))
def test_every_row_of_stations_can_be_built(places: list[float]) -> None:
    positions = np.array([position for position, _ in row(design(places))])
    assert (np.diff(positions) >= SMALLEST_GAP - 1e-9).all()
    assert positions[0] >= SMALLEST_GAP - 1e-9
    assert length(design(places)) <= LENGTH_LIMIT
    far = np.diff(np.sort(places)).min() >= SMALLEST_GAP
    if far:
        np.testing.assert_allclose(positions, np.sort(places), atol=1e-9)


def test_fibres_are_no_finer_than_they_are() -> None:
    fine = design([1.0, 200.0, 400.0], "0.05 mm", "polystyrene")
    assert channels(fine) == pytest.approx(3 * STATION_WIDTH / SENSORS["polystyrene"].finest)
    assert channels(design([1.0], "1 mm", "polystyrene")) == pytest.approx(STATION_WIDTH / PITCHES["1 mm"])


def test_components_show_the_stations_to_scale() -> None:
    parts = components(design([100.0, 1.0, 400.0], "0.1 mm"))
    assert [tuple(part) for part in parts] == [
        ("0.1 mm station 1", "Si", 0.5, 1.0),
        ("0.1 mm station 2", "Si", 99.5, 1.0),
        ("0.1 mm station 3", "Si", 399.5, 1.0),
    ]


def test_lost_tracks_have_no_momentum_and_the_largest_loss() -> None:
    """Three stations with efficiency 1/2: 1/8 of the tracks are measured, within four errors."""
    layout, apparatus = (
        stations(np.array([0.1, 2.0, 4.0]), 1e-5, 0.0, 0.5),
        Spectrometer(UNIFORM, 10.0, 9.0, muons(9.0)),
    )
    readout = fitted(layout, apparatus)
    lost = readout.signals[:, 2] < 3
    assert (readout.signals[lost, :2] == 0).all()
    measured = MomentumReach(1.0).measure(readout)
    assert measured.losses is not None
    assert (measured.losses[lost] == UNMEASURED_ERROR).all()
    assert measured.losses.max() == UNMEASURED_ERROR
    share = measured.diagnostics["measured"]
    assert share == pytest.approx(1 / 8, abs=4 * math.sqrt(7 / 64 / EVENTS))


def test_outside_of_the_stations_there_are_no_hits() -> None:
    """Straight tracks of slopes even in +-0.1 on stations of 0.4 m, 4 m away: half of them pass in each direction."""
    beam = replace(muons(1e6, 0.1), spot=1e-9)
    hits = fitted(stations(np.array([3.9, 3.95, 4.0])), Spectrometer(UNIFORM, math.inf, 0.4, beam)).signals[:, 2]
    assert (hits == 3).mean() == pytest.approx(0.25, abs=4 * math.sqrt(3 / 16 / EVENTS))


def test_pions_are_lost_in_matter_and_muons_are_not() -> None:
    """exp(-1) of the pions survive the interaction length in front of the third station."""
    layout = replace(stations(np.array([0.1, 2.0, 4.0])), interaction=np.array([0.4, 0.6, 5.0]))
    for share, expected in ((0.0, 1.0), (1.0, math.exp(-1)), (0.5, 0.5 + 0.5 * math.exp(-1))):
        beam = TrackBeam(100.0, 100.0, share, 0.0)
        hits = fitted(layout, Spectrometer(UNIFORM, math.inf, 9.0, beam)).signals[:, 2]
        assert (hits == 3).mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / EVENTS))


def test_a_spectrometer_that_measures_nothing() -> None:
    """Its error bar is that of one track more."""
    nothing = Readout({"kappa": np.full(50, 0.1)}, np.zeros((50, 3)))
    measured = MomentumReach(0.01).measure(nothing)
    assert measured.metric == pytest.approx(UNMEASURED_ERROR)
    assert measured.reach == pytest.approx(math.log(0.03))
    assert measured.metric_error == pytest.approx(UNMEASURED_ERROR / 50)
    assert measured.diagnostics == {"measured": 0.0}


def test_the_metric_is_the_mean_resolution() -> None:
    """Normal errors of 2 % on all tracks: 2 %, within four errors; and the stated error is the scatter of samples."""
    rng = np.random.default_rng(0)
    metrics, errors = [], []
    for _ in range(400):
        kappa = rng.uniform(0.01, 0.5, 500)
        signals = np.stack([kappa * (1 + 0.02 * rng.standard_normal(500)), 0.02 * kappa, np.full(500, 3.0)], axis=1)
        measured = MomentumReach(0.02).measure(Readout({"kappa": kappa}, signals))
        metrics.append(measured.metric)
        errors.append(measured.metric_error)
    assert np.mean(metrics) == pytest.approx(0.02, abs=4 * np.std(metrics) / 20)
    assert np.mean(errors) == pytest.approx(np.std(metrics), rel=4 / math.sqrt(800))


def test_the_equidistant_baseline_is_the_zero_of_the_reach() -> None:
    """20 x 20,000 other tracks: their mean within four errors, the reference's own included."""
    problem = spectrometer()
    found = problem.evaluate_batch([problem.baselines["equidistant"]] * 20, REFERENCE_EVENTS, list(range(20)))
    reaches = np.array([evaluation.measurement.reach for evaluation in found if evaluation.measurement])
    assert abs(reaches.mean()) < 4 * reaches.std() * math.sqrt(1 / 20 + 1 / REFERENCE_SAMPLES)


def test_finer_is_better_and_thinner_gas_too() -> None:
    positions = [1.0, 150.0, 250.0, 400.0]
    pitches = [measure(design(positions, name)).reach for name in PITCHES]
    assert pitches == sorted(pitches, reverse=True)
    gases = [measure(design(positions), gas=gas).metric for gas in ("vacuum", "helium", "air")]
    assert gases == sorted(gases)


def test_equal_seeds_share_their_tracks_whatever_the_design() -> None:
    problem = spectrometer()
    truths = [problem.simulator.simulate(layout, 50, 5).truth["kappa"] for layout in problem.baselines.values()]
    for truth in truths[1:]:
        np.testing.assert_array_equal(truth, truths[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stations": 3}, "needs more than 3 stations, got 3"),
        ({"gas": "argon"}, "unknown gas 'argon' of the spectrometer: known are vacuum, helium, air"),
        ({"field": math.nan}, "needs a field > 0 T"),
        ({"momentum_low": 0.0}, "0 < low <= high"),
        ({"momentum_low": 300.0}, "0 < low <= high, got 300.0 to 200.0 GeV"),
        ({"momentum_high": math.inf}, "0 < low <= high"),
        ({"pion_fraction": 1.5}, r"share of pions in the beam must lie in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spectrometer(**settings)


def test_results_say_what_made_them() -> None:
    facts = spectrometer(pion_fraction=0.3).simulator.describe()
    assert facts["simulator"] == "spectrometer"
    assert facts["magnet"] == "1 T from 1.5 to 2.5 m"
    assert facts["beam"] == "30% pions, 70% muons, 2-200 GeV even in ln p"


def test_the_defaults_of_yaml_and_python_are_the_same() -> None:
    settings = OmegaConf.to_container(
        OmegaConf.create((files("rl_detector.conf") / "env/spectrometer.yaml").read_text())
    )
    assert isinstance(settings, dict)
    assert settings.pop("name") == "spectrometer"
    parameters = inspect.signature(spectrometer).parameters
    assert settings == {name: p.default for name, p in parameters.items() if name != "simulator"}
