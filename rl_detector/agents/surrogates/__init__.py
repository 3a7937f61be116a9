"""Agents that search on a model of the reward: Gaussian processes and local generators."""
