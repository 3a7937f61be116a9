"""Geant4: layered geometries in persistent worker processes. Importing this folder imports nothing heavy."""

from rl_detector.simulators.geant4.simulator import Geant4Simulator

__all__ = ["Geant4Simulator"]
