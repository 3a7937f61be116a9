"""Reinforcement learning for the design of particle detectors: layouts as environments, reward = reach minus cost."""

import rl_detector.safety.safe_path  # noqa: F401  (before anything else is imported)

# isort: split
from rl_detector.agent import Agent, Batch
from rl_detector.episodes.builder_env import BuilderEnv
from rl_detector.episodes.env import DesignEnv, VectorDesignEnv
from rl_detector.errors import DetectorError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger
from rl_detector.registry import register
from rl_detector.space import Design, DesignSpace, Encoding, Repeated
from rl_detector.study import Budget, Study
from rl_detector.terms import Constraint, Cost, Measurement, Reach, Readout, Simulator

__all__ = [
    "Agent",
    "Batch",
    "Budget",
    "BuilderEnv",
    "Categorical",
    "Constraint",
    "Continuous",
    "Cost",
    "Design",
    "DesignEnv",
    "DesignProblem",
    "DesignSpace",
    "DetectorError",
    "Encoding",
    "Evaluation",
    "Integer",
    "Ledger",
    "Measurement",
    "Reach",
    "Readout",
    "Repeated",
    "Simulator",
    "Study",
    "VectorDesignEnv",
    "register",
]
