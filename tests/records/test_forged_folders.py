"""Run folders that strangers have forged: nothing in them runs, is followed, or fills the memory."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tracemalloc
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.runs import finished_run
from helpers.trials import Marker, trial
from rl_detector.errors import RunFolderError
from rl_detector.records.files import write_atomically
from rl_detector.records.ledger import Ledger
from rl_detector.records.ledger_rows import checksum, sealed
from rl_detector.records.run_folder import RunFolder
from rl_detector.report import write_report
from rl_detector.report.history import read_history

pytestmark = pytest.mark.usefixtures("quick_figures")


def forge(path: Path, *statements: str) -> None:
    Ledger(path, {"seed": 0}).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


BOMB = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END"],
        ["CREATE TRIGGER t BEFORE INSERT ON readouts BEGIN SELECT load_extension('/tmp/evil'); END"],
        ["CREATE VIEW v AS SELECT * FROM trials"],
        ["DROP TABLE trials", f"CREATE VIEW trials AS {BOMB} AS trial FROM n"],
        ["DROP TABLE meta", f"CREATE VIEW meta AS {BOMB} AS key, i AS value FROM n"],
        ["CREATE TABLE other (x, y AS (hex(zeroblob(1000000000))) STORED)"],
        ["CREATE INDEX i ON trials (abs(batch))"],
        ["CREATE VIRTUAL TABLE f USING fts5(x)"],
        ["DROP INDEX by_batch", "CREATE INDEX by_batch ON trials (batch) WHERE 1 = 0"],
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_nothing_that_a_stranger_put_into_the_schema_runs(
    tmp_path: Path, statements: list[str], read_only: bool
) -> None:
    path = tmp_path / "ledger.sqlite"
    forge(path, *statements)
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"nothing that a ledger has|other tables"):
        Ledger(path, read_only=read_only)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("design", "'" + "[" * 100_000 + "'"),
        ("design", "'[1]'"),
        ("design", "CAST(x'ff' AS TEXT)"),
        ("costs", "5"),
        ("continuous", "'{}'"),
        ("continuous", "'[[1], [2]]'"),
        ("continuous", "'[1e999, 0]'"),
        ("reward", "'abc'"),
        ("reward", "NULL"),
        ("metric", "9e999"),
        ("seconds", "x'00'"),
        ("diagnostics", "'" + "9" * 5000 + "'"),
    ],
)
def test_values_that_no_study_writes_are_damage(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.append(trial(number) for number in range(3))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE trials SET {column} = {value} WHERE trial = 1")
    with pytest.warns(UserWarning, match="trials 1 do not fit their checksums"):
        assert len(read_history(path)) == 2
    reseal(path)
    with pytest.raises(RunFolderError, match=r"ledger\.sqlite is damaged"):
        read_history(path)


def reseal(path: Path) -> None:
    """What a forger does who knows the checksums."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.text_factory = bytes
        for row in connection.execute("SELECT * FROM trials").fetchall():
            connection.execute("UPDATE trials SET checksum = ? WHERE trial = ?", (checksum(row[:-1]), row[0]))


def test_a_huge_value_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.append([trial(0)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE trials SET design = hex(zeroblob(40000000))")
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match="trials 0 do not fit"):
            assert len(read_history(path)) == 0
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def lying_npz(compression: int) -> bytes:
    """A small archive that says that it holds terabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1)})
    data = header.getvalue() + bytes(70_000_000 if compression else 8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("signals.npy", data)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["pickle", "shape", "compressed", "nothing"])
def test_a_forged_readout_is_damage(tmp_path: Path, kind: str) -> None:
    data = {
        "pickle": lambda: npz(signals=np.array([Marker(tmp_path / "hacked")], dtype=object)),
        "shape": lambda: lying_npz(zipfile.ZIP_STORED),
        "compressed": lambda: lying_npz(zipfile.ZIP_DEFLATED),
        "nothing": lambda: b"PK",
    }[kind]()
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        ledger.append([trial(0)])
        ledger._connection.execute("INSERT INTO readouts VALUES (?, ?, ?)", sealed((0, data)))
        with pytest.raises(RunFolderError, match="is damaged"):
            ledger.readouts()
    assert not (tmp_path / "hacked").exists()


def test_writes_do_not_follow_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".state.new", "state"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
        write_atomically(folder / "state", b"new")
        assert victim.read_text() == "precious" and (folder / "state").read_bytes() == b"new"
    for suffix in ("", "-wal", "-shm", "-journal"):
        link = folder / f"ledger.sqlite{suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        for read_only in (False, True):
            with pytest.raises(RunFolderError, match="is a symbolic link"):
                Ledger(folder / "ledger.sqlite", read_only=read_only)
        link.unlink()
    assert victim.read_text() == "precious"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def spoiled(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A finished run to spoil."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))


def test_a_report_does_not_write_through_links(spoiled: RunFolder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    shutil.rmtree(spoiled.figures)
    spoiled.figures.symlink_to(victim)
    with pytest.raises(RunFolderError, match="is a symbolic link"):
        write_report(spoiled)
    assert not list(victim.iterdir())
    spoiled.figures.unlink()
    spoiled.report.unlink()
    (victim / "page").write_text("precious")
    spoiled.report.symlink_to(victim / "page")
    write_report(spoiled)
    assert (victim / "page").read_text() == "precious" and not spoiled.report.is_symlink()


def test_names_in_a_forged_ledger_are_escaped(spoiled: RunFolder) -> None:
    evil = "</td><script>alert(1)</script>"
    with closing(sqlite3.connect(spoiled.ledger)) as connection, connection:
        connection.execute("UPDATE trials SET costs = ?", (json.dumps({evil: 1.0}),))
        connection.execute("UPDATE trials SET state = 'FAILED', reason = ? WHERE trial > 10", (evil,))
        connection.execute("UPDATE trials SET design = ?", (json.dumps({evil: evil}),))
    reseal(spoiled.ledger)
    write_report(spoiled)
    assert "<script" not in spoiled.report.read_text() and "&lt;script&gt;" in spoiled.report.read_text()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"fast": ' + "[" * 100_000, '{"fast": ' + "9" * 5000 + "}"])
def test_json_bombs_are_damage(spoiled: RunFolder, text: str) -> None:
    spoiled.validation.write_text(text)
    with pytest.raises(RunFolderError, match=r"validation\.json is damaged"):
        write_report(spoiled)


def test_files_larger_than_a_run_writes_are_not_read(spoiled: RunFolder) -> None:
    for path, message in ((spoiled.validation, "is damaged"), (spoiled.config, "not the configuration")):
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(10**12)  # takes no room: it is a hole
        with pytest.raises(RunFolderError, match=message):
            write_report(spoiled)
        path.write_bytes(content)


def test_a_configuration_with_references_is_refused(spoiled: RunFolder) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    spoiled.config.write_text("\n".join(lines))
    with pytest.raises(RunFolderError, match="aliases"):
        spoiled.read_config()


def test_a_report_starts_no_program_that_the_folder_names(spoiled: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = {"name": "command", "file": str(spoiled.path / "evil.yaml")}
    config = spoiled.read_config().to_plain()
    spoiled.write_config({**config, "simulator": evil, "env": {**config["env"], "simulator": evil}})
    built: list[Any] = []

    def build(env: dict[str, Any], simulator: Any) -> Any:
        built.append((env, simulator))
        raise RunFolderError("cannot be built")

    monkeypatch.setattr("rl_detector.assembly.build_problem", build)
    write_report(spoiled)
    assert built == [(config["env"], {"name": "fast"}), (config["env"], None)]
