"""Environments of tracks in Geant4: the same contract, the same muons, and physics that agrees with the fast ones."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rl_detector.assembly import build_problem
from rl_detector.checks.problems import check_problem
from rl_detector.envs.muon_shield.geant4 import TrackedShieldSimulator
from rl_detector.envs.muon_shield.layout import length, mass, published
from rl_detector.envs.muon_shield.problem import muon_shield
from rl_detector.envs.muon_shield.source import START_Z
from rl_detector.envs.muon_tomography.fast import TomographySimulator
from rl_detector.envs.muon_tomography.furnace import FILL_HEIGHTS, scatter
from rl_detector.envs.muon_tomography.geant4 import furnace, scattered
from rl_detector.envs.muon_tomography.problem import muon_tomography
from rl_detector.envs.spectrometer.fast import Spectrometer, Stations, TrackBeam
from rl_detector.envs.spectrometer.geant4 import TrackedSpectrometer, curvature, hall
from rl_detector.envs.spectrometer.problem import SpectrometerSimulator, spectrometer
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.physics.cosmic_muons import Muons, Rays
from rl_detector.physics.tracks import Dipole
from rl_detector.simulators.geant4 import Geant4Tracker
from rl_detector.simulators.hall import Charged, Crossings, Hall
from rl_detector.terms import Readout

needs_geant4 = pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="needs the geant4 extra")
GEANT4 = {"name": "geant4", "workers": 1}


class Broken:
    """A tracker that fails."""

    name = "broken"

    def describe(self) -> dict[str, str]:
        return {"simulator": "broken"}

    def crossings(
        self, halls: Sequence[Hall], particles: Sequence[Charged], seeds: Sequence[int]
    ) -> list[Crossings | SimulationError]:
        return [SimulationError("out of order") for _ in halls]

    def close(self) -> None: ...


class Straight(Broken):
    """A tracker that knows neither field nor matter, but the ends of the hall."""

    name = "straight"

    def crossings(
        self, halls: Sequence[Hall], particles: Sequence[Charged], seeds: Sequence[int]
    ) -> list[Crossings | SimulationError]:
        return [self.cross(*each) for each in zip(halls, particles, strict=True)]

    def cross(self, place: Hall, sent: Charged) -> Crossings:
        z = np.array(place.planes)[None, :, None]
        slope = sent.momentum[:, None, :2] / sent.momentum[:, None, 2:]
        position = sent.position[:, None, :2] + slope * (z - sent.position[:, None, 2:])
        momentum = np.repeat(sent.momentum[:, None], len(place.planes), axis=1)
        return Crossings(np.ones(position.shape[:2], dtype=bool), position, momentum)


@pytest.mark.geant4
@needs_geant4
@pytest.mark.parametrize("factory", [spectrometer, muon_tomography, muon_shield])
def test_the_problem_keeps_its_contract_in_geant4(factory: Any) -> None:
    problem = factory(simulator=GEANT4)
    check_problem(problem, events=100, designs=1)
    facts = problem.simulator.describe()
    assert facts["simulator"] == "geant4" and facts["physics_list"].startswith("data-free")


@pytest.mark.parametrize("name", ["spectrometer", "muon_tomography", "muon_shield"])
def test_simulators_by_name(name: str) -> None:
    assert "physics_list" not in build_problem({"name": name}, {"name": "fast"}).simulator.describe()
    with pytest.raises(ConfigError, match=r"unknown simulator 'fats' of .*: known are fast, geant4"):
        build_problem({"name": name}, {"name": "fats"})
    with pytest.raises(ConfigError, match=r"unknown setting simulator\.workers"):
        build_problem({"name": name}, {"name": "fast", "workers": 2})


@pytest.mark.geant4
@needs_geant4
@pytest.mark.parametrize("name", ["spectrometer", "muon_tomography", "muon_shield"])
def test_settings_of_geant4(name: str) -> None:
    settings = {"name": "geant4", "physics_list": "auto", "workers": None, "cut": None}
    assert build_problem({"name": name}, settings).simulator.describe()["cut"] == "10.0 mm"
    with pytest.raises(ConfigError, match=r"unknown setting simulator\.width"):
        build_problem({"name": name}, {"name": "geant4", "width": 2})


@pytest.mark.geant4
@needs_geant4
@pytest.mark.parametrize("momentum", [4.0, 40.0])
def test_the_spectrometer_measures_momenta_in_geant4_as_in_the_fast_simulator(momentum: float) -> None:
    """1500 muons: core of the error within 5 % and three of its errors, no bias, equal hits."""
    settings: dict[str, Any] = {"momentum_low": momentum, "momentum_high": momentum, "pion_fraction": 0.0}
    fast, geant4 = spectrometer(**settings), spectrometer(**settings, simulator=GEANT4)
    (readout,) = geant4.simulator.simulate_batch([fast.start], 1500, [1])  # type: ignore[attr-defined]
    expected = fast.simulator.simulate(fast.start, 20_000, 2)
    core, wanted = relative(readout), relative(expected)
    width, true = (np.diff(np.quantile(each, [0.16, 0.84]))[0] / 2 for each in (core, wanted))
    assert abs(width / true - 1) < 0.05 + 3 * 1.2 / np.sqrt(3000)
    assert abs(np.median(core)) < 4 * 1.25 * width / np.sqrt(1500)
    assert abs(readout.signals[:, 2].mean() - expected.signals[:, 2].mean()) < 0.06


def relative(readout: Readout) -> Any:
    known = readout.signals[:, 2] >= 3
    return (readout.signals[known, 0] / readout.truth["kappa"][known]) - 1


def test_stations_and_field_share_the_length() -> None:
    """Gas and silicon in turn fill the magnet, nothing overlaps, and a plane stands in front of each station."""
    at = np.array([0.5, 1.4, 1.6, 1.61, 2.4, 4.0])
    ones = np.ones(6)
    layout = Stations(at, 1e-4 * ones, 0.006 * ones, 0 * ones, ones)
    place = hall(layout, Dipole(1.0, 1.5, 1.0), "helium")
    assert np.allclose(place.planes, 100 * at, atol=2e-3)
    bent = [block for block in place.blocks if block.field[1]]
    assert sum(block.z_out - block.z_in for block in bent) == pytest.approx(100, abs=0.01)
    assert [block.field[1] for block in place.blocks[:6]] == [0, 0, -1, -1, -1, 0]
    edges = sorted((block.z_in, block.z_out) for block in place.blocks)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(edges))


def test_curvature_is_of_second_order() -> None:
    """Half the slope and curvature, a quarter (or less) of the difference; none without either."""
    beam, magnet = TrackBeam(2.0, 200.0, 0.0), Dipole(1.0, 1.5, 1.0)
    tracks = beam.sample(100, np.random.default_rng(0))
    small = type(tracks)(*(getattr(tracks, n) * (0.5 if n in ("kappa", "slope_x") else 1) for n in tracks.__dict__))
    z = np.array([[1.0], [2.0], [4.0]])
    whole, half = curvature(z, tracks, magnet), curvature(z, small, magnet)
    np.testing.assert_allclose(whole[0], 0, atol=1e-12)
    assert np.all(np.abs(half) <= np.abs(whole) / 4 + 1e-12)
    assert np.abs(whole[2]).max() > 1e-3


def test_failures_of_a_tracker_stay_failures() -> None:
    apparatus = Spectrometer(Dipole(1.0, 1.5, 1.0), 5671.0, 1.0, TrackBeam(2.0, 200.0, 0.5))
    simulator = SpectrometerSimulator(TrackedSpectrometer(apparatus, Broken(), "helium"))
    start = spectrometer().start
    assert [str(each) for each in simulator.simulate_batch([start], 10, [1])] == ["out of order"]
    with pytest.raises(SimulationError, match="out of order"):
        simulator.simulate(start, 10, 1)
    furnaces = TomographySimulator(tracker=Broken())
    panels = muon_tomography().start
    assert [str(each) for each in furnaces.simulate_batch([panels] * 2, 100, [1, 2])] == ["out of order"] * 2
    with pytest.raises(SimulationError, match="out of order"):
        furnaces.simulate(panels, 100, 1)
    shields = TrackedShieldSimulator(muon_shield().simulator, Broken())  # type: ignore[arg-type]
    assert [str(each) for each in shields.simulate_batch([published()], 10, [1])] == ["out of order"]
    with pytest.raises(SimulationError, match="out of order"):
        shields.simulate(published(), 10, 1)


def test_the_shield_gets_the_muons_of_the_fast_simulator() -> None:
    """Straight lines from the target to the plane: 50 m behind the shield, which begins 1 m behind the start."""
    fast = muon_shield().simulator
    straight = TrackedShieldSimulator(fast, Straight())  # type: ignore[arg-type]
    one, other = straight.simulate(published(), 500, 3), fast.simulate(published(), 500, 3)
    for name, values in other.truth.items():
        np.testing.assert_array_equal(one.truth[name], values)
    sent = fast.source.sample(500, np.random.default_rng(np.random.SeedSequence(3).spawn(1)[0]))  # type: ignore[attr-defined]
    way = 50 + (length(published()) - START_Z) / 100
    np.testing.assert_allclose(one.signals[:, 0], sent.position[0] / 100 + way * sent.momentum[0] / sent.momentum[2])
    np.testing.assert_allclose(one.signals[:, 2], one.truth["momentum"])
    assert np.all(one.signals[:, 3] == mass(published()))


@pytest.mark.geant4
@needs_geant4
def test_the_shield_sweeps_muons_in_geant4_as_in_the_fast_simulator() -> None:
    """2000 muons: as many get through, and the median of charge times x at the plane agrees, within four errors."""
    one, other = (muon_shield(simulator=name).simulator.simulate(published(), 2000, 5) for name in (GEANT4, "fast"))
    away, share = [], []
    for readout in (one, other):
        x, y, p, _ = readout.signals.T
        there = (p > 1) & (np.abs(x) < 11) & (np.abs(y) < 11) & (readout.truth["momentum"] > 40)
        away.append((readout.truth["charge"] * x)[there])
        share.append(there.sum() / (readout.truth["momentum"] > 40).sum())
    assert abs(share[0] - share[1]) < 4 * np.sqrt(2 * 0.25 / 1000)
    medians = [np.median(each) for each in away]
    errors = [1.25 * each.std() / np.sqrt(len(each)) for each in away]
    assert abs(medians[0] - medians[1]) < 4 * np.hypot(*errors)
    assert medians[0] < -2


def test_coordinates_of_the_furnace_there_and_back() -> None:
    """Straight lines come out where the fast simulator puts them when nothing scatters."""
    rng = np.random.default_rng(1)
    muons = Muons(Rays(rng.uniform(0, 1, (2, 50)), rng.normal(0, 0.3, (2, 50))), rng.uniform(1, 9, 50))
    fills = np.resize(np.arange(len(FILL_HEIGHTS)), 50)
    rays, down = scattered(Straight(), muons, fills, np.ones(50), 1)
    expected, _ = scatter(muons, fills, np.zeros((2, 2, 50)))
    assert down.all()
    np.testing.assert_allclose(rays.position, expected.position, atol=1e-12)
    np.testing.assert_allclose(rays.slope, expected.slope, atol=1e-12)


@pytest.mark.parametrize("fill", range(len(FILL_HEIGHTS)))
def test_the_furnace_is_full_to_its_height(fill: int) -> None:
    place = furnace(fill)
    names = {(block.z_in, block.z_out): place.matter_of(i) for i, block in enumerate(place.blocks)}
    surface = round(180 - 100 * FILL_HEIGHTS[fill], 6)
    assert names[surface, 130.0].name == "Fe" and names[surface - 10, surface].name == "Al"
    assert names[surface, 130.0].density == pytest.approx(7.874 * 1.757 / 1.991)


@pytest.mark.geant4
@needs_geant4
def test_the_furnace_scatters_in_geant4_as_in_the_fast_simulator() -> None:
    """1000 vertical muons of 50 GeV, full furnace: widths of angle and offset within 6 % and three errors."""
    n, middle = 1000, np.full((2, 1000), 0.5)
    muons = Muons(Rays(middle, np.zeros((2, n))), np.full(n, 50.0))
    fills = np.full(n, len(FILL_HEIGHTS) - 1)
    with Geant4Tracker(workers=1, threshold=0.01) as tracker:
        found, down = scattered(tracker, muons, fills, np.ones(n), 1)
    fast, _ = scatter(muons, fills, np.random.default_rng(0).standard_normal((2, 2, n)))
    assert down.all()
    for one, other in ((found.slope, fast.slope), (found.position, fast.position)):
        width, expected = (np.diff(np.quantile(each, [0.16, 0.84]))[0] / 2 for each in (one, other))
        assert abs(width / expected - 1) < 0.06 + 3 * 1.2 / np.sqrt(4 * n) * np.sqrt(2)
