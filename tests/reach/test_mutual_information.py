"""Mutual information: closed form of the Gaussian channel, I = -log2(1 - rho^2) / 2, and the calorimeter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree  # type: ignore[import-untyped]
from scipy.special import digamma  # type: ignore[import-untyped]

from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.errors import ConfigError
from rl_detector.reach.mutual_information import LN2, MutualInformationReach
from rl_detector.reach.shared_judge import SharedJudge
from rl_detector.space import Encoding
from rl_detector.terms import Readout

ENTROPY = 0.5 * math.log2(2 * math.pi * math.e)
"""Of a normal distribution of unit width, in bits."""


def channel(rho: float, events: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=events)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=events)


def closed_form(rho: float) -> float:
    return -0.5 * math.log2(1 - rho**2)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_the_gaussian_channel(rho: float) -> None:
    """3000 events: the bound is within 0.06 bits of the truth (its standard error is 0.02), and its error bar holds."""
    bits = []
    for seed in range(6):
        x, y = channel(rho, 3000, seed)
        measured = MutualInformationReach("x", ENTROPY).measure(Readout({"x": x}, y[:, None]))
        bits.append(measured.diagnostics["bits"])
        assert measured.reach == pytest.approx(bits[-1] * math.log(2))
        assert measured.metric == -bits[-1]
    assert np.mean(bits) == pytest.approx(closed_form(rho), abs=0.03)
    assert max(abs(value - closed_form(rho)) for value in bits) < 0.06


def test_few_events_lower_the_bound() -> None:
    """50 events cost 0.05 to 0.25 bits: what the fit has not learned. It stays a lower bound on average."""
    for rho in (0.5, 0.9, 0.99):
        found = []
        for seed in range(30):
            x, y = channel(rho, 50, seed)
            found.append(MutualInformationReach("x", ENTROPY).measure(Readout({"x": x}, y[:, None])).metric)
        assert -0.35 < -np.mean(found) - closed_form(rho) < 0.03


def nearest_neighbours(first: np.ndarray, second: np.ndarray, neighbours: int = 4) -> float:
    """Mutual information in bits by nearest neighbours: an estimate, no bound.

    The first estimator of Kraskov, Stoegbauer and Grassberger (Physical Review E 69 (2004) 066138, eq. 8):
    psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>, after scaling every column to unit variance. Its bias grows with
    the information and with the number of columns: at 3000 events and 2 columns it is below 0.05 bits up to 3 bits.
    """
    x, y = (columns / columns.std(axis=0) for columns in (first, second))
    both = np.concatenate([x, y], axis=1)
    distance = cKDTree(both).query(both, neighbours + 1, p=np.inf)[0][:, -1]
    radius = np.nextafter(distance, 0)
    counts = [cKDTree(columns).query_ball_point(columns, radius, p=np.inf, return_length=True) for columns in (x, y)]
    nats = digamma(neighbours) + digamma(len(x)) - np.mean(digamma(counts[0]) + digamma(counts[1]))
    return float(nats) / LN2


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_nearest_neighbours_agree(rho: float) -> None:
    x, y = channel(rho, 3000, 1)
    assert nearest_neighbours(x[:, None], y[:, None]) == pytest.approx(closed_form(rho), abs=0.08)


def test_a_function_of_the_signals_tells_as_much() -> None:
    x, y = channel(0.9, 3000, 4)
    reach = MutualInformationReach("x", ENTROPY)
    plain, stretched = (reach.measure(Readout({"x": x}, s[:, None])).reach for s in (y, 7 * y - 3))
    assert stretched == pytest.approx(plain, abs=1e-3)


def test_the_calorimeter_by_information() -> None:
    """The start is the zero; more PbWO4 tells more; 2000 events."""
    problem = calorimeter(reach="mutual_information")
    found = {name: problem.evaluate(design, 2000, 1).measurement for name, design in problem.baselines.items()}
    assert abs(found["published_start"].reach) < 3 * found["published_start"].error
    assert found["uniform_sandwich"].reach < -0.4 < 0.6 < found["homogeneous"].reach < found["all_pbwo4"].reach
    readout = problem.simulator.simulate(problem.baselines["published_start"], 2000, 1)
    neighbours = nearest_neighbours(readout.truth["energy"][:, None], readout.signals)
    assert 0 < neighbours - found["published_start"].diagnostics["bits"] < 0.5, "a lower bound, not far below"


def test_few_events_per_design_judged_by_shared_information() -> None:
    """160 designs x 5 events around two baselines: the correlation with 2000 events each is above 0.6."""
    problem = calorimeter(reach="mutual_information")
    rng = np.random.default_rng(0)
    designs = []
    for index in range(160):
        design = problem.baselines["published_start" if index % 2 else "homogeneous"]
        continuous, discrete = problem.space.encode(design)
        designs.append(problem.space.decode(Encoding(continuous + 0.3 * rng.normal(size=6), discrete)))
    judge, kept = SharedJudge(problem), problem.for_judge()
    for batch in range(8):
        judge.add(kept.evaluate_batch(designs[20 * batch : 20 * batch + 20], 5, [batch] * 20))
    judged = [measurement.reach for measurement in judge.judge()]
    truth = [e.measurement.reach for e in problem.evaluate_batch(designs, 2000, [99] * 160)]
    assert np.corrcoef(judged, truth)[0, 1] > 0.6


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown reach 'gain' of the calorimeter: known are resolution, mutual_info"):
        calorimeter(reach="gain")
    with pytest.raises(ConfigError, match="needs a spectrum"):
        calorimeter(reach="mutual_information", energy_low=5.0, energy_high=5.0)
    with pytest.raises(ConfigError, match="at least 20 events per design, got 19"):
        MutualInformationReach("x", 0.0).measure(Readout({"x": np.ones(19)}, np.ones((19, 1))))
