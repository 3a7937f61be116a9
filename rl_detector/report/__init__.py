"""Figures and the HTML page of a run."""

from rl_detector.report.page import write_report

__all__ = ["write_report"]
