from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rl_detector.errors import ConfigError
from rl_detector.running.wandb_tracker import NoTracker, WandbTracker, make_tracker

TRAIN = [
    "train", "tracker=wandb", "env.layers=1", "budget.events=640", "budget.events_per_design=20",
    "budget.designs_per_batch=16", "held_out.events=50",
]  # fmt: skip


@pytest.fixture
def environment(tmp_path):
    places = {f"WANDB_{name}_DIR": str(tmp_path / name) for name in ("DATA", "CACHE", "CONFIG")}
    rest = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return {**rest, **places, "HOME": str(tmp_path)}


def in_process(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What Python prints to stderr in a process of its own, where nobody has set up wandb."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stderr


def track(folder: Path, environment: dict[str, str], settings: dict[str, Any]) -> str:
    """What a tracker prints that is told of one batch and of the end."""
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom rl_detector.running.wandb_tracker import make_tracker\n"
        "tracker = make_tracker({'name': 'wandb', **json.loads(sys.argv[1])}, 'run', {'seed': 0}, Path('runs'))\n"
        "tracker.log({'events': 20, 'agent/sigma': 0.5})\ntracker.finish({'reach': 1.0}, {})\n"
    )
    (folder / "runs").mkdir()
    return in_process(folder, environment, "-c", code, json.dumps({"project": "p", **settings}))


def records(folder: Path, environment: dict[str, str]) -> list[dict]:
    (file,) = folder.glob("runs/wandb/offline-run-*/*.wandb")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_without_a_key_a_run_is_tracked_offline_with_one_line(tmp_path, environment):
    message = in_process(tmp_path, environment, "-m", "rl_detector", *TRAIN)
    assert message.count("Weights & Biases") == 1
    text = json.dumps(records(tmp_path, environment))
    for name in ("events", "reward", "reach", "reach_error", "agent/sigma", "photon_fraction", "layouts", "price"):
        assert name in text, name


def test_offline_by_choice_is_silent(tmp_path, environment):
    assert track(tmp_path, environment, {"mode": "offline"}) == ""
    assert "agent/sigma" in json.dumps(records(tmp_path, environment))


def test_a_key_without_network_goes_on_offline(tmp_path, environment):
    """The well-formed key is refused by nobody, since there is nobody to be reached."""
    words = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    message = track(tmp_path, {**environment, **words}, {"init_timeout": 3.0})
    assert "cannot be reached" in message and "tracking offline" in message
    assert "agent/sigma" in json.dumps(records(tmp_path, environment))


class Broken:
    """A run of wandb whose own process was killed."""

    summary: ClassVar[dict] = {}

    def __init__(self) -> None:
        self.calls = 0

    def log(self, metrics) -> None:
        self.calls += 1
        raise ConnectionError("Connection lost\nand more")

    finish = log


def test_what_breaks_later_does_not_stop_a_study(capsys):
    tracker = object.__new__(WandbTracker)
    tracker._run, tracker._failed, tracker._image = Broken(), False, str
    for _ in range(3):
        tracker.log({"reward": 1.0})
    tracker.finish({"reach": 1.0}, {})
    assert tracker._run.calls == 1
    assert capsys.readouterr().err == "Weights & Biases failed (Connection lost); the study goes on without tracking\n"


def test_off_makes_nothing(tmp_path):
    tracker = make_tracker({"name": "off"}, "run", {}, tmp_path)
    assert isinstance(tracker, NoTracker)
    tracker.log({"reward": 1.0})
    tracker.finish({}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mlflow"}, "known are off, wandb"),
        (
            {"name": "wandb", "project": "p", "mode": "sometimes", "init_timeout": 1.0},
            "tracker.mode: Input should be 'auto', 'online', 'offline' or 'disabled'",
        ),
    ],
)
def test_mistakes_are_told(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_tracker(settings, "run", {}, tmp_path)
