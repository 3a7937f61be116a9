"""The map of X0 with cosmic muons: geometry and tracks against closed forms, unbiased maps, a reach with its error."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from rl_detector.envs.muon_map import volume as volume
from rl_detector.envs.muon_map.fast import MapSimulator
from rl_detector.envs.muon_map.layout import (
    ABOVE_AND_BELOW,
    BUDGET_KEUR,
    TECHNOLOGIES,
    asked,
    baselines,
    built,
    components,
    design,
    panels,
    space,
)
from rl_detector.envs.muon_map.problem import muon_map
from rl_detector.envs.muon_map.reach import (
    MINIMUM_EVENTS,
    SIGNAL_CHANNELS,
    MapReach,
    Seen,
    density_map,
    kinks_of,
    map_errors,
    paths_of,
    rough_map,
    signals_of,
    vertices_of,
)
from rl_detector.envs.muon_map.volume import (
    BLOCK_PLACES,
    CEILING_HEIGHT,
    FLOOR_HEIGHT,
    TOP_HEIGHT,
    VOLUME_SIZE,
    VOXEL_COUNT,
    densities,
    sample_muons,
    scatter,
)
from rl_detector.errors import ConfigError, DesignError
from rl_detector.physics.cosmic_muons import Muons, Rays
from rl_detector.physics.materials import material
from rl_detector.physics.scattering import highland_angle, velocity
from rl_detector.reconstruct.scattering_density import Prior, likelihood_map
from rl_detector.simulators.panels import measured_tracks
from rl_detector.space import FloatArray
from rl_detector.terms import Readout

WATER = 100 / 36.08
RICH = 1000.0
"""A budget in kEUR that cuts nothing."""


def vertical(count: int, x: float = 0.25, y: float = 0.55, momentum: float = 5.0) -> Muons:
    """Muons straight down from the top."""
    position = np.stack([np.full(count, x), np.full(count, y)])
    return Muons(Rays(position, np.zeros((2, count))), np.full(count, momentum))


def perfect(muons: Muons, density: FloatArray, seed: int = 0) -> FloatArray:
    """Signals of muons through a volume, seen with errors of 1 um and 1 urad."""
    count = len(muons.momentum)
    rays, down = scatter(muons, density, np.random.default_rng(seed).standard_normal((2, 2, count)))
    entry = muons.rays.position + (TOP_HEIGHT - CEILING_HEIGHT) * muons.rays.slope
    noise = np.array([[1e-12], [0.0], [1e-12]]) * np.ones(count)
    rows = [np.ones(count), muons.momentum, *entry, *muons.rays.slope, *rays.position, *rays.slope, *noise]
    return np.stack(rows, axis=-1)[down]


def test_baselines_spend_the_budget_and_are_what_is_built() -> None:
    for name, layout in baselines().items():
        assert asked(layout) == pytest.approx(BUDGET_KEUR), name
        assert asked(built(layout)) == pytest.approx(BUDGET_KEUR), name
        ratio = layout["upper"][0]["span_y"] / layout["upper"][0]["span_x"]
        assert ratio == pytest.approx(VOLUME_SIZE[1] / VOLUME_SIZE[0]), name


def test_dear_designs_are_cut_to_the_budget_and_cheap_ones_are_not() -> None:
    rng, problem = np.random.default_rng(0), muon_map(budget=20.0, muons_per_scan=200)
    for _ in range(20):
        layout = space().sample(rng)
        evaluation = problem.evaluate(layout, 100, 0)
        assert evaluation.costs["panels"] == pytest.approx(min(20.0, asked(layout)))
        assert evaluation.violations["budget"] == 0
    cheap = design((0.1, 0.3), "RPC", 5.0)
    assert built(cheap, 20.0) == cheap


def test_every_place_of_the_block_is_five_voxels_of_lead_in_water() -> None:
    seen = np.zeros(VOXEL_COUNT)
    for place in range(int(BLOCK_PLACES.prod())):
        density = densities(place, "water")
        block = density[:-1] > 10
        assert block.sum() == 5
        assert density[-1] == 0
        seen += block
    np.testing.assert_allclose(densities(0, "water")[[0, -2]], [100 / 0.5612, WATER])
    assert (seen > 0).all()


def test_voxels_on_a_way_are_those_of_its_points() -> None:
    rng = np.random.default_rng(1)
    position, slope = rng.uniform(-0.2, 1.2, (2, 200)), rng.normal(0, 0.5, (2, 200))
    index = volume.voxels_along(position, slope, 20)
    for k, height in enumerate(volume.heights(20)):
        points = np.stack([*(position + (VOLUME_SIZE[2] - height) * slope), np.full(200, height)])
        np.testing.assert_array_equal(index[k], volume.voxels_at(points))
    cells = np.array([[0.05, 0.55], [0.15, 0.95], [0.25, 1.05]])
    np.testing.assert_array_equal(volume.voxels_at(cells), [0 * 100 + 1 * 10 + 2, VOXEL_COUNT])


def test_muons_cross_the_volume() -> None:
    """All of them; of lines through the top, exactly those with a point inside, apart from grazing ones."""
    muons = sample_muons(np.random.default_rng(2), 2000)
    assert muons.rays.position.shape == (2, 2000)
    assert volume.crosses(muons.rays).all()
    rng = np.random.default_rng(3)
    rays = Rays(rng.uniform(-1, 2, (2, 2000)), rng.normal(0, 0.5, (2, 2000)))
    depths = np.linspace(TOP_HEIGHT - CEILING_HEIGHT, TOP_HEIGHT - FLOOR_HEIGHT, 2001)[:, None]
    inside = np.ones((2001, 2000), dtype=bool)
    for axis in range(2):
        at = rays.position[axis] + depths * rays.slope[axis]
        inside &= (at > 0) & (at < VOLUME_SIZE[axis])
    assert (volume.crosses(rays) != inside.any(axis=0)).mean() < 0.002


@pytest.mark.parametrize(("y", "lead"), [(0.55, 0.1), (0.25, 0.0)])
def test_vertical_muons_scatter_with_highlands_width(y: float, lead: float) -> None:
    """Through 1 m of water, or 0.9 m of it and 0.1 m of lead at z 0.4-0.5: angle, and offset below."""
    place = int(np.ravel_multi_index((0, 5, 4), BLOCK_PLACES))
    rays, down = scatter(vertical(20_000, y=y), densities(place, "water"), normals(20_000))
    water = (1 - lead) / 0.3608
    thickness = water + lead / 0.005612
    theta = float(highland_angle(5000.0, velocity(5000.0), thickness))
    assert down.all()
    np.testing.assert_allclose(rays.slope.std(axis=1), theta, rtol=0.02)
    second = 1 / 3 / 0.3608 + lead * (0.45**2 + 0.1**2 / 12) * (1 / 0.005612 - 1 / 0.3608)
    offset = theta * math.sqrt(second / thickness)
    np.testing.assert_allclose((rays.position - [[0.25], [y]]).std(axis=1), offset, rtol=0.02)


def normals(count: int, seed: int = 4) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((2, 2, count))


@pytest.mark.parametrize("name", ["compact", "strips"])
def test_without_matter_kinks_have_the_noise_that_is_stated(name: str) -> None:
    """Angles and offsets over their stated errors have variance 1 and the stated correlation."""
    layout, count, rng = baselines()[name], 4000, np.random.default_rng(5)
    slope = rng.normal(0, 0.15, (2, count))
    rays = Rays(np.full((2, count), 0.4) - 0.5 * slope, slope)
    below = Rays(rays.position + slope * (TOP_HEIGHT - FLOOR_HEIGHT), slope)
    found = []
    for side, at, start in (("upper", rays, TOP_HEIGHT), ("lower", below, FLOOR_HEIGHT)):
        planes = panels(layout, side)
        shape = (len(planes.heights), count)
        found.append(measured_tracks(planes, at, start, rng.standard_normal((2, *shape)), rng.random(shape), 0.0))
    both = np.flatnonzero(found[0][1] & found[1][1])
    assert len(both) > 1000
    signals = signals_of(np.full(len(both), 3.0), found[0][0].take(both), found[1][0].take(both))
    kinks = kinks_of(Seen.of(signals))
    angle, offset = kinks.angle / np.sqrt(kinks.noise[0]), kinks.offset / np.sqrt(kinks.noise[2])
    stated = kinks.noise[1] / np.sqrt(kinks.noise[0] * kinks.noise[2])
    np.testing.assert_allclose([angle.var(), offset.var()], 1, atol=0.06)
    assert (angle * offset).mean() == pytest.approx(stated.mean(), abs=0.06)


def test_kinks_of_inclined_muons_have_the_width_of_the_longer_way() -> None:
    """In both planes, over 13.6 MeV / (beta p): variance x F, x = stretch / X0, for 30 degrees in water."""
    count, tilt = 20_000, math.tan(math.radians(30))
    slope = np.stack([np.zeros(count), np.full(count, -tilt)])
    start = np.array([[0.3], [0.9]]) - (TOP_HEIGHT - CEILING_HEIGHT) * slope
    water = np.append(np.full(VOXEL_COUNT, WATER), 0.0)
    seen = Seen.of(perfect(Muons(Rays(start, slope), np.full(count, 5.0)), water))
    kinks, stretch = kinks_of(seen), math.hypot(1, tilt)
    thickness = stretch * WATER
    factor = (1 + 0.038 * math.log(thickness / velocity(5000.0) ** 2)) ** 2
    np.testing.assert_allclose(kinks.angle.var(axis=1), thickness * factor, rtol=0.05)
    np.testing.assert_allclose(kinks.offset.var(axis=1), thickness * factor * stretch**2 / 3, rtol=0.05)
    assert paths_of(seen).stretch.mean() == pytest.approx(stretch, rel=1e-3)


def test_a_thin_scatterer_is_where_the_tracks_come_closest() -> None:
    """Kinks at one height, seen perfectly: all vertices in the voxel there."""
    rng, count, height = np.random.default_rng(6), 500, 0.35
    slope = rng.normal(0, 0.1, (2, count))
    entry = np.array([[0.25], [0.55]]) + rng.uniform(-0.03, 0.03, (2, count)) - (VOLUME_SIZE[2] - height) * slope
    after = slope + rng.normal(0, 0.02, (2, count))
    exit_point = entry + (VOLUME_SIZE[2] - height) * slope + height * after
    vertices = vertices_of(Seen(np.full(count, 3.0), entry, slope, exit_point, after, np.zeros((3, count))))
    assert (vertices == volume.voxels_at(np.array([[0.25], [0.55], [0.35]]))).all()


def test_a_homogeneous_volume_is_found_back_without_bias() -> None:
    """1 m of aluminium, faint prior of water: mean within 4 %, layers within 8 %; 20,000 muons know it to 1 and 3 %."""
    truth = np.append(np.full(VOXEL_COUNT, 100 / 8.897), 0.0)
    signals = perfect(sample_muons(np.random.default_rng(7), 20_000), truth)
    seen, start = Seen.of(signals), np.append(np.full(VOXEL_COUNT, WATER), 0.0)
    found = likelihood_map(kinks_of(seen), paths_of(seen), start, Prior(WATER, 0.1), 60)[:-1].reshape(
        volume.VOLUME_VOXELS
    )
    tracks = paths_of(seen).tracks().reshape(volume.VOLUME_VOXELS)
    assert np.average(found, weights=tracks) == pytest.approx(truth[0], rel=0.04)
    np.testing.assert_allclose((found * tracks).sum((0, 1)) / tracks.sum((0, 1)), truth[0], rtol=0.08)


def test_maximum_likelihood_is_flat_where_closest_approach_is_not() -> None:
    """Water alone: vertices of muons that scatter all the way heap up in the middle."""
    truth = np.append(np.full(VOXEL_COUNT, WATER), 0.0)
    signals = perfect(sample_muons(np.random.default_rng(9), 20_000), truth)
    rough, likely = rough_map(signals, WATER), density_map(signals, WATER)
    rms = [float(np.sqrt(np.mean(np.log(each[:-1] / WATER) ** 2))) for each in (rough, likely)]
    assert rms[1] < 0.25 < 0.45 < rms[0]


def test_an_empty_volume_shows_nothing() -> None:
    """Air has 1 / X0 = 0.003 / m: voxels seen by tens of metres of track fall far below the prior."""
    signals = perfect(sample_muons(np.random.default_rng(8), 10_000), np.append(np.full(VOXEL_COUNT, 0.003), 0.0))
    found, tracks = density_map(signals, WATER), paths_of(Seen.of(signals)).tracks()
    assert (found[:-1][tracks > 30] < 0.1 * WATER).all()


def test_perfect_tracks_show_the_block_and_more_muons_show_it_better() -> None:
    """rms error of ln X0 in the block below 0.4 with 40,000 perfect muons."""
    place = int(np.ravel_multi_index((1, 4, 6), BLOCK_PLACES))
    truth = densities(place, "water")
    errors = {}
    for count in (2000, 40_000):
        signals = perfect(sample_muons(np.random.default_rng(9), count), truth)
        errors[count] = map_errors(density_map(signals, WATER), truth, WATER)
    assert math.sqrt(errors[40_000][0]) < 0.4 < math.sqrt(errors[2000][0])


def test_nothing_seen_is_the_worst_metric() -> None:
    """ln(36.08 / 0.5612) / sqrt 2 = 2.94."""
    readout = Readout({"place": np.zeros(2000)}, np.zeros((2000, len(SIGNAL_CHANNELS))))
    found = MapReach(1.0, 1000, "water").measure(readout)
    assert found.metric == pytest.approx(math.log(36.08 / 0.5612) / math.sqrt(2))
    assert found.error > 0
    assert found.diagnostics["used"] == 0


def test_better_hits_at_equal_size_make_a_better_map() -> None:
    problem = muon_map(budget=RICH, muons_per_scan=5000)
    designs = []
    for technology in ("Micromegas", "scintillator strips"):
        layout = baselines()["rpc"]
        designs.append({s: [{**panel, "technology": technology} for panel in layout[s]] for s in ABOVE_AND_BELOW})
    fine, coarse = problem.evaluate_batch(designs, 50_000, [1, 1])
    assert fine.measurement is not None
    assert coarse.measurement is not None
    assert fine.measurement.reach > coarse.measurement.reach + 0.2
    assert fine.costs["panels"] == pytest.approx(5 * coarse.costs["panels"])


def test_the_error_of_the_reach_is_its_scatter() -> None:
    """40 readouts of 6 scans of 5000 muons: the mean stated error within 30 % of the standard deviation."""
    simulator, reach = MapSimulator(muons=5000), MapReach(1.0, 5000, "water")
    found = [reach.measure(simulator.simulate(baselines()["rpc"], 30_000, seed)) for seed in range(40)]
    scatter_of_reach = np.std([each.reach for each in found], ddof=1)
    assert np.mean([each.error for each in found]) == pytest.approx(scatter_of_reach, rel=0.3)


def test_scans_are_whole_and_losses_average_to_the_metric() -> None:
    reach, simulator = MapReach(1.0, 1000, "water"), MapSimulator(muons=1000)
    readout = simulator.simulate(baselines()["rpc"], 10_500, 2)
    found = reach.measure(readout)
    assert found.losses is not None
    assert len(found.losses) == 10
    assert found.losses.mean() == pytest.approx(found.metric)
    assert [len(set(readout.truth["place"][i : i + 1000])) for i in range(0, 3000, 1000)] == [1, 1, 1]
    short = simulator.simulate(baselines()["rpc"], 2000, 2)
    np.testing.assert_array_equal(short.signals, readout.signals[:2000])
    assert reach.measure(short).losses is None  # the scatter of two differences would say nothing


def test_designs_share_muons_whatever_their_number_of_panels() -> None:
    """Momenta of muons seen by both are the same."""
    two, three = (design(d, "RPC") for d in ((0.02, 0.47), (0.02, 0.245, 0.47)))
    first, second = MapSimulator().simulate_batch([two, three], 2000, [3, 3])
    both = (first.signals[:, 0] > 0) & (second.signals[:, 0] > 0)
    assert both.sum() > 100
    np.testing.assert_array_equal(first.signals[both, 1], second.signals[both, 1])


def test_mirrored_layouts_are_as_good_as_each_other() -> None:
    """x -> 0.6 - x: equal within 4 errors, of other events."""
    layout = baselines()["rpc"]
    shifted = {s: [{**panel, "x": 0.1} for panel in layout[s]] for s in ABOVE_AND_BELOW}
    mirrored = {s: [{**panel, "x": 0.5} for panel in layout[s]] for s in ABOVE_AND_BELOW}
    reach, simulator = MapReach(1.0, 5000, "water"), MapSimulator(muons=5000)
    one, two = (reach.measure(simulator.simulate(each, 50_000, s)) for s, each in enumerate((shifted, mirrored)))
    assert abs(one.reach - two.reach) < 4 * math.hypot(one.error, two.error)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"budget": 0.0}, ConfigError, "budget of muon_map must be positive and finite, got 0.0"),
        ({"budget": math.nan}, ConfigError, "positive and finite"),
        ({"muons_per_scan": 10}, ConfigError, f"at least {MINIMUM_EVENTS} muons, got 10"),
        ({"light": "W"}, ConfigError, "at least twice the X0 of lead, got 'W'"),
        ({"light": "cheese"}, DesignError, "unknown material 'cheese'"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        muon_map(**settings)


def test_too_few_events_are_refused() -> None:
    readout = MapSimulator().simulate(baselines()["rpc"], 99, 0)
    with pytest.raises(ConfigError, match=f"at least {MINIMUM_EVENTS} events, got 99"):
        MapReach(1.0, 1000, "water").measure(readout)


def test_another_light_material_can_be_chosen() -> None:
    problem = muon_map(light="polystyrene", muons_per_scan=500)
    assert material("polystyrene").radiation_length == 41.31
    assert problem.simulator.describe()["simulator"] == "muons through lead in polystyrene"
    assert replace(problem, cost_weight=0.0).evaluate(problem.baselines["rpc"], 1000, 0).reward is not None


def test_components_are_to_scale() -> None:
    parts = components(baselines()["rpc"])
    assert len(parts) == 7
    assert (parts[0].start, parts[0].length) == (pytest.approx(50), pytest.approx(100))
    assert {part.material for part in parts[1:]} == {"RPC"}
    assert set(TECHNOLOGIES) >= {"RPC"}


def test_the_defaults_of_yaml_and_python_are_the_same() -> None:
    stored = (files("rl_detector.conf") / "env/muon_map.yaml").read_text()
    settings = OmegaConf.to_container(OmegaConf.create(stored))
    assert isinstance(settings, dict)
    assert settings.pop("name") == "muon_map"
    assert settings == {name: p.default for name, p in inspect.signature(muon_map).parameters.items()}
