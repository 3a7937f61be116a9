"""Run folders that were killed, copied while they worked, cut off, filled up or moved."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.trials import Marker, trial
from rl_detector.agents import make_agent
from rl_detector.agents.peers.reinforce import Reinforce
from rl_detector.errors import RunFolderError
from rl_detector.execution.evaluator import SerialEvaluator
from rl_detector.problem import DesignProblem
from rl_detector.records import files
from rl_detector.records.checkpoint import load_checkpoint, save_checkpoint
from rl_detector.records.files import write_atomically
from rl_detector.records.ledger import Ledger
from rl_detector.report.history import read_history
from rl_detector.study import Budget, Study
from rl_detector.terms import Readout

BUDGET = Budget(events=2400, events_per_design=10, designs_per_batch=16)

Rows = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every batch, and a database that is written from its WAL often, as in a long study."""
    monkeypatch.setattr("rl_detector.study.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("rl_detector.records.ledger_schema.WAL_PAGES", 20)


def make_study(problem: DesignProblem, folder: Path, group: int = 5) -> Study:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.sqlite", {"agent": "reinforce"})
    agent = make_agent("reinforce", problem.space, 3, problem.start)
    return Study(problem, agent, ledger, BUDGET, evaluator=SerialEvaluator(group), checkpoint=folder / "checkpoint.pt")


def finish(problem: DesignProblem, folder: Path, group: int = 5) -> Rows:
    study = make_study(problem, folder, group)
    try:
        study.run()
        return study.ledger.reproducible_rows()
    finally:
        study.ledger.close()


@pytest.fixture
def whole(bowl: DesignProblem, tmp_path: Path) -> Rows:
    """The ledger of an uninterrupted study."""
    return finish(bowl, tmp_path / "whole")


@pytest.fixture
def killed(bowl: DesignProblem, tmp_path: Path) -> Path:
    """What a kill leaves after 10 of 15 batches: database, -wal, -shm and checkpoint."""
    study = make_study(bowl, tmp_path / "live")
    for _ in range(10):
        study.step(16)
        study.save()
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    study.ledger.close()
    assert (tmp_path / "killed" / "ledger.sqlite-wal").stat().st_size > 0
    return tmp_path / "killed"


@pytest.mark.parametrize("group", [1, 16])
def test_a_killed_study_goes_on_with_another_number_of_workers(
    bowl: DesignProblem, killed: Path, whole: Rows, group: int
) -> None:
    assert finish(bowl, killed, group) == whole


def test_a_killed_run_folder_may_be_moved(bowl: DesignProblem, killed: Path, whole: Rows, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "renamed run"
    shutil.move(killed, moved)
    assert finish(bowl, moved) == whole


def test_a_run_folder_may_be_a_link_as_a_whole(bowl: DesignProblem, killed: Path, whole: Rows, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(killed)
    assert finish(bowl, tmp_path / "link") == whole


def cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)


def lengths(path: Path, number: int) -> list[int]:
    """Where to cut a file: the ends, odd places, and around the boundaries of pages and frames."""
    size = path.stat().st_size
    rng = np.random.default_rng(size)
    edges = [0, 1, 31, 32, 99, 100, 4095, 4096, 4097, 8192, size - 4096, size - 1]
    return sorted({length for length in (*edges, *rng.integers(0, size, number).tolist()) if 0 <= length < size})


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "checkpoint.pt"])
def test_a_file_cut_anywhere_is_recovered_or_refused_in_words(
    bowl: DesignProblem, killed: Path, whole: Rows, tmp_path: Path, name: str
) -> None:
    size = (killed / name).stat().st_size
    for number, length in enumerate(lengths(killed / name, 8)):
        folder = tmp_path / f"cut{number}"
        shutil.copytree(killed, folder)
        cut(folder / name, length)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            try:
                rows = finish(bowl, folder)
            except RunFolderError as error:
                assert name == "ledger.sqlite" and length < size / 2
                assert "ledger.sqlite" in str(error) and "copy" in str(error)
                continue
        assert rows == whole, f"cut at {length}"


def test_a_closed_ledger_cut_anywhere_keeps_what_can_be_read(bowl: DesignProblem, whole: Rows, tmp_path: Path) -> None:
    kept = []
    for number, length in enumerate(lengths(tmp_path / "whole" / "ledger.sqlite", 8)):
        folder = tmp_path / f"cut{number}"
        shutil.copytree(tmp_path / "whole", folder)
        cut(folder / "ledger.sqlite", length)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with suppress(RunFolderError):
                ledger = Ledger(folder / "ledger.sqlite", {"agent": "reinforce"})
                found = ledger.reproducible_rows()
                ledger.close()
                assert found == [row for row in whole if row[0] in {each[0] for each in found}]
                kept.append(len(found))
                assert length == 0 or any(f"{len(found)} trials could be read" in str(each.message) for each in told)
                assert length == 0 or (folder / "ledger.sqlite.damaged-1").stat().st_size == length
    assert max(kept) > len(whole) / 2


def test_a_reader_says_that_a_cut_ledger_is_damaged(whole: Rows, tmp_path: Path) -> None:
    path = tmp_path / "whole" / "ledger.sqlite"
    cut(path, path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"ledger\.sqlite.*takes over what can be read"):
        read_history(path)
    assert path.read_bytes() == before


def torn_copy(live: Path, copy: Path, names: list[str], advance: Callable[[], None]) -> None:
    """Copy files one after the other, each in two parts, while the run goes on in between."""
    copy.mkdir()
    for name in names:
        with suppress(FileNotFoundError):
            first = (live / name).read_bytes()[: (live / name).stat().st_size // 8192 * 4096]
            advance()
            (copy / name).write_bytes(first + (live / name).read_bytes()[len(first) :])
        advance()


@pytest.mark.parametrize("seed", range(6))
def test_copies_of_a_run_at_work_are_taken_over(bowl: DesignProblem, whole: Rows, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    study = make_study(bowl, tmp_path / "live")

    def advance() -> None:
        for _ in range(int(rng.integers(0, 3))):
            if study.batch < 15:
                study.step(16)
                study.save()

    while study.batch < 5:
        advance()
    names = rng.permutation(sorted(path.name for path in (tmp_path / "live").iterdir())).tolist()
    torn_copy(tmp_path / "live", tmp_path / "copy", names, advance)
    study.ledger.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert finish(bowl, tmp_path / "copy") == whole


def test_a_copy_that_does_not_fit_together_is_told(bowl: DesignProblem, whole: Rows, tmp_path: Path) -> None:
    """The database of the beginning with the -wal of the end: what lay between is gone."""
    study = make_study(bowl, tmp_path / "live")
    study.step(16)
    early = (tmp_path / "live" / "ledger.sqlite").read_bytes()
    for _ in range(12):
        study.step(16)
    study.save()
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    study.ledger.close()
    (tmp_path / "copy" / "ledger.sqlite").write_bytes(early)
    with pytest.raises(RunFolderError, match="do not fit together"):
        read_history(tmp_path / "copy" / "ledger.sqlite")
    with pytest.warns(UserWarning) as told:
        assert finish(bowl, tmp_path / "copy") == whole
    assert any("trials could be read" in str(each.message) for each in told)


def test_a_gap_below_the_checkpoint_is_filled(bowl: DesignProblem, killed: Path, whole: Rows) -> None:
    with closing(sqlite3.connect(killed / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM trials WHERE trial BETWEEN 40 AND 70")
    with pytest.warns(UserWarning, match="lacks 31 of the 160 trials"):
        assert finish(bowl, killed) == whole


def limit_files(size: int) -> None:
    """Files may not grow beyond so many bytes: what a full disk does to a write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("size", [30_000, 60_001, 90_000])
def test_a_full_disk_stops_the_study_and_loses_nothing(
    bowl: DesignProblem, whole: Rows, tmp_path: Path, size: int
) -> None:
    study = make_study(bowl, tmp_path / "run")
    limit_files(size)
    try:
        with pytest.raises(RunFolderError, match=r"intact.*make room|make room"):
            study.run()
    finally:
        limit_files(resource.RLIM_INFINITY)
    kept = study.ledger.reproducible_rows()
    study.ledger.close()
    assert 0 < len(kept) < len(whole) and kept == whole[: len(kept)]
    assert finish(bowl, tmp_path / "run") == whole


def test_a_checkpoint_without_room_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"agent": [1.0]})
    before = path.read_bytes()
    limit_files(len(before) // 2)
    try:
        with pytest.raises(RunFolderError, match="make room"):
            save_checkpoint(path, {"agent": [2.0]})
    finally:
        limit_files(resource.RLIM_INFINITY)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_is_flushed_before_its_name_and_its_name_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    flush, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        flush(descriptor)

    def rename(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_atomically(tmp_path / "state", b"1")
    assert order == ["file", "rename", "folder"]


def test_only_one_of_two_writers_goes_on(bowl: DesignProblem, tmp_path: Path) -> None:
    first, second = make_study(bowl, tmp_path / "run"), make_study(bowl, tmp_path / "run")
    first.step(16)
    looking = Ledger(tmp_path / "run" / "ledger.sqlite")
    assert looking.count() == 16
    first.step(16)
    second.run()
    with pytest.raises(RunFolderError, match="another process has begun to write"):
        first.ledger.append([trial(900)])
    assert second.ledger.count() == 240
    for ledger in (first.ledger, second.ledger, looking):
        ledger.close()


def test_the_side_files_are_read_where_nothing_can_be_written(
    killed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (killed / "ledger.sqlite-shm").unlink()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    monkeypatch.setattr("rl_detector.records.ledger_file.os.access", lambda path, mode: False)
    with closing(Ledger(killed / "ledger.sqlite", read_only=True)) as ledger:
        assert ledger.count() == 160
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


@pytest.mark.parametrize("version", ["1", "4"])
def test_another_ledger_or_one_of_another_version_is_left_as_it_is(tmp_path: Path, version: str) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, {"seed": 0}).close()
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match="seed was 0, now 1"):
        Ledger(path, {"seed": 1})
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
        connection.execute("ALTER TABLE trials ADD COLUMN later TEXT")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            RunFolderError, match=f"schema {version}, .* reads schema 3.*start a new run; the ledger was left"
        ):
            Ledger(path, read_only=read_only)
    assert path.read_bytes() == before


def test_the_order_of_telling_is_kept_and_is_not_part_of_what_is_reproducible(tmp_path: Path) -> None:
    rows = []
    for order in ([1, 0], [0, 1]):
        path = tmp_path / f"{order[0]}.sqlite"
        with closing(Ledger(path)) as ledger:
            ledger.append(trial(number, told=told) for number, told in enumerate(order))
            assert [each.told for each in ledger.trials()] == order
            rows.append(ledger.reproducible_rows())
    assert rows[0] == rows[1]


def test_a_readout_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    readout = Readout({"energy": rng.normal(size=7)}, rng.normal(size=(7, 3)).astype(np.float32))
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        made = trial(0)
        object.__setattr__(made.evaluation, "readout", readout)
        ledger.append([made])
        found = ledger.readouts()[0]
    np.testing.assert_array_equal(found.signals, readout.signals)
    np.testing.assert_array_equal(found.truth["energy"], readout.truth["energy"])
    assert found.signals.dtype == np.float32


def test_a_forged_checkpoint_is_refused_and_not_executed(bowl: DesignProblem, killed: Path, whole: Rows) -> None:
    path, marker = killed / "checkpoint.pt", killed / "hacked"
    payload = pickle.dumps(Marker(marker))
    for forged in (payload, b"PK\x03\x04" + payload, b""):
        path.write_bytes(hashlib.sha256(forged).digest() + forged)
        with pytest.raises(RunFolderError, match=r"nothing in it was executed.*Delete it"):
            load_checkpoint(path)
        assert not marker.exists()
    for state in ({"study": 1}, {"study": "x", "batch": "1", "trials": 1, "failed": 0}, strange_agent(killed)):
        save_checkpoint(path, state)
        with pytest.raises(RunFolderError, match="does not fit this agent"):
            finish(bowl, killed)
    path.unlink()
    assert finish(bowl, killed) == whole


@pytest.mark.parametrize("error", [KeyError("mean"), ValueError("could not broadcast"), RuntimeError("size mismatch")])
def test_a_state_that_the_agent_cannot_read_is_named(
    bowl: DesignProblem, killed: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(self: Reinforce, state: Mapping[str, Any]) -> None:
        raise error

    monkeypatch.setattr(Reinforce, "load_state_dict", refuse)
    with pytest.raises(RunFolderError, match=r"does not fit this agent.*another version"):
        finish(bowl, killed)


def strange_agent(folder: Path) -> dict[str, Any]:
    with closing(Ledger(folder / "ledger.sqlite", read_only=True)) as ledger:
        return {"study": ledger.identity, "batch": 2, "trials": 32, "failed": 0, "agent": {"no": "agent"}}


def test_a_journal_cannot_delete_another_file(killed: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = str(victim).encode()
    tail = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    (killed / "ledger.sqlite-journal").write_bytes(bytes(512) + tail + bytes.fromhex("d9d505f920a163d7"))
    with pytest.raises(RunFolderError, match="names another file"):
        Ledger(killed / "ledger.sqlite")
    assert victim.read_text() == "precious"
