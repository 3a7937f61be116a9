"""The loop: ask the agent, evaluate, keep, tell; batches, asynchronous, contexts; validation."""

from rl_detector.reach.paired import paired_difference
from rl_detector.study.progress import Budget, Progress, describe_metrics
from rl_detector.study.study import Study
from rl_detector.study.validation import validate

__all__ = ["Budget", "Progress", "Study", "describe_metrics", "paired_difference", "validate"]
