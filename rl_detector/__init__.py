"""Reinforcement learning for the design of particle detectors."""
