"""Judging designs by few events each: the numbers, the plumbing, and that nothing of it is lost by a kill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from helpers.studies import DyingEvaluator, Killed, outcome
from rl_detector.agent import Batch
from rl_detector.agents import make_agent
from rl_detector.agents.peers.random_search import RandomSearch
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.reach.shared_judge import SharedJudge, plain_features
from rl_detector.records.ledger import Ledger
from rl_detector.space import Encoding
from rl_detector.study import Budget, Study
from rl_detector.terms import Readout

PROBLEM = calorimeter()
BUDGET = Budget(events=240, events_per_design=4, designs_per_batch=12)


class Listening(RandomSearch):
    """Random search that keeps what it is told."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.told: list[Batch] = []

    def tell(self, batch: Batch) -> None:
        self.told.append(batch)
        super().tell(batch)


def make_study(folder: Path, *, agent=None, problem=PROBLEM, budget=BUDGET, judge=None, **options) -> Study:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.sqlite", {"judge": "shared"})
    agent = agent or make_agent("cma_es", problem.space, 3, problem.start)
    options = {"common_events": True, "checkpoint": folder / "checkpoint.pt", **options}
    return Study(problem, agent, ledger, budget, judge=judge or SharedJudge(problem), **options)


def finished(folder: Path, **options):
    return outcome(make_study(folder, **options))


@pytest.mark.parametrize(("reconstruction", "save_every"), [("kernel", 0.0), ("kernel", 1e9), ("network", 0.0)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, reconstruction, save_every):
    """With a checkpoint after every batch, and with none: then the whole ledger is replayed through the judge."""
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", save_every)
    monkeypatch.setattr("rl_detector.reconstruct.neural.FOLDS", 2)
    budget = Budget(events=192, events_per_design=4, designs_per_batch=12)

    def judge() -> SharedJudge:
        return SharedJudge(PROBLEM, reconstruction)

    whole = finished(tmp_path / "whole", judge=judge(), budget=budget)
    for groups in (4, 0, 5):  # of 12
        with pytest.raises(Killed):
            make_study(tmp_path / "killed", judge=judge(), budget=budget, evaluator=DyingEvaluator(groups)).run()
    assert finished(tmp_path / "killed", judge=judge(), budget=budget) == whole


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Study:
    """A finished study; its agent has kept what it was told."""
    agent = Listening(PROBLEM.space, 0, PROBLEM.start)
    study = make_study(tmp_path_factory.mktemp("judged") / "run", agent=agent)
    study.run()
    return study


def test_all_designs_told_before_are_judged_anew_with_every_batch(judged):
    study, agent = judged, judged.agent
    sizes = [len(batch.revised) for batch in agent.told]
    assert sizes == list(range(0, 60, 12))
    first = agent.told[0].rewards
    assert not np.allclose(agent.told[1].revised, first)
    assert np.corrcoef(agent.told[-1].revised[:12], first)[0, 1] > 0.5
    stored = [trial.evaluation.reward for trial in study.ledger.trials(4)]
    np.testing.assert_array_equal(stored, agent.told[4].rewards)
    assert (agent.told[-1].errors > 0).all()


def test_without_a_judge_nothing_is_revised_and_no_readout_kept(tmp_path, bowl):
    agent = Listening(bowl.space, 0, bowl.start)
    study = Study(bowl, agent, Ledger(tmp_path / "ledger.sqlite"), BUDGET)
    study.run()
    assert all(batch.revised is None for batch in agent.told)
    assert study.ledger.readouts() == {}


@dataclass(frozen=True)
class Unlucky:
    """The calorimeter's simulator, which fails for every eighth seed."""

    simulator: object

    def simulate(self, design, events, seed) -> Readout:
        if seed % 8 == 0:
            raise SimulationError("this seed is unlucky")
        return self.simulator.simulate(design, events, seed)

    def describe(self):
        return self.simulator.describe()


def test_failed_designs_are_left_out(tmp_path):
    problem = replace(PROBLEM, simulator=Unlucky(PROBLEM.simulator))
    agent = Listening(problem.space, 0, problem.start)
    study = make_study(tmp_path / "run", agent=agent, problem=problem, common_events=False)
    study.run()
    good = [len(batch.rewards) for batch in agent.told]
    assert 0 < study.failed == 60 - sum(good)
    assert [len(batch.revised) for batch in agent.told] == list(np.cumsum([0, *good[:-1]]))
    assert study.ledger.count("FAILED") == study.failed
    assert len(study.ledger.readouts()) == sum(good)


def test_readouts_come_back_exactly(judged):
    trial = next(iter(judged.ledger.trials(3)))
    readout = judged.ledger.readouts(3)[trial.number]
    expected = PROBLEM.simulator.simulate(trial.evaluation.design, 4, trial.evaluation.seed)
    np.testing.assert_array_equal(readout.signals, expected.signals)
    np.testing.assert_array_equal(readout.truth["energy"], expected.truth["energy"])


def test_a_problem_without_features_is_seen_by_its_encoding(tmp_path):
    problem = replace(PROBLEM, features=None)
    features = plain_features(problem.space)
    design = problem.baselines["homogeneous"]
    assert features.design(design).shape == (6 + 6 * 2,)
    assert features.events(design, np.ones((7, 3))).shape == (7, 7)
    finished(tmp_path / "run", problem=problem, budget=Budget(events=96, events_per_design=4, designs_per_batch=12))


def test_old_designs_keep_their_reach_beyond_the_window(tmp_path):
    study = make_study(tmp_path / "run", judge=SharedJudge(PROBLEM, window=36))
    study.step(12)
    for _ in range(3):
        study.step(12)
    before = [told.evaluation.reward for told in study.scoring.told]
    study.step(12)
    after = [told.evaluation.reward for told in study.scoring.told]
    assert after[:24] == before[:24]
    assert after[24:48] != before[24:]


def test_a_reach_without_events_is_refused(bowl):
    with pytest.raises(ConfigError, match=r"needs a reach that declares its target.*bowl is a MeanSignal"):
        SharedJudge(bowl)
    with pytest.raises(ConfigError, match="unknown reconstruction 'tree' of the judge: known are kernel, network"):
        SharedJudge(PROBLEM, "tree")
    with pytest.raises(ConfigError, match="window must be at least 2 designs, got 1"):
        SharedJudge(PROBLEM, window=1)


def around_baselines(count: int) -> list:
    """Designs around the published start and a block of PbWO4, a fifth of the materials changed."""
    rng, designs = np.random.default_rng(1), []
    for index in range(count):
        continuous, discrete = PROBLEM.space.encode(
            PROBLEM.baselines["published_start" if index % 2 else "homogeneous"]
        )
        flipped = np.where(rng.random(6) < 0.2, 1 - discrete, discrete)
        designs.append(PROBLEM.space.decode(Encoding(continuous + 0.2 * rng.normal(size=6), flipped)))
    return designs


def test_five_events_per_design_tell_good_from_bad():
    """200 designs x 5 events: judged reach against that of 2000 events and a fit per design.

    Correlation above 0.65 (25 events and a fit per design: 0.8 with five times the events), slope 1 within 0.35.
    Without the shared reconstruction five events tell nothing: the problem refuses them.
    """
    designs = around_baselines(200)
    judge, kept = SharedJudge(PROBLEM), PROBLEM.for_judge()
    for batch in range(10):
        judge.add(kept.evaluate_batch(designs[20 * batch : 20 * batch + 20], 5, [batch] * 20))
    judged = np.array([measurement.reach for measurement in judge.judge()])
    truth = np.array([e.measurement.reach for e in PROBLEM.evaluate_batch(designs, 2000, [99] * 200)])
    assert np.corrcoef(judged, truth)[0, 1] > 0.65
    assert np.polyfit(truth, judged, 1)[0] == pytest.approx(1.0, abs=0.35)
    with pytest.raises(ConfigError, match="at least 20 events"):
        PROBLEM.reach.measure(PROBLEM.simulator.simulate(designs[0], 5, 0))
