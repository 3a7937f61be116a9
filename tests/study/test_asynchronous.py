"""Asynchronous studies: any order of completion and any kill."""

from __future__ import annotations

import heapq
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from helpers.studies import Killed
from rl_detector.agent import Batch
from rl_detector.agents import make_agent
from rl_detector.agents.peers.reinforce import Reinforce
from rl_detector.cli import main
from rl_detector.errors import ConfigError, RunFolderError, SimulationError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.records.ledger import Ledger
from rl_detector.reproducible import trial_seed
from rl_detector.study import Budget, Study
from rl_detector.study.asynchronous import AsynchronousStudy, refuse_judge
from rl_detector.study.in_flight import Flow

BUDGET = Budget(events=800, events_per_design=10)

FLOW = Flow(in_flight=24, told_at_once=8)

AGENTS = {"policy_gradient": {"memory": 60}, "reinforce": {"designs_per_update": 16}, "cma_es": {}, "tpe": {}}


class Disordered(SerialEvaluator):
    """In simulated time: each group takes as long as its first seed says; dies after a number of groups."""

    def __init__(self, spread: float = 1.0, groups: int = 10**9) -> None:
        super().__init__(1)
        state = {"spread": spread, "left": groups, "now": 0.0, "pending": [], "number": count()}
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def submit(self, problem, group) -> Future:
        future: Future = Future()
        ready = self.now + float(np.random.default_rng(group.seeds[0]).lognormal(0, self.spread))
        heapq.heappush(self.pending, (ready, next(self.number), future, (problem, group)))
        return future

    def advance(self) -> None:
        if self.left == 0:
            raise Killed
        now, _, future, (problem, group) = heapq.heappop(self.pending)
        object.__setattr__(self, "now", now)
        object.__setattr__(self, "left", self.left - 1)
        future.set_result(problem.evaluate_batch(group.designs, group.events, group.seeds))


class Scripted(Disordered):
    """Completes the trials with these seeds in this order, as far as they are submitted here."""

    def __init__(self, order: list[int], groups: int = 10**9) -> None:
        super().__init__(groups=groups)
        object.__setattr__(self, "order", {seed: place for place, seed in enumerate(order)})

    def submit(self, problem, group) -> Future:
        future: Future = Future()
        heapq.heappush(self.pending, (self.order[group.seeds[0]], group.seeds[0], future, (problem, group)))
        return future


def make_study(problem, folder, agent="policy_gradient", evaluator=None, checkpoint=True, flow=FLOW, **options):
    folder.mkdir(exist_ok=True)
    return AsynchronousStudy(
        problem, make_agent(agent, problem.space, 3, problem.start, **AGENTS[agent]),
        Ledger(folder / "ledger.sqlite"), options.pop("budget", BUDGET), evaluator=evaluator or SerialEvaluator(),
        checkpoint=folder / "checkpoint.pt" if checkpoint else None, flow=flow, **options,
    )  # fmt: skip


def finished(problem, folder, **options):
    """All that must not depend on a kill: the rows of the ledger with the order of completion, and the result."""
    study = make_study(problem, folder, **options)
    design = study.run()
    tables = study.ledger.reproducible_rows(), study.ledger.trials()
    rows = sorted((*row, trial.told) for row, trial in zip(*tables, strict=True))
    study.ledger.close()
    return rows, design


def order_of(folder) -> list[int]:
    ledger = Ledger(folder / "ledger.sqlite")
    trials = sorted(ledger.trials(), key=lambda trial: trial.told)
    ledger.close()
    return [trial.evaluation.seed for trial in trials]


@pytest.mark.parametrize(
    ("agent", "checkpoint"), [*((agent, True) for agent in AGENTS), ("policy_gradient", False), ("reinforce", False)]
)
def test_killed_and_resumed_equals_uninterrupted_for_the_same_order(bowl, tmp_path, agent, checkpoint, monkeypatch):
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    whole = finished(bowl, tmp_path / "whole", agent=agent, evaluator=Disordered())
    order = order_of(tmp_path / "whole")
    assert order != [trial_seed(0, number) for number in range(80)]
    options = {"agent": agent, "checkpoint": checkpoint}
    for groups in (0, 1, 7, 21, 25):  # 54 of 80 in all
        with pytest.raises(Killed):
            make_study(bowl, tmp_path / "killed", evaluator=Scripted(order, groups), **options).run()
    assert finished(bowl, tmp_path / "killed", evaluator=Scripted(order), **options) == whole


def test_killed_after_any_number_of_results(bowl, tmp_path, monkeypatch):
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    options = {"agent": "reinforce", "budget": Budget(180, 10), "flow": Flow(6, 3)}
    whole = finished(bowl, tmp_path / "whole", evaluator=Disordered(), **options)
    order = order_of(tmp_path / "whole")
    for groups in range(18):
        folder = tmp_path / str(groups)
        with pytest.raises(Killed):
            make_study(bowl, folder, evaluator=Scripted(order, groups), **options).run()
        assert finished(bowl, folder, evaluator=Scripted(order), **options) == whole


def test_a_lost_checkpoint_is_replayed_from_the_ledger(bowl, tmp_path):
    whole = finished(bowl, tmp_path / "whole", evaluator=Disordered())
    order = order_of(tmp_path / "whole")
    with pytest.raises(Killed):
        make_study(bowl, tmp_path / "killed", evaluator=Scripted(order, 60)).run()
    (tmp_path / "killed" / "checkpoint.pt").write_bytes(b"PK truncated")
    assert finished(bowl, tmp_path / "killed", evaluator=Scripted(order)) == whole


def test_the_order_of_completion_matters(bowl, tmp_path):
    first, _ = finished(bowl, tmp_path / "first", evaluator=Disordered())
    other, _ = finished(bowl, tmp_path / "other", evaluator=Disordered(spread=2.0))
    assert first != other


@pytest.mark.parametrize("common_events", [False, True])
def test_serial_studies_are_equal_bit_for_bit(bowl, tmp_path, common_events, monkeypatch):
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    whole = finished(bowl, tmp_path / "whole", common_events=common_events)
    assert finished(bowl, tmp_path / "again", common_events=common_events) == whole
    assert [row[-1] for row in whole[0]] == list(range(80))
    study = make_study(bowl, tmp_path / "killed", common_events=common_events)
    study.step(8)
    study.step(8)
    study.save()
    study.ledger.close()
    assert finished(bowl, tmp_path / "killed", common_events=common_events) == whole


def test_new_designs_start_even_where_results_lie_ready(bowl, tmp_path):
    started = []

    class Noted(SerialEvaluator):
        def submit(self, problem, group) -> Future:
            started.extend(group.seeds)
            return super().submit(problem, group)

    study = make_study(bowl, tmp_path / "run", evaluator=Noted())
    for _ in range(5):
        study.step(8)
        assert len(started) == study.asked


def test_common_events_are_those_of_one_ask(bowl, tmp_path):
    study = make_study(bowl, tmp_path / "run", common_events=True, evaluator=Disordered())
    study.run()
    seeds: dict[int, set[int]] = {}
    for trial in study.ledger.trials():
        seeds.setdefault(trial.number // 8, set()).add(trial.evaluation.seed)
        assert trial.batch == trial.number // 8
    assert all(found == {trial_seed(0, 8 * batch)} for batch, found in seeds.items())


def test_it_improves_and_spends_its_budget(bowl, tmp_path):
    study = make_study(bowl, tmp_path / "run", evaluator=Disordered())
    reports = []
    recommended = study.run(reports.append)
    assert study.ledger.events() == reports[-1].events == 800
    assert reports[-1].trials == 80 and reports[-1].batch == 10
    gain = bowl.evaluate(recommended, 4000, 1).reward - bowl.evaluate(bowl.start, 4000, 1).reward
    assert gain > 0.4


@pytest.mark.parametrize("jobs", [1, 3])
def test_threads_complete_in_their_own_order(bowl, tmp_path, jobs):
    class Threads(Disordered):
        advance = None  # not in simulated time: the study waits

        def submit(self, problem, group) -> Future:
            return pool.submit(problem.evaluate_batch, group.designs, group.events, group.seeds)

    with ThreadPoolExecutor(4) as pool:
        whole, _ = finished(bowl, tmp_path / "run", evaluator=Threads(), flow=Flow(24, 8, jobs), agent="reinforce")
    assert sorted(row[-1] for row in whole) == list(range(80))


class Recording(Reinforce):
    """Keeps what it is told."""

    told: list[Batch]

    def tell(self, batch: Batch) -> None:
        self.told = [*getattr(self, "told", []), batch]
        super().tell(batch)


def test_results_are_told_in_the_order_of_completion_with_their_log_probabilities(bowl, tmp_path):
    agent = Recording(bowl.space, 3, bowl.start, designs_per_update=8)
    study = AsynchronousStudy(
        bowl, agent, Ledger(tmp_path / "ledger.sqlite"), BUDGET, evaluator=Disordered(), flow=FLOW
    )
    study.run()
    rewards = [t.evaluation.reward for t in sorted(study.ledger.trials(), key=lambda trial: trial.told)]
    assert np.concatenate([batch.rewards for batch in agent.told]).tolist() == rewards
    fresh = Reinforce(bowl.space, 3, bowl.start)  # the policy of the first three asks
    early = [t for t in sorted(study.ledger.trials(), key=lambda t: t.told) if t.told < 16 and t.number < 24]
    places = {t.told: fresh.log_probability(_one(t.action))[0] for t in early}
    given = np.concatenate([batch.log_probabilities for batch in agent.told])
    np.testing.assert_allclose([given[place] for place in places], list(places.values()))
    assert len(places) >= 10


def _one(action):
    return type(action)(action.continuous[None], action.discrete[None])


def test_failures_are_complete_but_not_told(failing_bowl, tmp_path):
    agent = Recording(failing_bowl.space, 3, failing_bowl.start, designs_per_update=8)
    study = AsynchronousStudy(
        failing_bowl, agent, Ledger(tmp_path / "ledger.sqlite"), BUDGET, evaluator=Disordered(), flow=FLOW
    )
    study.run()
    failed = [trial for trial in study.ledger.trials() if trial.evaluation.failed]
    assert 10 < len(failed) == study.failed
    assert all(trial.evaluation.failure == "this seed is unlucky" for trial in failed)
    assert sum(len(batch.rewards) for batch in agent.told) == 80 - len(failed)


def test_a_hopeless_study_stops_and_can_go_on(bowl, tmp_path):
    class Moody:
        broken = False

        def simulate(self, design, events, seed):
            if self.broken:
                raise OSError("licence server is down")
            return bowl.simulator.simulate(design, events, seed)

        describe = bowl.simulator.describe

    problem, evaluator = replace(bowl, simulator=Moody()), Disordered()
    study = make_study(problem, tmp_path / "run", evaluator=evaluator)
    study.step(8)
    problem.simulator.broken = True
    with pytest.raises(SimulationError, match=r"24 of the latest 32 simulations failed.*resumed.*licence server"):
        study.run()
    assert study.ledger.count() == 32
    assert all(future.cancelled() for _, _, future, _ in evaluator.pending)
    problem.simulator.broken = False
    evaluator.pending.clear()
    study.run()
    assert study.ledger.count() == 80
    assert study.failed == 24


def test_a_lost_worker_stops_the_study_and_what_was_complete_is_kept(bowl, tmp_path):
    class Lost(Disordered):
        def advance(self) -> None:
            if self.left == 10**9 - 20:
                self.pending[0][2].set_exception(ConnectionError("the cluster is gone"))
            else:
                super().advance()

    with pytest.raises(ConnectionError, match="cluster is gone"):
        make_study(bowl, tmp_path / "run", evaluator=Lost()).run()
    assert len(order_of(tmp_path / "run")) == 20
    rows, _ = finished(bowl, tmp_path / "run", evaluator=Disordered())
    assert len(rows) == 80


def test_ledgers_of_other_studies_are_refused(bowl, tmp_path):
    finished(bowl, tmp_path / "run", evaluator=Disordered())
    with pytest.raises(RunFolderError, match=r"is not what this agent proposes there.*another agent, seed, flow"):
        make_study(bowl, tmp_path / "run", flow=Flow(16, 4)).run()
    ledger = Ledger(tmp_path / "batches.sqlite")
    agent = make_agent("reinforce", bowl.space, 3, bowl.start)
    Study(bowl, agent, ledger, replace(BUDGET, events=300, designs_per_batch=8)).run()
    with pytest.raises(RunFolderError, match="comes from a study that is not asynchronous: trial 0"):
        AsynchronousStudy(bowl, agent, ledger, BUDGET, flow=FLOW)


def test_a_ledger_that_lost_trials_is_not_continued_in_silence(bowl, tmp_path):
    whole = finished(bowl, tmp_path / "run", evaluator=Disordered())
    order = order_of(tmp_path / "run")
    path = tmp_path / "run" / "ledger.sqlite"
    remove(path, f"told >= {len(order) - 20}")
    with pytest.warns(UserWarning, match=r"lacks 20 of the 80 trials that .* knows"):
        again = finished(bowl, tmp_path / "run", evaluator=Scripted(order))
    assert again == whole
    remove(path, "told = 40")
    with pytest.warns(UserWarning, match=r"lacks 1 of the 80 trials that .* knows"):
        assert finished(bowl, tmp_path / "run") == whole, "a lost result is simulated again, at its place"
    remove(path, "told = 40")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"damaged")
    assert finished(bowl, tmp_path / "run") == whole
    make_study(bowl, tmp_path / "other").save()
    (tmp_path / "other" / "checkpoint.pt").replace(tmp_path / "run" / "checkpoint.pt")
    path.unlink()
    with pytest.raises(RunFolderError, match=r"is empty, but .* knows 0 trials: the ledger was lost"):
        finished(bowl, tmp_path / "run")


def remove(path: Path, where: str) -> None:
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute(f"DELETE FROM trials WHERE {where}")
    connection.commit()
    connection.close()


def test_a_judge_is_refused():
    refuse_judge(None)
    with pytest.raises(ConfigError, match="judge=none"):
        refuse_judge(object())


@pytest.mark.parametrize("numbers", [(4, 8, 1), (8, 1, 1), (8, 4, 0)])
def test_impossible_flows_are_refused(numbers):
    with pytest.raises(ConfigError, match="told_at_once >= 2"):
        Flow(*numbers)


@pytest.mark.parametrize(
    ("arguments", "flow"),
    [
        ((1,), Flow(4, 2)),
        ((2,), Flow(4, 2)),
        ((1000,), Flow(1050, 50)),
        ((4, 0, 0, 16), Flow(80, 16, 16)),
        ((4, 6, 3), Flow(6, 3)),
    ],
)
def test_flows_keep_workers_busy(arguments, flow):
    assert Flow.for_workers(*arguments) == flow


@pytest.fixture
def command(tmp_path, monkeypatch, capfd, quick_figures):
    """Carries out a command in the folder of the test; gives the exit code and what it says of errors."""
    monkeypatch.chdir(tmp_path)

    def carry_out(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        return int(stop.value.code or 0), capfd.readouterr().err

    return carry_out


def test_the_command_line_trains_asynchronously_and_keeps_the_flow(tmp_path, command):
    small = ["env=oracle", "agent=reinforce", "budget.events=400", "budget.events_per_design=10", "held_out.events=50"]
    workers = ["evaluator=local", "evaluator.workers=2", "flow.told_at_once=4"]
    code, message = command("train", "asynchronous=true", *small, *workers)
    assert code == 0, message
    (folder,) = (tmp_path / "runs").iterdir()
    assert "in_flight: 8\n  told_at_once: 4\n  designs_per_job: 1" in (folder / "config.yaml").read_text()
    assert len(order_of(folder)) == 40
    code, message = command("train", "asynchronous=true", "judge=shared", *small[2:])
    assert code == 2
    assert "use judge=none with asynchronous=true" in message
    assert "Traceback" not in message
