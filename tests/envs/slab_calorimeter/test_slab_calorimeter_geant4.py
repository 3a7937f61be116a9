"""The fast library of the slab against stored Geant4 events of experiments/slab_calorimeter; no Geant4 needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rl_detector.envs.slab_calorimeter.fast import FITTED_SHOWERS, _photons, _pions
from rl_detector.envs.slab_calorimeter.layout import row
from rl_detector.envs.slab_calorimeter.library import SAMPLES
from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter
from rl_detector.envs.slab_calorimeter.reach import SlabReach
from rl_detector.envs.slab_calorimeter.sensors import SlabSimulator, cut_out, sensor_variance, straggled
from rl_detector.envs.slab_calorimeter.stored import PLANE_PITCH, StoredLibrary, stored, whole_book
from rl_detector.errors import ConfigError
from rl_detector.reach.paired import paired_difference
from rl_detector.terms import Measurement

FILE = str(Path(__file__).parents[3] / "experiments" / "slab_calorimeter" / "showers.npz")
FAST = 2000
"""Events of the fast library, more than the stored ones."""

DEPTH = PLANE_PITCH * (np.arange(400, dtype=np.float32)[:, None] + 1)

FloatArray = NDArray[np.float64]


def geant4(particle: str, energy: float) -> FloatArray:
    """Signals in units of a fast particle, [planes, events]."""
    return stored(FILE).deposits[particle, energy].T.astype(np.float64) / 0.07751


def fast(particle: str, energy: float) -> FloatArray:
    """The same planes of 0.2 mm of silicon in the fast library."""
    shape, crossing, noise = (np.random.default_rng(seed) for seed in (1, 2, 3))
    develop = _photons if particle == "gamma" else _pions
    seen = develop(FITTED_SHOWERS, np.full(FAST, energy), DEPTH.astype(np.float32), shape, crossing)
    variance = sensor_variance(np.array([[0.2]])).astype(np.float32)
    return straggled(seen, variance, noise.standard_normal(seen.shape, dtype=np.float32)).astype(np.float64)


def relative_width(values: FloatArray) -> float:
    return float(values.std() / values.mean())


def centres(seen: FloatArray) -> FloatArray:
    """Mean depth of every event in cm."""
    return np.asarray((seen * DEPTH).sum(axis=0) / seen.sum(axis=0))


@pytest.mark.parametrize("energy", [20.0, 50.0, 100.0])
def test_the_mean_profile_of_photons(energy: float) -> None:
    """Mean depth within 0.4 cm, width of the mean profile within 3 %, shape within 6 %, all besides statistics."""
    one, other = geant4("gamma", energy), fast("gamma", energy)
    found, expected = centres(other), centres(one)
    tolerance = 4 * expected.std() / math.sqrt(one.shape[1]) + 0.4
    assert found.mean() == pytest.approx(expected.mean(), abs=tolerance)
    profiles = [seen.mean(axis=1) / seen.mean(axis=1).sum() for seen in (one, other)]
    widths = [math.sqrt(float(p @ DEPTH[:, 0] ** 2) - float(p @ DEPTH[:, 0]) ** 2) for p in profiles]
    assert widths[1] == pytest.approx(widths[0], rel=0.03 + 2 / math.sqrt(one.shape[1] * 50))
    groups = [profile[8:72].reshape(8, 8).sum(axis=1) for profile in profiles]
    np.testing.assert_allclose(groups[1], groups[0], rtol=0.06 + 1.5 / math.sqrt(one.shape[1]))


@pytest.mark.parametrize("energy", [20.0, 50.0, 100.0])
@pytest.mark.parametrize("step", [1, 4])
def test_the_visible_resolution_of_photons(energy: float, step: int) -> None:
    """Sum over every or every fourth plane: sigma / mean within four errors and 8 %."""
    one, other = (seen[step // 2 :: step].sum(axis=0) for seen in (geant4("gamma", energy), fast("gamma", energy)))
    tolerance = 0.08 + 4 / math.sqrt(2 * len(one))
    assert relative_width(other) == pytest.approx(relative_width(one), rel=tolerance)


@pytest.mark.parametrize("energy", [10.0, 50.0, 100.0])
def test_pions(energy: float) -> None:
    """Response over that of photons within 4 %, mean depth within four errors and 6 %, its scatter within 15 %."""
    one, other = geant4("pi+", energy), fast("pi+", energy)
    photons = [seen("gamma", 50.0).sum(axis=0).mean() / 50 for seen in (geant4, fast)]
    responses = [seen.sum(axis=0).mean() / energy / each for seen, each in zip((one, other), photons, strict=True)]
    assert responses[1] == pytest.approx(responses[0], rel=0.04)
    found, expected = centres(other), centres(one)
    error = 4 * expected.std() / math.sqrt(one.shape[1])
    assert found.mean() == pytest.approx(expected.mean(), abs=error + 0.06 * expected.mean())
    assert found.std() == pytest.approx(expected.std(), rel=0.15 + 4 / math.sqrt(2 * one.shape[1]))


@pytest.mark.parametrize("energy", [50.0, 100.0])
def test_the_visible_resolution_of_pions(energy: float) -> None:
    """Sum over every eighth plane, 39 mm apart: sigma / mean within four errors and 15 %."""
    one, other = (seen[4::8].sum(axis=0) for seen in (geant4("pi+", energy), fast("pi+", energy)))
    assert relative_width(other) == pytest.approx(relative_width(one), rel=0.15 + 4 / math.sqrt(2 * len(one)))


def measured(library: str, events: int) -> dict[str, Measurement]:
    problem = slab_calorimeter(library=library)
    found = {name: problem.evaluate(layout, events, 1).measurement for name, layout in problem.baselines.items()}
    return {name: measurement for name, measurement in found.items() if measurement is not None}


def test_the_baselines_in_both_libraries() -> None:
    """Four resolutions of beta within four errors and 15 %; what alpha and gamma gain over it within four errors."""
    events = 5 * min(len(stored(FILE).deposits[key]) for key in SAMPLES)
    one, other = measured(FILE, events), measured("fast", 10_000)
    for particle, energy in SAMPLES:
        name, number = f"resolution {particle} {energy:g} GeV", events / 5
        expected = one["beta"].diagnostics[name]
        assert other["beta"].diagnostics[name] == pytest.approx(expected, rel=0.15 + 4 / math.sqrt(2 * number))
    for name in ("alpha", "gamma"):
        gains = [paired_difference(found[name], found["beta"]) for found in (one, other)]
        assert gains[0].value == pytest.approx(gains[1].value, abs=4 * math.hypot(gains[0].error, gains[1].error))


def test_stored_events_are_drawn_once() -> None:
    number = min(len(stored(FILE).deposits[key]) for key in SAMPLES)
    book = StoredLibrary(FILE).book(1, 5 * number)
    for sample in range(len(SAMPLES)):
        rows = book.crossings[:, book.events.sample == sample].T
        assert len(np.unique(rows, axis=0)) == number
    other = StoredLibrary(FILE).book(2, 100)
    assert not np.array_equal(other.crossings, StoredLibrary(FILE).book(3, 100).crossings)


def test_sensors_close_together_have_planes_of_their_own() -> None:
    book = StoredLibrary(FILE).book(1, 100)
    planes = book.planes(np.array([0.1, 0.2, 0.3, 5.0, 5.1, 199.0, 400.0]))
    assert planes.tolist() == [0, 1, 2, 9, 10, 399, 399]


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.npz", "cannot read the shower library 'nowhere.npz'"), (__file__, "cannot read the shower library")],
)
def test_files_that_are_no_library(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        slab_calorimeter(library=path).evaluate(slab_calorimeter().baselines["beta"], 100, 1)


def test_a_library_without_a_sample(tmp_path: Path) -> None:
    path = str(tmp_path / "few.npz")
    arrays: dict[str, Any] = {"header": np.array("{}"), "gamma 50": np.ones((4, 3))}
    np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=r"lacks pi\+ 50 GeV, gamma 100 GeV, pi\+ 100 GeV"):
        StoredLibrary(path).describe()


def test_more_events_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"holds \d+ events of .* GeV: at most \d+ events per design"):
        slab_calorimeter(library=FILE).evaluate(slab_calorimeter().baselines["beta"], 2000, 1)


def test_results_say_what_made_them() -> None:
    facts = SlabSimulator(StoredLibrary(FILE)).describe()
    assert facts["version"].startswith("Geant4 11.4")
    assert "FTFP" in facts["physics_list"]


def test_all_stored_events_at_once() -> None:
    """Every event once; what is measured with a part of them agrees with all, within four errors."""
    book, deposits = whole_book(FILE), stored(FILE).deposits
    assert book.crossings.shape[1] == sum(len(each) for each in deposits.values())
    for number, key in enumerate(SAMPLES):
        assert int((book.events.sample == number).sum()) == len(deposits[key])
        assert set(book.events.energy[book.events.sample == number]) == {key[1]}
    built = row(slab_calorimeter().baselines["beta"])
    normal = np.random.default_rng(0).standard_normal((56, book.crossings.shape[1]), dtype=np.float32)
    whole, part = SlabReach().measure(cut_out(built, book, normal)), measured(FILE, 250)["beta"]
    assert whole.reach == pytest.approx(part.reach, abs=4 * math.hypot(whole.error, part.error))
