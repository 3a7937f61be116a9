"""Where simulations run: in this process, in local workers, on a cluster."""

from rl_detector.execution.evaluator import Evaluator, SerialEvaluator

__all__ = ["Evaluator", "SerialEvaluator"]
