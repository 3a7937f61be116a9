"""Magnetic spectrometer of silicon stations."""

from rl_detector.envs.spectrometer.problem import spectrometer

__all__ = ["spectrometer"]
