"""Every field of the page of a real run, against the files of the run."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.runs import small_config
from rl_detector.assembly import build_problem
from rl_detector.envs.spectrometer.layout import space
from rl_detector.records.ledger import Ledger
from rl_detector.records.ledger_rows import NAMES, checksum
from rl_detector.records.run_folder import Provenance, RunFolder
from rl_detector.report import write_report
from rl_detector.report.figures import has_component
from rl_detector.report.numbers import duration, measured, timed
from rl_detector.report.tables import SIGNIFICANT
from rl_detector.running.launch import run, start_run, versions
from rl_detector.study import Progress

COMMAND = "rl-detector train env=calorimeter runs=<b>&"

SHORT = {
    "budget": {"events": 600, "events_per_design": 30, "designs_per_batch": 5},
    "held_out": {"events": 100},
}

TEXTS = ("p", "li", "pre", "h1", "figcaption")
"""Elements of the page that hold text of their own."""


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
    folder, complete = start_run(small_config(tmp_path_factory.mktemp("runs"), **SHORT), COMMAND)

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


NUMBER = re.compile(r"[+−]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def numbers(text: str) -> list[float]:
    """Numbers in a text of the page, without its own formatting."""
    return [float(found.replace(",", "").replace("−", "-")) for found in NUMBER.findall(text)]


def close_to(value: float, error: float) -> Any:
    """Value and error as the page shows them: two digits of the error; an exact zero is one number."""
    return pytest.approx([value, error] if value or error else [0], rel=0.05, abs=0.006)


def test_the_table_is_that_of_the_validation(folder: RunFolder, page: Page) -> None:
    """Every cell of every row, read back as numbers; half a unit of the last digit of the error is lost."""
    for row in json.loads(folder.validation.read_text())["fast"]:
        _, metric, reach, cost, violations, reward, difference, significance = page.row(row["name"])
        assert numbers(metric) == close_to(row["metric"], row["metric_error"])
        assert numbers(reach) == close_to(row["reach"], row["reach_error"])
        assert cost == f"{row['costs']['price']:,.0f} EUR" if row["costs"]["price"] >= 100 else "EUR" in cost
        over = {name: value for name, value in row["violations"].items() if value > 1e-9}
        assert [name for name in row["violations"] if name in violations] == list(over)
        assert (violations == "none") == (not over)
        assert numbers(violations) == pytest.approx(list(over.values()), rel=0.01)
        assert numbers(reward) == pytest.approx([row["reward"]], abs=5.1e-4)
        if row["difference"] is None:
            assert difference == significance == ""
        elif row["difference"]["error"] > 0:
            paired = row["difference"]
            assert numbers(difference) == close_to(paired["value"], paired["error"])
            assert numbers(significance) == pytest.approx([paired["significance"]], abs=0.051)
        assert any(f"event seed {row['seed']}" in text and "100 fresh events" in text for text in page.texts)
        assert all(f"{name}: {value}" in " ".join(page.texts) for name, value in row["simulator"].items())


def test_further_results_of_the_reach_are_shown(folder: RunFolder, page: Page) -> None:
    (head,) = (row for row in page.rows if row[:1] == ["design"] and "stochastic_term" in row)
    found = {row[0]: row[1:] for row in page.rows[page.rows.index(head) + 1 :]}
    for row in json.loads(folder.validation.read_text())["fast"]:
        assert list(row["diagnostics"]) == head[1:]
        shown = [float(value) for value in found[row["name"]]]
        assert shown == pytest.approx(list(row["diagnostics"].values()), rel=1e-3)


def test_the_words_say_what_the_numbers_say(folder: RunFolder, page: Page) -> None:
    rows = json.loads(folder.validation.read_text())["fast"]
    best = next(row for row in rows if row["name"] == "recommended")
    (summary,) = (text for text in page.texts if text.startswith("Recommended design: reach"))
    assert f"reach {measured(best['reach'], best['reach_error'], '+')} against" in summary
    assert ("all limits kept" in summary) == (max(best["violations"].values()) <= 1e-9)
    for row in rows:
        if row["name"] == "recommended" or row["design"] == best["design"]:
            continue
        (words,) = (text for text in page.texts if re.match(rf"(better|worse|not|equal).* {row['name']}\b", text))
        paired = row["difference"]
        clear = abs(paired["significance"]) >= SIGNIFICANT
        assert words.startswith(("better" if paired["value"] > 0 else "worse") if clear else "not distinguishable")


def test_the_design_is_the_recommended_one(folder: RunFolder, page: Page) -> None:
    design = json.loads(folder.recommended.read_text())["design"]
    start = build_problem({"name": "calorimeter", "layers": 2}, {"name": "fast"}).start
    for index, (layer, first) in enumerate(zip(design["layer"], start["layer"], strict=True)):
        for name, value in layer.items():
            _, shown, at_start, unit, allowed = page.row(f"layer[{index}].{name}")
            assert shown == (f"{value:.4g}" if isinstance(value, float) else str(value))
            assert at_start == (f"{first[name]:.4g}" if isinstance(first[name], float) else str(first[name]))
            assert unit == ("cm" if name.endswith("thickness") else "")
            assert numbers(allowed) == [0, 50] if name.endswith("thickness") else value in allowed


def test_failures_are_counted_with_their_reasons(tmp_path: Path) -> None:
    """A run whose ledger holds failed trials: their number and their reason are on the page."""
    folder, complete = start_run(small_config(tmp_path, **SHORT), COMMAND)
    run(folder, complete, lambda progress: None)
    unknown = dict.fromkeys(("metric", "metric_error", "reach", "reach_error", "reward"))
    with closing(sqlite3.connect(folder.ledger)) as connection, connection:
        for row in connection.execute(f"SELECT {', '.join(NAMES)} FROM trials WHERE trial < 3").fetchall():
            failed = dict(zip(NAMES, row, strict=True)) | unknown | {"state": "FAILED", "reason": "the beam was off"}
            failed["checksum"] = checksum([failed[name] for name in NAMES[:-1]])
            places = ", ".join("?" for _ in NAMES)
            connection.execute(f"REPLACE INTO trials ({', '.join(NAMES)}) VALUES ({places})", list(failed.values()))
    write_report(folder)
    page = Page(folder.report.read_text(encoding="utf-8"))
    assert page.row("failed designs")[1] == "3"
    assert "the beam was off" in folder.report.read_text()


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
