"""Test kits for problems, simulators and agents that other people write."""

from rl_detector.checks.agents import check_agent
from rl_detector.checks.problems import check_env, check_problem, check_simulator, check_space

__all__ = ["check_agent", "check_env", "check_problem", "check_simulator", "check_space"]
