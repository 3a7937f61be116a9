"""Another package announces an environment; `gym.make` and the command line find it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy package installed in a folder of its own."""
    source = tmp_path_factory.mktemp("source") / "toy"
    shutil.copytree(TOY, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    result = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return target


def python(installed: Path | None, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WANDB_MODE": "offline", "COLUMNS": "200"}
    if installed is not None:
        environment["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_gym_make(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
import gymnasium as gym
import rl_detector.registry
assert "toy_detector" not in sys.modules, "announced, not imported"
env = gym.make("rl_detector/ToyTelescope-v0", planes=4, events=50)
env.reset(seed=0)
assert env.action_space.shape == (4,)
print("reward", env.step(env.action_space.sample())[1])
"""
    result = python(installed, tmp_path, "-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("reward ")


def test_the_toy_keeps_the_contract(installed: Path, tmp_path: Path) -> None:
    code = """
import gymnasium as gym
from rl_detector.checks.problems import check_env, check_problem, check_simulator
from toy_detector.telescope import telescope
problem = telescope()
check_problem(problem)
check_simulator(problem.simulator, list(problem.baselines.values()))
check_env(gym.make("rl_detector/ToyTelescope-v0", events=50))
"""
    result = python(installed, tmp_path, "-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr


def test_list(installed: Path, tmp_path: Path) -> None:
    listed = python(installed, tmp_path, "-m", "rl_detector", "list").stdout
    assert "toy_telescope  rl_detector/ToyTelescope-v0  toy_detector.telescope:telescope" in listed
    assert "toy_telescope" not in python(None, tmp_path, "-m", "rl_detector", "list").stdout


def test_train(installed: Path, tmp_path: Path) -> None:
    budget = ("budget.events=800", "budget.events_per_design=50", "budget.designs_per_batch=8", "held_out.events=100")
    words = ("train", "env=toy_telescope", "env.planes=4", *budget, f"runs={tmp_path / 'runs'}")
    result = python(installed, tmp_path, "-m", "rl_detector", *words)
    assert result.returncode == 0, result.stderr
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.name.startswith("toy_telescope-"))
    assert (run / "ledger.sqlite").exists()
    assert "recommended" in result.stdout


def test_settings_of_the_toy_are_checked(installed: Path, tmp_path: Path) -> None:
    result = python(installed, tmp_path, "-m", "rl_detector", "train", "env=toy_telescope", "env.planes=many")
    assert result.returncode == 2
    assert "env.planes" in result.stderr
    assert "Traceback" not in result.stderr
