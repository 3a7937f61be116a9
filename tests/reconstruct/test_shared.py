"""Reconstructions shared by designs: what varies with the design is learned, and no design is judged by its own fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl_detector.reconstruct.neural import NetworkReconstruction
from rl_detector.reconstruct.shared import KernelReconstruction, Reconstruction, Sample, kernel_basis
from rl_detector.space import FloatArray


def sample(designs: int = 120, events: int = 5, seed: int = 0, noise: float = 0.05) -> Sample:
    """One signal per event; the response 1 / (2 + x) depends on the design x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (designs, 2))
    target = rng.uniform(0.5, 2, designs * events)
    owners = np.repeat(np.arange(designs), events)
    signal = target / (2 + x[owners, 0]) + noise * rng.normal(size=len(target))
    features = np.column_stack([np.ones_like(signal), signal])
    return Sample(features, target, np.ones_like(target), owners, x, np.arange(designs))


@pytest.fixture(scope="module", params=[KernelReconstruction, NetworkReconstruction])
def make(request: pytest.FixtureRequest) -> type[Reconstruction]:
    kind: type[Reconstruction] = request.param
    return kind


@pytest.fixture(scope="module")
def predicted(make: type[Reconstruction]) -> FloatArray:
    """Of the events of `sample`, once for all tests."""
    return make().predict(sample())


def test_a_response_that_depends_on_the_design_is_learned(make: type[Reconstruction], predicted: FloatArray) -> None:
    events = sample()
    residuals = predicted - events.target
    blind = replace(events, coordinates=np.zeros_like(events.coordinates))
    best = 0.05 * 2.05  # mean slope times noise
    assert residuals.std() < 1.7 * best
    assert (make().predict(blind) - events.target).std() > 2.5 * best


def test_a_design_does_not_teach_the_fit_that_judges_it(make: type[Reconstruction], predicted: FloatArray) -> None:
    """Wild targets of one design must hardly move its own predictions (variances and folds stay common)."""
    events = sample()
    target = events.target.copy()
    target[events.designs == 7] += 1.0
    after = make().predict(replace(events, target=target))
    own = events.designs == 7
    assert np.abs(after - predicted)[own].max() < 0.05


def test_the_network_goes_on_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl_detector.reconstruct.neural.FOLDS", 2)
    events = sample(designs=30)
    first = NetworkReconstruction(3)
    first.predict(events)
    second = NetworkReconstruction(3)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first.predict(events), second.predict(events))


def test_the_basis_reproduces_the_kernel() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (80, 3))
    basis = kernel_basis(x, 80)
    distances = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(basis @ basis.T, np.exp(-distances / (2 * 0.8**2 * 3)), atol=1e-3)
    assert kernel_basis(x, 7).shape == (80, 7)
    assert kernel_basis(np.zeros((5, 2)), 10).shape == (5, 1)
