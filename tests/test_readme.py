"""The README is short, its links lead somewhere, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from rl_detector.cli import _parser, _store_configs

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMMANDS = [
    shlex.split(line, comments=True)[1:] for line in re.findall(r"^ {4}rl-detector .*", README.read_text(), re.M)
]
MOST_LINES, MOST_WORDS = 150, 1200


def test_it_is_read_in_two_minutes() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.split()) <= MOST_WORDS


@pytest.mark.parametrize("page", [README, ROOT / "experiments" / "README.md"], ids=["README", "experiments"])
def test_its_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_experiment_is_in_the_table() -> None:
    page = (ROOT / "experiments" / "README.md").read_text()
    folders = [path.parent.name for path in (ROOT / "experiments").glob("*/README.md")]
    assert [name for name in folders if f"({name})" not in page] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_its_commands_are_understood(words: list[str]) -> None:
    if words[0] != "train":
        _parser().parse_args(words)
        return
    _store_configs()
    with initialize_config_module("rl_detector.conf", version_base="1.3"):
        assert compose("config", overrides=words[1:]).budget.events > 0


def test_its_python_is_that_of_the_example() -> None:
    example = (ROOT / "experiments" / "own_detector" / "own_detector.py").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    parts = code.strip().split("\n\n")
    assert len(parts) == 3
    assert [part for part in parts if part.strip() not in example] == []
