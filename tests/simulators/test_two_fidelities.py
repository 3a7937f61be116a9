"""An expensive simulator with a cheap one as its control: its readouts, stated facts and refusals."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from rl_detector.assembly import Assembly, assemble, build_problem
from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.conf.schema import Start, fingerprint
from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.simulators.two_fidelities import Plan, TwoFidelities
from rl_detector.terms import PairedReadout, Readout

ENV = {"name": "calorimeter"}
FAST_TWICE = {
    "name": "two_fidelities",
    "cheap": {"name": "fast"},
    "dear": {"name": "fast"},
    "further": 3.0,
    "copies": 2,
}
GEANT4 = {"name": "two_fidelities", "cheap": {"name": "fast"}, "dear": {"name": "geant4"}, "cost_ratio": 10_000}


@dataclass(frozen=True)
class Beam:
    """Signals are the primary plus noise and bias. A negative bias fails; `shift` draws other primaries."""

    bias: float = 0.0
    shift: int = 0

    def simulate(self, design: object, events: int, seed: int) -> Readout:
        if self.bias < 0:
            raise SimulationError("the beam is off")
        rng = np.random.default_rng(seed + self.shift)
        z = rng.normal(size=events)
        return Readout({"z": z}, (z + rng.normal(size=events) + self.bias)[:, None])

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "beam", "bias": str(self.bias), "target": "thin"}


def test_cheap_events_begin_with_the_primaries_of_the_expensive_ones():
    problem = build_problem(ENV, FAST_TWICE)
    readout = problem.simulator.simulate(problem.start, 30, 5)
    assert isinstance(readout, PairedReadout)
    assert len(readout.copies) == 2 and all(copy.signals.shape == (120, 3) for copy in readout.copies)
    first, second = readout.copies
    assert all(np.array_equal(copy.truth["energy"][:30], readout.truth["energy"]) for copy in readout.copies)
    assert np.array_equal(first.truth["energy"], second.truth["energy"])
    assert len(np.unique(first.truth["energy"])) == 120
    assert not np.isclose(first.signals, second.signals).all(axis=1).any(), "copies differ in every event"


def test_replicas_of_the_calorimeter_begin_with_its_simulation():
    simulator = build_problem(ENV, {"name": "fast"}).simulator
    design = build_problem(ENV, {"name": "fast"}).baselines["all_pbwo4"]
    copies = simulator.replicas(design, 20, 3, 3)
    assert len(copies) == 3
    assert np.array_equal(copies[0].signals, simulator.simulate(design, 20, 3).signals)
    assert len({copy.signals.tobytes() for copy in copies}) == 3


def test_contracts_of_simulators_and_problems_hold():
    problem = build_problem(ENV, FAST_TWICE)
    check_simulator(problem.simulator, list(problem.baselines.values()))
    check_problem(problem, events=40, designs=2)


def test_it_states_both_simulators_and_what_an_event_costs():
    pair = TwoFidelities(Beam(), Beam(2.0), further=9, copies=1, cost_ratio=100)
    facts = pair.describe()
    assert facts["simulator"] == "beam_to_beam"
    assert facts["bias"] == "2.0" and facts["cheap bias"] == "0.0" and "cheap target" not in facts
    assert facts["cost of an event"] == "1.1 dear events (100 cheap ones per dear one)"
    assert pair.cheap_per_event == 10 and pair.cost_per_event == 1.1
    assert "not stated" in TwoFidelities(Beam(), Beam(), copies=1).describe()["cost of an event"]


def test_the_primaries_must_be_the_same():
    with pytest.raises(ConfigError, match="must draw the same primaries"):
        TwoFidelities(Beam(), Beam(shift=1), copies=1).simulate({}, 5, 0)


def test_failures_of_either_simulator_are_failures_of_the_design():
    for pair in (TwoFidelities(Beam(), Beam(-1.0), copies=1), TwoFidelities(Beam(-1.0), Beam(), copies=1)):
        (outcome,) = pair.simulate_batch([{}], 5, [0])
        assert isinstance(outcome, SimulationError) and "the beam is off" in str(outcome)
        with pytest.raises(SimulationError):
            pair.simulate({}, 5, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"further": 0}, "further must be positive"),
        ({"copies": 0}, "copies must be at least 1"),
        ({"copies": 3}, "expected copies=1, got 3"),
        ({"copies": 1, "cost_ratio": 0}, "cost_ratio"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        TwoFidelities(Beam(), Beam(), **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cheap": None}, "simulator.cheap must be a simulator with a name"),
        ({"dear": {"name": "fats"}}, "unknown simulator 'fats'"),
        ({"copies": "many"}, "simulator.copies"),
        ({"factor": 3}, "simulator.factor"),
        ({"folds": 1}, "at least 2 folds"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_problem(ENV, {**FAST_TWICE, **changes})


def test_a_reach_without_losses_is_refused():
    problem = build_problem({**ENV, "reach": "mutual_information"}, FAST_TWICE)
    with pytest.raises(ConfigError, match="loss of every event"):
        problem.evaluate(problem.start, 200, 0)


def test_fewest_events_leave_enough_without_a_fold_and_workers_are_not_part_of_a_study():
    assert build_problem(ENV, FAST_TWICE).minimum_events == 25
    node = {"simulator": {**GEANT4, "dear": {"name": "geant4", "workers": 3}}}
    assert "simulator.dear.workers" not in fingerprint(node, {})
    assert fingerprint(node, {})["simulator.dear.name"] == "geant4"


def test_the_plan_is_the_optimum_of_two_models_and_says_when_it_does_not_pay():
    rho, ratio = 0.8, 5000.0
    further, copies, factor = Plan(rho, 1.0, ratio).best()
    assert copies == 1
    assert 1 + further == pytest.approx(math.sqrt(ratio * rho**2 / (1 - rho**2)), rel=0.1)
    assert factor == pytest.approx((math.sqrt(1 - rho**2) + math.sqrt(rho**2 / ratio)) ** 2, rel=0.01)
    assert Plan(0.1, 0.2, 5.0).best() == (0.0, 1, 1.0)
    noisy = Plan(0.15, 0.15, 10_000.0)
    assert Plan.measured(0.15 / math.sqrt(0.15 + 0.85 / 20), 20, 0.15, 10_000.0).correlation == pytest.approx(0.15)
    assert noisy.best()[1] > 5 and noisy.best()[2] < 0.92


needs_geant4 = pytest.mark.skipif(
    importlib.util.find_spec("geant4_pybind") is None, reason="geant4 extra not installed"
)


@pytest.mark.geant4
@pytest.mark.slow
@needs_geant4
def test_corrected_reach_agrees_with_geant4_alone():
    both, alone = build_problem(ENV, GEANT4), build_problem(ENV, {"name": "geant4"})
    designs = [both.baselines[name] for name in ("published_start", "uniform_sandwich")]
    corrected = both.evaluate_batch(designs, 150, [1, 1])
    plain = alone.evaluate_batch(designs, 150, [2, 2])
    for first, second in zip(corrected, plain, strict=True):
        assert first.measurement is not None and second.measurement is not None
        error = math.hypot(first.measurement.error, second.measurement.error)
        assert abs(first.measurement.reach - second.measurement.reach) < 3 * error
        assert abs(first.measurement.reach - first.measurement.diagnostics["dear_reach"]) < 3 * first.measurement.error


def test_a_search_in_the_expensive_simulator_starts_where_the_cheap_one_ended(tmp_path):
    problem = build_problem(ENV, FAST_TWICE)
    best = problem.baselines["all_pbwo4"]

    def built(**changes: object) -> Assembly:
        return assemble({**config, **changes})

    def recommended(assembly: Assembly) -> dict:
        return problem.space.decode(assembly.agent.recommend(problem.observation))

    folder = tmp_path / "cheap"
    folder.mkdir()
    config = {"seed": 0, "runs": str(tmp_path), "agent": {"name": "policy_gradient"}}
    config |= {"env": ENV, "simulator": FAST_TWICE}
    (folder / "config.yaml").write_text("seed: 0")
    with pytest.raises(ConfigError, match="has no recommended design yet"):
        _ = built(start="cheap").agent
    (folder / "recommended.json").write_text(json.dumps({"design": best}))
    started = built(start="cheap")
    stored, plain = started.resolved.to_plain(), built().resolved.to_plain()
    assert stored["start"] == best and started.config.start == Start("cheap")
    assert _close(recommended(started), best)
    assert _close(recommended(built()), problem.start)
    assert _close(recommended(built(start=best)), best), "a resumed run has the design itself"
    assert fingerprint(stored, {}) == fingerprint({**config, "start": best}, {})
    assert fingerprint(stored, {}) != fingerprint(plain, {}) == fingerprint(config, {})
    with pytest.raises(DesignError):
        _ = built(start="cheap", env={**ENV, "layers": 2}).agent


def _close(first, second) -> bool:
    thicknesses = ("absorber_thickness", "scintillator_thickness")
    pairs = list(zip(first["layer"], second["layer"], strict=True))
    return all(one[name] == pytest.approx(two[name]) for one, two in pairs for name in thicknesses) and all(
        one[name] == two[name] for one, two in pairs for name in ("absorber", "scintillator")
    )
