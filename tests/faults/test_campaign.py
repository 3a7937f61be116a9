"""A small campaign of faults; `make faults` runs the whole one and writes results.md."""

from __future__ import annotations

import json
import random
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import faulty_studies as studies
from campaign import CRASHES, PARTS, Campaign
from fault_plan import Plan
from fault_table import Table, readable, write
from faulty_files import damage_all
from faulty_oracle import ENDS, SPOILS
from faulty_program import KINDS
from faulty_runs import SERIAL, Chain, end_with, other_evaluator, reproducible, run_chain


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path, 2)


QUICK = [kind for kind in CRASHES if kind != "out of memory"]


def test_no_crash_and_no_nonsense_changes_the_ledger(campaign: Campaign) -> None:
    place, plan = campaign.plan("crashes", 0.6, 0.1, QUICK)
    study = studies.faulty_oracle(place, plan, "worker process", 43.0)
    assert study.run(campaign.table, studies.watched("local", 4, 10.0, None), "random_search", 1) == 0
    assert campaign.table.lost == 0
    assert campaign.table.injected >= 15 and len(campaign.table.kinds) >= 10


def test_a_hang_is_ended_and_an_agent_that_learns_does_not_notice(campaign: Campaign) -> None:
    place, plan = campaign.plan("hanging", 0.2, 0.0, ["hang (sleep)", "hang (GIL held)", "stopped (SIGSTOP)"])
    study = studies.faulty_oracle(place, plan, "worker process", 5.0)
    assert study.run(campaign.table, studies.watched("local", 1, 1.0, None), "reinforce", 1) == 0
    assert campaign.table.lost == 0 and campaign.table.injected >= 2
    assert all(0.9 < kind.noticed[0] < 5 for kind in campaign.table.kinds.values())


def test_programs_that_fail_in_every_way(campaign: Campaign) -> None:
    kinds = [kind for kind in KINDS if "hang" not in kind]
    place, plan = campaign.plan("programs", 0.6, 0.2, kinds)
    study = studies.faulty_program(place, plan, "simulator=command", 5.0, 30.0)
    assert study.run(campaign.table, studies.watched("local", 4, 60.0, None), "random_search", 1) == 0
    assert campaign.table.lost == 0
    assert campaign.table.injected >= 15 and len(campaign.table.kinds) >= 10


def test_damaged_folders(tmp_path: Path) -> None:
    table = Table()
    damage_all(table, tmp_path, 1, 1, ("checkpoint: cut off", "ledger: cut off", "ledger: -wal lost", "folder moved"))
    assert table.lost == 0 and table.injected == 4
    assert any(kind.again for kind in table.kinds.values()), "something was really damaged"


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    expected = Chain(tmp_path / "undisturbed", 320, random.Random(0), evaluator=dict(SERIAL))
    assert expected.finish()[0] == 0
    table, chain = Table(), Chain(tmp_path / "killed", 320, random.Random(1))
    rows = reproducible(expected.ledger)
    run_chain(table, chain, "killed", end_with(9), [-1.0, 60, 200], rows, other_evaluator)
    assert table.lost == 0 and table.injected == 3 and chain.hung == 0


def test_lost_trials_are_seen(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a simulator whose second try gives other results is counted as lost."""
    place, plan = campaign.plan("wrong", 0.5, 0.0, ["exception"])
    study = studies.faulty_oracle(place, plan, "worker process", 43.0)
    rows_of = studies.rows_of

    def spoiled(problem, folder, *arguments):
        rows = rows_of(problem, folder, *arguments)
        touched = {fault.trial for fault in plan.injected()}
        return {n: (*row[:-1], "[1]") if row[studies.SEED] in touched else row for n, row in rows.items()}

    monkeypatch.setattr(studies, "rows_of", spoiled)
    study.run(campaign.table, studies.watched("local", 16, 10.0, None), "random_search", 1)
    assert campaign.table.lost == campaign.table.injected > 5


def test_faults_are_a_function_of_trial_and_attempt(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), 1, 0.5, 0.5, tuple(ENDS))
    for trial in range(200):
        kinds = [plan.kind(trial, attempt) for attempt in range(3)]
        assert kinds[1] == kinds[2] == (kinds[0] if plan.fails_always(trial) else None)
    (trial,) = [trial for trial in range(50) if plan.kind(trial, 0)][:1]
    assert plan.next(trial) == plan.kind(trial, 0) and plan.next(trial) == plan.kind(trial, 1)
    assert [fault.attempt for fault in plan.injected()][:1] == [0]


def test_the_table(tmp_path: Path) -> None:
    table = Table()
    table.note("a", "here", "went on", noticed=1.0, said="in /tmp/x/run/ledger.sqlite | it broke")
    table.note("a", "here", "went on", noticed=3.0)
    facts = {"hangs": 0, "seed": 1, "seconds": 60, "load": 1.0}
    for part in ("first", "second", "second"):
        totals = write(tmp_path, part, facts, table.to_json())
    assert totals == {"injected": 4, "lost": 0, "again": 0, "hangs": 0, "seconds": 120}
    line = "| a | here | 2 | 2 went on | 0 | 0 | 2.00, 3.00 | in .../ledger.sqlite / it broke |"
    assert line in (tmp_path / "results.md").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["kinds"][0]["noticed"] == {"median": 2.0, "most": 3.0}
    assert readable("x" * 500).endswith(" ...")


def test_the_committed_result_has_no_loss() -> None:
    results = json.loads((Path(__file__).parent / "results.json").read_text())
    assert results["lost"] == results["hangs"] == 0
    kinds = {kind["fault"] for kind in results["kinds"]}
    assert results["injected"] >= 500 and len(kinds) >= 20 and set(SPOILS) <= kinds
    assert set(results["parts"]) == set(PARTS) and all(hasattr(Campaign, part) for part in PARTS)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
