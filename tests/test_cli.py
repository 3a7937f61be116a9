"""The command line as a user meets it; in a process of its own where that matters: its start, signals and kills."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rl_detector.cli import main
from rl_detector.records.ledger import Ledger

SMALL = ["budget.events=960", "budget.events_per_design=20", "budget.designs_per_batch=16", "held_out.events=200"]


def run(folder: Path, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rl_detector", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


@dataclass(frozen=True)
class Answer:
    """What a command has printed."""

    stdout: str
    stderr: str


Call = Callable[..., Answer]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Carries out a command in the folder of the test and in this process."""
    monkeypatch.chdir(tmp_path)

    def carry_out(*words: str, expect: int = 0) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        answer = Answer(*capfd.readouterr())
        assert (stop.value.code or 0) == expect, answer
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    return carry_out


def only_run(folder: Path) -> Path:
    (config,) = (folder / "runs").glob("*/config.yaml")
    return config.parent


def test_train_validate_report(call, tmp_path):
    done = run(tmp_path, "train", *SMALL, "seed=1")
    folder = only_run(tmp_path)
    assert re.fullmatch(r"calorimeter-policy_gradient-\d{8}-\d{6}-[0-9a-f]{4}", folder.name)
    expected = {
        "config.yaml",
        "ledger.sqlite",
        "checkpoint.pt",
        "sessions.json",
        "recommended.json",
        "validation.json",
        "report.html",
    }
    assert {path.name for path in folder.iterdir()} == expected | {"figures"}
    assert "best reach" in done.stderr and "sigma" in done.stderr
    assert f"report: runs/{folder.name}/report.html" in done.stdout
    recommended = json.loads((folder / "recommended.json").read_text())
    assert len(recommended["design"]["layer"]) == 3 and recommended["events"] == 200
    call("validate", "latest", "--simulator", "fast", "--events", "400", "--seed", "7")
    rows = json.loads((folder / "validation.json").read_text())["fast"]
    assert [row["name"] for row in rows][:2] == ["recommended", "published_start"]
    assert all(row["events"] == 400 for row in rows)
    assert {"value", "error", "significance"} == rows[1]["difference"].keys()
    (folder / "report.html").unlink()
    call("report", folder.name)
    assert (folder / "report.html").exists()


def test_multirun_makes_one_run_per_job(call, tmp_path, quick_figures):
    call("train", "-m", "agent=random_search,cma_es", "seed=0,1", *SMALL, "budget.events=640")
    names = [path.parent.name.split("-")[1] for path in (tmp_path / "runs").glob("*/config.yaml")]
    assert sorted(names) == ["cma_es", "cma_es", "random_search", "random_search"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["budget.event=5"], "budget.event"),
        (["budget.events=many"], "many"),
        (["env=calorimetre"], "calorimeter"),
        (["env.layers=0"], "a calorimeter needs at least 1 layer, got 0"),
        (["env.layers=two"], "env.layers"),
        (["env.photon_fraction=1.5"], "must lie in"),
        (["agent.sigma=-1"], "sigma"),
        (["agent.sigma=wide"], "agent.sigma: Input should be a valid number"),
        (["simulator=geant4", "simulator.workers=many"], "simulator.workers: Input should be a valid integer"),
        (["simulator=geant4", "simulator.physics_list=FTFP_BERTH"], "FTFP_BERTH"),
        (["budget.events=10"], "pay for at least one design of 200 events, got 10"),
        (["budget.events_per_design=0"], "events_per_design must be at least 1"),
        (["budget.events_per_design=5"], "must be a whole number >= 20 for calorimeter, got 5"),
        (["held_out.events=0"], "must be a whole number >= 20"),
        (["runs=/proc/nowhere"], "Choose a writable place"),
        (["seed"], "seed"),
    ],
)
def test_mistakes_get_one_paragraph_and_exit_code_2(call, tmp_path, words, message):
    done = call("train", *words, expect=2)
    assert message in done.stderr + done.stdout
    assert len((done.stderr + done.stdout).splitlines()) < 25
    assert not list(tmp_path.glob("runs/*/config.yaml"))


@pytest.mark.parametrize("words", [["train", "budget.event=5"], ["resume", "nowhere"]])
def test_the_process_ends_with_the_exit_code(tmp_path, words):
    assert len(run(tmp_path, *words, expect=2).stderr.splitlines()) < 25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume", "nowhere"], "nowhere is no run folder"),
        (["report", "latest"], "start one with `rl-detector train`"),
        (["validate", "latest", "--events", "0"], "expected a whole number >= 1"),
        (["tarin"], "invalid choice"),
        ([], "required"),
    ],
)
def test_mistakes_of_other_commands(call, words, message):
    assert message in call(*words, expect=2).stderr


def test_help_and_list(call):
    assert "Ctrl-C leaves a run" in call("train", "--help").stdout
    for command in ("resume", "validate", "report"):
        assert "RUN" in call(command, "--help").stdout
    listing = call("list").stdout
    assert all(word in listing for word in ("rl_detector/Calorimeter-v0", "policy_gradient", "geant4", "wandb"))


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl_detector", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    # a shell that puts the tests in the background ignores Ctrl-C for all that they start
    return subprocess.Popen(
        command, cwd=folder, text=True, env=environment, **pipes,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for_trials(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    """Return when the run's ledger holds so many trials, or its process has ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        for path in (folder / "runs").glob("*/ledger.sqlite"):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                tables = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'trials'").fetchone()[0]
                found = connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0] if tables else 0
            connection.close()
            if found >= number:
                return
        time.sleep(0.02)


TRIALS = 160
LONG = [
    "agent.memory=200",
    f"budget.events={20 * TRIALS}",
    "budget.events_per_design=20",
    "budget.designs_per_batch=16",
    "evaluator.group=4",
]


def rows_of(folder: Path) -> list[tuple]:
    ledger = Ledger(only_run(folder) / "ledger.sqlite", read_only=True)
    try:
        return ledger.reproducible_rows()
    finally:
        ledger.close()


@pytest.mark.parametrize(("kills", "trials"), [(3, TRIALS), pytest.param(10, 3 * TRIALS, marks=pytest.mark.slow)])
def test_killed_many_times_and_resumed_gives_the_same_ledger(call, tmp_path, monkeypatch, kills, trials):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    words = ["train", *LONG, f"budget.events={20 * trials}", "held_out.events=200"]
    monkeypatch.chdir(whole)
    call(*words)
    moments = sorted(random.Random(5).sample(range(1, trials - 50), kills))
    for moment in moments:
        process = start(killed, *words)
        wait_for_trials(process, killed, moment)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
        process.stderr.close()
        words = ["resume", "latest"] if list(killed.glob("runs/*/config.yaml")) else words
    monkeypatch.chdir(killed)
    call("resume", "latest")
    assert rows_of(killed) == rows_of(whole)
    recommended = [json.loads((only_run(f) / "recommended.json").read_text()) for f in (whole, killed)]
    assert recommended[0] == recommended[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_a_run_that_can_be_resumed(call, tmp_path, quick_figures, number, code):
    process = start(tmp_path, "train", *LONG, "agent.memory=800", "held_out.events=200")
    wait_for_trials(process, tmp_path, 40)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    assert "nothing is lost" in message and "Traceback" not in message
    call("resume", "latest")
    assert len(rows_of(tmp_path)) == TRIALS


def test_an_edited_configuration_is_refused(call, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "runs" / "copy")
    config = only_run(tmp_path) / "config.yaml"
    before = rows_of(tmp_path)
    config.write_text(config.read_text().replace("photon_fraction: 0.5", "photon_fraction: 0.7"))
    done = call("resume", "latest", expect=2)
    assert "env.photon_fraction was 0.5, now 0.7" in done.stderr
    assert rows_of(tmp_path) == before


def test_start_up_is_quick_enough_not_to_import_the_heavy_packages(tmp_path):
    code = """
import sys
from rl_detector.cli import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
print([name for name in ("torch", "wandb", "matplotlib", "stable_baselines3", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_a_full_disk_stops_with_advice_and_the_run_goes_on_later(call, tmp_path, quick_figures):
    """The ledger may not grow beyond some pages: SQLite then reports a full disk."""
    code = """
import sqlite3, sys
connect = sqlite3.connect
def small(path, **settings):
    connection = connect(path, **settings)
    connection.execute("PRAGMA max_page_count = 25")
    return connection
sqlite3.connect = small
from rl_detector.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "train", *LONG, "held_out.events=200"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "full" in done.stderr and "make room" in done.stderr and "Traceback" not in done.stderr
    kept = rows_of(tmp_path)
    assert 0 < len(kept) < TRIALS
    call("resume", "latest")
    assert len(rows_of(tmp_path)) == TRIALS and rows_of(tmp_path)[: len(kept)] == kept


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "seed: 1\nbudget: [1", "is not the configuration of a run"),
        ("config.yaml", "seed: !!python/object/apply:os.system ['touch hacked']", "is not the configuration of a run"),
        ("config.yaml", "seed: ${oc.env:HOME}", "is not the configuration of a run"),
        ("config.yaml", "", "is not the configuration of a run"),
        ("ledger.sqlite", "", "the ledger was lost"),
        ("ledger.sqlite", "no database at all, not even a little one", "cannot use the ledger"),
        ("validation.json", "{", "is damaged"),
        ("validation.json", "[1]", "is damaged"),
    ],
)
def test_damaged_files_are_named_and_nothing_else_is_touched(call, finished_run, tmp_path, name, content, message):
    folder = tmp_path / "runs" / "copy"
    shutil.copytree(finished_run, folder)
    (folder / name).write_text(content)
    before = contents(folder, but=name)
    assert message in call("resume", "copy", expect=2).stderr
    assert contents(folder, but=name) == before
    assert not (tmp_path / "hacked").exists()


def contents(folder: Path, but: str) -> dict[str, object]:
    """What the files of a run hold: rows of the ledger, bytes of the others."""
    found: dict[str, object] = {}
    for path in folder.iterdir():
        if path.is_file() and path.name != but:
            found[path.name] = path.read_bytes()
    if "ledger.sqlite" in found:
        ledger = Ledger(folder / "ledger.sqlite", read_only=True)
        found["ledger.sqlite"] = ledger.reproducible_rows()
        ledger.close()
    return found


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.chdir(folder)
        main(["train", *SMALL])
    assert not stop.value.code
    return only_run(folder)


@pytest.mark.parametrize("content", ["[]", "{}", "5"])
def test_a_damaged_recommendation_is_told(call, finished_run, tmp_path, content):
    shutil.copytree(finished_run, tmp_path / "runs" / "copy")
    (tmp_path / "runs" / "copy" / "recommended.json").write_text(content)
    assert "recommended" in call("validate", "copy", "--events", "50", expect=2).stderr


def test_a_validation_with_fewer_events_does_not_replace_a_better_one(call, finished_run, tmp_path, quick_figures):
    shutil.copytree(finished_run, tmp_path / "runs" / "copy")
    for events, stored in (("50", 200), ("300", 300)):
        call("validate", "copy", "--events", events)
        rows = json.loads((tmp_path / "runs" / "copy" / "validation.json").read_text())["fast"]
        assert rows[0]["events"] == stored


def test_two_processes_on_one_run(call, tmp_path):
    process = start(tmp_path, "train", *LONG, f"budget.events={60 * TRIALS}", "held_out.events=200")
    wait_for_trials(process, tmp_path, 50)
    assert "another process works on" in call("resume", "latest", expect=2).stderr
    wait_for_trials(process, tmp_path, len(rows_of(tmp_path)) + 20)
    assert process.poll() is None, "the first one goes on"
    process.kill()
    process.communicate()


def test_a_failing_job_of_several_shows_in_the_exit_code(call, tmp_path, quick_figures):
    done = call("train", "-m", "seed=0,-1", *SMALL, "budget.events=640", expect=2)
    assert "seed must be >= 0, got -1" in done.stderr
    assert only_run(tmp_path)


@pytest.mark.parametrize("device", ["banana", "cuda:77"])
def test_a_device_that_is_not_there(call, device):
    done = call("train", "agent=contextual_policy_gradient", f"agent.device={device}", expect=2)
    assert f"cannot use device='{device}'" in done.stderr
