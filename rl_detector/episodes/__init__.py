"""The design problem as Gymnasium sees it: environments, builders, wrappers."""

from rl_detector.episodes.builder_env import BuilderEnv, make_builder_env
from rl_detector.episodes.env import DesignEnv, VectorDesignEnv, make_env, make_vector_env

__all__ = ["BuilderEnv", "DesignEnv", "VectorDesignEnv", "make_builder_env", "make_env", "make_vector_env"]
