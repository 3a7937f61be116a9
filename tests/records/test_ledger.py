from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from rl_detector.errors import RunFolderError
from rl_detector.records import ledger_file
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.records.ledger_rows import broken_trials
from rl_detector.records.ledger_schema import is_sealed
from rl_detector.space import Encoding


@pytest.fixture
def trials(bowl, failing_bowl):
    rng = np.random.default_rng(0)
    result = []
    for number in range(6):
        encoding = Encoding(rng.normal(size=2), rng.integers(0, 2, size=1))
        problem = failing_bowl if number % 2 else bowl
        evaluation = problem.evaluate(problem.space.decode(encoding), 10, number)
        result.append(Trial(number, number // 3, encoding, evaluation, 0.1 * number))
    return result


def test_what_is_stored_comes_back_exactly(tmp_path, trials):
    ledger = Ledger(tmp_path / "ledger.sqlite", {"seed": 0})
    ledger.append(trials)
    ledger.close()
    for stored, trial in zip(Ledger(tmp_path / "ledger.sqlite").trials(), trials, strict=True):
        assert (stored.number, stored.batch, stored.seconds) == (trial.number, trial.batch, trial.seconds)
        np.testing.assert_array_equal(stored.action.continuous, trial.action.continuous)
        np.testing.assert_array_equal(stored.action.discrete, trial.action.discrete)
        assert stored.evaluation == trial.evaluation


def test_counts_and_batches(tmp_path, trials):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.append(trials)
    failed = sum(trial.evaluation.failed for trial in trials)
    assert ledger.count() == 6 and ledger.count("FAILED") == failed > 0
    assert [trial.number for trial in ledger.trials(1)] == [3, 4, 5]
    assert ledger.events() == 60
    ledger.forget(range(6))
    assert ledger.count() == ledger.count("DONE") == 6 - failed


def test_another_configuration_is_refused_and_nothing_is_touched(tmp_path, trials):
    ledger = Ledger(tmp_path / "ledger.sqlite", {"seed": 0, "agent.name": "cma_es"})
    ledger.append(trials)
    ledger.close()
    with pytest.raises(RunFolderError, match=r"seed was 0, now 1"):
        Ledger(tmp_path / "ledger.sqlite", {"seed": 1, "agent.name": "cma_es"})
    assert Ledger(tmp_path / "ledger.sqlite").count() == 6


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database, and it is long enough to be mistaken for one" * 20)
    with pytest.raises(RunFolderError, match="cannot use the ledger"):
        Ledger(path)
    assert path.read_bytes().startswith(b"this is not")


def count_scans(monkeypatch):
    """Numbers of scans of all rows: one entry each."""
    scans = []
    monkeypatch.setattr(ledger_file, "broken_trials", lambda connection: scans.append(1) or broken_trials(connection))
    return scans


@pytest.mark.parametrize("read_only", [True, False])
def test_the_rows_of_a_ledger_that_was_closed_in_order_are_not_read_to_open_it(
    tmp_path, trials, monkeypatch, read_only
):
    path = tmp_path / "ledger.sqlite"
    scans = count_scans(monkeypatch)
    for part in (trials[:3], trials[3:]):
        ledger = Ledger(path, {"seed": 0})
        ledger.append(part)
        ledger.close()
    assert scans == [1, 1]
    before = path.read_bytes()[100:]
    ledger = Ledger(path, {"seed": 0}, read_only)
    assert ledger.count() == 6
    ledger.close()
    assert scans == [1, 1]
    assert path.read_bytes()[100:] == before


def test_the_rows_of_a_copy_made_at_work_are_read_to_open_it(tmp_path, trials, monkeypatch):
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        ledger.append(trials)
        for part in tmp_path.glob("ledger.sqlite*"):
            shutil.copyfile(part, tmp_path / f"copy{part.name.removeprefix('ledger')}")
    scans = count_scans(monkeypatch)
    with closing(Ledger(tmp_path / "copy.sqlite", read_only=True)) as ledger:
        assert ledger.count() == 6
    assert scans == [1]


def test_what_changed_under_a_writer_is_not_sealed(tmp_path, trials):
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.append(trials)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE trials SET events = events + 1 WHERE trial = 4")
    assert not is_sealed(path)
    with pytest.warns(UserWarning, match="trials 4 do not fit"), closing(Ledger(path, read_only=True)) as ledger:
        assert ledger.broken == (4,)


def test_a_full_disk_is_told_and_earlier_trials_stay(tmp_path, trials):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.append(trials[:3])
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [Trial(100 + i, 9, trials[0].action, trials[0].evaluation, 0.0) for i in range(1000)]
    with pytest.raises(RunFolderError, match=r"full.*Everything stored before is intact"):
        ledger.append(many)
    assert ledger.count() == 3


def test_an_unwritable_place_is_told(tmp_path):
    with pytest.raises(RunFolderError, match="folder is not writable"):
        Ledger(tmp_path / "missing" / "ledger.sqlite")
