"""Contract tests for your own problems, simulators, environments and agents."""

from rl_detector.checks.agents import check_agent
from rl_detector.checks.problems import check_env, check_problem, check_simulator, check_space

__all__ = ["check_agent", "check_env", "check_problem", "check_simulator", "check_space"]
