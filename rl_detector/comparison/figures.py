"""Figures of a comparison: learning curves per problem and over all problems, probabilities of improvement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from numpy.typing import NDArray

from rl_detector.comparison.results import Results
from rl_detector.comparison.statistics import aggregate, at_events, resample
from rl_detector.comparison.tables import STAGES, improvements
from rl_detector.records.files import write_atomically
from rl_detector.report.figures import BLUE, GREY, WIDTH, plain, png
from rl_detector.space import FloatArray

COLORS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777", "#000000")
"""Colours of the peers that stay apart for colour-blind people, by Okabe and Ito (2008); the reference is blue."""

DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)))
"""Lines of the first, second and third seven of the peers."""

BAND = 0.12
"""Opacity of intervals."""

SHADES = ("#8EC7EA", BLUE, "#003A5C")
"""Light to dark for early to late."""

LOWEST = -0.25
"""Lowest gain that is shown; designs much worse than the start need no distinction."""

SHARES = np.geomspace(0.01, 1.0, 40)
"""Shares of the budget at which problems are averaged."""


def write_figures(results: Results, folder: Path) -> list[Path]:
    """Write curves.png, and average.png and improvement.png where there are several problems or agents."""
    made = {"curves": lambda: curves(results), "average": lambda: average(results)}
    if improvements(results):
        made["improvement"] = lambda: improvement(results)
    paths = [folder / f"{name}.png" for name in made]
    for path, make in zip(paths, made.values(), strict=True):
        write_atomically(path, png(make))
    return paths


def styles(results: Results) -> dict[str, dict[str, object]]:
    """Colour and line of every agent."""
    peers = [agent for agent in results.agents if agent != results.reference]
    looks: dict[str, dict[str, object]] = {results.reference: {"color": BLUE, "lw": 2.4, "zorder": 4}}
    for index, agent in enumerate(peers):
        dashes = DASHES[index // len(COLORS) % len(DASHES)]
        looks[agent] = {"color": COLORS[index % len(COLORS)], "lw": 1.3, "ls": dashes, "zorder": 3}
    return looks


def curves(results: Results) -> Figure:
    """Gain of the recommended design against simulated events, one panel per problem."""
    shown = [
        problem for problem in results.problems if any(run.gains for run in results.runs if run.problem == problem)
    ]
    columns = min(3, max(len(shown), 1))
    rows = max(math.ceil(len(shown) / columns), 1)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.15 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    looks = styles(results)
    for axes, problem in zip(panels, shown, strict=False):
        grid = np.array(results.grids[problem], dtype=np.float64)
        for agent, look in looks.items():
            scores = [np.array([run.gains for run in results.of(problem, agent) if run.gains])]
            budget = max((run.budget for run in results.of(problem, agent)), default=0)
            _curve(axes, grid, scores, agent, look, grid <= budget)
        _frame(axes, results, plain(problem))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("simulated events", fontsize=10)
    figure.supylabel("gain" if rows == 1 else "gain of the recommended design (0 start, 1 best)", fontsize=10)
    _legend(figure, panels)
    return figure


def average(results: Results) -> Figure:
    """Gain against the share of the budget, over all problems together, of the agents that ran on all of them."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    for agent, look in styles(results).items():
        scores = [_at_shares(results, problem, agent) for problem in results.problems]
        budgets = [run.budget / results.grids[run.problem][-1] for run in results.runs if run.agent == agent]
        if all(len(one) for one in scores):
            _curve(axes, SHARES, scores, agent, look, min(budgets) + 1e-9 >= SHARES)
    _frame(axes, results, "")
    axes.set(xlabel="share of the budget", ylabel="gain of the recommended design (0 start, 1 best)")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _legend(figure, [axes])
    return figure


def _at_shares(results: Results, problem: str, agent: str) -> FloatArray:
    """Gains at shares of the budget, [runs, shares]."""
    grid = np.array(results.grids[problem], dtype=np.float64)
    runs = [run.gains for run in results.of(problem, agent) if run.gains]
    return np.array([at_events(grid, np.array(gains), SHARES * grid[-1]) for gains in runs])


def _curve(
    axes: Axes,
    x: FloatArray,
    scores: Sequence[FloatArray],
    agent: str,
    look: dict[str, object],
    kept: NDArray[np.bool_],
) -> None:
    """Interquartile mean of the runs of all problems, each [runs, points], with its interval as a band."""
    if not all(len(one) for one in scores):
        return
    chosen = np.flatnonzero(kept)
    middle, low, high = np.array([_point([one[:, index] for one in scores]) for index in chosen]).T
    axes.fill_between(x[chosen], low, high, color=str(look["color"]), alpha=BAND, lw=0)
    axes.plot(x[chosen], middle, label=plain(agent), **look)  # type: ignore[arg-type]


def _point(scores: Sequence[FloatArray]) -> tuple[float, float, float]:
    resampled = aggregate(resample(scores, np.random.default_rng(0)))
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(aggregate(scores)), float(low), float(high)


def _frame(axes: Axes, results: Results, title: str) -> None:
    for target in results.targets:
        axes.axhline(target, color=GREY, lw=0.8, ls=(0, (1, 2)), zorder=2)
    axes.axhline(1.0, color=GREY, lw=0.8, zorder=2)
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.set_ylim(LOWEST, 1.08)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """All agents once, in the order of the first panel that has them."""
    found = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        found.values(), found.keys(), loc="outside upper center", ncols=min(5, max(len(found), 1)), fontsize=9
    )


def improvement(results: Results) -> Figure:
    """Probability that a run of the reference is better than one of each other agent, at shares of the budget."""
    found = sorted(improvements(results), key=lambda one: one.probabilities[0].value)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.5 * len(found)), layout="constrained")
    axes = figure.subplots()
    for stage, (share, color) in enumerate(zip(STAGES, SHADES, strict=True)):
        heights = np.arange(len(found)) + 0.24 * (1 - stage)
        values, low, high = np.array([one.probabilities[stage] for one in found]).T
        bars = [values - low, high - values]
        axes.errorbar(values, heights, xerr=bars, fmt="o", color=color, ms=4.5, lw=2.2, label=f"at {share:.0%}")
    for height, one in enumerate(found):
        text = f"{one.problems} problem{'s' if one.problems > 1 else ''}"
        axes.annotate(text, (1.03, height), xycoords=("axes fraction", "data"), fontsize=8.5, va="center")
    axes.axvline(0.5, color="black", lw=1.0, ls=(0, (4, 2)))
    axes.set_yticks(range(len(found)), [f"than {plain(one.agent)}" for one in found])
    axes.set(xlim=(-0.02, 1.02), xlabel=f"probability that {plain(results.reference)} has the larger gain")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, title="of the smaller budget", title_fontsize=9)
    return figure
