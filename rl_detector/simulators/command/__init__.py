"""Any executable as a simulator."""

from rl_detector.simulators.command.needs import Needs
from rl_detector.simulators.command.simulator import CommandSimulator, Settings, command_simulator

__all__ = ["CommandSimulator", "Needs", "Settings", "command_simulator"]
