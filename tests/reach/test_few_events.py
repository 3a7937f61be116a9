"""Relative judgement by few events: exact where losses are products, and honest where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.reach.few_events import EVENT_FLOORS, BatchLosses, batch_offsets, calibration, reaches, relative
from rl_detector.space import FloatArray


def study(
    events: int, common: bool, batches: int = 30, designs: int = 20, own: float = 0.7
) -> tuple[list[BatchLosses], FloatArray, FloatArray]:
    """Loss = metric of the design * effect of the event (heavy tail) * scatter of its own; metric = exp(x)."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (batches, designs, 2))
    effects = rng.lognormal(-1.1, 1.5, (batches, 1 if common else designs, events))
    scatter = rng.lognormal(-(own**2) / 2, own, (batches, designs, events))
    losses = np.exp(x[..., :1]) * effects * scatter
    return [BatchLosses(each, common) for each in losses], x.reshape(-1, 2), x[..., 0].ravel()


def test_products_of_design_and_event_are_told_apart_exactly() -> None:
    metric, effects = np.array([0.5, 1.0, 2.5]), np.array([0.01, 7.0, 0.3, 1.0])
    batch = BatchLosses(metric[:, None] * effects, common=True)
    for floor in EVENT_FLOORS:
        np.testing.assert_allclose(relative(batch, floor), metric / metric.mean())


def test_common_events_are_worth_many() -> None:
    """5 common events: the reach scatters by less than 0.4 where 5 independent ones scatter by over 0.6."""
    scatters = {}
    for common in (True, False):
        batches, coordinates, truth = study(5, common)
        values, error = reaches(batches, coordinates, 1.0, logarithmic=True)
        scatters[common] = float((values + truth).std())
        assert error == pytest.approx(scatters[common], rel=0.35), "the stated error is the scatter"
        assert np.corrcoef(values, -truth)[0, 1] > (0.8 if common else 0.3)
    assert scatters[True] < 0.4 < 0.6 < scatters[False]


def test_the_scale_and_the_level_are_those_of_the_metric() -> None:
    batches, coordinates, truth = study(5, common=True)
    values, _ = reaches(batches, coordinates, 1.0, logarithmic=True)
    assert np.polyfit(-truth, values, 1)[0] == pytest.approx(1.0, abs=0.25)
    assert values.mean() == pytest.approx(0.0, abs=0.3)


def test_batches_with_easy_events_are_brought_to_one_level() -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.uniform(-1, 1, (300, 1))
    batches, shift = np.repeat(np.arange(20), 15), rng.normal(size=20)
    raw = np.sin(2 * coordinates[:, 0]) + shift[batches] + 0.1 * rng.normal(size=300)
    offsets, smooth, error = batch_offsets(raw, batches, coordinates)
    assert np.corrcoef(offsets, shift)[0, 1] > 0.99
    assert np.abs((smooth - smooth.mean()) - np.sin(2 * coordinates[:, 0])).mean() < 0.2
    assert error == pytest.approx(0.1, rel=0.2)


def test_weights_are_refused_where_they_change_the_meaning() -> None:
    """Half of the designs are blind but right on easy events: weights would favour them, the plain loss does not."""
    rng = np.random.default_rng(2)
    batches = []
    for _ in range(200):
        easy = rng.random(10) < 0.7
        blind = np.where(easy, 0.01, 6.0) * rng.lognormal(0, 0.3, (10, 10))
        seeing = np.full((10, 10), 0.5) * rng.lognormal(0, 0.3, (10, 10))
        batches.append(BatchLosses(np.concatenate([blind, seeing]), common=True))
    floor, slope, reliability = calibration(batches, float(np.mean([b.losses.mean() for b in batches])))
    assert floor == np.inf
    assert 0 < slope <= 1 and 0 < reliability < 1


def test_one_event_per_design_is_possible() -> None:
    batches, coordinates, truth = study(1, common=True)
    values, error = reaches(batches, coordinates, 1.0, logarithmic=True)
    assert np.isfinite(values).all() and error > 0
    assert np.corrcoef(values, -truth)[0, 1] > 0.4


def test_differences_where_the_reach_is_no_logarithm() -> None:
    batches, coordinates, _ = study(5, common=True)
    values, _ = reaches(batches, coordinates, 3.0, logarithmic=False)
    first = batches[0].losses.mean(axis=1)
    np.testing.assert_allclose(np.diff(values[:20]), -np.diff(first))
