"""Maps of scattering density: closed forms for one voxel, a homogeneous block, nothing; the likelihood never falls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl_detector.reconstruct import scattering_density
from rl_detector.reconstruct.scattering_density import (
    FloatArray,
    Kinks,
    Paths,
    Prior,
    closest_approach_map,
    likelihood_map,
    logarithm,
)

NONE = Prior(1.0, 1e-9)
"""A prior that counts nothing."""


def one_voxel(muons: int) -> Paths:
    """Vertical ways through one voxel of 0.1 m, its middle 0.5 m above where offsets are measured."""
    return Paths(np.zeros((1, muons), dtype=np.intp), 1, np.array([0.5]), np.ones(muons), 0.1)


def column(muons: int, voxels: int = 6) -> Paths:
    """Inclined ways through a column of voxels of 0.1 m, each in two parts; some pass one of two columns only half."""
    rng = np.random.default_rng(0)
    parts = 2 * voxels
    index = np.repeat(np.arange(voxels), 2)[:, None] + np.zeros(muons, dtype=np.intp)
    other = rng.integers(0, parts + 1, muons)
    index = np.where(np.arange(parts)[:, None] < other, index, index + voxels)
    heights = 0.1 * voxels - 0.05 * (np.arange(parts) + 0.5)
    return Paths(index, 2 * voxels, heights, rng.uniform(1, 1.3, muons), 0.05)


def deflected(paths: Paths, density: FloatArray, seed: int, noise: float = 1e-6) -> Kinks:
    """Kinks drawn part by part from the model, and errors of the hits."""
    rng = np.random.default_rng(seed)
    muons = len(paths.stretch)
    beta_squared = np.full(muons, 0.99)
    factor = logarithm(paths.radiation_lengths(density), beta_squared)
    width = np.sqrt(density[paths.voxels] * paths.step * paths.stretch * factor)
    turns = width * rng.standard_normal((2, *paths.voxels.shape))
    levers = paths.heights[:, None] * paths.stretch
    error = noise**0.5 * rng.standard_normal((2, 2, muons))
    variance = np.array([[noise], [0.0], [noise]]) * np.ones(muons)
    return Kinks(turns.sum(axis=1) + error[0], (turns * levers).sum(axis=1) + error[1], variance, beta_squared)


def test_one_voxel_has_the_mean_squared_kink_after_one_step() -> None:
    """Maximum likelihood of a variance: density = mean(kink^2) / (F length), whatever the start."""
    paths, truth = one_voxel(500), np.array([20.0, 0.0])
    kinks = deflected(paths, truth, 1, noise=0.0)
    kinks = replace(kinks, noise=np.array([[1e-12], [0.0], [1e-12]]) * np.ones(500))
    start = np.array([2.0, 0.0])
    factor = logarithm(paths.radiation_lengths(start), kinks.beta_squared)
    expected = float((kinks.angle**2 / factor).mean() / 0.1)
    assert likelihood_map(kinks, paths, start, NONE, 1)[0] == pytest.approx(expected, rel=1e-3)
    found = likelihood_map(kinks, paths, start, NONE, 5)[0]
    assert found == pytest.approx(20.0, rel=4 / 1000**0.5)


def test_closest_approach_in_one_voxel_is_the_mean_squared_angle() -> None:
    paths, truth = one_voxel(2000), np.array([20.0, 0.0])
    kinks = deflected(paths, truth, 2)
    found = closest_approach_map(kinks, paths, np.zeros(2000, dtype=np.intp), Prior(20.0, 1e-9))
    assert found[0] == pytest.approx(20.0, rel=4 / 4000**0.5)
    assert found[1] == 0


@pytest.mark.parametrize("density", [2.0, 11.0])
def test_a_homogeneous_block_is_found_back_without_bias(density: float) -> None:
    """Mean over the ways of the estimate within 4 standard errors, 1 / sqrt(muons), and every voxel within 40 %."""
    paths, muons = column(4000), 4000
    truth = np.append(np.full(12, density), 0.0)
    kinks = deflected(paths, truth, 3, noise=1e-4)
    found = likelihood_map(kinks, paths, np.append(np.full(12, 5.0), 0.0), Prior(5.0, 0.1), 100)
    mean = np.average(found[:-1], weights=paths.tracks())
    assert mean == pytest.approx(density, rel=4 / muons**0.5)
    np.testing.assert_allclose(found[:-1], density, rtol=0.4)


def test_a_dense_voxel_is_found_where_it_is() -> None:
    paths = column(4000)
    truth = np.append(np.full(12, 2.0), 0.0)
    truth[3] = 100.0
    found = likelihood_map(deflected(paths, truth, 4), paths, np.append(np.full(12, 2.0), 0.0), Prior(2.0, 1.0), 60)
    assert found[:-1].argmax() == 3
    assert found[3] == pytest.approx(100.0, rel=0.2)
    assert np.median(found[:-1]) < 5


def test_nothing_scatters_nothing_is_seen() -> None:
    """Without kinks the prior is left, diluted by the track seen; closest approach has a floor of a tenth of it."""
    paths, prior, still = one_voxel(1000), Prior(2.0, 10.0), np.zeros((2, 1000))
    kinks = Kinks(still, still, np.array([[1e-9], [0.0], [1e-9]]) * np.ones(1000), np.full(1000, 0.99))
    rough = closest_approach_map(kinks, paths, np.zeros(1000, dtype=np.intp), prior)
    assert rough[0] == pytest.approx(0.2)
    found = likelihood_map(kinks, paths, rough, prior, 3)
    assert found[0] == pytest.approx(2.0 * 10 / (100 + 10), rel=1e-3)


def test_without_muons_the_prior_is_left() -> None:
    empty = np.zeros((2, 0))
    paths = Paths(np.zeros((12, 0), dtype=np.intp), 12, np.linspace(0.6, 0, 12), np.zeros(0), 0.05)
    kinks = Kinks(empty, empty, np.zeros((3, 0)), np.zeros(0))
    rough = closest_approach_map(kinks, paths, np.zeros(0, dtype=np.intp), Prior(3.0, 1.0))
    np.testing.assert_allclose(likelihood_map(kinks, paths, rough, Prior(3.0, 1.0), 5)[:-1], 3.0)


def log_likelihood(kinks: Kinks, paths: Paths, density: FloatArray) -> float:
    """Of all kinks, with the covariance summed up part by part."""
    levers = paths.heights[:, None] * paths.stretch
    parts = density[paths.voxels] * paths.step * paths.stretch
    second = (parts * (levers**2 + (paths.step * paths.stretch) ** 2 / 12)).sum(0)
    matrix = np.array([[parts.sum(0), (parts * levers).sum(0)], [(parts * levers).sum(0), second]])
    noise = kinks.noise[[[0, 1], [1, 2]]]
    covariance = np.moveaxis(matrix + noise, 2, 0)
    data = np.stack([kinks.angle, kinks.offset], axis=-1)
    chi = np.einsum("pmi,mij,pmj->", data, np.linalg.inv(covariance), data)
    return float(-chi / 2 - np.linalg.slogdet(covariance)[1].sum())


def test_the_likelihood_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property of expectation maximisation, without Highland's logarithm and prior."""
    monkeypatch.setattr(scattering_density, "HIGHLAND_LOG", 0.0)
    paths = column(300)
    truth = np.append(np.linspace(1, 40, 12), 0.0)
    kinks = deflected(paths, truth, 5, noise=1e-3)
    density = np.append(np.full(12, 5.0), 0.0)
    values = [log_likelihood(kinks, paths, density)]
    for _ in range(30):
        density = likelihood_map(kinks, paths, density, NONE, 1)
        values.append(log_likelihood(kinks, paths, density))
    assert (np.diff(values) > -1e-6).all()
    assert values[-1] > values[0] + 10
