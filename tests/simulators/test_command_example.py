"""The example of a user's own simulator: its physics is the closed form, and one command leads to its report."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.simulators.command.simulator import CommandSimulator

EXAMPLE = Path(__file__).parents[2] / "experiments" / "own_simulator"

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("make") is None,
    reason="g++ or make is not installed: the C++ program of experiments/own_simulator is not compiled and not checked",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy and compile the example."""
    copy = tmp_path_factory.mktemp("example") / "own_simulator"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("build", "runs", "__pycache__", "*.egg-info"))
    done = subprocess.run(["make", "build/telescope"], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "it compiles without warnings"
    return copy


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example(folder: Path) -> Any:
    return load(folder / "silicon_telescope.py")


@pytest.fixture(scope="module")
def exact(folder: Path) -> Any:
    return load(folder / "closed_form.py")


def test_the_contract(example: Any) -> None:
    problem = example.telescope()
    check_problem(problem, events=50, designs=2)
    check_simulator(problem.simulator, list(problem.baselines.values()))


@pytest.mark.parametrize(("low", "high"), [(1.0, 5.0), (0.5, 0.5), (200.0, 200.0)])
def test_the_error_of_the_origin_is_the_closed_form(example: Any, exact: Any, low: float, high: float) -> None:
    """Scattering dominates at 0.5 GeV/c, the errors of the sensors at 200 GeV/c."""
    problem = example.telescope(momentum_low=low, momentum_high=high)
    designs = [*problem.baselines.values(), problem.space.sample(np.random.default_rng(3))]
    for seed, design in enumerate(designs):
        measured = problem.evaluate(design, 30_000, seed).measurement
        assert measured is not None
        expected = exact.metric(design, low, high)
        assert measured.metric == pytest.approx(expected, abs=4 * measured.metric_error)
        assert measured.metric_error < 0.015 * measured.metric


def test_the_covariance_of_the_hits_is_the_closed_form(example: Any, exact: Any) -> None:
    """Compare all ten entries, with planes out of order; the straight line of each track is subtracted first."""
    events, problem = 40_000, example.telescope()
    design = example.planes((400, 30, 200, 90), (100, 200, 400, 500), ("strip", "pixel", "pixel", "strip"))
    readout = problem.simulator.simulate(design, events, 5)
    z = np.array([plane["z"] for plane in design["plane"]])
    scattered = readout.signals - readout.truth["x0"][:, None] - readout.truth["slope"][:, None] * z
    prior = exact.SPOT**2 + (1e3 * exact.SLOPE) ** 2 * np.outer(z, z)
    expected = exact.covariance(design, 1.0, 5.0) - prior
    variances = np.diag(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / events)
    # momenta vary between tracks, so fourth moments exceed those of a Gaussian, here by at most a factor of 2.4
    assert np.all(np.abs(np.cov(scattered.T) - expected) < 4 * np.sqrt(2.4) * error)
    assert readout.truth["slope"].std() == pytest.approx(1e3 * exact.SLOPE, rel=0.02)
    assert np.all(np.abs(np.mean(scattered, axis=0)) < 5 * np.sqrt(variances / events))


def test_its_own_errors_reach_the_user(folder: Path, example: Any) -> None:
    problem = example.telescope()
    wrong = example.planes((50, 150, 250, 350), (300,) * 4, ("strip", "strip", "strip", "drift"))
    with pytest.raises(SimulationError, match="exit code 1; stderr: telescope: unknown sensor drift: known are"):
        problem.simulator.simulate(wrong, 5, 1)
    moved = folder / "build" / "telescope"
    moved.rename(moved.with_name("moved"))
    try:
        with pytest.raises(ConfigError, match=r"does not exist .*build or copy it first"):
            CommandSimulator(folder / "telescope.yaml")
    finally:
        moved.with_name("moved").rename(moved)


def test_the_readme_shows_the_files() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    assert (EXAMPLE / "telescope.yaml").read_text() in readme
    assert (EXAMPLE / "planes.txt.in").read_text() in readme


def test_one_command_from_the_program_to_the_report(folder: Path, tmp_path: Path) -> None:
    """Announce the package as pip would, without installing anything into this environment."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    points = [
        f"[{group}]\n{name} = {value}"
        for group, each in project["entry-points"].items()
        for name, value in each.items()
    ]
    announced = tmp_path / "site" / "silicon_telescope-0.1.0.dist-info"
    announced.mkdir(parents=True)
    (announced / "entry_points.txt").write_text("\n".join(points))
    (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: silicon_telescope\nVersion: 0.1.0\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{folder}"}
    budget = ["budget.events=1600", "budget.events_per_design=50", "budget.designs_per_batch=16", "held_out.events=500"]
    words = ["train", "env=silicon_telescope", "env.momentum_high=3", *budget, f"runs={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-m", "rl_detector", *words],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "runs").glob("*/report.html")
    facts = json.loads((report.parent / "validation.json").read_text())["silicon telescope"][0]["simulator"]
    assert facts["version"] == "telescope 1.0"
    assert facts["command"] == "{here}/build/telescope {scratch}/planes.txt {output} {events} {seed}"
