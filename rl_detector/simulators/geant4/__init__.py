"""Geant4 in persistent worker processes: stacks of layers, and halls with blocks, fields and tracks.

Importing this folder imports nothing heavy.
"""

from rl_detector.simulators.geant4.simulator import Geant4Simulator
from rl_detector.simulators.geant4.tracker import Geant4Tracker

__all__ = ["Geant4Simulator", "Geant4Tracker"]
