"""Fill height of a ladle furnace from cosmic muons."""

from rl_detector.envs.muon_tomography.problem import muon_tomography

__all__ = ["muon_tomography"]
