"""Ledgers with flipped bits and zeroed blocks, deleted under a study, or locked by another program."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.agents import make_agent
from rl_detector.errors import RunFolderError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.records.ledger_rows import NAMES, checksum, intact, sealed
from rl_detector.report.history import read_history
from rl_detector.study import Budget, Study

Rows = list[tuple[Any, ...]]
BUDGET = Budget(events=96 * 10, events_per_design=10, designs_per_batch=16)
FLIPS = 64


def make_study(problem: DesignProblem, folder: Path) -> Study:
    folder.mkdir(exist_ok=True)
    agent = make_agent("reinforce", problem.space, 3, problem.start)
    ledger = Ledger(folder / "ledger.sqlite", {"agent": "reinforce"})
    return Study(problem, agent, ledger, BUDGET, evaluator=SerialEvaluator(5), checkpoint=folder / "checkpoint.pt")


def finish(problem: DesignProblem, folder: Path) -> Rows:
    study = make_study(problem, folder)
    with closing(study.ledger):
        study.run()
        return study.ledger.reproducible_rows()


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(bowl: DesignProblem, whole_folder: Path) -> Rows:
    """The finished ledger of an uninterrupted study, made once."""
    if (whole_folder / "ledger.sqlite").exists():
        with closing(Ledger(whole_folder / "ledger.sqlite", read_only=True)) as ledger:
            return ledger.reproducible_rows()
    return finish(bowl, whole_folder)


def flip(data: bytearray, bit: int) -> None:
    data[bit // 8] ^= 1 << bit % 8


def zero(data: bytearray, place: int, length: int) -> None:
    data[place : place + length] = bytes(len(data[place : place + length]))


def damaged(original: bytes) -> list[bytes]:
    """Copies with one flipped bit each, then copies with one zeroed block each."""
    rng = np.random.default_rng(26)
    copies = [bytearray(original) for _ in range(FLIPS + 12)]
    for data, bit in zip(copies[:FLIPS], rng.integers(0, 8 * len(original), FLIPS), strict=True):
        flip(data, int(bit))
    for number, data in enumerate(copies[FLIPS:]):
        length = (512, 4096)[number % 2]
        zero(data, length * int(rng.integers(0, len(original) // length)), length)
    return [bytes(data) for data in copies]


def read(path: Path) -> tuple[Rows, set[int]] | None:
    """All rows as a report reads them, and the trials named as broken; None if the file is refused in words."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with closing(Ledger(path, read_only=True)) as ledger:
                rows, broken = ledger.reproducible_rows(), set(ledger.broken)
                assert len(list(ledger.trials())) == ledger.count() == len(rows)
                assert ledger.events() == sum(row[NAMES.index("events")] for row in rows)
        except RunFolderError as error:
            assert "ledger.sqlite" in str(error)
            return None
    assert bool(broken) == any("do not fit their checksums" in str(each.message) for each in told)
    return rows, broken


def test_no_flipped_bit_and_no_zeroed_block_is_read_in_silence(whole: Rows, whole_folder: Path, tmp_path: Path) -> None:
    """Every row that is read is the original, and every other one is named, or the file is refused."""
    path, named, refused = tmp_path / "ledger.sqlite", 0, 0
    for data in damaged((whole_folder / "ledger.sqlite").read_bytes()):
        path.write_bytes(data)
        found = read(path)
        refused += found is None
        if found is not None:
            named += bool(found[1])
            assert found[0] == [row for row in whole if row[0] not in found[1]]
    assert named > FLIPS / 3, "most of the file are rows"
    assert refused < FLIPS / 2


@pytest.mark.parametrize("column", ["design", "reward", "reason", "seconds"])
def test_a_broken_row_is_named_and_simulated_again_alone(
    bowl: DesignProblem, whole: Rows, whole_folder: Path, tmp_path: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(whole_folder, tmp_path / "run"))
    other = {"design": "'{}'", "reason": "'none'"}.get(column, f"{column} + 1")
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.execute(f"UPDATE trials SET {column} = {other} WHERE trial = 17")
    with pytest.warns(UserWarning, match=r"ledger\.sqlite is damaged: trials 17 do not fit"):
        history = read_history(folder / "ledger.sqlite")
    assert len(history) == len(whole) - 1 and history.broken == (17,)
    with pytest.warns(UserWarning) as told:
        study = make_study(bowl, folder)
    assert any("trials 17 and anything after 95 are simulated again" in str(each.message) for each in told)
    simulated, append = [], study.ledger.append
    monkeypatch.setattr(study.ledger, "append", lambda found: append(simulated.extend(found) or simulated[-1:]))
    with closing(study.ledger):
        study.run()
        assert study.ledger.reproducible_rows() == whole
    assert [trial.number for trial in simulated] == [17] and (folder / "ledger.sqlite.damaged-1").exists()


@pytest.mark.parametrize("number", range(0, FLIPS + 12, 9))
def test_a_resume_after_damage_gives_the_ledger_of_the_uninterrupted_study(
    bowl: DesignProblem, whole: Rows, whole_folder: Path, tmp_path: Path, number: int
) -> None:
    folder = Path(shutil.copytree(whole_folder, tmp_path / "run"))
    (folder / "ledger.sqlite").write_bytes(damaged((folder / "ledger.sqlite").read_bytes())[number])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert finish(bowl, folder) == whole
        except RunFolderError as error:
            assert "copy" in str(error)


def test_exchanged_rows_do_not_fit(whole: Rows, whole_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    shutil.copy(whole_folder / "ledger.sqlite", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for old, new in ((3, 900), (5, 3), (900, 5)):
            connection.execute("UPDATE trials SET trial = ? WHERE trial = ?", (new, old))
    found = read(path)
    assert found is not None and found[1] == {3, 5}


def test_what_a_ledger_says_of_its_configuration_has_a_checksum(
    bowl: DesignProblem, whole: Rows, whole_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole_folder, tmp_path / "run"))
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE meta SET value = replace(value, 'reinforce', 'reinforcf')")
    with pytest.warns(UserWarning, match="its configuration does not fit its checksum"):
        assert finish(bowl, folder) == whole


def test_the_bytes_under_a_checksum_never_change() -> None:
    row = sealed((7, "DONE", None, np.float64(-0.0), True, float("nan"), "\u00b5", 2**62, b"x"))
    assert row[:-1] == (7, "DONE", None, 0.0, 1, None, "\u00b5", 2**62, b"x") and str(row[3]) == "0.0"
    assert intact(row) and checksum(row[:-1]).hex() == "bced5c0137eb9ac9ece8dcb2892eb0ac"
    assert not intact((8, *row[1:])) and not intact((*row[:-1], None))


def test_a_ledger_deleted_under_a_study_is_written_anew(bowl: DesignProblem, whole: Rows, tmp_path: Path) -> None:
    study = make_study(bowl, tmp_path / "run")
    study.step(16)
    for file in (tmp_path / "run").glob("ledger.sqlite*"):
        file.unlink()
    with pytest.warns(UserWarning, match=r"the ledger .*ledger\.sqlite was deleted while the study ran"):
        study.step(16)
    study.run()
    study.ledger.path.unlink()  # after the last trial
    with pytest.warns(UserWarning, match="with all 96 trials"):
        study.ledger.close()
    assert finish(bowl, tmp_path / "run") == whole


def test_a_ledger_replaced_under_a_study_is_kept_beside_it(bowl: DesignProblem, whole: Rows, tmp_path: Path) -> None:
    study = make_study(bowl, tmp_path / "run")
    study.step(16)
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "other").replace(study.ledger.path)
    with pytest.raises(RunFolderError, match=r"replaced .*All that was simulated is in .*ledger\.sqlite\.rescued-1"):
        study.step(16)
    assert study.ledger.path.read_bytes() == b"precious"
    with closing(Ledger(tmp_path / "run" / "ledger.sqlite.rescued-1", read_only=True)) as ledger:
        assert ledger.reproducible_rows() == whole[:16]


def locked(path: Path) -> sqlite3.Connection:
    """Another program that writes to the file."""
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_lock_of_some_seconds_is_waited_for_and_said(
    bowl: DesignProblem, whole: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl_detector.records.ledger_file.LOCK_SILENCE", 0.1)
    study = make_study(bowl, tmp_path / "run")
    other = locked(study.ledger.path)
    timer = threading.Timer(2.5, other.close)
    timer.start()
    with pytest.warns(UserWarning, match=r"waiting for another program that has locked .*ledger\.sqlite"):
        study.run()
    timer.join()
    with closing(study.ledger):
        assert study.ledger.reproducible_rows() == whole


def test_a_lock_that_stays_is_told_after_a_limit(
    bowl: DesignProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl_detector.records.ledger_file.LOCK_SECONDS", 0.5)
    study = make_study(bowl, tmp_path / "run")
    with closing(study.ledger), closing(locked(study.ledger.path)):
        with pytest.raises(RunFolderError, match=r"locked .*ledger\.sqlite for \d s.*`rl-detector resume` goes on"):
            study.step(16)
        with pytest.raises(RunFolderError, match="another program has locked"):
            Ledger(study.ledger.path)
