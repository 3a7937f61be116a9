"""The SHiP muon shield."""

from rl_detector.envs.muon_shield.problem import muon_shield

__all__ = ["muon_shield"]
