"""Hydra configuration: config.yaml and one group per concept."""
