from __future__ import annotations

import numpy as np
import pytest

from helpers.studies import DyingEvaluator, Killed, outcome
from rl_detector.agents import AGENTS, make_agent
from rl_detector.errors import ConfigError, RunFolderError, SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.records.checkpoint import load_checkpoint
from rl_detector.records.ledger import Ledger
from rl_detector.reproducible import held_out_seed, trial_seed
from rl_detector.study import Budget, Study
from rl_detector.study.memory import Counts, Memory

BUDGET = Budget(events=2000, events_per_design=10, designs_per_batch=16)


def case(agent: str, *values: object) -> object:
    """Those of the slowest agent take a minute: they are for `make physics`."""
    return pytest.param(agent, *values, marks=[pytest.mark.slow] if agent == "bayesian" else [])


def make_study(
    problem, folder, agent="policy_gradient", evaluator=None, checkpoint=True, settings=None, **options
) -> Study:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.sqlite", {"agent": agent})
    file = folder / "checkpoint.pt" if checkpoint else None
    return Study(
        problem, make_agent(agent, problem.space, 3, problem.start, **(settings or {})), ledger, BUDGET,
        evaluator=evaluator or SerialEvaluator(5), checkpoint=file, **options,
    )  # fmt: skip


def finished(problem, folder, **options):
    return outcome(make_study(problem, folder, **options))


def test_a_study_spends_its_budget_and_improves(bowl, tmp_path):
    study = make_study(bowl, tmp_path / "run")
    recommended = study.run()
    assert study.ledger.events() == 2000
    start = bowl.evaluate(bowl.start, 4000, 1)
    found = bowl.evaluate(recommended, 4000, 1)
    assert found.reward - start.reward > 0.5
    assert found.measurement.error < 0.01


@pytest.mark.parametrize(
    ("agent", "common_events"), [*(case(agent, False) for agent in AGENTS), ("policy_gradient", True), ("nsga2", True)]
)
def test_killed_and_resumed_equals_uninterrupted(bowl, tmp_path, agent, common_events, light, monkeypatch):
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    options = {"agent": agent, "common_events": common_events, "settings": light.get(agent)}
    whole, design = finished(bowl, tmp_path / "whole", **options)
    rng = np.random.default_rng(1)
    for _ in range(6):
        with pytest.raises(Killed):
            make_study(bowl, tmp_path / "killed", evaluator=DyingEvaluator(int(rng.integers(0, 8))), **options).run()
    rows, again = finished(bowl, tmp_path / "killed", **options)
    assert rows == whole and again == design


def test_a_damaged_checkpoint_is_replayed_from_the_ledger(bowl, tmp_path):
    whole, design = finished(bowl, tmp_path / "whole")
    with pytest.raises(Killed):
        make_study(bowl, tmp_path / "killed", evaluator=DyingEvaluator(20)).run()
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    checkpoint.write_bytes(b"PK truncated")
    assert finished(bowl, tmp_path / "killed") == (whole, design)


def test_a_lost_ledger_is_not_replaced_in_silence(bowl, tmp_path):
    finished(bowl, tmp_path / "run")
    (tmp_path / "run" / "ledger.sqlite").unlink()
    with pytest.raises(RunFolderError, match=r"is empty, but .* knows 200 trials: the ledger was lost"):
        finished(bowl, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    finished(bowl, tmp_path / "run")


def test_a_ledger_that_lost_its_latest_trials_is_replayed(bowl, tmp_path):
    whole, design = finished(bowl, tmp_path / "run")
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    with ledger._connection as connection:
        connection.execute("DELETE FROM trials WHERE trial >= 90")
    ledger.close()
    with pytest.warns(UserWarning, match="lacks 110 of the 200 trials"):
        assert finished(bowl, tmp_path / "run") == (whole, design)


@pytest.mark.parametrize("agent", [case(agent) for agent in AGENTS])
def test_a_checkpoint_of_another_run_is_not_believed(bowl, tmp_path, agent, light):
    whole, design = finished(bowl, tmp_path / "run")
    finished(bowl, tmp_path / "other", agent=agent, common_events=True, settings=light.get(agent))
    (tmp_path / "other" / "checkpoint.pt").replace(tmp_path / "run" / "checkpoint.pt")
    assert finished(bowl, tmp_path / "run") == (whole, design)


def test_a_checkpoint_of_another_order_of_telling_is_not_used(bowl, tmp_path):
    whole = finished(bowl, tmp_path / "run")
    study = make_study(bowl, tmp_path / "run")
    for plan in ({"scoring": "judge", "told": "in batches"}, {"scoring": "reach", "flow": {}}):
        Memory(study.ledger, study.memory.checkpoint, plan).save(Counts(3, 48, 0), {"agent": "of another study"})
    study.ledger.close()
    assert finished(bowl, tmp_path / "run") == whole


def test_a_checkpoint_with_one_wrong_byte_is_not_believed(bowl, tmp_path):
    whole, design = finished(bowl, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert load_checkpoint(path) is None
    assert finished(bowl, tmp_path / "run") == (whole, design)


def test_group_size_does_not_matter(bowl, tmp_path):
    first, _ = finished(bowl, tmp_path / "one", evaluator=SerialEvaluator(1))
    second, _ = finished(bowl, tmp_path / "many", evaluator=SerialEvaluator(64))
    assert first == second


def test_failed_simulations_are_counted_and_left_out(failing_bowl, tmp_path):
    study = make_study(failing_bowl, tmp_path / "run")
    reports = []
    study.run(reports.append)
    failed = [trial for trial in study.ledger.trials() if trial.evaluation.failed]
    assert 0 < len(failed) == reports[-1].failed < study.trials / 2
    assert failed[0].evaluation.failure.startswith("failed twice: this seed is unlucky")
    assert failed[0].evaluation.reward is None


class Moody:
    """Wraps a problem's simulator; broken while `broken` is set."""

    def __init__(self, simulator) -> None:
        self.simulator, self.broken = simulator, False

    def simulate(self, design, events, seed):
        if self.broken:
            raise OSError("licence server is down")
        return self.simulator.simulate(design, events, seed)

    def describe(self):
        return self.simulator.describe()


def test_a_hopeless_batch_stops_the_study_which_can_go_on_later(bowl, tmp_path):
    from dataclasses import replace

    whole, design = finished(bowl, tmp_path / "whole")
    moody = Moody(bowl.simulator)
    problem = replace(bowl, simulator=moody)
    study = make_study(problem, tmp_path / "moody")
    study.step(16)
    moody.broken = True
    with pytest.raises(SimulationError, match=r"16 of 16 .* batch 1 failed.*licence server is down"):
        study.run()
    study.ledger.close()
    moody.broken = False
    assert finished(problem, tmp_path / "moody") == (whole, design)


def test_a_ledger_of_another_seed_is_refused(bowl, tmp_path):
    finished(bowl, tmp_path / "run", checkpoint=False)
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", {"agent": "policy_gradient"})
    study = Study(bowl, make_agent("policy_gradient", bowl.space, 4, bowl.start), ledger, BUDGET)
    with pytest.raises(RunFolderError, match="is not what this agent proposes there"):
        study.run()


def test_common_events_share_a_seed_within_a_batch_only(bowl, tmp_path):
    study = make_study(bowl, tmp_path / "run", common_events=True)
    study.run()
    seeds = {batch: {t.evaluation.seed for t in study.ledger.trials(batch)} for batch in range(study.batch)}
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == study.batch


def test_trial_seeds_are_distinct_and_never_a_held_out_seed():
    seeds = {trial_seed(root, trial) for root in range(5) for trial in range(1000)}
    assert len(seeds) == 5000
    assert not seeds & {held_out_seed(root) for root in range(5)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": 5, "events_per_design": 10}, "pay for at least one design of 10 events, got 5"),
        ({"events": 5, "events_per_design": 0}, "events_per_design must be at least 1, got 0"),
        ({"events": 5, "events_per_design": 1, "designs_per_batch": 0}, "designs_per_batch must be at least 2"),
    ],
)
def test_impossible_budgets_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Budget(**arguments)
