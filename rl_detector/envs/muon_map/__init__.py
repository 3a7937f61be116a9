"""Map of the radiation length in a volume that cosmic muons cross."""

from rl_detector.envs.muon_map.problem import muon_map

__all__ = ["muon_map"]
