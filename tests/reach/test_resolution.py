"""The resolution as reach: closed forms, and error bars that repeated simulation confirms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.checks.error_bars import ErrorBars, measure_error_bars
from rl_detector.envs.calorimeter.layout import design
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
    assert measured.losses.std(ddof=1) / 20 == pytest.approx(measured.metric_error, rel=1e-12)


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
"""Repeated simulations of a design: their spread is known to 1 / sqrt(2 REPEATS) = 5 %, the bias to 0.07 errors."""

FOUND = design(
    ("Fe", 0.73, "PbWO4", 24.5), ("Fe", 0.84, "PbWO4", 50.0), ("Fe", 32.2, "polystyrene", 6.9)
)  # fmt: skip
"""What trainings recommend: crystals, and a tail catcher behind them."""


def error_bars(events: int, photon_fraction: float = 0.5) -> list[ErrorBars]:
    """Of the baselines, a design that trainings recommend, and two random ones."""
    problem = calorimeter(photon_fraction=photon_fraction)
    rng = np.random.default_rng(3)
    rest = {"recommended": FOUND, "random": problem.space.sample(rng), "another": problem.space.sample(rng)}
    return measure_error_bars(problem, {**problem.baselines, **rest}, events, REPEATS, many=60_000)


@pytest.mark.parametrize(
    ("events", "single", "bias"),
    [(25, 0.35, 0.6), (200, 0.2, 0.4), pytest.param(1000, 0.2, 0.4, marks=pytest.mark.slow)],
)
def test_stated_errors_are_the_spread_of_repeated_simulations(events: int, single: float, bias: float) -> None:
    """Also of differences on the same events. The mean of seven designs is known to 2 %; losses have long tails."""
    rows = error_bars(events)
    for ratios in ([row.stated for row in rows], [row.paired for row in rows[1:]]):
        assert np.mean(ratios) == pytest.approx(1.0, abs=0.1), rows
        assert ratios == pytest.approx([1.0] * len(ratios), abs=single), rows
    assert max(abs(row.bias) for row in rows) < bias, rows
    assert np.mean([row.coverage for row in rows]) == pytest.approx(0.683, abs=0.08), rows


def test_stated_errors_hold_for_photons_alone() -> None:
    ratios = [row.stated for row in error_bars(25, photon_fraction=1.0)]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25), ratios
    assert ratios == pytest.approx([1.0] * len(ratios), abs=0.6), ratios


@pytest.mark.parametrize("name", ["homogeneous", "all_pbwo4"])
def test_few_photons_show_how_good_a_crystal_is(name: str) -> None:
    """Its metric is 1/300 of the start's; a penalty on the sum of the signals hides nearly all of the reach from a fit
    of 25 events. Standard error of 100 repeats: 0.04."""
    problem = calorimeter(photon_fraction=1.0)
    design = problem.baselines[name]
    many = problem.evaluate(design, 20_000, 1).measurement
    readouts = [problem.simulator.simulate(design, 25, seed) for seed in range(100)]
    few = np.mean([problem.reach.measure(readout).reach for readout in readouts])
    assert isinstance(problem.reach, ResolutionReach)
    penalised = ResolutionReach(problem.reach.reference).measure_batch(readouts)
    assert many is not None and many.reach > 5.5
    assert few == pytest.approx(many.reach, abs=0.2)
    assert np.mean([each.reach for each in penalised]) < 1
