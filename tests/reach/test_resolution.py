"""The resolution as reach: closed forms, and error bars that repeated simulation confirms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.errors import ConfigError
from rl_detector.reach.resolution import MINIMUM_EVENTS, ResolutionReach
from rl_detector.terms import Readout


def readout(events: int = 400, noise: float = 0.5, seed: int = 0, layers: int = 2) -> Readout:
    """Signals that share the energy, in GeV; the first layer has noise."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(1, 20, events)
    signals = np.repeat(energy[:, None] / layers, layers, axis=1)
    signals[:, 0] += noise * rng.normal(size=events)
    return Readout({"energy": energy}, np.clip(signals, 0, None))


def test_the_metric_of_known_noise() -> None:
    """Noise s in one layer gives the metric s^2 <1 / (E + 1)>, and <1 / (E + 1)> = ln(21 / 2) / 19 for 1-20 GeV."""
    measured = ResolutionReach(1.0).measure(readout(40_000, 0.3, layers=1))
    expected = 0.3**2 * math.log(21 / 2) / 19
    assert measured.metric == pytest.approx(expected, rel=0.03)
    assert measured.metric_error == pytest.approx(measured.metric / 200 * 1.5, rel=0.5)


def test_the_reach_is_the_logarithm_of_the_ratio_to_the_reference() -> None:
    measured = ResolutionReach(2.0).measure(readout())
    assert measured.reach == math.log(2.0 / measured.metric)
    assert measured.error == measured.metric_error / measured.metric
    assert ResolutionReach(measured.metric).measure(readout()).reach == 0


def test_the_metric_is_the_mean_of_the_losses() -> None:
    measured = ResolutionReach(2.0).measure(readout())
    assert measured.losses is not None
    assert measured.losses.mean() == pytest.approx(measured.metric, rel=1e-12)
    factor = 1 + 6 / 400  # 400 events, two signals: 6 features
    assert measured.losses.std(ddof=1) / 20 * factor == pytest.approx(measured.metric_error, rel=1e-12)


def test_less_noise_is_worth_more() -> None:
    reaches = [ResolutionReach(1.0).measure(readout(noise=noise)).reach for noise in (0.1, 0.5, 2.0)]
    assert reaches == sorted(reaches, reverse=True)


def test_a_detector_that_sees_nothing_has_the_resolution_of_the_beam() -> None:
    blind = readout(20_000)
    measured = ResolutionReach(1.0).measure(Readout(blind.truth, np.zeros((20_000, 3))))
    energy = blind.truth["energy"]
    guess = np.average(energy, weights=1 / (energy + 1))
    assert measured.metric == pytest.approx(np.mean((energy - guess) ** 2 / (energy + 1)), rel=1e-3)


def test_a_batch_of_mixed_shapes_gives_what_single_readouts_give_bit_for_bit() -> None:
    readouts = [readout(300, 0.5, i, layers=1 + i % 3) for i in range(9)] + [readout(200, 0.5, 9)]
    reach = ResolutionReach(1.0)
    for order in (slice(None), slice(None, None, -1)):
        for single, many in zip(readouts[order], reach.measure_batch(readouts[order]), strict=True):
            expected = reach.measure(single)
            assert (expected.reach, expected.error, expected.diagnostics) == (many.reach, many.error, many.diagnostics)
            np.testing.assert_array_equal(expected.losses, many.losses)


def test_too_few_events_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 20 events per design, got 19"):
        ResolutionReach(1.0).measure(readout(MINIMUM_EVENTS - 1))


REPEATS = 240


def spread_over_stated_error(events: int, photon_fraction: float = 0.5) -> list[float]:
    """Spread of the reach of repeated simulations over the mean of their stated errors, for six designs."""
    problem = calorimeter(photon_fraction=photon_fraction)
    rng = np.random.default_rng(3)
    designs = [*problem.baselines.values(), problem.space.sample(rng), problem.space.sample(rng)]
    ratios = []
    for number, design in enumerate(designs):
        seeds = list(range(REPEATS * number, REPEATS * (number + 1)))
        repeats = [e.measurement for e in problem.evaluate_batch([design] * REPEATS, events, seeds)]
        reaches = [measured.reach for measured in repeats if measured]
        assert len(reaches) == REPEATS
        ratios.append(np.std(reaches, ddof=1) / np.mean([measured.error for measured in repeats if measured]))
    return ratios


@pytest.mark.parametrize(("events", "single"), [(25, 0.6), (50, 0.4), (200, 0.35), (1000, 0.2)])
def test_the_stated_error_is_the_spread_of_repeated_simulations(events: int, single: float) -> None:
    """The ratio of one design is known to 1 / sqrt(2 REPEATS) = 5 %, the mean of six to 2 %; losses have long tails."""
    ratios = spread_over_stated_error(events)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1), ratios
    assert ratios == pytest.approx([1.0] * len(ratios), abs=single), ratios


def test_the_stated_error_holds_for_photons_alone() -> None:
    ratios = spread_over_stated_error(25, photon_fraction=1.0)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25), ratios
    assert ratios == pytest.approx([1.0] * len(ratios), abs=0.6), ratios


@pytest.mark.parametrize("name", ["homogeneous", "all_pbwo4"])
def test_few_photons_show_how_good_a_crystal_is(name: str) -> None:
    """Its metric is 1/300 of the start's: the fit of 25 events adds 20 %, and with a penalty on the sum of the signals
    hides nearly all of the reach. Standard error of 100 repeats: 0.04."""
    problem = calorimeter(photon_fraction=1.0)
    design = problem.baselines[name]
    many = problem.evaluate(design, 20_000, 1).measurement
    readouts = [problem.simulator.simulate(design, 25, seed) for seed in range(100)]
    few = np.mean([problem.reach.measure(readout).reach for readout in readouts])
    assert isinstance(problem.reach, ResolutionReach)
    penalised = ResolutionReach(problem.reach.reference).measure_batch(readouts)
    assert many is not None and many.reach > 5.5
    assert few == pytest.approx(many.reach - 0.15, abs=0.2)
    assert np.mean([each.reach for each in penalised]) < 1


def test_few_events_are_pessimistic_by_little() -> None:
    problem = calorimeter()
    designs = list(problem.baselines.values())
    many = [problem.evaluate(design, 20_000, 1).measurement for design in designs]
    few = problem.evaluate_batch(designs * 30, 200, list(range(120)))
    for index, expected in enumerate(many):
        losses = [e.measurement.metric for e in few[index::4] if e.measurement]
        assert expected is not None
        assert 0.95 < np.mean(losses) / expected.metric < 1.25
