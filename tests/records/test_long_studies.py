"""Studies of many trials read and keep no more than they need."""

from __future__ import annotations

import gc
import shutil
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from helpers.trials import trial
from rl_detector.agents import make_agent
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.report.history import MAXIMUM_DESIGNS, read_history
from rl_detector.study import Budget, Study
from rl_detector.study.memory import Counts

TRIALS = 10_000


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every batch, and a database that is written from its WAL often, as in a long study."""
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("rl_detector.records.ledger_schema.WAL_PAGES", 20)


@pytest.fixture(scope="module")
def long_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "ledger.sqlite"
    rewards = np.random.default_rng(0).normal(size=TRIALS).tolist()
    with closing(Ledger(path)) as ledger:
        for first in range(0, TRIALS, 1000):
            ledger.append(trial(n, reward=rewards[n]) for n in range(first, first + 1000))
    return path


def test_a_study_at_work_reads_no_more_than_its_batch(bowl: DesignProblem, long_ledger: Path, tmp_path: Path) -> None:
    shutil.copy(long_ledger, tmp_path / "ledger.sqlite")
    budget = Budget(events=10 * TRIALS + 320, events_per_design=10, designs_per_batch=16)
    ledger, statements = Ledger(tmp_path / "ledger.sqlite"), list[str]()
    agent = make_agent("random_search", bowl.space, 0, bowl.start)
    fresh = Study(bowl, agent, ledger, budget, checkpoint=tmp_path / "checkpoint.pt")
    fresh.memory.save(Counts(TRIALS // 16, TRIALS, 0), {**fresh.state(), "scoring": {"best": 17}})
    ledger._connection.set_trace_callback(statements.append)
    study = Study(bowl, agent, ledger, budget, checkpoint=tmp_path / "checkpoint.pt")
    assert (study.trials, study.best) == (TRIALS, trial(17, reward=study.best.reward).evaluation)
    study.run()
    ledger._connection.set_trace_callback(None)
    assert ledger.count() == TRIALS + 32
    queries = [text for text in statements if text.startswith(("SELECT", "DELETE", "INSERT INTO trials"))]
    assert len(queries) > 5
    for query in queries:
        for *_, plan in ledger._connection.execute(f"EXPLAIN QUERY PLAN {query}"):
            assert "SCAN" not in plan or "COVERING INDEX" in plan, f"{query}: {plan}"
    ledger.close()


def test_the_best_trial_is_the_first_of_the_best(long_ledger: Path) -> None:
    with closing(Ledger(long_ledger, read_only=True)) as ledger:
        rewards = [each.evaluation.reward for each in ledger.trials() if each.batch < 300]
        best = ledger.best(300)
    assert best is not None and best.number == int(np.argmax(rewards))


def test_a_long_study_needs_no_more_memory_than_a_short_one(bowl: DesignProblem, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    agent = make_agent("random_search", bowl.space, 0, bowl.start)
    study = Study(bowl, agent, ledger, Budget(20_000 * 2, 2, 100), checkpoint=tmp_path / "checkpoint.pt")
    for _ in range(3):
        study.step(100)
    study.save()
    tracemalloc.start()
    gc.collect()  # cycles of the JSON encoder wait for it
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(30):
        study.step(100)
    study.save()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    ledger.close()
    assert grown < 100_000, f"{grown} bytes for 3000 trials"


def test_a_history_of_many_trials_keeps_all_results_and_some_designs(
    long_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = read_history(long_ledger)
    assert len(everything.sampled) == len(everything) == TRIALS <= MAXIMUM_DESIGNS
    monkeypatch.setattr("rl_detector.report.history.MAXIMUM_DESIGNS", 500)
    tracemalloc.start()
    some = read_history(long_ledger)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 15_000_000
    np.testing.assert_array_equal(some.reward, everything.reward)
    assert (some.best, some.spent, some.failures) == (everything.best, everything.spent, everything.failures)
    assert len(some.sampled) == len(some.allowed) == len(some.costs["mass"]) == len(some.continuous) == 500
    assert some.sampled[0] == 0 and some.sampled[-1] == TRIALS - 1
    np.testing.assert_array_equal(some.sample.reward, everything.reward[some.sampled])
    np.testing.assert_array_equal(some.continuous, everything.continuous[some.sampled])
