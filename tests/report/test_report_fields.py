"""Every field of the page of a real run, against the files of the run."""

from __future__ import annotations

import json
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.envs.spectrometer.layout import space
from rl_detector.records.ledger import Ledger
from rl_detector.records.run_folder import Provenance, RunFolder
from rl_detector.report.figures import has_component
from rl_detector.report.numbers import duration, measured, timed
from rl_detector.running.launch import run, start_run, versions
from rl_detector.study import Progress

COMMAND = "rl-detector train env=calorimeter runs=<b>&"

TEXTS = ("p", "li", "pre", "h1", "figcaption")
"""Elements of the page that hold text of their own."""


def config(runs: Path) -> dict[str, Any]:
    return {
        "seed": 3, "common_events": False, "runs": str(runs), "held_out": {"events": 100},
        "budget": {"events": 600, "events_per_design": 30, "designs_per_batch": 5},
        "env": {"name": "calorimeter", "layers": 2}, "simulator": {"name": "fast"},
        "agent": {"name": "random_search"}, "evaluator": {"name": "serial"}, "tracker": {"name": "off"},
        "judge": {"name": "none"}, "asynchronous": False,
        "flow": {"in_flight": 0, "told_at_once": 0, "designs_per_job": 1},
    }  # fmt: skip


class Page(HTMLParser):
    """Rows of all tables by their first cell, and the text of paragraphs, items and preformatted blocks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self._into = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in TEXTS:
            self.texts.append("")
        self._into = "row" if tag in ("tr", "td", "th") else "text" if tag in TEXTS else ""

    def handle_endtag(self, tag: str) -> None:
        self._into = ""

    def handle_data(self, data: str) -> None:
        if self._into == "row" and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()
        elif self._into == "text" and self.texts:
            self.texts[-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row[:1] == [name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was interrupted once and resumed."""
    folder, complete = start_run(config(tmp_path_factory.mktemp("runs")), COMMAND)

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, complete, interrupt)
    run(folder, folder.read_config(), lambda progress: None)
    return folder


@pytest.fixture(scope="module")
def page(folder: RunFolder) -> Page:
    return Page(folder.report.read_text(encoding="utf-8"))


def test_provenance_is_shown(folder: RunFolder, page: Page) -> None:
    source = folder.read_provenance()
    assert source.command == COMMAND and source.started is not None and dict(source.versions) == versions()
    assert COMMAND in page.texts
    assert any(f"Started {source.started:%Y-%m-%d %H:%M:%S} UTC" in text for text in page.texts)
    for name, value in versions().items():
        assert page.row(name) == [name, value]
    assert folder.config.read_text() in page.texts
    assert not any("unknown" in text for text in page.texts)


def test_the_budget_is_that_of_the_ledger(folder: RunFolder, page: Page) -> None:
    with closing(Ledger(folder.ledger, read_only=True)) as ledger:
        trials, facts = list(ledger.trials()), ledger.simulator
    spent, seconds = sum(trial.evaluation.events for trial in trials), sum(trial.seconds for trial in trials)
    sessions = folder.read_sessions()
    assert len(sessions) == 2 and spent == 600
    wall = sum(session.wall_seconds for session in sessions)
    expected = {
        "simulated events": "600 of 600", "events per design": "30", "designs evaluated": "20", "failed designs": "0",
        "seed": "3", "agent": "random_search", "evaluator": "serial", "simulation time": timed(seconds, spent),
        "wall time of the training": timed(wall, spent) + ", in 2 sessions",
        "time of the agent": duration(sum(session.agent_seconds for session in sessions)),
    }  # fmt: skip
    assert {name: page.row(name)[1] for name in expected} == expected
    assert wall >= seconds > 0
    assert all(f"{name} {value}" in page.row("simulator")[1] for name, value in facts.items())


def test_the_table_is_that_of_the_validation(folder: RunFolder, page: Page) -> None:
    for row in json.loads(folder.validation.read_text())["fast"]:
        cells = page.row(row["name"])
        assert cells[1:3] == [
            measured(row["metric"], row["metric_error"]),
            measured(row["reach"], row["reach_error"], "+"),
        ]
        assert any(f"event seed {row['seed']}" in text and "100 fresh events" in text for text in page.texts)


def test_the_design_is_the_recommended_one(folder: RunFolder, page: Page) -> None:
    design = json.loads(folder.recommended.read_text())["design"]
    for index, layer in enumerate(design["layer"]):
        for name, value in layer.items():
            shown = page.row(f"layer[{index}].{name}")[1]
            assert shown == (f"{value:.4g}" if isinstance(value, float) else str(value))


def test_provenance_of_strangers_is_bounded_and_typed() -> None:
    hostile = {"command": "x" * 10**6, "started": ["now"], "versions": {"a": 1, 2: "b", "c": "d" * 1000, "good": "1"}}
    assert Provenance.of(hostile) == Provenance("", None, {"good": "1"})
    assert Provenance.of(["x"]) == Provenance() == Provenance.of({"started": "2026-01-01"})


def test_absent_components_are_not_drawn() -> None:
    stations = space(8)
    few, many = np.full((2, len(stations.continuous)), -1.0), [slot.path for slot in stations.continuous]
    few[1, many.index("station.count")] = 1.0
    slots = {slot.path: slot for slot in stations.slots}
    assert has_component(stations, slots["station[2].position"], few).tolist() == [True, True]
    assert has_component(stations, slots["station[7].pitch"], few).tolist() == [False, True]


def test_numbers_keep_their_digits() -> None:
    assert measured(1.5e-6, 2e-7) == "(1.50 ± 0.20) × 10^−6"
    assert (measured(0.00012, 0.0), duration(0.42), duration(149), duration(7300)) == (
        "0.00012 ± 0", "0.42 s", "2.5 min", "2.0 h",
    )  # fmt: skip
