"""The fast calorimeter simulator: limits, invariances, determinism."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from rl_detector.physics.materials import material
from rl_detector.simulators.fast_stack.parameters import FITTED
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.stack import PARTICLES, Beam, Primaries, Stack

NAMES = ("Pb", "PbWO4", "Fe", "polystyrene", "Fe", "PbWO4")
MIXED = Beam({"gamma": 0.4, "e-": 0.1, "pi+": 0.5})


def beam(particle: str, energy: float, events: int) -> Primaries:
    return Primaries((particle,) * events, np.full(events, energy))


def run(stack: Stack, primaries: Primaries, seed: int = 1) -> NDArray[np.float64]:
    found = FastStackSimulator().deposits([stack], [primaries], [seed])[0]
    assert isinstance(found, np.ndarray)
    return found


def stacks(number: int) -> list[Stack]:
    rng = np.random.default_rng(3)
    return [Stack(NAMES, tuple(rng.uniform(0, 30, 6).tolist())) for _ in range(number)]


def all_equal(first: Sequence[object], second: Sequence[object]) -> bool:
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True))


def test_alone_or_in_a_batch_bit_for_bit() -> None:
    """Batches may span several chunks, mix numbers of layers and events, and have any order."""
    batch = [*stacks(30), Stack(("Fe",), (40.0,)), Stack((), ()), Stack(NAMES * 2, (3.0,) * 12)]
    primaries = [MIXED.sample(397 + 100 * (i % 3), np.random.default_rng(i)) for i in range(len(batch))]
    seeds = [7 * i for i in range(len(batch))]
    together = FastStackSimulator().deposits(batch, primaries, seeds)
    alone = [run(*event) for event in zip(batch, primaries, seeds, strict=True)]
    assert all_equal(together, alone)
    assert all_equal(FastStackSimulator().deposits(batch[::-1], primaries[::-1], seeds[::-1])[::-1], alone)
    assert [np.asarray(found).shape for found in together] == [
        (len(p), len(s.materials)) for s, p in zip(batch, primaries, strict=True)
    ]


def test_another_seed_gives_other_events() -> None:
    primaries = MIXED.sample(50, np.random.default_rng(0))
    assert not np.array_equal(run(stacks(1)[0], primaries, 1), run(stacks(1)[0], primaries, 2))


def test_no_events_and_no_stacks() -> None:
    assert FastStackSimulator().deposits([], [], []) == []
    assert run(stacks(1)[0], Primaries((), np.zeros(0))).shape == (0, 6)


def test_an_absent_layer_changes_nothing() -> None:
    primaries = MIXED.sample(200, np.random.default_rng(0))
    with_holes = Stack(("Fe", "Pb", "PbWO4", "Fe", "polystyrene"), (0.0, 2.0, 20.0, 0.0, 10.0))
    found = run(with_holes, primaries)
    assert not found[:, [0, 3]].any()
    np.testing.assert_array_equal(
        found[:, [1, 2, 4]], run(Stack(("Pb", "PbWO4", "polystyrene"), (2.0, 20.0, 10.0)), primaries)
    )


@pytest.mark.parametrize("particle", PARTICLES)
def test_deposits_are_finite_positive_and_not_more_than_what_came(particle: str) -> None:
    """A pion may add part of its rest mass."""
    primaries = Primaries((particle,) * 500, np.random.default_rng(0).uniform(0.05, 30, 500))
    allowed = FITTED.hadronic.rest_energy if particle == "pi+" else 0.0
    for stack in [*stacks(20), Stack(("U", "Si"), (500.0, 0.001)), Stack(("Be",), (1e5,))]:
        found = run(stack, primaries)
        assert np.isfinite(found).all() and (found >= 0).all()
        assert (found.sum(1) <= primaries.energies + allowed + 1e-9).all()


@pytest.mark.parametrize("particle", ["gamma", "e-"])
def test_a_very_thick_block_absorbs_all_but_the_albedo(particle: str) -> None:
    """3000 events give the mean of the exponential albedo to 2 %."""
    for name in ("Pb", "Fe", "PbWO4", "polystyrene"):
        block = Stack((name,), (200 * material(name).radiation_length,))
        missing = 1 - run(block, beam(particle, 10.0, 3000)) / 10.0
        assert missing.min() >= -1e-9 and missing.max() < 0.05
        assert missing.mean() == pytest.approx(FITTED.electromagnetic.albedo / np.sqrt(10.0), rel=0.1)


@pytest.mark.parametrize("particle", PARTICLES)
def test_cutting_layers_leaves_the_mean_deposit(particle: str) -> None:
    """20,000 events of 6 GeV with other random numbers agree within 4 standard errors plus 0.3 % of the energy."""
    whole = run(Stack(("Fe", "PbWO4", "polystyrene"), (6.0, 10.0, 20.0)), beam(particle, 6.0, 20_000))
    halves = run(
        Stack(("Fe",) * 2 + ("PbWO4",) * 2 + ("polystyrene",) * 2, (3.0, 3.0, 5.0, 5.0, 10.0, 10.0)),
        beam(particle, 6.0, 20_000),
        2,
    )
    merged = halves.reshape(-1, 3, 2).sum(2)
    error = np.hypot(whole.std(0), merged.std(0)) / np.sqrt(20_000)
    assert (np.abs(whole.mean(0) - merged.mean(0)) < 4 * error + 0.003 * 6).all()


def test_a_pion_that_does_not_interact_is_a_minimum_ionising_particle() -> None:
    """5 mm of plastic are 0.6 % of an interaction length, so the median deposit is the ionisation loss.

    The error of the median is about its width over the root of 2000 events.
    """
    found = run(Stack(("polystyrene",), (0.5,)), beam("pi+", 5.0, 2000))
    expected = 0.5 * material("polystyrene").mip_loss * FITTED.materials["polystyrene"].ionisation
    expected *= np.exp(-0.5 * FITTED.hadronic.straggling**2)
    assert np.median(found) == pytest.approx(expected, rel=0.02)


def test_a_slow_pion_ranges_out() -> None:
    """A pion of 50 MeV has a range of about 3 cm in iron; only energy of pions that interact arrives behind 30 cm."""
    found = run(Stack(("Fe", "PbWO4"), (30.0, 20.0)), beam("pi+", 0.05, 1000))
    assert np.median(found[:, 0]) == pytest.approx(0.05, rel=1e-9)
    assert np.median(found[:, 1]) == 0.0


def test_photons_convert_with_the_mean_free_path_of_pair_production() -> None:
    """exp(-7/9 / conversion) of the photons cross 1 X0 of lead; the error of 10,000 events is 0.005."""
    found = run(Stack(("Pb",), (material("Pb").radiation_length,)), beam("gamma", 10.0, 10_000))
    expected = np.exp(-7 / 9 / FITTED.electromagnetic.conversion)
    assert (found == 0).mean() == pytest.approx(expected, abs=0.02)


def test_deeper_showers_at_higher_energy() -> None:
    stack = Stack(("PbWO4",) * 20, (1.0,) * 20)
    depth = np.arange(20) + 0.5
    means = [float((run(stack, beam("e-", energy, 2000)).mean(0) @ depth) / energy) for energy in (1.0, 5.0, 20.0)]
    assert means == sorted(means)
    assert means[2] - means[0] == pytest.approx(np.log(20) * material("PbWO4").radiation_length, rel=0.35)


def test_a_response_for_every_material() -> None:
    assert FITTED.response(material("W")) == FITTED.materials["Pb"]
    assert FITTED.response(material("Cu")) == FITTED.materials["Fe"]
    assert FITTED.response(material("water")) == FITTED.materials["polystyrene"]


def test_facts() -> None:
    facts = FastStackSimulator().describe()
    assert facts["simulator"] == "fast" and "version" in facts and "parameters" in facts
    FastStackSimulator().close()
