"""The report of a run: finished, interrupted, empty, with failures, damaged, hostile."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.runs import finished_run
from rl_detector.errors import RunFolderError
from rl_detector.problem import Evaluation
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.records.run_folder import RunFolder
from rl_detector.report import figures, write_report
from rl_detector.report.figures import _cost_scale
from rl_detector.report.history import MAXIMUM_GROUPS, read_history, trend
from rl_detector.report.layouts import Drawing, layouts
from rl_detector.report.results import read_results
from rl_detector.report.tables import measured, page_context
from rl_detector.running.display import _with_error
from rl_detector.space import Encoding
from rl_detector.terms import Component, Measurement

FIGURES = {"learning_curve", "layouts", "reach_against_cost", "parameters"}
HOSTILE = "<script>alert('x')</script> $\\frac{"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(
        tmp_path_factory.mktemp("runs"), budget={"events": 3000, "events_per_design": 50, "designs_per_batch": 10}
    )


@pytest.fixture
def folder(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy to spoil."""
    copy = tmp_path / "run"
    shutil.copytree(finished.path, copy)
    shutil.rmtree(copy / "figures", ignore_errors=True)
    return RunFolder(copy)


def page(folder: RunFolder) -> str:
    return folder.report.read_text(encoding="utf-8")


def test_a_finished_run_has_all_figures_in_one_self_contained_page(finished: RunFolder) -> None:
    paths = {path.stem: path for path in finished.figures.glob("*.png")}
    assert set(paths) == FIGURES
    for path in paths.values():
        with Image.open(path) as image:
            assert image.width > 1000
    text = page(finished)
    assert text.count("data:image/png;base64,") == len(FIGURES)
    assert "http" not in text.replace("http-equiv", "") and 'src="figures' not in text
    for expected in ("published_start", "all_pbwo4", "on 200 held-out events", "3,000 of 3,000", "layer[0].absorber"):
        assert expected in text


def test_the_same_figure_gives_the_same_bytes() -> None:
    drawing = Drawing("a", "1 cm", [Component("plate 1", "Fe", 0.0, 1.0)])
    assert figures.png(lambda: layouts([drawing], 2.0)) == figures.png(lambda: layouts([drawing], 2.0))


def test_an_interrupted_run_says_how_to_go_on(folder: RunFolder) -> None:
    folder.recommended.unlink()
    folder.validation.unlink()
    assert set(write_report(folder)) == FIGURES
    assert "Not finished: 60 designs" in page(folder)
    assert "rl-detector resume run" in page(folder)


def test_a_run_that_was_not_validated_says_how(folder: RunFolder) -> None:
    folder.validation.unlink()
    context = page_context(read_results(folder))
    assert "rl-detector validate run" in context["notes"][0]
    assert context["summary"].startswith("Recommended design: reach")


def test_a_validation_of_an_earlier_design_is_marked(folder: RunFolder) -> None:
    stored = json.loads(folder.validation.read_text())
    stored["geant4"] = json.loads(json.dumps(stored["fast"]))
    stored["geant4"][0]["design"]["layer"][0]["absorber_thickness"] = 1.25
    folder.validation.write_text(json.dumps(stored))
    context = page_context(read_results(folder))
    assert "is of an earlier design" in context["notes"][0]
    assert [section["name"] for section in context["sections"]] == ["fast", "geant4"]


def test_without_trials_the_baselines_are_drawn(folder: RunFolder) -> None:
    for path in (folder.recommended, folder.validation, folder.ledger):
        path.unlink()
    assert set(write_report(folder)) == {"layouts"}
    assert not folder.ledger.exists()
    with closing(Ledger(folder.ledger)):
        pass
    assert set(write_report(folder)) == {"layouts"}
    assert "no finished trial" in page(folder)


def append(folder: RunFolder, *evaluations: Evaluation) -> None:
    with closing(Ledger(folder.ledger)) as ledger:
        last = list(ledger.trials())[-1]
        ledger.append(
            Trial(last.number + 1 + i, last.batch + 1, last.action, evaluation, 0.5)
            for i, evaluation in enumerate(evaluations)
        )


def failed(folder: RunFolder, reason: str) -> Evaluation:
    costs, violations = {"price": 1.0}, {"length": 0.0, "price": 0.0}
    design = json.loads(folder.recommended.read_text())["design"]
    return Evaluation(design, 50, 1, costs, violations, None, None, reason)


def test_failed_trials_are_counted_with_their_reasons(folder: RunFolder) -> None:
    append(folder, failed(folder, "worker died"), failed(folder, "worker died"), failed(folder, "energy"))
    history = read_history(folder.ledger)
    assert history.failures == {"worker died": 2, "energy": 1}
    assert (len(history), history.failed, history.spent) == (60, 3, 3150)
    assert page_context(read_results(folder))["failures"] == [("worker died", "2"), ("energy", "1")]


def test_text_from_outside_is_escaped_everywhere(folder: RunFolder) -> None:
    append(folder, failed(folder, HOSTILE))
    stored = json.loads(folder.validation.read_text())
    for row in stored["fast"]:
        row["simulator"]["version"] = HOSTILE
        row["name"] = row["name"] if row["name"] == "recommended" else HOSTILE
    stored["fast"][1]["design"]["layer"][0]["absorber"] = HOSTILE
    stored[HOSTILE] = stored["fast"]
    folder.validation.write_text(json.dumps(stored))
    settings = folder.read_config().to_plain()
    settings["run"] = {"command": HOSTILE, "started": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    folder.write_config(settings)
    assert set(write_report(folder)) == FIGURES
    assert "<script" not in page(folder)
    assert "&lt;script&gt;" in page(folder)


def test_an_environment_that_is_not_installed_costs_only_its_figures(folder: RunFolder) -> None:
    folder.write_config({**folder.read_config().to_plain(), "env": {"name": HOSTILE}})
    assert set(write_report(folder)) == {"learning_curve", "reach_against_cost"}
    assert "cannot be built here" in page(folder) and "<script" not in page(folder)


@pytest.mark.parametrize("text", ["{", "[]x", '{"fast": 1}', '{"fast": [{"name": "recommended"}]}', '{"fast": [[]]}'])
def test_a_damaged_validation_is_named(folder: RunFolder, text: str) -> None:
    folder.validation.write_text(text)
    with pytest.raises(RunFolderError, match=r"validation\.json is damaged"):
        write_report(folder)


def test_numbers_that_are_none_are_damage(folder: RunFolder) -> None:
    folder.recommended.write_text(folder.recommended.read_text().replace('"reach": ', '"reach": NaN, "was": '))
    with pytest.raises(RunFolderError, match=r"recommended\.json is damaged.*reach"):
        write_report(folder)


def test_a_damaged_ledger_is_named(folder: RunFolder) -> None:
    folder.ledger.write_bytes(b"SQLite format 3\0" + bytes(2000))
    with pytest.raises(RunFolderError, match=r"ledger\.sqlite"):
        write_report(folder)


def test_training_and_validation_get_the_same_zero(folder: RunFolder) -> None:
    results = read_results(folder)
    start = next(row for row in results.rows if row.name == "published_start")
    np.testing.assert_allclose(results.history.reach, np.log(start.metric / results.history.metric))


def ledger_of(path: Path, batches: int, size: int) -> None:
    action = Encoding(np.zeros(1), np.zeros(0, dtype=np.int64))
    values = np.random.default_rng(0).normal(size=(batches, size))
    with closing(Ledger(path)) as ledger:
        ledger.append(
            Trial(
                b * size + i,
                b,
                action,
                Evaluation({"x": 1.0}, 10, 0, {"c": 1.0}, {}, Measurement(v, 0.1, 1.0, 0.1), v),
                0,
            )
            for b, row in enumerate(values.tolist())
            for i, v in enumerate(row)
        )


def test_long_studies_are_drawn_in_groups_of_batches(tmp_path: Path) -> None:
    ledger_of(tmp_path / "ledger.sqlite", batches=450, size=4)
    history = read_history(tmp_path / "ledger.sqlite")
    groups = history.groups()
    assert history.batches_per_group == 12
    assert len(groups) <= MAXIMUM_GROUPS
    assert {len(group) for group in groups[:-1]} == {48}
    course = trend(history.reach, groups, history.batch)
    assert course.mean[0] == pytest.approx(history.reach[:48].mean())
    batches = history.reach[:48].reshape(12, 4).mean(axis=1)
    assert course.error[0] == pytest.approx(batches.std(ddof=1) / np.sqrt(12))
    best = history.reward[history.improvements()]
    assert (np.diff(best) > 0).all() and best[-1] == history.reward.max()


def test_a_short_last_batch_joins_its_neighbour(tmp_path: Path) -> None:
    ledger_of(tmp_path / "ledger.sqlite", batches=3, size=5)
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        last = list(ledger.trials())[-1]
        ledger.append([Trial(15, 3, last.action, last.evaluation, 0.0)])
    assert [len(group) for group in read_history(tmp_path / "ledger.sqlite").groups()] == [5, 5, 6]


def test_a_single_trial_has_no_spread() -> None:
    course = trend(np.array([2.0]), [np.array([0])], np.array([0]))
    assert (course.mean[0], course.deviation[0], course.error[0], course.low[0]) == (2.0, 0.0, 0.0, 2.0)


def test_layouts_take_any_names_and_thin_components() -> None:
    pieces = [Component(HOSTILE, HOSTILE, -1.0, 0.03), Component("plane 2", "日本\n", 5.0, 30.0)]
    drawing = Drawing(HOSTILE * 9, HOSTILE, pieces)
    assert figures.png(lambda: layouts([drawing] * 2, None)).startswith(b"\x89PNG")


def test_labels_never_start_a_formula() -> None:
    assert figures.plain("a $x$\n b") == r"a \$x\$ b"
    assert len(figures.plain("x" * 99)) == 40


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(0.5908, 0.0097, "0.5908 ± 0.0097"), (-1.234, 0.46, "−1.23 ± 0.46"), (0.0, 0.0, "0"), (1532.0, 21.0, "1532 ± 21")],
)
def test_errors_have_two_digits(value: float, error: float, text: str) -> None:
    assert measured(value, error) == text


def test_the_axis_of_costs_that_are_all_the_same_is_readable() -> None:
    for cost, expected in ((6.0, (5.4, 6.6)), (0.0, (-1.0, 1.0))):
        axes = Figure().subplots()
        _cost_scale(axes, np.array([cost, cost * (1 + 1e-12), cost]))
        assert axes.get_xlim() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.0011234, 0.0000123, "0.001123 +- 0.000012"),
        (0.1523, 0.0114, "0.152 +- 0.011"),
        (200.4, 12.0, "200 +- 12"),
        (1.0, 0.0, "1 +- 0"),
    ],
)
def test_a_value_is_shown_to_two_digits_of_its_error(value: float, error: float, shown: str) -> None:
    assert _with_error(value, error) == shown
