"""Sweeps: files as Weights & Biases has them, proposals, and trainings that nothing can lose."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rl_detector.errors import ConfigError, MissingDependency
from rl_detector.records.run_folder import RunFolder
from rl_detector.sweeps.file import read_sweep
from rl_detector.sweeps.processes import wait_until_free
from rl_detector.sweeps.search import Search
from rl_detector.sweeps.session import SweepSession, find_sweep
from rl_detector.sweeps.table import DONE, FAILED, RUNNING, SweepRun, ranked, table

COMMAND = ["${env}", "${interpreter}", "-m", "rl_detector", "train", "tracker=wandb"]
SMALL = [
    "env=oracle", "env.dimensions=3", "agent=random_search", "budget.events=60", "budget.events_per_design=1",
    "budget.designs_per_batch=20", "held_out.events=50",
]  # fmt: skip
GRID = {"agent.sigma": {"values": [0.1, 0.2]}, "seed": {"min": 0, "max": 2}, "agent": {"value": "cma_es"}}
PACKAGED = sorted(find_sweep("agents").parent.glob("*.yaml"))


def write(folder: Path, words: tuple[str, ...] | list[str] = (), **changes: Any) -> Path:
    """A sweep file."""
    command = [*COMMAND, *words, "${args_no_hyphens}"]
    whole = {"command": command, "method": "grid", "metric": {"name": "reward", "goal": "maximize"}, "parameters": GRID}
    path = folder / "sweep.yaml"
    kept = {key: value for key, value in {**whole, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path


# --- files


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_files_of_the_package_can_be_swept(path):
    sweep = read_sweep(path)
    search = Search(sweep)
    assert search.total >= 5 and sweep.metric in ("reward", "reach")
    for number in range(2):
        assert search.propose(number, []).keys() == {parameter.name for parameter in sweep.parameters}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_files_of_the_package_are_understood_by_weights_and_biases(path):
    """Its own reader (which leaves files open) and its own converter of search spaces take them."""
    from wandb.sdk.launch.sweeps.utils import load_sweep_config
    from wandb.sdk.sweeps.scheduler.optuna import search_space_from_sweep_config

    config = load_sweep_config(str(path))
    assert config is not None and config["method"] in ("grid", "random", "bayes")
    assert search_space_from_sweep_config(config["parameters"]).keys() == config["parameters"].keys()


def test_what_is_read(tmp_path):
    sweep = read_sweep(write(tmp_path, ["budget.events=60"], run_cap=4, early_terminate={"type": "hyperband"}))
    assert (sweep.method, sweep.metric, sweep.maximize, sweep.runs) == ("grid", "reward", True, 4)
    assert sweep.words == ("tracker=wandb", "budget.events=60")
    assert sweep.ignored == ("early_terminate is ignored: every run spends its budget",)
    assert [p.distribution for p in sweep.parameters] == ["categorical", "int_uniform", "constant"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "hyperband"}, "method must be one of grid, random, bayes, got 'hyperband'"),
        ({"parameters": {}}, "parameters must name what is swept"),
        ({"metric": None}, "metric must be a name and a goal"),
        ({"metric": {"name": "reward", "goal": "up"}}, "metric.goal must be maximize or minimize, got 'up'"),
        ({"run_cap": 0}, "run_cap must be a whole number >= 1, got 0"),
        ({"methods": "grid"}, "unknown key 'methods'"),
        ({"command": ["rm", "-rf", "${args_no_hyphens}"]}, "command must be"),
        ({"command": [*COMMAND, "${args}"]}, "command must be"),
        ({"command": [*COMMAND, "${envvar:HOME}", "${args_no_hyphens}"]}, "command must be"),
        ({"command": None}, "command must be"),
        ({"parameters": {"agent": {"parameters": {"sigma": {"value": 1}}}}}, "agent is nested: write agent.NAME"),
        ({"parameters": {"seed": 3}}, "seed must be a mapping"),
        ({"parameters": {"seed": {}}}, "seed needs value, values, or min and max, got none"),
        ({"parameters": {"seed": {"values": []}}}, "seed has no values"),
        ({"parameters": {"seed": {"values": [None]}}}, "null"),
        ({"parameters": {"seed": {"values": [1, 2], "probabilities": [0.5, 0.6]}}}, "probabilities must be one per"),
        ({"parameters": {"seed": {"distribution": "beta", "a": 1}}}, "unknown distribution 'beta'"),
        ({"parameters": {"seed": {"min": 1, "max": 2, "q": 1}}}, "int_uniform takes max, min, got max, min, q"),
        ({"parameters": {"x": {"min": 3.0, "max": 2.0}}}, "uniform needs min <= max, got 3.0, 2.0"),
        ({"parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "0 < min"),
        ({"parameters": {"x": {"min": "1e-3", "max": 1}}}, "1.0e-3"),
        ({"parameters": {"x": {"distribution": "q_uniform", "min": 1.1, "max": 1.9, "q": 1}}}, "no multiple of q"),
    ],
)
def test_mistakes_in_files_are_told(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_sweep(write(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00"])
def test_what_is_no_sweep_is_refused(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"sweep\.yaml"):
        read_sweep(path)
    with pytest.raises(ConfigError, match="give a path, or one of agents, cost_weight, policy_gradient"):
        find_sweep("agnets")


# --- proposals


def test_a_grid_has_every_point_once(tmp_path):
    search = Search(read_sweep(write(tmp_path)))
    points = [tuple(search.propose(number, []).values()) for number in range(search.total)]
    assert points == list(itertools.product([0.1, 0.2], [0, 1, 2], ["cma_es"]))
    assert Search(search.sweep, runs=4).total == 4 and Search(search.sweep, runs=40).total == 6


@pytest.mark.parametrize(
    ("spec", "mean", "low", "high"),
    [
        ({"min": 1.0, "max": 3.0}, 2.0, 1, 3),
        ({"min": 1, "max": 3}, 2.0, 1, 3),
        ({"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}, 0.99 / np.log(100), 0.01, 1),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, 5.0, 0, 10),
        ({"distribution": "q_uniform", "min": 1, "max": 10, "q": 4}, 5.79, 4, 8),
        ({"distribution": "normal", "mu": 2.0, "sigma": 0.5}, 2.0, -2, 6),
        ({"values": [1, 5], "probabilities": [0.75, 0.25]}, 2.0, 1, 5),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 0.5}, 99 / np.log(100), 1, 100),
    ],
)
def test_random_values_follow_their_distribution(tmp_path, spec, mean, low, high):
    (parameter,) = read_sweep(write(tmp_path, method="random", run_cap=1, parameters={"x": spec})).parameters
    rng = np.random.default_rng(0)
    values = np.array([parameter.sample(rng) for _ in range(4000)])
    assert low <= values.min() <= values.max() <= high
    assert values.mean() == pytest.approx(mean, abs=4 * values.std() / np.sqrt(4000) + 0.02)
    if "q" in spec:
        assert np.allclose(values / spec["q"], np.round(values / spec["q"]))


def test_random_runs_do_not_depend_on_what_came_before(tmp_path):
    sweep = read_sweep(write(tmp_path, method="random", run_cap=5))
    search = Search(sweep, seed=3)
    runs = [SweepRun(number, search.propose(number, [])) for number in range(5)]
    assert search.propose(4, runs[:2]) == runs[4].parameters
    assert [Search(sweep, seed=4).propose(n, []) for n in range(5)] != [run.parameters for run in runs]


def test_endless_sweeps_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="set run_cap in the file, or use --runs"):
        Search(read_sweep(write(tmp_path, method="random")))
    with pytest.raises(ConfigError, match="a grid has an end"):
        Search(read_sweep(write(tmp_path, parameters={"x": {"min": 0.0, "max": 1.0}})))
    normal = {"x": {"distribution": "normal", "mu": 0, "sigma": 1}}
    with pytest.raises(ConfigError, match="normal distribution has no bounds"):
        Search(read_sweep(write(tmp_path, method="bayes", run_cap=3, parameters=normal)))


def test_bayes_finds_a_maximum_and_is_repeatable(tmp_path):
    parameters = {
        "x": {"min": -1.0, "max": 1.0},
        "kind": {"values": ["bad", "good"]},
        "scale": {"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 1},
    }
    sweep = read_sweep(write(tmp_path, method="bayes", run_cap=40, parameters=parameters))

    def search(seed: int) -> list[SweepRun]:
        runs: list[SweepRun] = []
        for number in range(40):
            found = Search(sweep, seed).propose(number, runs)
            value = -((found["x"] - 0.3) ** 2) + (found["kind"] == "good") - np.log(found["scale"] / 10) ** 2 / 10
            runs.append(SweepRun(number, found, DONE, {}, value))
        return runs

    found = search(0)
    assert max(run.value for run in found) > 0.95
    assert np.mean([run.value for run in found[-10:]]) > np.mean([run.value for run in found[:10]]) + 0.2
    assert [run.parameters for run in search(0)] == [run.parameters for run in found]


def test_bayes_takes_running_and_failed_runs(tmp_path):
    sweep = read_sweep(write(tmp_path, method="bayes", run_cap=9))
    parameters = {"agent.sigma": 0.1, "seed": 1, "agent": "cma_es"}
    before = [SweepRun(n, parameters, state) for n, state in enumerate([RUNNING, FAILED, RUNNING])]
    before += [SweepRun(n, parameters, DONE, {}, 1.0) for n in range(3, 9)]
    assert Search(sweep).propose(9, before)["agent"] == "cma_es"


def test_bayes_without_optuna_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rl_detector\[peers\]', or use method random"):
        Search(read_sweep(write(tmp_path, method="bayes", run_cap=3)))


# --- the table


def test_the_table_holds_everything_and_ranks_by_the_metric():
    runs = [
        SweepRun(0, {"seed": 1}, DONE, {"reach": 1.0, "price": 5.0}, 1.0, "a"),
        SweepRun(1, {"seed": 2}, FAILED, reason="exit code 2: error: no"),
        SweepRun(2, {"seed": 3}, DONE, {"reach": 2.0, "price": 9.0}, 2.0, "b"),
    ]
    rows = list(csv.DictReader(table(runs).splitlines()))
    assert [row["reach"] for row in rows] == ["1.0", "", "2.0"] and rows[1]["reason"] == "exit code 2: error: no"
    assert [run.number for run in ranked(runs, True)] == [2, 0, 1]
    assert [run.number for run in ranked(runs, False)] == [0, 2, 1]


# --- trainings, with a stand-in that writes what a training writes


STAND_IN = """
import json, os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
if sys.argv[1:4] == ["train", "--check-trust", "fail=yes"]:
    sys.exit("error: this setting does not exist")
folder = pathlib.Path(words["runs"]) / "run" if sys.argv[1] == "train" else pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
if sys.argv[1] == "train":
    (folder / "config.yaml").write_text(json.dumps(words))
words = json.loads((folder / "config.yaml").read_text())
with (folder / "calls").open("a") as calls:
    calls.write(sys.argv[1] + "\\n")
if words.get("seed") == os.environ.get("HANG_SEED", "none"):
    time.sleep(60)
x = float(words["x"])
numbers = {"reach": x, "reach_error": 0.1, "reward": 1 - x * x, "metric": 2.0, "metric_error": 0.2}
(folder / "recommended.json").write_text(json.dumps({**numbers, "costs": {"price": 7}}))
"""


@dataclass(frozen=True)
class StandIn:
    """A package `rl_detector` whose `__main__` is STAND_IN."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        package = self.folder / "stand_in" / "rl_detector"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(STAND_IN)
        return {**os.environ, "PYTHONPATH": str(package.parent), **more}


def sweep_in(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], folder: Path) -> None:
    """Let sweeps of this process start the stand-in."""
    monkeypatch.chdir(folder)  # `python -m` prefers the package of the folder in which it is started
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


LINE = {"x": {"values": [0.5, -0.25, 1.0]}, "seed": {"values": [1, 2]}}


def test_trainings_run_in_parallel_once_and_give_a_table(tmp_path, monkeypatch):
    sweep_in(monkeypatch, StandIn(tmp_path).environment(), tmp_path)
    path = write(tmp_path, parameters=LINE)
    heard: list[int] = []
    runs = SweepSession.open(path, tmp_path / "out", jobs=3).run(lambda run: heard.append(run.number))
    assert [run.state for run in runs] == [DONE] * 6 and sorted(heard) == list(range(6))
    assert runs[2].value == 1 - 0.25**2 and runs[2].numbers["price"] == 7
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [row["x"] for row in rows] == ["0.5", "0.5", "-0.25", "-0.25", "1.0", "1.0"]
    assert {row["reach_error"] for row in rows} == {"0.1"} and rows[0]["run"] == "runs/0000/run"
    heard.clear()
    again = SweepSession.open(path, tmp_path / "out", jobs=3).run(lambda run: heard.append(run.number))
    assert again == runs and heard == []
    words = json.loads((tmp_path / "out" / "runs" / "0003" / "run" / "config.yaml").read_text())
    assert words == {"x": "-0.25", "seed": "2", "runs": str(tmp_path / "out" / "runs" / "0003")}, "no tracker"


def test_a_tracker_is_kept_on_request(tmp_path, monkeypatch):
    sweep_in(monkeypatch, StandIn(tmp_path).environment(), tmp_path)
    path = write(tmp_path, parameters={"x": {"values": [0.5]}})
    SweepSession.open(path, tmp_path / "out", track=True).run()
    words = json.loads((tmp_path / "out" / "runs" / "0000" / "run" / "config.yaml").read_text())
    assert words["tracker"] == "wandb"


def test_failed_trainings_are_told_and_tried_again(tmp_path, monkeypatch):
    sweep_in(monkeypatch, StandIn(tmp_path).environment(), tmp_path)
    parameters = {"fail": {"values": ["yes", "no"]}, "x": {"values": [0.5]}}
    path = write(tmp_path, command=[*COMMAND[:-1], "${args_no_hyphens}"], parameters=parameters)
    for _ in range(2):
        runs = SweepSession.open(path, tmp_path / "out").run()
        assert [run.state for run in runs] == [FAILED, DONE]
        assert runs[0].reason == "exit code 1: error: this setting does not exist"
    assert (tmp_path / "out" / "runs" / "0000" / "log.txt").read_text().count("error:") == 2
    assert (tmp_path / "out" / "runs" / "0001" / "run" / "calls").read_text() == "train\n"


def test_another_sweep_metric_or_process_is_refused(tmp_path, monkeypatch):
    sweep_in(monkeypatch, StandIn(tmp_path).environment(), tmp_path)
    session = SweepSession.open(write(tmp_path, parameters=LINE), tmp_path / "out", runs=1)
    session.run()
    with pytest.raises(ConfigError, match="holds another sweep or seed"):
        SweepSession.open(write(tmp_path, parameters=LINE, method="random", run_cap=2), tmp_path / "out").run()
    wrong = write(tmp_path, parameters=LINE, metric={"name": "precision", "goal": "maximize"})
    with pytest.raises(ConfigError, match=r"metric\.name must be one of reach, reach_error, reward, metric"):
        SweepSession.open(wrong, tmp_path / "other", runs=1).run()
    with session._locked(), pytest.raises(OSError, match="another process works on"):
        session.run()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Choose another place with --out"):
        SweepSession.open(write(tmp_path), tmp_path / "file").run()


def start(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command line in a group of its own, whose trainings are the stand-in if its environment says so."""
    code = (
        "import os, sys; from rl_detector.cli import main; "
        "os.environ['PYTHONPATH'] = os.environ.get('TRAININGS', ''); main(sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_sweep_goes_on(tmp_path, how):
    """Run 1 hangs when the sweep is stopped: run 0 is not repeated, run 1 is resumed, the others are started."""
    stand_in = StandIn(tmp_path).environment(HANG_SEED="2")
    environment = {**os.environ, "HANG_SEED": "2", "TRAININGS": stand_in["PYTHONPATH"]}
    path = write(tmp_path, parameters=LINE)
    process = start(tmp_path, "sweep", str(path), "--out", "out", environment=environment)
    second = tmp_path / "out" / "runs" / "0001" / "run" / "calls"
    deadline = time.monotonic() + 60
    while not (second.exists() and second.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (130 if how == signal.SIGINT else -how), output
    assert "Traceback" not in output
    done = start(tmp_path, "sweep", str(path), "--out", "out", environment={**environment, "HANG_SEED": "none"})
    output = done.communicate(timeout=120)[0]
    assert done.returncode == 0, output
    assert "6 of 6 runs done" in output
    calls = [(tmp_path / "out" / "runs" / f"{n:04d}" / "run" / "calls").read_text().split() for n in range(6)]
    assert calls == [["train"], ["train", "resume"], *[["train"]] * 4]


def test_a_training_that_outlived_its_sweep_is_waited_for(tmp_path):
    (tmp_path / "config.yaml").touch()
    folder, order = RunFolder(tmp_path), []

    def hold() -> None:
        with folder.locked():
            taken.set()
            time.sleep(0.3)
            order.append("training ends")

    taken = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    wait_until_free(folder)
    order.append("sweep goes on")
    thread.join()
    assert order == ["training ends", "sweep goes on"]


# --- trainings as they are


def test_the_command_of_the_agent_of_weights_and_biases_trains(tmp_path):
    """Its own functions make the command; it is run with the variables that the agent sets, offline."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
    from wandb.sdk.lib.config_util import save_config_file_from_dict

    config = yaml.safe_load(write(tmp_path, SMALL, parameters=GRID).read_text())
    arguments = {"env.noise": {"value": 0.2}, "seed": {"value": 3}}
    replaced = {**create_sweep_command_args({"args": arguments}), "env": ["/usr/bin/env"], "interpreter": ["python"]}
    command: list[str] = []
    for word in create_sweep_command(config["command"]):
        inside = word.startswith("${") and word.endswith("}")
        command += replaced[word[2:-1]] if inside else [word]
    assert command[:5] == ["/usr/bin/env", "python", "-m", "rl_detector", "train"]
    assert command[-2:] == ["env.noise=0.2", "seed=3"]
    places = {f"WANDB_{name}_DIR": str(tmp_path / name) for name in ("DATA", "CACHE", "CONFIG")}
    save_config_file_from_dict(str(tmp_path / "parameters.yaml"), arguments)
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "parameters.yaml")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    rest = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment = {**rest, **places, **agent, "WANDB_MODE": "offline", "HOME": str(tmp_path), "PATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("runs/wandb/offline-run-*-r1/run-r1.wandb")
    inspect = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file)]
    shown = subprocess.run(inspect, env=environment, capture_output=True, text=True, timeout=100, check=True).stdout
    records = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    text = json.dumps(records)
    assert '"s1"' in text and "env.noise" in text
    (recommended,) = tmp_path.glob("runs/oracle-*/recommended.json")
    result = json.loads(recommended.read_text())
    for name in ("reach", "reward"):
        assert f"{result[name]:.10g}" in text, f"the agent must find the final {name} in the summary"


def test_a_sweep_of_trainings(tmp_path):
    path = write(tmp_path, SMALL, method="random", parameters={"seed": {"min": 0, "max": 9}}, run_cap=2)
    process = start(tmp_path, "sweep", path.name, "--jobs", "2")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    rows = list(csv.DictReader((tmp_path / "sweeps" / "sweep" / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 and all(float(row["reach_error"]) > 0 for row in rows)
    for row in rows:
        with sqlite3.connect(tmp_path / "sweeps" / "sweep" / row["run"] / "ledger.sqlite") as ledger:
            assert ledger.execute("SELECT COUNT(*) FROM trials").fetchone() == (60,)
        ledger.close()
    assert not list(tmp_path.rglob("wandb"))


def test_a_mistake_in_the_settings_is_told_and_ends_with_2(tmp_path):
    path = write(tmp_path, parameters={"agent.sigmas": {"values": [1]}})
    process = start(tmp_path, "sweep", path.name)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "run 0 failed" in output and "sigmas" in output and "Traceback" not in output


@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_launchers_of_hydra_run_trainings_in_processes_and_tell_of_failures(tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    process = start(tmp_path, "train", "-m", *SMALL, "seed=0,-1", f"hydra/launcher={launcher}")
    output = process.communicate(timeout=300)[0]
    assert process.returncode not in (0, None), output
    assert "a training ended with exit code 2" in output and "Traceback" not in output
    assert len(list(tmp_path.glob("runs/oracle-*/recommended.json"))) == 1
