"""Tracks in Geant4: equal bits for equal seeds, bending and scattering against closed forms, all failures."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.physics.constants import CURVATURE_GEV_PER_T_CM, MUON_MASS_MEV
from rl_detector.physics.magnets import Block, Magnet, Section, row_blocks
from rl_detector.physics.scattering import HIGHLAND_MEV, IRON_RATE, velocity
from rl_detector.simulators.geant4 import Geant4Tracker, tracker, worker, workers
from rl_detector.simulators.hall import IRON, Charged, Crossings, Hall, Matter

pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="geant4 extra not installed"),
]

SQUARE = np.array([[-50.0, -50], [50, -50], [50, 50], [-50, 50]])
IRON_BLOCK = Hall((Block(0.0, 100.0, SQUARE, SQUARE, (0.0, 1.7, 0.0)),), (100.0,), half_width=200.0)
SHIELD = (
    Magnet(20.0, Section(40.0, 20.0, 5.0), Section(30.0, 25.0, 10.0), 1.7),
    Magnet(15.0, Section(10.0, 40.0, 2.0), Section(30.0, 40.0, 2.0), -1.7),
)
MAGNETS = Hall(row_blocks(SHIELD), (0.0, 40.0, 70.0), half_width=300.0)

HOOKS = """
import os, signal, time
from rl_detector.simulators.geant4 import worker

def abort(settings, chunk):
    if chunk.seeds == SEEDS:
        os.kill(os.getpid(), signal.SIGABRT)
    return worker.run_chunk(settings, chunk)

def hang(settings, chunk):
    if chunk.seeds == SEEDS:
        time.sleep(600)
    return worker.run_chunk(settings, chunk)
"""


def muons(momentum: float, events: int, z: float = -1.0, spread: float = 0.0) -> Charged:
    """Make muons along the axis, with alternating charges."""
    position = np.random.default_rng(0).uniform(-spread, spread, (events, 3))
    position[:, 2] = z
    charge = np.resize([1.0, -1.0], events)
    return Charged.muons(position, np.tile([0.0, 0.0, momentum], (events, 1)), charge)


def ok(result: Crossings | SimulationError) -> Crossings:
    assert isinstance(result, Crossings), result
    return result


@pytest.fixture(scope="module")
def geant4() -> Iterator[Geant4Tracker]:
    with Geant4Tracker(workers=1, chunk=200) as tracked:
        yield tracked


def same(one: Crossings, other: Crossings) -> None:
    for name in ("seen", "position", "momentum"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_same_seed_same_bits_on_any_worker_in_any_batch(geant4: Geant4Tracker) -> None:
    sent = muons(10.0, 250, spread=100.0)
    first, second, third = map(ok, geant4.crossings([IRON_BLOCK, MAGNETS, MAGNETS], [sent] * 3, [1, 2, 3]))
    with Geant4Tracker(workers=2, chunk=200) as other:
        again = list(map(ok, other.crossings([MAGNETS, IRON_BLOCK], [sent] * 2, [2, 1])))
    same(second, again[0])
    same(first, again[1])
    assert not np.array_equal(second.position, third.position)


def test_a_circle_in_vacuum(geant4: Geant4Tracker) -> None:
    """A field without matter bends both charges to an exact circle, sin(angle) = 0.3 B L / p, in x and y."""
    field = Block(0.0, 200.0, SQUARE * 4, SQUARE * 4, (0.8, 1.5, 0.0))
    hall = Hall((field,), (200.0,), Matter("vacuum"), "vacuum", 500.0)
    sent = muons(5.0, 2, z=0.0)
    found = ok(geant4.crossings([hall], [sent], [1])[0])
    strength = np.hypot(0.8, 1.5)
    sine = CURVATURE_GEV_PER_T_CM * strength * 200 / 5
    sagitta = 200 * sine / (1 + np.sqrt(1 - sine**2))
    direction = np.array([[-1.5, 0.8], [1.5, -0.8]]) / strength  # q v x B
    np.testing.assert_allclose(found.position[:, 0], sagitta * direction, atol=1e-3)
    np.testing.assert_allclose(found.momentum[:, 0, :2], 5 * sine * direction, atol=1e-4)


def test_a_tapered_block_bends_where_it_is(geant4: Geant4Tracker) -> None:
    """A wedge bends a track at x only behind the z where the track enters it."""
    wedge_out = SQUARE * np.array([0.5, 1.0]) + np.array([25.0, 0.0])  # x from 0 to 50 at the end
    wedge_in = SQUARE * np.array([0.5, 1.0]) * np.array([0.02, 1.0]) + np.array([49.5, 0.0])  # 49 to 50
    hall = Hall((Block(0.0, 100.0, wedge_in, wedge_out, (0.0, 1.0, 0.0)),), (100.0,), Matter("vacuum"), "vacuum", 99.0)
    x = np.array([10.0, 25.0, 40.0])
    position = np.stack([x, np.zeros(3), np.full(3, -1.0)], axis=1)
    sent = Charged.muons(position, np.tile([0.0, 0.0, 500.0], (3, 1)), np.ones(3))
    found = ok(geant4.crossings([hall], [sent], [1])[0])
    inside = 100 - 100 * (49 - x) / 49
    np.testing.assert_allclose(-found.momentum[:, 0, 0], CURVATURE_GEV_PER_T_CM * inside, rtol=2e-3)


@pytest.mark.parametrize("momentum", [5.0, 20.0])
def test_iron_bends_scatters_and_slows(geant4: Geant4Tracker, momentum: float) -> None:
    """1 m of iron at 1.7 T: kick 0.3 B L / p along the way, scattering angle of thick iron to 2 %, mean energy loss."""
    sent = muons(momentum, 1000)
    found = ok(geant4.crossings([IRON_BLOCK], [sent], [2])[0])
    end = np.sqrt((found.momentum[:, 0] ** 2).sum(axis=1))
    loss = momentum - end[found.seen[:, 0]]
    assert found.seen.mean() > 0.995
    assert 1.25 < np.median(loss) < 1.55 and 1.38 < loss.mean() < 1.75
    charge = np.resize([1.0, -1.0], 1000)
    kick = np.median(-charge * found.momentum[:, 0, 0])
    across = np.quantile(found.momentum[:, 0, 1] / end, [0.16, 0.84])
    middle = 1000 * (momentum - np.median(loss) / 2)
    width = HIGHLAND_MEV / middle / velocity(middle, MUON_MASS_MEV) * np.sqrt(IRON_RATE * 100 / 1.757)
    assert abs(np.diff(across)[0] / 2 / width - 1) < 0.02 + 3 * 1.2 / np.sqrt(2000)
    share = momentum / np.median(loss) * np.log(momentum / (momentum - np.median(loss)))  # <1 / p> p
    expected = CURVATURE_GEV_PER_T_CM * 170 / momentum * share * np.median(end)
    assert abs(kick / expected - 1) < 0.015 + 4 * 1.25 * (width * np.median(end)) / expected / np.sqrt(1000)


def test_touching_magnets_have_planes_between_them(geant4: Geant4Tracker) -> None:
    found = ok(geant4.crossings([MAGNETS], [muons(30.0, 100, spread=60.0)], [1])[0])
    assert found.seen.mean() > 0.99
    np.testing.assert_allclose(found.position[:, 0], muons(30.0, 100, spread=60.0).position[:, :2], atol=1e-4)
    momenta = np.sqrt((found.momentum**2).sum(axis=2))
    assert np.all(np.diff(momenta, axis=1) <= 0)
    in_iron = momenta[:, 0] - momenta[:, 1] > 0.3
    assert 0.5 < in_iron.mean() < 1


def test_slow_particles_are_dropped(geant4: Geant4Tracker) -> None:
    """Muons of 2 GeV lose more than 1 GeV in 1 m of iron; their rest is below the threshold."""
    found = ok(geant4.crossings([IRON_BLOCK], [muons(2.0, 50)], [1])[0])
    assert not found.seen.any() and not found.position.any() and not found.momentum.any()


def test_pions_are_absorbed(geant4: Geant4Tracker) -> None:
    """exp(-6) of the pions cross six interaction lengths; planes do not show their secondaries."""
    sent = replace(muons(20.0, 100), names=("pi+",) * 100)
    found = ok(geant4.crossings([IRON_BLOCK], [sent], [1])[0])
    assert found.seen.sum() < 5


def test_density_scales_the_radiation_length(geant4: Geant4Tracker) -> None:
    thin = replace(IRON_BLOCK, matter=Matter("Fe", 7.874 / 4))
    found = ok(geant4.crossings([thin], [muons(20.0, 500)], [1])[0])
    loss = 20 - np.sqrt((found.momentum[:, 0] ** 2).sum(axis=1))
    assert 0.25 * 1.25 < np.median(loss) < 0.25 * 1.65


def test_overlaps_fail_their_own_hall_only(geant4: Geant4Tracker) -> None:
    block = IRON_BLOCK.blocks[0]
    bad = replace(IRON_BLOCK, blocks=(block, replace(block, z_in=99.0, z_out=120.0)), planes=(130.0,))
    sent = muons(10.0, 5)
    wrong, right = geant4.crossings([bad, IRON_BLOCK], [sent] * 2, [1, 1])
    assert isinstance(wrong, SimulationError)
    assert "hall 0 (2 blocks, 5 particles)" in str(wrong) and "overlap: block 1 (99 to 120 cm)" in str(wrong)
    assert isinstance(right, Crossings)


def test_no_hall_and_no_particle_are_legal(geant4: Geant4Tracker) -> None:
    assert geant4.crossings([], [], []) == []
    none = Charged((), np.zeros((0, 3)), np.zeros((0, 3)))
    assert ok(geant4.crossings([IRON_BLOCK], [none], [1])[0]).seen.shape == (0, 1)


@pytest.mark.parametrize(
    ("hook", "message"),
    [("abort", "exit code -6"), ("hang", "no result within")],
)
def test_failures_stay_where_they_happen(
    hook: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "track_hooks.py").write_text(HOOKS.replace("SEEDS", str(workers.chunk_seeds(99, 0))))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "track_hooks", raising=False)
    monkeypatch.setattr(worker, "run_chunk", getattr(importlib.import_module("track_hooks"), hook))
    monkeypatch.setattr(tracker, "SECONDS_PER_PARTICLE", 0.1)
    with Geant4Tracker(workers=2, timeout=4.0) as tracked:
        good, bad = tracked.crossings([IRON_BLOCK] * 2, [muons(10.0, 4)] * 2, [1, 99])
    assert isinstance(good, Crossings)
    assert isinstance(bad, SimulationError) and message in str(bad)


def chunk_of(states: np.ndarray) -> Any:
    from rl_detector.simulators.geant4.hall_geometry import TrackChunk

    return TrackChunk(IRON_BLOCK, (-1.0, 1.0), "", ("mu+",), states, (1, 2, 3, 4), 1.0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1, 0, 0, 0, 0, 5.0], None),
        ([1, 0, 0, 0, 3.1, 4.0], "particle 0 of 5 GeV gained 0.06"),
        ([1, 0, 201.0, 0, 0, 4.0], "outside the hall"),
        ([1, 0, np.nan, 0, 0, 4.0], "1 of 6 values of the crossings"),
        ([1, 0], "expected crossings of shape"),
    ],
)
def test_checks_can_fail(found: list[float], message: str | None) -> None:
    states = np.array([[0.0, 0, 0, 0, 0, 5.0]])
    problem = tracker.violation(np.array([[found]], dtype=float), chunk_of(states))
    assert problem is None if message is None else message in str(problem)


BLOCK = IRON_BLOCK.blocks[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": (replace(BLOCK, z_out=np.nan),)}, "block 0 of the hall: ends, corners and field must be finite"),
        ({"blocks": (replace(BLOCK, z_out=-5.0),)}, "z_in must be below z_out, got 0.0 and -5.0 cm"),
        ({"blocks": (BLOCK, replace(BLOCK, corners_in=SQUARE[::-1]))}, "block 1.*counter-clockwise"),
        ({"blocks": (replace(BLOCK, corners_in=SQUARE * 0),)}, "around an area > 0"),
        ({"blocks": (replace(BLOCK, corners_in=SQUARE * 5),)}, "it reaches 250 cm from the axis, out of the hall"),
        ({"blocks": (replace(BLOCK, corners_in=SQUARE[:3], corners_out=SQUARE[:3]),)}, "expected 4 corners"),
        ({"planes": (50.0,)}, "the plane at 50.0 cm lies inside block 0"),
        ({"planes": ()}, "needs planes"),
        ({"planes": (110.0, 110.0)}, "ascending z"),
        ({"planes": (np.inf,)}, "finite, ascending z"),
        ({"medium": "water"}, "unknown medium 'water' of the hall: known are vacuum, helium, air"),
        ({"half_width": -1.0}, "half width of the hall must be positive"),
        ({"matter": (IRON, IRON)}, "1 blocks but matter for 2"),
    ],
)
def test_bad_halls(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        replace(IRON_BLOCK, **change)


def test_bad_matter() -> None:
    with pytest.raises(DesignError, match="unknown material 'cheese'"):
        Matter("cheese")
    with pytest.raises(DesignError, match="density of Fe must be positive and finite, got -1"):
        Matter("Fe", -1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("tau+",)}, r"unknown particles \['tau\+'\]"),
        (
            {"position": np.full((1, 3), np.nan)},
            r"position must be finite and of shape \(1, 3\), got shape \(1, 3\) with 3",
        ),
        ({"momentum": np.zeros((2, 3))}, r"momentum must be finite and of shape \(1, 3\), got shape \(2, 3\)"),
        ({"momentum": np.zeros((1, 3))}, "needs a momentum > 0"),
    ],
)
def test_bad_particles(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        replace(muons(1.0, 1), **change)


def test_particles_must_start_inside(geant4: Geant4Tracker) -> None:
    sent = replace(muons(5.0, 1), position=np.array([[250.0, 0, 0]]))
    with pytest.raises(ConfigError, match="starts 250 cm from the axis, outside the hall's half width of 200 cm"):
        geant4.crossings([IRON_BLOCK], [sent], [1])


def test_energetic_pions_need_data_sets(geant4: Geant4Tracker) -> None:
    with pytest.raises(ConfigError, match=r"pions only up to 30.0 GeV, got 39.86 GeV; use physics_list=FTFP_BERT"):
        geant4.crossings([IRON_BLOCK], [replace(muons(40.0, 1), names=("pi-",))], [1])


def test_pions_in_uranium_need_data_sets(geant4: Geant4Tracker) -> None:
    with pytest.raises(ConfigError, match=r"no pions in uranium .*; use physics_list=FTFP_BERT"):
        geant4.crossings([replace(IRON_BLOCK, matter=Matter("U"))], [replace(muons(4.0, 1), names=("pi-",))], [1])


@pytest.mark.parametrize("name", ["data-free", "data-free-ftfp"])
def test_results_of_tracks_name_their_scattering(name: str) -> None:
    with Geant4Tracker(name, workers=1) as tracked:
        assert "WentzelVI" in tracked.describe()["physics_list"] and "Urban" not in tracked.describe()["physics_list"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step must be positive and finite, got 0.0"),
        ({"threshold": np.nan}, "threshold must be positive"),
        ({"cut": -1.0}, "cut must be positive"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Geant4Tracker(**options)


def test_results_state_their_physics(geant4: Geant4Tracker) -> None:
    facts = geant4.describe()
    assert facts["physics_list"].startswith("data-free EM (WentzelVI")
    assert (facts["cut"], facts["longest step"], facts["threshold"]) == ("10.0 mm", "2.0 cm", "1.0 GeV")
