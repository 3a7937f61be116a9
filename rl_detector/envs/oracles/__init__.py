"""Problems with a known best design."""

from rl_detector.envs.oracles.problem import oracle

__all__ = ["oracle"]
