"""The example of a detector of one's own runs, and finds what is known to be best."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rl_detector.checks.problems import check_problem

EXAMPLE = Path(__file__).parents[1] / "experiments" / "own_detector" / "own_detector.py"


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("own_detector", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_keeps_the_contract(example: Any) -> None:
    check_problem(example.telescope())


def test_the_reach_of_the_example_is_the_closed_form(example: Any) -> None:
    """sigma = 0.1 mm / sqrt(sum of (z - mean z)^2), here 0.1 / sqrt(2 * 100^2)."""
    problem = example.telescope()
    measured = problem.evaluate(problem.start, 50_000, 0).measurement
    assert measured is not None
    assert measured.metric == pytest.approx(0.1 / (2 * 100**2) ** 0.5, rel=0.02)


def test_the_example_runs_and_comes_close_to_the_best_reward(tmp_path: Path) -> None:
    """The best: two planes at one end, the third 1000 mm / cost_weight = 500 mm away, reward 0.41."""
    command = [sys.executable, "-W", "error", str(EXAMPLE)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    rewards = [float(text) for text in re.findall(r"} reward (-?[\d.]+)$", result.stdout, re.MULTILINE)]
    assert rewards[0] == pytest.approx(-0.06, abs=0.05)
    assert 0.3 < rewards[1] < 0.45
