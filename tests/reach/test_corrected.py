"""The corrected reach of pairs of simulators whose losses and correlations are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from rl_detector.errors import ConfigError
from rl_detector.reach.corrected import CorrectedReach
from rl_detector.reach.resolution import ResolutionReach
from rl_detector.simulators.two_fidelities import Plan, TwoFidelities
from rl_detector.terms import Measurement, Readout

EVENTS, FURTHER, REPETITIONS = 60, 8, 1000
SPREAD = 0.3


@dataclass(frozen=True)
class Losses:
    """Signals are losses 1 + 0.3 x, with x = share z + sqrt(1 - share^2) e of the primary z and noise e of its own."""

    share: float
    program: int

    def simulate(self, design: object, events: int, seed: int) -> Readout:
        return self.replicas(design, events, seed, 1)[0]

    def replicas(self, design: object, events: int, seed: int, copies: int) -> list[Readout]:
        z = np.random.default_rng([seed, 0]).standard_normal(events)
        noise = np.random.default_rng([seed, self.program]).standard_normal((copies, events))
        x = self.share * z + np.sqrt(1 - self.share**2) * noise
        return [Readout({"z": z}, self.loss(row)[:, None]) for row in x]

    def loss(self, x: np.ndarray) -> np.ndarray:
        return 1 + SPREAD * x

    def describe(self) -> Mapping[str, str]:
        return {"simulator": f"losses {self.program}"}


@dataclass(frozen=True)
class Skewed(Losses):
    """Losses with a long tail, as those of a calorimeter."""

    def loss(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x)


@dataclass(frozen=True)
class Absurd(Losses):
    """A cheap simulator that gets scale, sign and shape wrong."""

    def loss(self, x: np.ndarray) -> np.ndarray:
        return 700 + 90 * np.abs(x) ** 3 - 200 * x


class MeanLoss:
    """reach = -ln(mean loss)."""

    def measure(self, readout: Readout) -> Measurement:
        losses = readout.signals[:, 0]
        metric, error = losses.mean(), losses.std(ddof=1) / np.sqrt(len(losses))
        return Measurement(-np.log(metric), error / metric, metric, error, losses)


def repeat(pair: TwoFidelities, reach: CorrectedReach, events: int = EVENTS) -> dict[str, np.ndarray]:
    """Reach, error and diagnostics of many independent repetitions."""
    measured = [reach.measure(pair.simulate({}, events, seed)) for seed in range(REPETITIONS)]
    rows = [{"reach": m.reach, "error": m.error, "metric": m.metric, **m.diagnostics} for m in measured]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def pair_of(dear: Losses, cheap: Losses, copies: int = 1) -> TwoFidelities:
    return TwoFidelities(cheap, dear, further=FURTHER, copies=copies)


def pulls(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


CASES = {
    "correlated": (Losses(0.9, 1), Losses(0.9, 2), 1),
    "copies": (Losses(0.8, 1), Losses(0.5, 2), 6),
    "perfectly correlated": (Losses(1.0, 1), Losses(1.0, 2), 1),
    "uncorrelated": (Losses(0.0, 1), Losses(0.9, 2), 4),
    "long tails": (Skewed(0.8, 1), Skewed(0.7, 2), 4),
    "absurd": (Losses(0.8, 1), Absurd(0.9, 2), 3),
    "absurd with long tails": (Skewed(0.8, 1), Absurd(0.9, 2), 1),
}


@pytest.mark.parametrize(
    ("case", "coefficient"), [*((case, None) for case in CASES), ("copies", 0.7), ("long tails", 0.7), ("absurd", 0.7)]
)
def test_no_bias_whatever_the_cheap_simulator_is_worth(case, coefficient):
    dear, cheap, copies = CASES[case]
    found = repeat(pair_of(dear, cheap, copies), CorrectedReach(MeanLoss(), coefficient))
    shift = found["reach"] - found["dear_reach"]
    assert abs(pulls(shift)) < 4
    skewed = isinstance(dear, Skewed)
    mean, variance = (np.exp(0.5), np.e**2 - np.e) if skewed else (1.0, SPREAD**2)
    expected = -np.log(mean) + variance / mean**2 / (
        2 * EVENTS
    )  # the O(1/n) bias of a logarithm, also without correction
    spread = found["reach"].std() / np.sqrt(REPETITIONS)
    assert found["reach"].mean() == pytest.approx(
        expected, abs=4 * spread + (0.3 / EVENTS if skewed else 0.02 / EVENTS)
    )


@pytest.mark.parametrize("case", ["correlated", "copies", "perfectly correlated", "uncorrelated"])
def test_the_variance_falls_as_the_law_says(case):
    dear, cheap, copies = CASES[case]
    shared = cheap.share**2 + (1 - cheap.share**2) / copies
    best = FURTHER / (1 + FURTHER) * dear.share * cheap.share / shared
    found = repeat(pair_of(dear, cheap, copies), CorrectedReach(MeanLoss(), best))
    law = Plan(dear.share * cheap.share, cheap.share**2, 100.0).variance(FURTHER, copies)
    ratio = found["reach"].var() / found["dear_reach"].var()
    statistics = 2 * np.sqrt((1 - np.corrcoef(found["reach"], found["dear_reach"])[0, 1] ** 2) / REPETITIONS)
    assert np.log(ratio / law) == pytest.approx(0, abs=4 * statistics + 0.03)
    stated = np.mean(found["error"] ** 2) / found["reach"].var()
    assert stated == pytest.approx(1, abs=4 * np.sqrt(2 / REPETITIONS))


@pytest.mark.parametrize("copies", [1, 6])
def test_estimated_coefficients_come_close_to_the_law(copies):
    found = repeat(
        pair_of(Losses(0.9, 1), Losses(0.9, 2), copies), CorrectedReach(MeanLoss(), prior=0 if copies == 1 else 50)
    )
    law = Plan(0.81, 0.81, 100.0).variance(FURTHER, copies)
    statistics = 2 * np.sqrt((1 - np.corrcoef(found["reach"], found["dear_reach"])[0, 1] ** 2) / REPETITIONS)
    assert (
        -4 * statistics < np.log(found["reach"].var() / found["dear_reach"].var() / law) < 4 * statistics + 3 / EVENTS
    )


def test_stated_errors_hold_with_long_tails():
    found = repeat(pair_of(*CASES["long tails"]), CorrectedReach(MeanLoss()))
    stated = np.mean(found["error"] ** 2) / found["reach"].var()
    alone = np.mean(found["dear_error"] ** 2) / found["dear_reach"].var()
    assert stated == pytest.approx(alone, abs=0.12)
    assert found["reach"].var() < 0.9 * found["dear_reach"].var()


def test_a_useless_cheap_simulator_costs_little():
    for case in ("uncorrelated", "absurd with long tails"):
        dear, cheap, copies = CASES[case]
        found = repeat(pair_of(dear, cheap, copies), CorrectedReach(MeanLoss(), prior=20))
        assert found["reach"].var() < 1.2 * found["dear_reach"].var()


def test_diagnostics_measure_correlation_and_repeatability():
    found = repeat(pair_of(Losses(0.8, 1), Losses(0.5, 2), 6), CorrectedReach(MeanLoss()))
    correlation = 0.8 * 0.5 / np.sqrt(0.25 + 0.75 / 6)
    assert found["correlation"].mean() == pytest.approx(correlation, abs=0.02)
    assert found["repeatability"].mean() == pytest.approx(0.25, abs=0.01)
    assert set(found["cheap_events"]) == {6 * 9 * EVENTS}


def test_losses_stand_for_the_corrected_reach():
    """Their mean is the metric, and their relative spread the error up to that of the further primaries."""
    pair = TwoFidelities(Losses(0.9, 2), Losses(0.9, 1), further=500)
    measured = CorrectedReach(MeanLoss()).measure(pair.simulate({}, 300, 1))
    assert measured.losses.mean() == pytest.approx(measured.metric)
    assert measured.reach == pytest.approx(-np.log(measured.metric))
    assert measured.losses.std(ddof=1) / measured.metric / np.sqrt(300) == pytest.approx(measured.error, rel=0.02)
    assert measured.error < 0.7 * measured.diagnostics["dear_error"]


def test_a_single_coefficient_from_all_events_would_be_biased():
    """What cross-fitting is for: with few events of a long tail, b and the control mean share their fluctuations."""
    dear, cheap, _ = CASES["long tails"]
    pair, shifts, crossed = TwoFidelities(cheap, dear, further=FURTHER, copies=1), [], []
    for seed in range(REPETITIONS):
        readout = pair.simulate({}, 20, seed)
        g, c = -readout.signals[:, 0], -readout.copies[0].signals[:, 0]
        c, g = c / c.mean() * -1, g / g.mean() * -1
        b = np.cov(g, c[:20])[0, 1] / c[:20].var(ddof=1)
        shifts.append(b * (c[20:].mean() - c[:20].mean()))
        measured = CorrectedReach(MeanLoss(), prior=0).measure(readout)
        crossed.append(measured.reach - measured.diagnostics["dear_reach"])
    assert abs(pulls(np.array(shifts))) > 5
    assert abs(pulls(np.array(crossed))) < 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"folds": 1}, "at least 2 folds"), ({"prior": -1}, "prior"), ({"coefficient": float("nan")}, "coefficient")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        CorrectedReach(MeanLoss(), **settings)


def test_readouts_and_reaches_that_do_not_fit_are_refused():
    plain = Losses(0.5, 1).simulate({}, 30, 0)
    with pytest.raises(ConfigError, match="TwoFidelities"):
        CorrectedReach(MeanLoss()).measure(plain)

    class NoLosses:
        def measure(self, readout: Readout) -> Measurement:
            return Measurement(0.0, 1.0, 1.0, 1.0)

    with pytest.raises(ConfigError, match="loss of every event"):
        CorrectedReach(NoLosses()).measure(TwoFidelities(Losses(0.5, 2), Losses(0.5, 1), copies=1).simulate({}, 30, 0))


def test_too_few_events_for_the_reach_without_a_fold():
    pair = TwoFidelities(Losses(0.5, 2), Losses(0.5, 1), further=4, copies=1)
    with pytest.raises(ConfigError, match="at least 20 events"):
        readout = pair.simulate({}, 21, 0)
        energy = {"energy": np.abs(readout.truth["z"]) + 1}
        CorrectedReach(ResolutionReach(1.0)).measure(
            type(readout)(
                energy,
                readout.signals,
                tuple(Readout({"energy": np.abs(c.truth["z"]) + 1}, c.signals) for c in readout.copies),
            )
        )
