"""The loop: ask the agent, evaluate, keep, tell; batches, asynchronous, contexts; validation."""

from rl_detector.study.study import Budget, Progress, Study, describe_metrics

__all__ = ["Budget", "Progress", "Study", "describe_metrics"]
