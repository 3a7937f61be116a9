"""Run folders of a small calorimeter: their configuration, and a finished training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rl_detector.records.run_folder import RunFolder
from rl_detector.running.launch import run, start_run


def small_config(runs: Path, **changes: Any) -> dict[str, Any]:
    """Random designs of two layers in the fast simulator; `changes` replace whole groups."""
    config = {
        "seed": 3, "common_events": False, "runs": str(runs), "held_out": {"events": 200},
        "budget": {"events": 1000, "events_per_design": 50, "designs_per_batch": 10},
        "env": {"name": "calorimeter", "layers": 2}, "simulator": {"name": "fast"},
        "agent": {"name": "random_search"}, "evaluator": {"name": "serial"}, "tracker": {"name": "off"},
        "judge": {"name": "none"}, "asynchronous": False,
        "flow": {"in_flight": 0, "told_at_once": 0, "designs_per_job": 1},
    }  # fmt: skip
    return {**config, **changes}


def finished_run(runs: Path, **changes: Any) -> RunFolder:
    """The folder of a finished training."""
    folder, complete = start_run(small_config(runs, **changes), "rl-detector train")
    run(folder, complete, lambda progress: None)
    return folder
