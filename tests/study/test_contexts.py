"""One training for many prices of cost: contexts that replay, rewards as told, nobody who gets it wrong in silence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import yaml

from helpers.studies import DyingEvaluator, Killed, outcome
from rl_detector.agents import AGENTS, agent_class, make_agent
from rl_detector.cli import main
from rl_detector.conf.schema import fingerprint
from rl_detector.errors import ConfigError, RunFolderError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.execution.local import LocalEvaluator
from rl_detector.records.ledger import Ledger
from rl_detector.records.run_folder import RunFolder
from rl_detector.report.family import at_own_weights
from rl_detector.report.history import read_history
from rl_detector.study import Budget, describe_metrics
from rl_detector.study.contexts import Contexts, ContextualStudy
from rl_detector.study.validation import validate_family

BUDGET = Budget(events=2000, events_per_design=10, designs_per_batch=16)
CONTEXTS, DEAR = Contexts((0.0, 3.0)), Contexts((0.0, 30.0))
SMALL = ["budget.events=3200", "budget.events_per_design=20", "budget.designs_per_batch=16", "held_out.events=200"]


def make_study(problem, folder, evaluator=None, budget=BUDGET, contexts=CONTEXTS, agent="contextual_policy_gradient"):
    folder.mkdir(exist_ok=True)
    return ContextualStudy(
        problem, make_agent(agent, problem.space, 3, problem.start), Ledger(folder / "ledger.sqlite"), budget, seed=7,
        evaluator=evaluator or SerialEvaluator(5), checkpoint=folder / "checkpoint.pt", contexts=contexts,
    )  # fmt: skip


def finished(problem, folder, **options):
    study = make_study(problem, folder, **options)
    return *outcome(study), study


def test_contexts_are_a_function_of_seed_and_batch(bowl):
    weights = [CONTEXTS.task(bowl, 7, batch).cost_weight for batch in range(200)]
    assert weights == [CONTEXTS.task(bowl, 7, batch).cost_weight for batch in range(200)]
    assert len(set(weights)) == 200 and 0 <= min(weights) < 0.1 and 2.9 < max(weights) <= 3
    assert weights[0] != CONTEXTS.task(bowl, 8, 0).cost_weight
    by_hand = np.random.default_rng(np.random.SeedSequence([7, 1, 5])).uniform(0.0, 3.0)
    assert weights[5] == by_hand
    assert CONTEXTS.grid() == [0.0, 0.75, 1.5, 2.25, 3.0]


def test_the_ledger_has_the_rewards_as_told_and_progress_the_context(bowl, tmp_path):
    told, seen = [], []
    study = make_study(bowl, tmp_path / "run")
    tell, ask = study.agent.tell, study.agent.ask
    study.agent.tell = lambda batch: (told.append(batch.rewards), tell(batch))[1]
    study.agent.ask = lambda observation, n: (seen.append(observation), ask(observation, n))[1]
    progress = []
    study.run(progress.append)
    for batch, (rewards, observation) in enumerate(zip(told, seen, strict=True)):
        task = CONTEXTS.task(bowl, 7, batch)
        assert observation.tolist() == task.observation.tolist()
        assert progress[batch].context == {"cost_weight": task.cost_weight}
        assert describe_metrics(progress[batch])["context/cost_weight"] == task.cost_weight
        stored = [trial.evaluation for trial in study.ledger.trials(batch)]
        assert [each.reward for each in stored] == rewards.tolist()
        by_hand = [each.measurement.reach - task.cost_weight * each.costs["mass"] / 10 for each in stored]
        np.testing.assert_allclose(rewards, by_hand, rtol=1e-12)
    assert len({row.tolist()[0] for row in seen}) == len(seen) == 13


def test_the_best_so_far_is_the_best_at_the_problems_own_cost_weight(bowl, tmp_path):
    problem = bowl.with_cost_weight(15.0)
    study = make_study(problem, tmp_path / "run", contexts=DEAR)
    study.run()
    trials = [trial.evaluation for trial in study.ledger.trials()]
    own = [each.measurement.reach - 1.5 * each.costs["mass"] for each in trials]
    assert study.best.design == trials[int(np.argmax(own))].design
    assert study.best.design != max(trials, key=lambda each: each.reward).design, "or the test shows nothing"
    again = make_study(problem, tmp_path / "run", contexts=DEAR)
    assert again.best.design == study.best.design


@pytest.mark.parametrize("checkpoints", [0.0, 1e9], ids=["checkpoints", "ledger alone"])
def test_killed_and_resumed_equals_uninterrupted(bowl, tmp_path, checkpoints, monkeypatch):
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", checkpoints)
    whole, design, _ = finished(bowl, tmp_path / "whole")
    rng = np.random.default_rng(1)
    for _ in range(6):
        with pytest.raises(Killed):
            make_study(bowl, tmp_path / "killed", evaluator=DyingEvaluator(int(rng.integers(0, 8)))).run()
    rows, again, _ = finished(bowl, tmp_path / "killed")
    assert rows == whole and again == design


def test_failures_stay_failures(failing_bowl, tmp_path):
    rows, _, study = finished(failing_bowl, tmp_path / "run")
    assert 0 < study.failed < study.trials
    states = {(row[2], row[10] is None) for row in rows}
    assert states == {("DONE", False), ("FAILED", True)}


def test_worker_processes_give_the_same_ledger(bowl, tmp_path):
    from rl_detector.assembly import build_problem

    problem = build_problem({"name": "oracle", "kind": "quadratic", "dimensions": 3}, None)
    problem = type(bowl)(**{**vars(problem), "costs": bowl.costs[:0]})
    with pytest.raises(ConfigError, match=r"has no effect: .* has no costs"):
        make_study(problem, tmp_path / "none")
    calorimeter = build_problem({"name": "calorimeter", "cost_weight": 1.0}, {"name": "fast"})
    small = Budget(1280, 20, 16)
    serial, *_ = finished(calorimeter, tmp_path / "serial", budget=small)
    evaluator = LocalEvaluator(workers=2, group=4)
    try:
        local, *_ = finished(calorimeter, tmp_path / "local", budget=small, evaluator=evaluator)
    finally:
        evaluator.close()
    assert serial == local


def test_one_training_serves_all_prices(bowl, tmp_path):
    """Reward -(x - 0.3)^2 - w (1 + x) / 10: the best x moves by -w / 20; at w = 0 and 3 apart by 0.15."""
    problem = bowl.with_cost_weight(1.5)
    budget = Budget(events=48_000, events_per_design=20, designs_per_batch=24)
    study = make_study(problem, tmp_path / "run", budget=budget)
    study.run()
    cheap, dear = (study.recommended_at(weight)["x"] for weight in (0.0, 3.0))
    assert cheap - dear > 0.05
    assert study.recommended() == study.recommended_at(1.5)
    assert all(study.recommended_at(weight)["material"] == "good" for weight in CONTEXTS.grid())


def test_family_on_paired_events(bowl):
    problem = bowl.with_cost_weight(1.0)
    one, other = ({"x": x, "y": -0.5, "material": "good"} for x in (0.3, -0.2))
    members = validate_family(problem, one, {0.0: one, 2.0: other}, 4000, 0)
    assert [member.cost_weight for member in members] == [0.0, 2.0]
    assert members[0].gain.value == 0
    start = problem.evaluate(problem.start, 4000, 1).measurement.reach
    assert members[0].reach == pytest.approx(0.0 - start, abs=0.05), "against the first baseline"
    assert members[1].reward == pytest.approx(members[1].reach - 2.0 * 0.8 / 10, abs=1e-12)
    # reach falls by 0.25, cost by 2 * 0.05
    assert members[1].gain.value == pytest.approx(-0.25 + 0.1, abs=1e-9), "the same events, so no noise is left"
    json.dumps([member.to_json() for member in members])


@pytest.mark.parametrize("agent", [name for name in AGENTS if name != "contextual_policy_gradient"])
def test_agents_that_ignore_the_observation_are_refused(bowl, tmp_path, agent):
    if not getattr(agent_class(agent), "contextual", False):
        with pytest.raises(ConfigError, match=r"needs an agent that follows the observation.*would learn one design"):
            make_study(bowl, tmp_path / "run", agent=agent)
        assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("agent", AGENTS)
def test_agents_say_truly_whether_they_follow_the_observation(bowl, agent, light):
    """Those that do not declare it propose the same whatever they are shown."""
    made = [make_agent(agent, bowl.space, 0, bowl.start, **light.get(agent, {})) for _ in range(2)]
    shown = [one.ask(np.array([weight, 5.0]), 4) for one, weight in zip(made, (0.1, 0.9), strict=True)]
    same = all(np.array_equal(a, b) for a, b in zip(*shown, strict=True))
    assert same, "the first proposals of no agent can depend on a context that it has never learned from"
    assert getattr(agent_class(agent), "contextual", False) == (agent == "contextual_policy_gradient")


@pytest.mark.parametrize("bad", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (0.0, np.inf), (0.0, np.nan)])
def test_ranges_that_are_none(bad):
    with pytest.raises(ConfigError, match="0 <= low < high"):
        Contexts(bad)


def test_the_own_cost_weight_must_be_among_those_of_the_training(bowl, tmp_path):
    with pytest.raises(ConfigError, match="must be among those of the training, 0 to 3, got 9"):
        make_study(bowl.with_cost_weight(9.0), tmp_path / "run")


def test_the_fingerprint_knows_contexts_only_where_there_are_some():
    base: dict[str, Any] = {"seed": 0, "env": {"name": "calorimeter"}}
    assert fingerprint(base, {}) == fingerprint({**base, "contexts": {"cost_weight": None}}, {})
    assert fingerprint({**base, "contexts": {"cost_weight": [0, 1]}}, {})["contexts.cost_weight"] == [0, 1]


WRONG = {
    "agent": (["agent=policy_gradient"], "needs an agent that follows the observation"),
    "judge": (["judge=shared"], "needs judge=none"),
    "asynchronous": (["asynchronous=true"], "use asynchronous=false"),
    "range": (["contexts.cost_weight=[2,1]"], "0 <= low < high"),
    "three": (["contexts.cost_weight=[0,1,2]"], "two numbers"),
    "word": (["contexts.cost_weight=[0,much]"], "much"),
    "other": (["+contexts.photon_fraction=[0,1]"], "photon_fraction"),
    "own": (["env.cost_weight=7"], "must be among those of the training"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(case, tmp_path, monkeypatch, capfd):
    words, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    agent = [] if case == "agent" else ["agent=contextual_policy_gradient"]
    with pytest.raises(SystemExit) as stop:
        main(["train", *agent, *SMALL, "contexts.cost_weight=[0,2]", *words])
    assert stop.value.code == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_train_resume_and_report_of_a_family(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["agent=contextual_policy_gradient", "contexts.cost_weight=[0,2]", "env.cost_weight=1.0", *SMALL]
    with pytest.raises(SystemExit) as stop:
        main(["train", *words])
    assert stop.value.code == 0
    assert "cost_weight" in capfd.readouterr().err
    folder = RunFolder.find("latest")
    stored = json.loads(folder.family.read_text())
    assert [member["cost_weight"] for member in stored["members"]] == [0.0, 0.5, 1.0, 1.5, 2.0]
    own = stored["members"][2]
    assert own["design"] == json.loads(folder.recommended.read_text())["design"] and own["gain"]["value"] == 0
    page = folder.report.read_text()
    assert "Designs for other cost weights" in page and (folder.figures / "front.png").exists()
    assert "rewards are those at the problem&#39;s own" in page
    with pytest.raises(SystemExit) as stop:
        main(["resume", "latest"])
    assert stop.value.code == 0
    assert json.loads(folder.family.read_text()) == stored
    config = yaml.safe_load(folder.config.read_text())
    config["contexts"]["cost_weight"] = [0.0, 1.5]
    folder.config.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as stop:
        main(["resume", "latest"])
    assert stop.value.code == 2 and "contexts.cost_weight was [0.0, 2.0], now [0.0, 1.5]" in capfd.readouterr().err


def test_reports_compare_at_the_own_cost_weight(bowl, tmp_path):
    problem = bowl.with_cost_weight(15.0)
    _, _, study = finished(problem, tmp_path / "run", contexts=DEAR)
    path = tmp_path / "run" / "ledger.sqlite"
    as_told = read_history(path)
    history = at_own_weights(as_told, path, problem)
    assert history.best == study.best.design != as_told.best
    assert np.ptp(as_told.reward - history.reward) > 0.1
    other = type(problem)(**{**vars(problem), "costs": (type(problem.costs[0])("price", "EUR", 1.0, lambda d: 1.0),)})
    with pytest.raises(RunFolderError, match="has not the costs of bowl"):
        at_own_weights(as_told, path, other)
