"""Sensors in a steel slab."""

from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter

__all__ = ["slab_calorimeter"]
