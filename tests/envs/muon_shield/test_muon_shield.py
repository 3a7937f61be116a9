"""The muon shield: objective in closed form, source of muons, invariances of the simulation, options and errors."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.envs.muon_shield.fast import MUONS_PER_DRAW
from rl_detector.envs.muon_shield.layout import design, length, mass, published
from rl_detector.envs.muon_shield.problem import COSTS, cavern_use, components, muon_shield
from rl_detector.envs.muon_shield.reach import (
    FORBIDDEN_OBJECTIVE,
    MASS_SCALE,
    ShieldReach,
    blurred_weight,
    continuous_loss,
    hit_weight,
    mass_factor,
)
from rl_detector.envs.muon_shield.source import (
    LOWEST_MOMENTUM,
    PROTONS_ON_TARGET,
    ExponentialSource,
    PythiaSource,
    table,
)
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.terms import Readout

LIGHT = design((175,) * 6, [(20, 20, 50, 50, 5, 5)] * 6)


def readout(x: float, y: float, p: float, charge: float, mass: float = 1e6, events: int = 4) -> Readout:
    """One muon at the plane, the others lost."""
    signals = np.zeros((events, 4))
    signals[0, :3], signals[:, 3] = (x, y, p), mass
    truth = {"weight": np.full(events, 8.0), "momentum": np.full(events, 50.0), "charge": np.full(events, charge)}
    return Readout(truth, signals)


@pytest.mark.parametrize(
    ("x", "y", "p", "charge", "weight"),
    [
        (0, 0, 10, -1, math.sqrt(2.6 / 5.6)),
        (0, 0, 10, 1, math.sqrt(2.6 / 5.6)),
        (-2.999999, 4.9, 1.1, -1, 1.0),
        (2.999999, -4.9, 1.1, 1, 1.0),
        (1.0, 0, 10, -1, math.sqrt(1.6 / 5.6)),
        (1.0, 0, 10, 1, math.sqrt(3.6 / 5.6)),
        (2.7, 0, 10, -1, 0.0),
        (2.7, 0, 10, 1, math.sqrt(5.3 / 5.6)),
        (-3.1, 0, 10, -1, 0.0),
        (0, 5.1, 10, -1, 0.0),
        (0, 0, 0.9, -1, 0.0),
    ],
)
def test_weight_of_a_hit(x: float, y: float, p: float, charge: float, weight: float) -> None:
    found = hit_weight(*(np.array([value], dtype=np.float64) for value in (x, y, p, charge)))
    assert found[0] == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize(("blur", "knee", "width"), [(0.05, math.inf, 0.05), (1.0, math.inf, 1.0), (1.0, 3.0, 0.3)])
def test_blurred_weight_is_the_mean_over_the_blur(blur: float, knee: float, width: float) -> None:
    rng = np.random.default_rng(3)
    for x, y in ((0.0, 0.0), (2.6, 0.0), (-3.0, 5.0), (3.2, 4.0)):
        smeared = np.array([[x], [y]]) + rng.normal(0, width, (2, 100_000))
        p, minus = np.full(100_000, 10.0), np.full(100_000, -1.0)
        expected = hit_weight(*smeared, p, minus)
        found = blurred_weight(np.array([x]), np.array([y]), p[:1], minus[:1], blur, knee)[0]
        assert found == pytest.approx(expected.mean(), abs=0.02)


def test_objective_of_one_hit() -> None:
    """(1 + exp(10 (W - W*) / W*)) (1 + 8 w / 4) with a weight of 8 in 4 events."""
    measured = ShieldReach(3.0).measure(readout(0, 0, 10, -1))
    expected = (1 + math.exp(10 * (1e6 - MASS_SCALE) / MASS_SCALE)) * (1 + 2 * math.sqrt(2.6 / 5.6))
    assert measured.diagnostics["objective"] == pytest.approx(expected)
    assert measured.metric == pytest.approx(expected, rel=0.25)
    assert measured.reach == pytest.approx(math.log(3.0 / measured.metric))
    assert measured.error > 0.5
    assert measured.diagnostics["hits"] == 2.0


def test_objective_of_no_hit_has_an_error() -> None:
    measured = ShieldReach(1.0).measure(readout(9, 0, 10, -1))
    assert measured.diagnostics["objective"] == mass_factor(1e6)
    assert mass_factor(1e6) < measured.metric < mass_factor(1e6) * (1 + 8.0 / 4)
    assert 0.3 < measured.error < 2.3
    assert measured.losses is None


def test_heavy_shields_are_forbidden() -> None:
    assert mass_factor(MASS_SCALE) == 2.0
    assert ShieldReach(1.0).measure(readout(0, 0, 10, -1, mass=3.1e6)).metric == FORBIDDEN_OBJECTIVE


def test_a_mass_that_is_no_number() -> None:
    with pytest.raises(SimulationError, match="mass of a shield"):
        ShieldReach(1.0).measure(readout(0, 0, 10, -1, mass=math.nan))


def test_continuous_loss_falls_with_the_deflection() -> None:
    """A negative muon that was sent to positive x has none, one on the wrong side has 1."""
    x = np.array([3.0, 2.1, 0.0, -2.1])
    loss = continuous_loss(x, np.full(4, 10.0), np.full(4, -1.0))
    np.testing.assert_allclose(loss, [0, 0, math.sqrt(0.5), 1])


@pytest.mark.parametrize("source", [PythiaSource(), ExponentialSource()])
def test_muons_of_a_source(source: Any) -> None:
    muons = source.sample(5000, np.random.default_rng(1))
    px, py, pz = muons.momentum
    assert set(muons.charge) == {-1.0, 1.0}
    assert np.all(pz > 0) and np.all(muons.weight > 0)
    assert abs(np.mean(muons.weight * px)) < 5 * np.std(muons.weight * px) / math.sqrt(5000)
    assert abs(np.corrcoef(px, py)[0, 1]) < 0.06


def test_weights_undo_the_importance() -> None:
    """Muons above a momentum per PROTONS_ON_TARGET: of the table, and of samples with and without importance."""
    rows = table()
    for importance in (False, True):
        muons = PythiaSource(importance=importance).sample(60_000, np.random.default_rng(2))
        p = np.sqrt((muons.momentum**2).sum(axis=0))
        for threshold in (10.0, 30.0):
            terms = muons.weight * (p > threshold)
            smeared = rows.weight[rows.momentum > threshold].sum() * PROTONS_ON_TARGET
            assert terms.mean() == pytest.approx(smeared, rel=0.05)


def test_rows_of_the_table() -> None:
    rows = table()
    assert len(rows.momentum) > 10_000
    assert rows.momentum.min() >= LOWEST_MOMENTUM and rows.momentum.max() < 400
    assert np.all(rows.transverse < rows.momentum)
    halves = [table(part) for part in ("first", "second")]
    assert sum(len(half.momentum) for half in halves) == len(rows.momentum)
    assert not set(zip(*halves[0][:2], strict=True)) & set(zip(*halves[1][:2], strict=True))


def test_halves_of_the_table_agree() -> None:
    """Muons per proton above momenta, within 4 standard errors of the rows."""
    for threshold in (LOWEST_MOMENTUM, 20.0, 60.0):
        first, second = (half.weight * (half.momentum > threshold) for half in (table("first"), table("second")))
        error = math.sqrt((first**2).sum() + (second**2).sum())
        assert abs(first.sum() - second.sum()) < 4 * error


def test_the_published_shield_keeps_most_muons_off() -> None:
    problem = muon_shield(blur=0.0)
    found = problem.evaluate(published(), 4000, 1).measurement
    bare = problem.evaluate(LIGHT, 4000, 1).measurement
    assert found is not None and bare is not None
    assert bare.metric > 100 * found.metric
    assert bare.metric_error < 0.1 * bare.metric


def test_standard_error_is_that_of_repeated_runs() -> None:
    problem = muon_shield()
    found = [problem.evaluate(published(), 1000, seed).measurement for seed in range(30)]
    metrics = np.array([m.metric for m in found if m is not None])
    errors = np.array([m.metric_error for m in found if m is not None])
    assert metrics.std(ddof=1) == pytest.approx(np.sqrt((errors**2).mean()), rel=0.4)


@pytest.mark.parametrize("events", [4000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_steps_do_not_matter(monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    """Four times as many steps give the same blurred objective within the errors."""
    import rl_detector.envs.muon_shield.fast as tracking

    def measured(seeds: tuple[int, int]) -> tuple[float, float]:
        found = [m for seed in seeds if (m := muon_shield().evaluate(published(), events, seed).measurement)]
        return sum(m.metric for m in found) / 2, sum(m.metric_error**2 for m in found) / 4

    coarse = measured((1, 2))
    monkeypatch.setattr(tracking, "MAGNET_STEPS", tuple(4 * steps for steps in tracking.MAGNET_STEPS))
    monkeypatch.setattr(tracking, "ABSORBER_STEPS", tuple(4 * steps for steps in tracking.ABSORBER_STEPS))
    fine = measured((3, 4))
    assert abs(coarse[0] - fine[0]) < 4 * math.sqrt(coarse[1] + fine[1])


def test_designs_of_a_batch_share_muons_and_chunks_do_not_matter() -> None:
    problem = muon_shield()
    check_simulator(problem.simulator, [published(), LIGHT], events=30)
    check_problem(problem, events=MUONS_PER_DRAW + 50, designs=1)


@pytest.mark.parametrize("settings", [{}, {"source": "exponential"}, {"cost": "money", "cavern": True}])
def test_contract(settings: dict[str, Any]) -> None:
    check_problem(muon_shield(**settings), events=60)


def test_limits() -> None:
    problem = muon_shield(length_limit=30.0, cavern=True, cost="money", cost_weight=0.1)
    found = problem.evaluate(published(), 20, 1)
    assert found.violations["mass"] == pytest.approx(mass(published()) - 1.05e6)
    assert found.violations["length"] == pytest.approx(length(published()) / 100 - 30)
    assert found.violations["cavern"] == pytest.approx(cavern_use(published()) - 1) == pytest.approx(230 / 169 - 1)
    assert set(muon_shield(mass_limit=None).evaluate(published(), 20, 1).violations) == set()


def test_money() -> None:
    """The published design is near the reference of the newer studies, iron at 8 CHF per kg the larger part."""
    price = COSTS["money"][2](published())
    assert 8 * (mass(published()) - 257.4e3) / 1000 < price < 1.5 * 13_000


def test_layout_is_the_row_of_magnets() -> None:
    parts = components(published())
    assert [part.start for part in parts[1:]] == pytest.approx([part.start + part.length for part in parts[:-1]])
    assert parts[-1].start + parts[-1].length == pytest.approx(length(published()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "cosmic"}, "unknown source 'cosmic'"),
        ({"part": "third"}, "unknown part 'third'"),
        ({"cost": "weight"}, "unknown cost 'weight'"),
        ({"mass_limit": -1.0}, "mass_limit of the muon shield must be > 0"),
        ({"length_limit": math.nan}, "length_limit of the muon shield must be > 0"),
        ({"distance": 0.0}, "distance > 0 m"),
        ({"blur": -1.0}, "blur of hits must be >= 0 m"),
        ({"knee": 0.0}, "knee of the blur must be > 0 GeV"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        muon_shield(**settings)


def test_few_muons_are_quick() -> None:
    problem = muon_shield()
    problem.evaluate(published(), 20, 0)
    started = time.process_time()
    for seed in range(5):
        problem.evaluate(published(), 20, seed)
    assert (time.process_time() - started) / 5 < 0.1
