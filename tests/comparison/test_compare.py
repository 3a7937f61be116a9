"""Comparing agents: statistics against hand-made cases, runs that resume, limits, failures, tables and figures."""

from __future__ import annotations

import json
import math
import shutil
import time
from concurrent.futures import Future, TimeoutError
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.agents import AGENTS
from rl_detector.agents.peers.random_search import RandomSearch
from rl_detector.cli import main
from rl_detector.comparison import figures, runner, statistics, tables
from rl_detector.comparison import task as tasks
from rl_detector.comparison.kept import Kept
from rl_detector.comparison.plan import ComparedAgent, ComparedProblem, Comparison, Task, read_comparison
from rl_detector.comparison.results import Results, collect, read_results, write_results
from rl_detector.comparison.run import Run
from rl_detector.comparison.session import compare, show
from rl_detector.errors import ConfigError, RunFolderError

QUADRATIC = ComparedProblem("quadratic", {"name": "oracle", "dimensions": 2}, events=60, designs_per_batch=10)
SEARCH = ComparedAgent("search", {"name": "random_search"})
CMA = ComparedAgent("cma", {"name": "cma_es", "sigma": 0.2})

MAIN = Path(__file__).parents[2] / "experiments/agents/main.yaml"

FILE = """
seeds: 1
reference: search
problems:
  - {label: quadratic, env: {name: oracle, dimensions: 2}, events: 60, designs_per_batch: 10, budgets: {cma: 40}}
  - {label: binary, env: {name: oracle, kind: layers, dimensions: 6}, events: 40, designs_per_batch: 10}
agents:
  - {label: search, agent: {name: random_search}}
  - {label: cma, agent: {name: cma_es}}
"""


def test_interquartile_mean_by_hand() -> None:
    assert statistics.interquartile_mean(np.array([8.0, 1, 2, 3, 4, 5, 6, -70])) == 3.5
    assert statistics.interquartile_mean(np.array([[0.0, 1, 2, 100], [5, 5, 5, 5]])).tolist() == [1.5, 5]
    assert statistics.interquartile_mean(np.array([1.0, 2, 6])) == 3
    assert statistics.aggregate([np.array([0.0, 1]), np.array([2.0, 100])]) == 1.5


def test_probability_of_improvement_by_hand() -> None:
    one, other = np.array([1.0, 2]), np.array([1.0, 0])
    assert statistics.improvement([one], [other]) == 0.875
    assert statistics.improvement([one, other], [other, one]) == 0.5
    assert statistics.improvement([one + 5], [np.array([1.0, 2, 3])]) == 1


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = beaten = 0
    for seed in range(200):
        scores = [rng.normal(0.5, 0.1, 12) for _ in range(5)]
        others = [rng.normal(0.5, 0.1, 12) for _ in range(5)]
        low, high = statistics.aggregate_interval(scores, seed)[1:]
        covered += low <= 0.5 <= high
        low, high = statistics.improvement_interval(scores, others, seed)[1:]
        beaten += low <= 0.5 <= high
    assert 180 <= covered <= 199
    assert 180 <= beaten <= 199


def test_the_bootstrap_keeps_problems_apart() -> None:
    drawn = statistics.resample([np.zeros(3), np.ones(4)], np.random.default_rng(0))
    assert [one.shape for one in drawn] == [(statistics.RESAMPLES, 3), (statistics.RESAMPLES, 4)]
    assert not drawn[0].any() and drawn[1].all()


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.5, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9], 20),
        ([0.5, 0.95, 0.1, 0.9, 0.9, 0.9, 0.95, 0.95, 0.9], 40),  # the first was luck
        ([0.5, 0.95, 0.85, 1.0, 0.9, 0.9, 0.9], 20),  # one dip does not matter if the mean holds
        ([0.5, 0.6, 0.7], math.inf),
        ([0.5, 0.6, 0.9], math.inf),  # nothing comes after it
        ([0.5, 0.9, 0.9], 20),
        ([], math.inf),
    ],
)
def test_events_to_a_target(gains: list[float], expected: float) -> None:
    events = 10.0 * np.arange(1, len(gains) + 1)
    assert statistics.events_to_target(events, np.array(gains), 0.9) == expected


def test_gains_between_updates_are_those_of_the_latest() -> None:
    found = statistics.at_events(np.array([10.0, 20]), np.array([0.3, 0.6]), np.array([5.0, 10, 19, 20, 99, math.inf]))
    assert found.tolist() == [0, 0.3, 0.3, 0.6, 0.6, 0.6]


def write(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    comparison = read_comparison(write(tmp_path, FILE.replace("seeds: 1", "seeds: 2")))
    assert (comparison.seeds, comparison.problem_labels) == (2, ["quadratic", "binary"])
    budgets = [task.budget for task in comparison.tasks() if task.seed == 1]
    assert [(budget.events, budget.designs_per_batch) for budget in budgets] == [(60, 10), (40, 10), (40, 10), (40, 10)]
    without = FILE.replace("{cma: 40}", "{cma: 0}")
    names = [task.name for task in read_comparison(write(tmp_path, without)).tasks() if task.seed == 0]
    assert names == ["quadratic--search--0", "binary--search--0", "binary--cma--0"]
    part = comparison.only(["quadratic"], ["cma"])
    assert (part.problem_labels, part.agent_labels, part.reference) == (["quadratic"], ["cma"], "cma")
    assert part.problems[0].budgets == {"cma": 40}
    assert comparison.only(None, ["search"]).problems[0].budgets == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("problems: [", "cannot read"),
        ("- 1", "must hold names and values"),
        (FILE.replace("reference: search\n", ""), "has no reference"),
        (FILE.replace("events: 60, ", ""), r"problems\[0\] has no events"),
        (FILE.replace("reference: search", "reference: serch"), "reference names 'serch': known are search, cma"),
        (FILE.replace("{cma: 40}", "{cmo: 40}"), "budgets of quadratic names 'cmo'"),
        (FILE.replace("label: cma", "label: search"), "distinct labels"),
        (FILE.replace("label: binary", "label: a--b"), "must not be empty nor hold -- or /, got 'a--b'"),
        (FILE.replace("events: 40", "events: many"), r"problems\[1\].events: Input should be a valid integer"),
        (FILE.replace("seeds: 1", "seed: 2"), "unknown setting .*seed: known are problems, agents"),
        (FILE.replace("seeds: 1", "seeds: 0"), "must be positive, got 0"),
        ("{reference: a, problems: [], agents: []}", "needs problems with distinct labels, got none"),
        (FILE.replace("  - {label: search, agent: {name: random_search}}", "  - 5"), r"agents\[0\] must hold names"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_comparison(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("name: random_search", "name: randm"), "unknown agent 'randm'"),
        (FILE.replace("kind: layers", "kind: leyers"), "unknown kind of oracle"),
        (FILE.replace("events: 60,", "events: 60, events_per_design: 90,"), "pay for at least one design"),
    ],
)
def test_nothing_runs_if_something_does_not_exist(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(write(tmp_path, text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_key_holds_what_decides_the_result() -> None:
    task = Task(QUADRATIC, CMA, 0, 60.0)
    same = [
        replace(task, limit=5.0),
        replace(task, agent=replace(CMA, label="x")),
        replace(task, agent=replace(CMA, agent={**CMA.agent, "population_factor": 1.0})),  # the default, spelt out
        replace(task, problem=replace(QUADRATIC, env={**QUADRATIC.env, "instance": 0})),
    ]
    assert {one.key() for one in same} == {task.key()}
    others = [
        replace(task, seed=1),
        replace(task, agent=replace(CMA, agent={"name": "cma_es", "sigma": 0.1})),
        replace(task, agent=SEARCH),
        replace(task, problem=replace(QUADRATIC, env={**QUADRATIC.env, "instance": 1})),
        replace(task, problem=replace(QUADRATIC, events=70)),
        replace(task, problem=replace(QUADRATIC, designs_per_batch=5)),
        replace(task, problem=replace(QUADRATIC, start="start")),
    ]
    assert len({one.key() for one in [task, *others]}) == 1 + len(others)


def test_a_run_records_the_recommended_design_after_every_batch(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    record = tasks.run_task(Task(QUADRATIC, SEARCH, 3, 60.0), path)
    assert record == json.loads(path.read_text())
    assert (record["state"], record["events"]) == ("done", [10, 20, 30, 40, 50, 60])
    problem = QUADRATIC.build()
    assert record["gains"][-1] == problem.simulator.truth(record["recommended"])  # type: ignore[attr-defined]
    assert record["gains"] == tasks.run_task(Task(QUADRATIC, SEARCH, 3, 60.0), path)["gains"]
    assert record["gains"] != tasks.run_task(Task(QUADRATIC, SEARCH, 4, 60.0), path)["gains"]
    assert 0 < record["milliseconds_per_design"] < 1000 * record["seconds"] / 60
    assert (record["trials"], record["failed_trials"]) == (60, 0)
    assert "best_assignment" not in record


CALORIMETER = ComparedProblem(
    "calorimeter", {"name": "calorimeter"}, 3200, None, 20, 4, held_out_events=400, budgets={"cma": 1600}
)


def test_the_search_starts_from_a_named_baseline_whose_gain_is_0(tmp_path: Path) -> None:
    problem = replace(CALORIMETER, start="uniform_sandwich")
    known, built = CALORIMETER.build().baselines, problem.build()
    assert built.start == known["uniform_sandwich"] != CALORIMETER.build().start
    assert built.baselines == known
    agent = ComparedAgent("policy_gradient", {"name": "policy_gradient"})
    record = tasks.run_task(Task(problem, agent, 0, 60.0), tmp_path / "task.json")
    assert record["start_reward"] == tasks.held_out_rewards(built, [known["uniform_sandwich"]], 400, 0)[0]
    with pytest.raises(ConfigError, match="start of calorimeter names 'magic': known are published_start, "):
        replace(CALORIMETER, start="magic").build()


def test_designs_without_known_truth_are_measured_on_the_same_held_out_events(tmp_path: Path) -> None:
    first = tasks.run_task(Task(CALORIMETER, SEARCH, 0, 60.0), tmp_path / "0.json")
    second = tasks.run_task(Task(CALORIMETER, SEARCH, 1, 60.0), tmp_path / "1.json")
    assert len(first["events"]) == len(first["designs"]) == len(first["rewards"]) <= tasks.CHECKPOINTS
    assert (first["events"][0], first["events"][-1]) == (80, 3200)
    assert first["start_reward"] == second["start_reward"]
    start = CALORIMETER.build().start
    found = tasks.held_out_rewards(CALORIMETER.build(), [start or {}, first["recommended"]], 400, 0)
    assert found == [first["start_reward"], first["rewards"][-1]]
    assert found != tasks.held_out_rewards(CALORIMETER.build(), [start or {}, first["recommended"]], 400, 1)


class Slow(RandomSearch):
    def tell(self, batch: Any) -> None:
        super().tell(batch)
        time.sleep(0.05)


class Broken(RandomSearch):
    def tell(self, batch: Any) -> None:
        if self._asked > 20:
            raise ValueError("it breaks")


def agent_of(cls: Any) -> Any:
    return lambda config, problem: cls(problem.space, config.seed, problem.start)


def test_a_time_limit_keeps_the_curve_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "build_agent", agent_of(Slow))
    record = tasks.run_task(Task(QUADRATIC, SEARCH, 0, 0.12), tmp_path / "0.json")
    assert record["state"] == "timeout" and "time limit of 0.12 s" in record["reason"]
    assert 1 <= len(record["gains"]) < 6
    assert "recommended" in record
    measured = tasks.run_task(Task(CALORIMETER, SEARCH, 0, 0.12), tmp_path / "1.json")
    assert measured["state"] == "timeout" and len(measured["rewards"]) == len(measured["events"]) >= 1


def test_a_failure_is_kept_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(CMA, agent={"name": "cma_es", "sigma": -1.0})
    record = tasks.run_task(Task(QUADRATIC, unknown, 0, 60.0), tmp_path / "0.json")
    assert record["state"] == "failed" and "sigma" in record["reason"]
    monkeypatch.setattr(tasks, "build_agent", agent_of(Broken))
    record = tasks.run_task(Task(QUADRATIC, SEARCH, 0, 60.0), tmp_path / "1.json")
    assert (record["state"], record["reason"], record["events"]) == ("failed", "ValueError: it breaks", [10, 20])


def test_a_worker_that_was_stopped_leaves_what_it_had_stored(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    task = Task(QUADRATIC, SEARCH, 0, 60.0)
    part = {"task": task.name, "key": task.key(), "limit": 60.0, "state": "unfinished", "events": [10], "gains": [0.2]}
    for error, state, words in (
        (TimeoutError(), "timeout", "stopped from outside after 210 s"),
        (RuntimeError("killed"), "failed", "RuntimeError: killed"),
    ):
        tasks.write_record(runner.task_path(tmp_path, task), part)
        future: Future[Any] = Future()
        future.set_exception(error)
        record = runner._outcome(future, task, tmp_path)
        assert (record["state"], record["reason"], record["gains"]) == (state, words, [0.2])
        assert runner.stored_record(tmp_path, task) == record
        wanted = Comparison((QUADRATIC,), (SEARCH,), "search", seeds=1)
        assert len(runner.missing_tasks(replace(wanted, time_limit=60.0), tmp_path)) == (state == "failed")
        assert len(runner.missing_tasks(replace(wanted, time_limit=90.0), tmp_path)) == 1


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    file, out = write(tmp_path, FILE), tmp_path / "out"
    compare(file, out, only=(["quadratic"], None))
    paths = sorted((out / "runs").iterdir())
    assert [path.name for path in paths] == ["quadratic--cma--0.json", "quadratic--search--0.json"]
    before = [path.stat().st_mtime_ns for path in paths]
    results = compare(file, out, jobs=2)
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert len(results.runs) == 4 and all(run.state == "done" for run in results.runs)
    assert read_results(out) == results
    write(tmp_path, FILE.replace("{name: cma_es}", "{name: cma_es, sigma: 0.2}"))
    comparison = read_comparison(file)
    assert {task.agent.label for task in runner.missing_tasks(comparison, out)} == {"cma"}
    assert len(runner.missing_tasks(comparison, out, repeat=True)) == 4
    assert {run.agent for run in collect(comparison, out).runs} == {"search"}
    paths[1].write_text("{")
    assert len(runner.missing_tasks(comparison, out)) == 3
    made = show(out)
    assert [path.name for path in made] == [
        *("results.json", "tables.md", "curves.png", "average.png", "improvement.png")
    ]
    assert all(path.stat().st_size > 100 for path in made)


def test_runs_without_their_files_are_kept_in_the_results(tmp_path: Path) -> None:
    """What is published needs no run files to be compared with, as long as its settings are unchanged."""
    file, out = write(tmp_path, FILE), tmp_path / "out"
    before = compare(file, out, only=(["quadratic"], None))
    shutil.rmtree(out / "runs")
    search, cma = compare(file, out, only=(["quadratic"], ["cma"])).runs
    assert search == before.runs[0]
    assert replace(cma, milliseconds_per_design=before.runs[1].milliseconds_per_design) == before.runs[1]
    assert [path.name for path in (out / "runs").iterdir()] == ["quadratic--cma--0.json"]
    shutil.rmtree(out / "runs")
    write(tmp_path, FILE.replace("{name: cma_es}", "{name: cma_es, sigma: 0.2}"))
    assert [run.agent for run in collect(read_comparison(file), out).runs] == ["search"]
    (out / "results.json").write_text("{")
    assert collect(read_comparison(file), out).runs == []


def test_a_kept_curve_follows_the_best_design(tmp_path: Path) -> None:
    """A best design with twice the gain halves the gains; its events to a target are those of the curve."""
    run = replace(made_up().runs[0], gains=[0.5, 1.0, 1.0], targets=[20.0], key="k")
    best = {"design": {"x": 1}, "reward": 2.0, "start_reward": 1.0}
    twice = best | {"design": {"x": 2}, "reward": 3.0}
    kept, grid = Kept({"k": run}, [20, 40, 80], best), np.array([40.0, 80.0])
    assert kept.on(run, grid, best, [0.9], same=True) == replace(run, gains=[1.0, 1.0])
    assert kept.on(run, grid, best, [0.9], same=False) == replace(run, gains=[1.0, 1.0], targets=[40.0])
    assert kept.on(run, grid, twice, [0.5], same=True) == replace(run, gains=[0.5, 0.5], targets=[40.0])
    assert kept.on(run, grid, twice, [0.9], same=True) == replace(run, gains=[0.5, 0.5], targets=[None])
    nothing = replace(kept, best=best | {"reward": 0.5})
    assert nothing.on(run, grid, best, [0.9], same=True) == replace(run, gains=[], targets=[])


CALORIMETERS = Comparison((CALORIMETER,), (SEARCH, CMA), "search", seeds=2)


@pytest.fixture(scope="module")
def calorimeters_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calorimeters")
    (folder / "runs").mkdir()
    for task in CALORIMETERS.tasks():
        tasks.run_task(task, runner.task_path(folder, task))
    return folder


@pytest.fixture
def calorimeters(calorimeters_once: Path, tmp_path: Path) -> Comparison:
    """A comparison whose runs lie in tmp_path."""
    shutil.copytree(calorimeters_once / "runs", tmp_path / "runs")
    return CALORIMETERS


def test_a_better_design_changes_the_gains_of_kept_runs(calorimeters: Comparison, tmp_path: Path) -> None:
    """A problem without known truth: with one agent's files gone, all gains are as with them."""
    comparison = calorimeters
    whole = collect(comparison, tmp_path)
    for first, second in (("search", "cma"), ("cma", "search")):
        alone = tmp_path / first
        shutil.copytree(tmp_path / "runs", alone / "runs")
        for path in (alone / "runs").glob(f"*--{second}--*"):
            path.rename(tmp_path / path.name)
        write_results(collect(comparison, alone), alone)
        shutil.rmtree(alone / "runs")
        (alone / "runs").mkdir()
        for path in tmp_path.glob(f"*--{second}--*"):
            path.rename(alone / "runs" / path.name)
        both = collect(comparison, alone)
        assert both.bests == whole.bests
        for run, kept in zip(whole.runs, both.runs, strict=True):
            np.testing.assert_allclose(kept.gains, run.gains, atol=3e-5)


def test_the_gain_of_a_problem_without_known_truth(calorimeters: Comparison, tmp_path: Path) -> None:
    comparison = calorimeters
    results = collect(comparison, tmp_path)
    best = results.bests["calorimeter"]
    records = [(task, runner.stored_record(tmp_path, task)) for task in comparison.tasks()]
    assert best["design"] in [design for _, record in records for design in record["designs"]]
    highest = max(reward for _, record in records for reward in record["rewards"])
    assert best["reward"] != highest  # measured on fresh events
    task, record = records[0]
    gap = best["reward"] - best["start_reward"]
    gain = (record["rewards"][-1] - record["start_reward"]) / gap
    assert results.gains("calorimeter", "search")[task.seed] == pytest.approx(gain, abs=1e-5)
    given = replace(CALORIMETER, best=CALORIMETER.build().baselines["homogeneous"])
    fixed = collect(replace(comparison, problems=(given,)), tmp_path)
    assert fixed.bests["calorimeter"]["design"] == CALORIMETER.build().baselines["homogeneous"]
    start = replace(CALORIMETER, best=CALORIMETER.build().start)
    nothing = collect(replace(comparison, problems=(start,)), tmp_path)
    assert np.all(nothing.gains("calorimeter", "search") == 0)
    assert any("no run found a design better than the start" in line for line in tables.notes(nothing))
    assert all(figure(nothing) is not None for figure in (figures.curves, figures.average, figures.improvement))


def made_up() -> Results:
    """A reference that reaches 0.9 at 20 and 40 events, a peer that does at 80 once, one that failed or was late."""

    def run(agent: str, seed: int, gains: list[float], hit: float | None, state: str = "done", budget: int = 80) -> Run:
        reason = "" if state == "done" else "because"
        return Run("p", agent, seed, state, reason, budget, budget, gains, [hit] if gains else [], 0.5, 0, None, "")

    runs = [
        *(run("own", 0, [0.5, 0.95, 0.95, 0.95], 40), run("own", 1, [0.9, 0.9, 0.9, 0.95], 20)),
        *(run("peer", 0, [0.1, 0.2, 0.3, 0.9], 80), run("peer", 1, [0.1, 0.2, 0.3, 0.4], None)),
        *(run("late", 0, [0.5, 0.92, 0.92, 0.92], 40, "timeout"), run("late", 1, [], None, "failed")),
        *(run("small", 0, [0.2, 0.3, 0.3, 0.3], None, budget=40), run("dead", 0, [], None, "failed")),
    ]
    labels = ["own", "peer", "late", "small", "dead", "absent"]
    names = {label: label for label in labels} | {"late": "own"}
    return Results(labels, ["p"], "own", [0.9], names, {"p": [20, 40, 60, 80]}, {}, runs, {})


def test_the_tables_say_what_happened() -> None:
    results = made_up()
    gain, events, better, seconds = tables.tables(results)
    assert gain.columns == ["problem", "own", "peer", "late", "small", "dead", "absent"]
    cells = dict(zip(gain.columns, gain.rows[0], strict=True))
    assert cells["own"] == "0.950"
    assert cells["peer"] == "0.650"
    assert cells["late"] == "0.920* (1 failed)"
    assert cells["small"] == "0.300 at 40"
    assert (cells["dead"], cells["absent"]) == ("1 failed", "–")
    assert gain.rows[1][4] == "0.300 at smaller budgets"
    assert events.rows[0] == [
        "p",
        "30",
        "not in budget",
        "not in budget",
        "not in budget",
        "not in budget",
        "–",
        "> 2.67",
    ]
    assert [row[:2] for row in better.rows] == [["peer", "1"], ["late", "1"], ["small", "1"]]
    assert better.columns == ["than", "problems", "at 10%", "at 30%", "at 100%"]
    assert better.rows[2][4].startswith("1.00")  # at the 40 events of the smaller budget
    assert better.rows[1][2].startswith("0.50")  # at 8 events both are at the start
    assert seconds.rows[0][1:] == ["0.5", "0.5", "0.5", "0.5", "–", "–"]
    assert "p, dead: 1 of 1 runs failed: because" in tables.notes(results)
    text = tables.markdown(results)
    assert "| p | 0.950 |" in text and "* some runs were stopped by the time limit" in text


def test_three_runs_have_an_interval() -> None:
    assert tables._with_interval([np.array([0.5, 0.5, 0.5])]) == "0.500 [0.500, 0.500]"
    assert tables._with_interval([np.array([-0.5, 0.5])]) == "0.000"


def test_the_best_peer_is_of_another_algorithm() -> None:
    results = made_up()
    assert tables.peers(results) == ["peer", "small", "dead", "absent"]
    won = replace(results, runs=[*results.runs[:3], replace(results.runs[3], targets=[40.0])])
    assert tables.ratio(won, "p", 0.9) == "2.00 (peer)"
    lost = replace(
        results, reference="peer", runs=[*results.runs[:2], *(replace(r, targets=[None]) for r in results.runs[2:4])]
    )
    assert tables.ratio(lost, "p", 0.9) == "< 0.38 (own)"


def test_numbers_of_events_are_short() -> None:
    assert [tables.amount(n) for n in (20, 840, 1250, 12_500, 1_600_000)] == ["20", "840", "1.25k", "12.5k", "1.6M"]


def test_wide_tables_come_in_parts() -> None:
    table = tables.Table("t", ["p", *"abcdefgh"], [["x", *"12345678"]])
    first, second = tables._parts(table)
    assert (first.columns, second.columns, second.rows) == (["p", *"abcdef"], ["p", "g", "h"], [["x", "7", "8"]])


def test_results_survive_a_file(tmp_path: Path) -> None:
    write_results(made_up(), tmp_path)
    assert read_results(tmp_path) == made_up()
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert [path.name for path in figures.write_figures(made_up(), tmp_path)] == [
        *("curves.png", "average.png", "improvement.png")
    ]
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(RunFolderError, match="run it without --tables"):
        read_results(tmp_path)


def test_the_committed_comparison_can_run() -> None:
    comparison = read_comparison(MAIN)
    assert comparison.reference == "policy_gradient"
    assert {agent.agent["name"] for agent in comparison.agents} <= AGENTS.keys()
    runner.check_tasks(comparison.only(None, ["policy_gradient", "cma_es", "cma_es_x4", "cma_es_noise"]))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, FILE)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, expect: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["compare", "file.yaml", "--out", "out", *words])
        out, err = capfd.readouterr()
        assert (stop.value.code or 0) == expect, out + err
        return out, err

    assert "holds no results of a comparison" in run("--tables", expect=2)[1]
    out, err = run("--seeds", "1", "--only-agents", "search", "--only-problems", "quadratic")
    assert "1 of 1 runs to do" in err and "quadratic--search--0: done" in err
    assert "out/curves.png" in out and "gain of the recommended design" in out
    (tmp_path / "out" / "curves.png").unlink()
    assert "to do" not in run("--tables")[1]
    assert (tmp_path / "out" / "curves.png").exists()
    assert "known are search, cma" in run("--only-agents", "sarch", expect=2)[1]
