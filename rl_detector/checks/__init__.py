"""Contract tests for your own problems, simulators, environments and agents, and the check of stated errors."""

from rl_detector.checks.agents import check_agent
from rl_detector.checks.error_bars import ErrorBars, measure_error_bars
from rl_detector.checks.problems import check_env, check_problem, check_simulator, check_space

__all__ = [
    "ErrorBars",
    "check_agent",
    "check_env",
    "check_problem",
    "check_simulator",
    "check_space",
    "measure_error_bars",
]
