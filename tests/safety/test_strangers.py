"""Strangers' folders: nothing in the current folder is imported, nothing in a run folder takes long or is followed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import rl_detector
from rl_detector.cli import main
from rl_detector.errors import ConfigError, DesignError, RunFolderError
from rl_detector.parameters import Continuous
from rl_detector.records.checkpoint import load_checkpoint
from rl_detector.records.ledger import Ledger
from rl_detector.records.run_folder import RunFolder
from rl_detector.safety import supervisor
from rl_detector.safety.untrusted import LARGEST_YAML
from rl_detector.space import DesignSpace, Repeated

SMALL = (
    "env=oracle", "agent=random_search", "tracker=off", "held_out.events=50",
    "budget={events: 100, events_per_design: 10, designs_per_batch: 5}",
)  # fmt: skip
NAMES = ("json", "pickle", "multiprocessing", "numpy", "random", "threading", "__future__", "cloudpickle", "re")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules that leave a marker when they are imported."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'a').write('{name} ')\n")
    return folder


def in_folder(folder: Path, *words: str) -> str:
    """Output of Python in a folder that is not named, with the package of these tests."""
    path = {"PYTHONPATH": str(Path(rl_detector.__file__).parents[1])}
    found = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**os.environ, **path}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert not (folder.parent / "marker").exists(), (folder.parent / "marker").read_text()
    return found.stdout


CONSOLE = ("-P", "-c", "import sys; from rl_detector.cli import main; main(sys.argv[1:])")
"""As the console script, which does not put the current folder on the path."""


MODULE = ("-m", "rl_detector")
"""Python itself puts the current folder on the path."""


@pytest.mark.parametrize(
    ("start", "evaluator"),
    [
        pytest.param(CONSOLE, "local", id="console-local"),
        pytest.param(MODULE, "dask", id="module-dask"),
    ],
)
def test_workers_import_nothing_from_the_current_folder(start: tuple[str, ...], evaluator: str, hostile: Path) -> None:
    words = ("train", *SMALL, f"evaluator={evaluator}", "evaluator.workers=1")
    assert "report:" in in_folder(hostile, *start, *words)


def test_what_is_spawned_imports_nothing_from_the_current_folder(hostile: Path) -> None:
    """Comparisons and Geant4 use it; the tracker of resources is a process, too."""
    script = hostile.parent / "script.py"
    script.write_text(
        "import sys\nsys.path.pop(0)\nfrom pebble import ProcessPool\nimport os\n"
        "from rl_detector.safety.child_processes import SafeContext\n"
        "from rl_detector.simulators.geant4.pool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPool(1, context=SafeContext()) as pool: print(pool.schedule(os.getpid).result() > 0)\n"
        "    pool = WorkerPool(1, os.getpid); print(pool.run(os.getpid, [()], [60.0])[0] > 0); pool.stop()\n"
    )
    assert in_folder(hostile, str(script)).split() == ["True", "True"]


def test_sweeps_start_trainings_from_a_safe_path(hostile: Path) -> None:
    (hostile / "sweep.yaml").write_text(
        "method: grid\nmetric: {name: reach, goal: maximize}\nparameters: {seed: {values: [1]}}\n"
        'command: ["${env}", "${interpreter}", "-m", "rl_detector", "train", '
        + "".join(f'"{word}", ' for word in SMALL)
        + '"${args_no_hyphens}"]\n'
    )
    in_folder(hostile, *CONSOLE, "sweep", "sweep.yaml")


def test_modules_that_a_user_named_are_found_by_workers(tmp_path: Path) -> None:
    """In the folder of a script, and in the current folder of a prompt or notebook, though there they come last."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass, replace\nfrom rl_detector.envs.oracles.problem import oracle\n"
        "@dataclass\nclass Mine:\n    inner: object\n"
        "    def simulate(self, design, events, seed): return self.inner.simulate(design, events, seed)\n"
        "    def describe(self): return {'simulator': 'mine'}\n"
        "def run():\n"
        "    from rl_detector.execution.local import LocalEvaluator\n    from rl_detector.terms import Group\n"
        "    problem = oracle()\n    problem = replace(problem, simulator=Mine(problem.simulator))\n"
        "    evaluator = LocalEvaluator(1)\n"
        "    groups = list(evaluator.evaluate(problem, Group([problem.start], 10, [1])))\n"
        "    print(groups[0][0].failed)\n    evaluator.close()\n"
    )
    (tmp_path / "script.py").write_text("import mine\nmine.run()\n")
    for words in ((str(tmp_path / "script.py"),), ("-c", "import mine; mine.run()")):
        assert in_folder(tmp_path, *words).strip() == "False"


STUBBORN = """
import os, subprocess, sys, time
from dataclasses import replace
from rl_detector.envs.oracles.problem import oracle
from rl_detector.execution.local import LocalEvaluator
from rl_detector.terms import Group

class Stubborn:
    def simulate(self, design, events, seed):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print(child.pid, os.getpid(), flush=True)
        {then}
    def describe(self):
        return {{"simulator": "stubborn"}}

problem = replace(oracle(), simulator=Stubborn())
evaluator = LocalEvaluator(1, timeout={timeout})
print(list(evaluator.evaluate(problem, Group([problem.start], 1, [1]))), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
@pytest.mark.parametrize("how", ["killed study", "late", "crash"])
def test_children_that_leave_their_session_end_with_the_worker(how: str) -> None:
    then = "os._exit(3)" if how == "crash" else "time.sleep(600)"
    code = STUBBORN.format(then=then, timeout=1.0 if how == "late" else None)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        processes = study.stdout.readline().split()
        if how == "killed study":
            study.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 15
        while any(map(lives, processes)) and time.monotonic() < deadline:
            time.sleep(0.05)
        alive = list(filter(lives, processes))
        study.kill()
    assert alive == []


def lives(process: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_a_supervisor_ends_as_its_command_did() -> None:
    for code, expected in (("import os; os._exit(7)", 7), ("import os; os.abort()", -signal.SIGABRT)):
        words = [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), "-1", "0"]
        assert subprocess.run([*words, sys.executable, "-c", code], check=False).returncode == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.chdir(folder)
        main(["train", *SMALL])
    assert not stop.value.code
    return RunFolder(RunFolder.find("latest", folder / "runs").path.resolve())


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> RunFolder:
    """A finished run to spoil."""
    return RunFolder(Path(shutil.copytree(trained.path, tmp_path / "run")))


def refused(command: str, run: RunFolder, capfd: Any) -> str:
    """What a command says that ends at once with a clear error."""
    started = time.monotonic()
    with pytest.raises(SystemExit) as stop:
        main([command, str(run.path)])
    assert time.monotonic() - started < 20, "on an idle computer it takes less than 5 s"
    said = str(capfd.readouterr().err)
    assert stop.value.code == 2 and "Traceback" not in said
    return said


BOMBS = {
    "deep flow": ("a: " + "[" * 50_000, "deep"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(500)), "deep"),
    "large": ("a: [" + "1, " * 5_000_000 + "]", f"{LARGEST_YAML} bytes"),
    "aliases": ("a: &a [1]\nb: *a", "aliases"),
    "number": ("seed: 0x" + "f" * 100_000, "whole number"),
}


@pytest.mark.parametrize("command", ["report", "resume"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_configuration_has_bounds(bomb: str, command: str, run: RunFolder, capfd: Any) -> None:
    text, message = BOMBS[bomb]
    run.config.write_text(text)
    assert message in refused(command, run, capfd)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"name": "calorimeter", "layers": 10**8}, "the most are"),
        ({"name": "spectrometer", "stations": 10**8}, "the most are"),
        ({"name": "slab_calorimeter", "sensors": 10**8}, "the most are"),
        ({"name": "oracle", "dimensions": 10**8}, "at most"),
    ],
)
def test_environments_have_bounds(env: dict[str, Any], message: str, run: RunFolder, capfd: Any) -> None:
    run.write_config({**run.read_config().to_plain(), "env": env})
    assert message in refused("resume", run, capfd)
    main_report(run)


def main_report(run: RunFolder) -> None:
    started = time.monotonic()
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run.path)])
    assert not stop.value.code and time.monotonic() - started < 20


def test_a_space_has_bounds() -> None:
    inner = DesignSpace((Continuous("x", 0.0, 1.0),))
    with pytest.raises(DesignError, match="at most 100000 entries"):
        DesignSpace((Repeated("layer", inner, 0, 10**8),))
    for _ in range(3):
        inner = DesignSpace((Repeated("layer", inner, 1, 20),))
    with pytest.raises(DesignError, match="at most"):
        DesignSpace((Repeated("layer", inner, 0, 20),))


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "link"])
@pytest.mark.parametrize("name", ["config", "checkpoint", "ledger", "validation", "recommended", "family"])
def test_links_pipes_and_devices_are_not_read(name: str, kind: str, run: RunFolder, tmp_path: Path) -> None:
    path: Path = getattr(run, name)
    if path.exists():
        path.rename(tmp_path / "elsewhere")
    make = {
        "device": lambda: path.symlink_to("/dev/zero"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
    }
    make[kind]()
    read = {
        "config": run.read_config,
        "checkpoint": lambda: load_checkpoint(path),
        "ledger": lambda: Ledger(path, read_only=True),
    }
    with pytest.raises(RunFolderError, match=r"link|regular file"):
        read.get(name, lambda: run.read_json(path, {}))()


@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_files_of_sweeps_and_comparisons_have_bounds(command: str, tmp_path: Path) -> None:
    from rl_detector.comparison.plan import read_comparison
    from rl_detector.sweeps.file import read_sweep

    read: Any = read_sweep if command == "sweep" else read_comparison
    file = tmp_path / "file.yaml"
    for text, message in (BOMBS["deep flow"], BOMBS["large"], BOMBS["aliases"]):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="regular file"):
        read(file)


@pytest.mark.slow
@pytest.mark.geant4
@pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="needs the geant4 extra")
def test_geant4_imports_nothing_from_the_current_folder(hostile: Path) -> None:
    words = ("env=calorimeter", "simulator=geant4", "simulator.workers=1", "simulator.physics_list=data-free")
    budget = "budget={events: 40, events_per_design: 20, designs_per_batch: 2}"
    common = ("agent=random_search", "tracker=off", "held_out.events=20", "judge=none")
    in_folder(hostile, *CONSOLE, "train", *words, budget, *common)
