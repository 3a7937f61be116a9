"""Figures of a run: learning curve, reach against cost, parameters (layouts.py draws the designs)."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from rl_detector.parameters import Categorical
from rl_detector.problem import RECOMMENDED
from rl_detector.report.history import History, trend
from rl_detector.report.numbers import measured
from rl_detector.space import DesignSpace, Encoding, FloatArray, IntArray, Slot
from rl_detector.study.validation import ValidatedDesign

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#777777"
LINES = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CHOICES = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#F0E442", GREY)
MARKERS = ("s", "D", "^", "v", "P")
"""Colours that stay apart for colour-blind people, by Okabe and Ito (2008)."""

STYLE: dict[str, Any] = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#E6E6E6", "grid.linewidth": 0.7, "legend.frameon": False,
}  # fmt: skip
WIDTH = 8.4
"""Width of every figure in inches."""

BoolArray: TypeAlias = NDArray[np.bool_]

MAXIMUM_POINTS = 5000
MAXIMUM_PARAMETERS = 36


def png(make: Callable[[], Figure]) -> bytes:
    """A figure in the common style as PNG; the same run gives the same bytes."""
    buffer = io.BytesIO()
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = make()
        figure.dpi = 160  # not savefig, which draws a figure twice
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def plain(text: object, longest: int = 40) -> str:
    """Text of unknown origin made fit for a label: no formulas, no line breaks, shortened."""
    words = " ".join(str(text).encode("utf-8", "replace").decode().split()).replace("$", r"\$")
    return words if len(words) <= longest else words[: longest - 1] + "…"


def learning_curve(history: History, rows: Sequence[ValidatedDesign], zero: str) -> Figure:
    """Reach and reward of the batches against simulated events, with the held-out results as levels."""
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes, values in ((top, history.reach), (bottom, history.reward)):
        _curve(axes, history, values)
    _levels(top, rows)
    scale = "\n(+0.69: twice as good)" if history.logarithmic else ""
    top.set_ylabel(f"reach against {plain(zero)}{scale}")
    bottom.set(ylabel="reward", xlabel="simulated events")
    bottom.xaxis.set_major_formatter(EngFormatter())
    handles, labels = top.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9)
    return figure


def _curve(axes: Axes, history: History, values: FloatArray) -> None:
    groups = history.groups()
    events = history.events[[group[-1] for group in groups]]
    course = trend(values, groups, history.batch)
    axes.fill_between(events, course.low, course.high, color=BLUE, alpha=0.13, lw=0, label="16–84 % of the designs")
    up, down = course.mean + course.error, course.mean - course.error
    axes.fill_between(events, down, up, color=BLUE, alpha=0.4, lw=0, label="standard error")
    axes.plot(events, course.mean, color=BLUE, lw=1.6, marker=_dot(groups), ms=4, label="mean of the designs")
    best = history.improvements()
    steps, ends = np.append(history.events[best], history.events[-1]), np.append(values[best], values[best[-1]])
    axes.step(steps, ends, where="post", color=GREY, lw=1.0, ls=(0, (4, 2)), label="best so far (optimistic)")


def _levels(axes: Axes, rows: Sequence[ValidatedDesign]) -> None:
    """Held-out reaches as horizontal lines, named at the right."""
    for row, color, _ in _styled(rows):
        chosen = row.name == RECOMMENDED
        axes.axhline(row.reach, color=color, lw=1.6 if chosen else 0.9, zorder=1.5)
        axes.axhspan(row.reach - row.reach_error, row.reach + row.reach_error, color=color, alpha=0.25, lw=0)
    low, high = axes.get_ylim()
    ordered = sorted(_styled(rows), key=lambda item: item[0].reach)
    heights = _spread([row.reach for row, _, _ in ordered], 0.1 * (high - low))
    place = axes.get_yaxis_transform()
    for (row, color, _), height in zip(ordered, heights, strict=True):
        text = f"{plain(row.name, 20)}\n{measured(row.reach, row.reach_error, '+')}"
        line = {"arrowstyle": "-", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 2}
        weight = "bold" if row.name == RECOMMENDED else "normal"
        axes.annotate(
            text, (1.0, row.reach), (1.04, height), place, place, line, fontsize=8, weight=weight, va="center"
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved apart until no two are closer than the gap; their mean stays."""
    apart = list(heights)
    for i in range(1, len(apart)):
        apart[i] = max(apart[i], apart[i - 1] + gap)
    shift = sum(apart) / len(apart) - sum(heights) / len(heights) if apart else 0.0
    return [height - shift for height in apart]


def _styled(rows: Sequence[ValidatedDesign]) -> list[tuple[ValidatedDesign, str, str]]:
    """Rows with the colour and marker that they have in every figure."""
    styles = zip(cycle(LINES), cycle(MARKERS))
    return [(row, VERMILLION, "*") if row.name == RECOMMENDED else (row, *next(styles)) for row in rows]


def reach_against_cost(
    history: History, rows: Sequence[ValidatedDesign], name: str, unit: str, limit: float | None, zero: str
) -> Figure:
    """Every evaluated design, coloured by when it was evaluated, and the validated ones with error bars."""
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    axes, history = figure.subplots(), history.sample
    index = np.linspace(0, len(history) - 1, min(len(history), MAXIMUM_POINTS)).astype(np.int64)
    good, bad = index[history.allowed[index]], index[~history.allowed[index]]
    cost, reach = history.costs[name], history.reach
    axes.scatter(cost[bad], reach[bad], marker="x", s=14, lw=0.6, color="#BBBBBB", label="violates a limit")
    dots = axes.scatter(cost[good], reach[good], s=9, c=history.events[good], cmap="viridis", lw=0, alpha=0.75)
    figure.colorbar(dots, label="simulated events", format=EngFormatter(), pad=0.01)
    for row, color, marker in _styled(rows):
        size = 16 if row.name == RECOMMENDED else 8
        text = f"{plain(row.name, 24)} (held out)"
        look: dict[str, Any] = {"ms": size, "mec": "black", "mew": 0.7, "capsize": 3, "ls": "none", "zorder": 5}
        axes.errorbar(row.costs[name], row.reach, row.reach_error, color=color, marker=marker, label=text, **look)
    if limit is not None:
        axes.axvline(limit, color="black", ls="--", lw=1.0, label=f"limit {limit:,.6g} {plain(unit)}")
    low = float(np.percentile(reach, 2))
    shown = [row.reach - row.reach_error for row in rows] + [low]
    axes.set_ylim(bottom=min(shown) - 0.1 * (reach.max() - low))
    _cost_scale(axes, np.concatenate([cost, [row.costs[name] for row in rows], [limit] if limit else []]))
    axes.set(xlabel=f"{plain(name)} [{plain(unit)}]" if unit else plain(name), ylabel=f"reach against {plain(zero)}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _cost_scale(axes: Axes, costs: FloatArray) -> None:
    """A logarithmic axis where the costs span more than two decades, linear around 0 if some are not positive.

    Where all designs cost the same but for rounding, a tenth to both sides.
    """
    positive, widest = costs[costs > 0], float(np.abs(costs).max(initial=0.0))
    if np.ptp(costs) <= 1e-6 * widest:
        axes.set_xlim(costs[0] - 0.1 * (widest or 10.0), costs[0] + 0.1 * (widest or 10.0))
    if len(positive) and positive.max() > 100 * positive.min():
        axes.set_xscale("symlog", linthresh=positive.min()) if len(positive) < len(costs) else axes.set_xscale("log")


def parameters(space: DesignSpace, history: History, marks: Mapping[str, Encoding]) -> Figure:
    """Course of every parameter: mean and standard deviation of the batch, or the share of each choice."""
    slots, history = space.slots[:MAXIMUM_PARAMETERS], history.sample
    columns = 4 if len(slots) % 4 == 0 else 3
    rows = math.ceil(len(slots) / columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axes, slot in zip(panels, slots, strict=False):
        discrete = isinstance(slot.parameter, Categorical)
        index = (space.discrete if discrete else space.continuous).index(slot)
        here = has_component(space, slot, history.continuous)
        marked = {
            name: mark for name, mark in marks.items() if has_component(space, slot, mark.continuous[np.newaxis])[0]
        }
        (_choices if discrete else _course)(axes, slot, history, index, here, marked)
        axes.set_title("\n".join(plain(part, 26) for part in slot.path.rsplit(".", 1)), fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in panels[len(slots) :]:
        axes.set_visible(False)
    figure.supxlabel("simulated events", fontsize=10)
    return figure


def has_component(space: DesignSpace, slot: Slot, continuous: FloatArray) -> BoolArray:
    """Whether designs have the component of an entry of the encoding, [designs].

    What an encoding holds for absent components (0 or whatever an agent proposed) says nothing about the design.

    Args:
        space: of the designs.
        slot: the entry; `layer[2].gap` belongs to the third of `layer.count` layers.
        continuous: encodings, [designs, c].
    """
    here = np.ones(len(continuous), dtype=np.bool_)
    for component in re.finditer(r"\[(\d+)\]", slot.path):
        name = f"{slot.path[: component.start()]}.count"
        for index, count in enumerate(space.continuous):
            if count.path == name:
                counts = np.array([count.parameter.decode(x) for x in continuous[:, index].tolist()], dtype=np.int64)
                here &= counts > int(component[1])
    return here


def _with_component(axes: Axes, history: History, here: BoolArray) -> tuple[list[IntArray], IntArray]:
    """Groups of the trials that have a component, without empty ones, and the events until each."""
    groups = [group for group in history.groups() if here[group].any()]
    if not groups:
        axes.text(0.5, 0.5, "in no design", transform=axes.transAxes, ha="center", va="center", fontsize=8, color=GREY)
    events = history.events[np.array([group[-1] for group in groups], dtype=np.int64)]
    return [group[here[group]] for group in groups], events


def _course(
    axes: Axes, slot: Slot, history: History, index: int, here: BoolArray, marks: Mapping[str, Encoding]
) -> None:
    groups, events = _with_component(axes, history, here)
    axes.set_ylabel(plain(getattr(slot.parameter, "unit", ""), 12), fontsize=8.5)
    if not groups:
        return
    values = np.array([slot.parameter.decode(x) for x in history.continuous[:, index].tolist()], dtype=np.float64)
    course = trend(values, groups, history.batch)
    axes.fill_between(
        events, course.mean - course.deviation, course.mean + course.deviation, color=BLUE, alpha=0.2, lw=0
    )
    axes.plot(events, course.mean, color=BLUE, lw=1.4, marker=_dot(groups), ms=4)
    for name, encoding in marks.items():
        value = slot.parameter.decode(encoding.continuous[index])
        if name == RECOMMENDED:
            last = history.events[-1]
            axes.plot(last, value, marker="*", ms=11, color=VERMILLION, mec="white", mew=0.6, clip_on=False)
        else:
            axes.axhline(float(value), color=LINES[0], lw=1.0, ls=(0, (4, 2)))


def _dot(groups: Sequence[IntArray]) -> str:
    """Marker of a curve, without which a single point would be invisible."""
    return "o" if len(groups) == 1 else ""


def _choices(
    axes: Axes, slot: Slot, history: History, index: int, here: BoolArray, marks: Mapping[str, Encoding]
) -> None:
    if not isinstance(slot.parameter, Categorical):
        return
    groups, events = _with_component(axes, history, here)
    chosen = history.discrete[:, index]
    colors = cycle(CHOICES)
    for choice, (name, color) in enumerate(zip(slot.parameter.choices, colors, strict=False)):
        share = [float(np.mean(chosen[group] == choice)) for group in groups]
        axes.plot(events, share, color=color, lw=1.4, marker=_dot(groups), ms=4, label=plain(name, 16))
        if RECOMMENDED in marks and marks[RECOMMENDED].discrete[index] == choice:
            last = history.events[-1]
            axes.plot(last, 1.0, marker="*", ms=11, color=color, mec=VERMILLION, mew=0.8, clip_on=False)
    lines = math.ceil(len(slot.parameter.choices) / 2)
    axes.set(ylim=(-0.05, 1.12 + 0.2 * lines), yticks=(0, 0.5, 1), ylabel="share")
    look = {"handlelength": 1.0, "handletextpad": 0.4, "columnspacing": 0.8, "borderaxespad": 0.1}
    axes.legend(fontsize=7.5, loc="upper center", ncols=2, **look)
