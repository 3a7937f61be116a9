"""Rates and widths from few events against their closed forms, with intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.envs.muon_tomography.furnace import FILL_HEIGHTS
from rl_detector.envs.muon_tomography.reach import VARIANCE, FillHeightReach
from rl_detector.envs.slab_calorimeter.reach import resolution
from rl_detector.reach.unseen import carrying, weighted_rate, width_logarithm
from rl_detector.terms import Readout


def test_equal_hits_have_jeffreys_distribution() -> None:
    """Shape n + 1/2; its logarithm is that of n within 1 / (24 n^2)."""
    for count in (0, 1, 10, 100):
        rate = weighted_rate(np.repeat([3.0, 0.0], [count, 50]), 3.0)
        assert rate.shape == pytest.approx(count + 0.5, rel=1e-3)
    assert rate.logarithm().value == pytest.approx(math.log(300), abs=1e-4)
    assert rate.logarithm().error == pytest.approx(0.1, rel=0.01)


def test_traces_are_no_hits() -> None:
    nothing = weighted_rate(np.zeros(1000), 4000.0).logarithm(1.0)
    traces = weighted_rate(np.full(1000, 1e-30), 4000.0).logarithm(1.0)
    assert traces == pytest.approx(nothing)
    assert traces.error > 1.9


@pytest.mark.parametrize("mean", [0.5, 2.0, 8.0, 30.0])
def test_poisson_intervals_cover(mean: float) -> None:
    """4000 counts, means over a factor of two as counts are discrete: +- 0.7 %; few counts cover more than 68 %."""
    rng = np.random.default_rng(1)
    means = mean * np.exp(rng.uniform(-0.35, 0.35, 4000))
    found = [weighted_rate(np.ones(n), 1.0).logarithm() for n in rng.poisson(means)]
    pulls = np.array([(each.value - math.log(m)) / each.error for each, m in zip(found, means, strict=True)])
    assert 0.6 < np.mean(np.abs(pulls) < 1) < 0.9
    assert np.mean(np.abs(pulls) < 2) > 0.93


def test_width_of_ten_normal_events() -> None:
    """20,000 samples: ln sigma without bias within 0.5 % (2.8 standard errors), its error within 3 %."""
    samples = np.random.default_rng(2).normal(100, 1, (20_000, 10))
    known, found = width_logarithm(10), np.log(samples.std(axis=1, ddof=1))
    assert np.mean(found) + known.value == pytest.approx(0, abs=0.005)
    assert known.error == pytest.approx(found.std(), rel=0.03)
    influences = np.array([resolution(each).influence.var() / 10 for each in samples[:2000]])
    assert math.sqrt(influences.mean()) == pytest.approx(known.error, rel=0.06)


def test_losses_carry_the_error_or_there_are_none() -> None:
    losses = np.random.default_rng(3).exponential(1, 100)
    carried = carrying(losses, 1.2, 0.15)
    assert carried is not None
    assert (carried.mean(), carried.std(ddof=1) / 10) == pytest.approx((1.2, 0.15))
    assert carrying(losses, 1.2, 0.5) is None
    assert carrying(np.ones(10), 1.2, 0.1) is None


def test_a_slope_near_zero_keeps_its_error() -> None:
    """200 readouts of 2000 vertices without slope: the median and the smallest error against the spread."""
    heights, found = np.resize(FILL_HEIGHTS, 2000), []
    for seed in range(200):
        z = 0.9 + 0.3 * np.random.default_rng(seed).standard_normal(2000)
        signals = np.stack([z, np.full(2000, 0.01), np.ones(2000)], axis=1)
        found.append(FillHeightReach(VARIANCE, 1000).measure(Readout({"height": heights}, signals)))
    errors, spread = np.array([each.error for each in found]), np.std([each.reach for each in found])
    assert 0.7 < np.sqrt((errors**2).mean()) / spread < 2  # the error also covers slopes that differ from zero
    assert errors.min() > 0.5 * spread


def test_furnace_of_nothing_covers_what_is_possible() -> None:
    signals = np.tile([0.0, 1.0, 0.0], (800, 1))
    found = FillHeightReach(VARIANCE, 1000).measure(Readout({"height": np.resize(FILL_HEIGHTS, 800)}, signals))
    assert found.metric == pytest.approx(VARIANCE)
    assert 0.1 < found.error < 5
