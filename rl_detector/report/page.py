"""Make the page of a run: one self-contained HTML file and its figures, from the run folder alone."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from rl_detector.conf.schema import Config
from rl_detector.errors import RunFolderError
from rl_detector.problem import RECOMMENDED, DesignProblem
from rl_detector.records.files import refuse_links, write_atomically
from rl_detector.records.run_folder import RunFolder
from rl_detector.report import figures
from rl_detector.report.family import costed, front
from rl_detector.report.layouts import Drawing, layouts
from rl_detector.report.numbers import amount
from rl_detector.report.results import Results, in_contexts, read_results
from rl_detector.report.tables import in_flight, page_context
from rl_detector.space import Design, Encoding


class Picture(NamedTuple):
    """A figure of the page: file name, title, caption and how to draw it."""

    name: str
    title: str
    caption: str
    make: Callable[[], Figure]


def write_report(folder: RunFolder) -> dict[str, Path]:
    """Make report.html and the figures of a run, finished or not, and return the figures by name.

    Nothing is simulated beyond what the problem's factory needs, and nothing of the folder is executed.

    Raises:
        RunFolderError: a file of the run is damaged, or the folder is not writable.
    """
    results = read_results(folder)
    refuse_links(folder.figures)
    try:
        folder.figures.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the folder {folder.figures}: {error}") from error
    paths: dict[str, Path] = {}
    shown = []
    for picture in _pictures(results):
        data = figures.png(picture.make)
        paths[picture.name] = folder.figures / f"{picture.name}.png"
        write_atomically(paths[picture.name], data)
        shown.append({"title": picture.title, "caption": picture.caption, "data": b64encode(data).decode()})
    context = {
        "title": folder.path.resolve().name,
        "config": _shortened(folder.read_text(folder.config)),
        "figures": shown,
    }
    write_atomically(folder.report, _render({**context, **page_context(results)}).encode("utf-8", "replace"))
    return paths


LONGEST_CONFIG = 100_000
"""Most letters of a configuration that the page shows."""


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_CONFIG else f"{text[:LONGEST_CONFIG]}\n… the rest is in config.yaml"


def _render(context: Mapping[str, Any]) -> str:
    """The page; every text from outside is escaped."""
    from jinja2 import Environment, StrictUndefined

    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return engine.from_string((files("rl_detector.report") / "report.html").read_text(encoding="utf-8")).render(context)


def _pictures(results: Results) -> Iterator[Picture]:
    """The figures for which the run folder has the data."""
    history, problem = results.history, results.problem
    drawings = list(_drawings(problem, _designs(results))) if problem else []
    if drawings and problem:
        limit = next(
            (limit.limit for limit in problem.constraints if limit.name == "length" and limit.unit == "cm"), None
        )
        yield Picture("layouts", "Layouts to scale", _LAYOUTS, lambda: layouts(drawings, limit))
    yield from _front(results)
    if len(history) == 0:
        return
    caption = _course_caption(results)
    yield Picture(
        "learning_curve", "Learning curve", caption, lambda: figures.learning_curve(history, results.rows, results.zero)
    )
    if history.costs:
        yield _cost_picture(results, next(iter(history.costs)))
    if problem and _fits(results, problem):
        marks = dict(_marks(results, problem))
        draw = figures.parameters
        yield Picture(
            "parameters", "Parameters", _parameters_caption(problem, marks), lambda: draw(problem.space, history, marks)
        )


_LAYOUTS = "Side view; the beam comes from the left. Colours are materials, hatchings roles, numbers thicknesses in cm."


def _course_caption(results: Results) -> str:
    history = results.history
    groups = history.batches_per_group
    unit = "batch" if groups == 1 else f"group of {groups} consecutive batches"
    text = (
        f"Line: mean of the designs of a {unit}; dark band: its standard error; light band: the middle 68 % of the "
        f"designs. Dashed: the best design so far, which is too optimistic, since it is the best of "
        f"{len(history):,} noisy ones (standard error of one: {np.median(history.error):.2g})."
    )
    if in_contexts(results.config):
        text += " Batches were proposed for different cost weights; rewards are those at the problem's own."
    if results.config.common_events and groups < 3:
        which = "asked for together" if in_flight(results.config) else "of a batch"
        text += f" The designs {which} share their events, whose own fluctuation is not in the dark band."
    if _judged_together(results.config):
        text += " Reaches of the training are scores of the shared judge at the time of each batch."
    if results.rows:
        events = results.rows[0].events
        text += (
            f" Horizontal lines: the recommended design and the baselines on {events:,} held-out events, with errors."
        )
    if abs(results.shift) > 1e-9:
        text += f" Reaches of the training were moved by {results.shift:+.3f} to the zero of the held-out ones."
    return text


def _judged_together(config: Config) -> bool:
    """Whether a judge shared by all designs gave the reaches of the training."""
    judge = config.judge
    return isinstance(judge, Mapping) and judge.get("name") != "none"


def _front(results: Results) -> Iterator[Picture]:
    """Designs over the price of cost, where one training served many."""
    family, problem = results.family, results.problem
    if name := next(iter(costed(family)), None):
        unit = next((cost.unit for cost in problem.costs if cost.name == name), "") if problem else ""
        caption = (
            "What the agent recommends for each cost weight after one training for all of "
            f"them, on the same held-out events; bars are standard errors against {results.zero}."
        )
        yield Picture(
            "front", f"Reach and {name} over the cost weight", caption, lambda: front(family, name, unit, results.zero)
        )


def _cost_picture(results: Results, name: str) -> Picture:
    """Reach against the first cost."""
    history, problem = results.history, results.problem
    costs, limits = (problem.costs, problem.constraints) if problem else ((), ())
    unit = next((cost.unit for cost in costs if cost.name == name), "")
    limit = next((limit.limit for limit in limits if limit.name == name), None)
    rows = [row for row in results.rows if name in row.costs]
    shown = min(len(history.sampled), figures.MAXIMUM_POINTS)
    caption = (
        f"{shown:,} of {len(history):,} evaluated designs, coloured by the events simulated until then; crosses "
        f"violate a limit; the worst 2 % may lie below. Standard error of one: {np.median(history.error):.2g}."
        + (" Large markers with error bars: held-out events." if rows else "")
    )
    draw = figures.reach_against_cost
    return Picture(
        "reach_against_cost", f"Reach against {name}", caption,
        lambda: draw(history, rows, name, unit, limit, results.zero),
    )  # fmt: skip


def _parameters_caption(problem: DesignProblem, marks: Mapping[str, Encoding]) -> str:
    slots = problem.space.slots
    text = (
        "Coordinates and counts: mean of the batch and a band of one standard deviation of its designs; "
        "materials and other choices: share of the designs."
    )
    if any(slot.path.endswith(".count") for slot in slots):
        text += " Only designs that have a component count for its parameters."
    if RECOMMENDED in marks:
        text += " Star: the recommended design, in the colour of its choice."
    text += "".join(f" Dashed line: {name} (coordinates only)." for name in marks if name != RECOMMENDED)
    if len(slots) > figures.MAXIMUM_PARAMETERS:
        text += f" The first {figures.MAXIMUM_PARAMETERS} of {len(slots)} parameters are drawn."
    return text


def _fits(results: Results, problem: DesignProblem) -> bool:
    """Whether the ledger was made with the same parameters as the problem has."""
    space, history = problem.space, results.history
    return history.continuous.shape[1:] == (len(space.continuous),) and history.discrete.shape[1:] == (
        len(space.discrete),
    )


def _marks(results: Results, problem: DesignProblem) -> Iterator[tuple[str, Encoding]]:
    """Encodings of the recommended design and of the start."""
    designs: dict[str, Design | None] = {results.zero: problem.start}
    if results.recommended:
        designs[RECOMMENDED] = results.recommended.design
    for name, design in designs.items():
        if design is not None and problem.space.contains(design):
            yield name, problem.space.encode(design)


def _designs(results: Results) -> dict[str, Design]:
    """Designs worth drawing: the validated ones; before that the best one so far and the baselines."""
    if results.rows:
        return {row.name: row.design for row in results.rows}
    designs: dict[str, Design] = {}
    if results.recommended:
        designs[RECOMMENDED] = results.recommended.design
    elif results.history.best is not None:
        designs["best so far (optimistic)"] = results.history.best
    return {**designs, **(results.problem.baselines if results.problem else {})}


def _drawings(problem: DesignProblem, designs: Mapping[str, Design]) -> Iterator[Drawing]:
    """Drawings of the designs that can be built, where the problem draws layouts."""
    for name, design in designs.items():
        if problem.layout is None or not problem.space.contains(design):
            continue
        pieces = list(problem.layout(design))
        if not pieces:
            continue
        length = max(piece.start + piece.length for piece in pieces) - min(piece.start for piece in pieces)
        costs = [f"{amount(cost.amount(design))} {cost.unit}" for cost in problem.costs]
        yield Drawing(name, ", ".join([f"{length:.1f} cm", *costs]), pieces)
