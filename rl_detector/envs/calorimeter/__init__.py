"""Sampling calorimeter of absorbers and scintillators."""

from rl_detector.envs.calorimeter.problem import calorimeter

__all__ = ["calorimeter"]
