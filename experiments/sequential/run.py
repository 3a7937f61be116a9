"""A spectrometer built station by station, against designs proposed whole: trains, validates on held-out tracks, draws.

python run.py             # trains what results.json does not hold yet: results.json, curves.png, layouts.png
python run.py --agent A   # this one only
python run.py --show      # only the tables and the figures again
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from rl_detector.agents import make_agent
from rl_detector.envs.spectrometer.layout import (
    LENGTH_LIMIT,
    MAGNET_LENGTH,
    MAGNET_START,
    PITCHES,
    channels,
    pitch,
    price,
    row,
)
from rl_detector.envs.spectrometer.problem import spectrometer
from rl_detector.problem import Evaluation
from rl_detector.reach.paired import paired_difference
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study

FOLDER = Path(__file__).parent
EVENTS, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 1_500_000, 500, 64
POINTS, CURVE_EVENTS = 12, 20_000
AGENTS: dict[str, dict[str, float]] = {
    "sequential_policy_gradient": {"sigma": 0.3, "departure": 0.2},
    "sequential_policy_gradient imagined=0": {"sigma": 0.3, "departure": 0.2, "imagined": 0},
    "policy_gradient": {"sigma": 0.25, "exploration": 0.05, "posterior_share": 0.0},
}
"""Label -> settings; a label begins with the name of the agent."""

SEEDS = dict.fromkeys(AGENTS, (0, 1, 2)) | {"sequential_policy_gradient": (0, 1, 2, 3, 4, 5)}
"""The agent was developed on its first three seeds, the others are fresh."""

HELD_OUT, HELD_OUT_ROOT = 400_000, 2000
PROBLEM = spectrometer()
COLORS = dict(zip(PITCHES, ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#BBBBBB"), strict=True))
MARKERS = {"Si": "s", "polystyrene": "D"}


def trained(name: str, seed: int) -> dict[str, Any]:
    """The recommended design of one training, its learning curve and CPU seconds (the curve's own tracks left out)."""
    agent = make_agent(name.split()[0], PROBLEM.space, seed, PROBLEM.start, **AGENTS[name])
    budget = Budget(EVENTS, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(PROBLEM, agent, Ledger(Path(":memory:")), budget, seed=seed, common_events=True)
    dues = np.geomspace(64_000, EVENTS, POINTS).tolist()
    curve: list[tuple[int, float, float]] = []
    seconds = 0.0
    while (size := budget.batch_size(study.trials * EVENTS_PER_DESIGN)) > 1:
        started = time.process_time()
        study.step(size)
        seconds += time.process_time() - started
        due = len(curve) < POINTS
        if due and study.trials * EVENTS_PER_DESIGN >= dues[len(curve)] - DESIGNS_PER_BATCH * EVENTS_PER_DESIGN:
            curve.append((study.trials * EVENTS_PER_DESIGN, *against_baseline(study.recommended())))
    return {"design": study.recommended(), "curve": curve, "cpu_seconds": seconds}


def against_baseline(design: Design) -> tuple[float, float]:
    """Ratio of sigma_p / p to the equidistant baseline on tracks for curves, and the largest relative violation."""
    found = PROBLEM.evaluate_batch(
        [design, PROBLEM.baselines["equidistant"]], CURVE_EVENTS, [held_out_seed(HELD_OUT_ROOT + 1)] * 2
    )
    ratio = metric(found[0]) / metric(found[1])
    return ratio, max(found[0].violations[limit.name] / limit.limit for limit in PROBLEM.constraints)


def metric(evaluation: Evaluation) -> float:
    if evaluation.measurement is None:
        raise RuntimeError(evaluation.failure)
    return evaluation.measurement.metric


def validated(designs: dict[str, Design]) -> dict[str, dict[str, Any]]:
    """Every design on the same held-out tracks, with the paired difference to the equidistant baseline."""
    seed, rows = held_out_seed(HELD_OUT_ROOT), {}
    found = {name: PROBLEM.evaluate(design, HELD_OUT, seed) for name, design in designs.items()}
    zero = found["equidistant"].measurement
    for name, evaluation in found.items():
        measured = evaluation.measurement
        if measured is None or zero is None:
            raise RuntimeError(evaluation.failure)
        difference = paired_difference(measured, zero)
        rows[name] = {
            "sigma_p_over_p": measured.metric,
            "error": measured.metric_error,
            "ratio": math.exp(-difference.value),
            "ratio_error": math.exp(-difference.value) * difference.error,
            **measured.diagnostics,
            "channels": channels(evaluation.design),
            "price": price(evaluation.design),
            "violations": dict(evaluation.violations),
            "design": dict(evaluation.design),
        }
    return rows


def all_runs(agents: Sequence[str], done: dict[str, Any]) -> dict[str, Any]:
    """Three trainings of each agent (those done already are kept), and the baselines."""
    runs: dict[str, Any] = dict(done)
    for name in agents:
        for seed in SEEDS[name]:
            label = f"{name} {seed}"
            if label not in runs:
                runs[label] = trained(name, seed)
                print(label, f"{runs[label]['cpu_seconds']:.0f} s of CPU, {runs[label]['curve'][-1]}", flush=True)
    designs = {**PROBLEM.baselines, **{label: run["design"] for label, run in runs.items()}}
    setting = {"events": EVENTS, "events_per_design": EVENTS_PER_DESIGN, "designs_per_batch": DESIGNS_PER_BATCH}
    return {**setting, "agents": AGENTS, "held_out": HELD_OUT, "runs": runs, "designs": validated(designs)}


def show(results: dict[str, Any]) -> None:
    """The tables of the README."""
    print("| design | mean sigma_p/p [%] | over equidistant | stations | channels | price [kEUR] | violations |")
    print("|---|---|---|---|---|---|---|")
    for name, found in results["designs"].items():
        sigma = f"{100 * found['sigma_p_over_p']:.4f} +- {100 * found['error']:.4f}"
        ratio = f"{found['ratio']:.4f} +- {found['ratio_error']:.4f}"
        broken = ", ".join(key for key, value in found["violations"].items() if value > 0) or "none"
        count, amount = len(found["design"]["station"]), found["channels"]
        print(f"| {name} | {sigma} | {ratio} | {count} | {amount:.0f} | {found['price'] / 1000:.0f} | {broken} |")
    for agent in AGENTS:
        labels = [label for label in results["runs"] if label.rsplit(" ", 1)[0] == agent]
        if len(labels) < 2:
            continue
        ratios = np.array([results["designs"][label]["ratio"] for label in labels])
        error = ratios.std(ddof=1) / math.sqrt(len(ratios))
        needed = [events_to(results["runs"][label]["curve"], 0.8) for label in labels]
        print(f"{agent}: mean of the seeds {ratios.mean():.3f} +- {error:.3f}; events to a ratio of 0.8: {needed}")


def events_to(curve: list[list[float]], ratio: float) -> int | None:
    """First point of the curve from which on the recommended design stays below the ratio, without violations."""
    late = None
    for events, value, violation in curve:
        good = value <= ratio and violation <= 0
        late = (late or int(events)) if good else None
    return late


def draw_curves(results: dict[str, Any]) -> Figure:
    """Held-out ratio of what is recommended against the events of the training."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for agent, color in zip(AGENTS, ("#D55E00", "#E69F00", "#0072B2"), strict=True):
        for number, seed in enumerate(SEEDS[agent]):
            if f"{agent} {seed}" not in results["runs"]:
                continue
            events, ratios, violations = np.array(results["runs"][f"{agent} {seed}"]["curve"]).T
            axes.plot(events, ratios, "-", color=color, lw=1.5, label=agent if number == 0 else None)
            bad = violations > 0
            axes.plot(events[bad], ratios[bad], "x", color=color, ms=7)
            axes.plot(events[~bad], ratios[~bad], "o", color=color, ms=4)
    axes.axhline(0.8, color="#888888", lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="simulated tracks", ylabel=r"$\sigma_p / p$ over that of equidistant stations")
    axes.set_title("designs recommended so far, on fresh tracks; crosses break the limit of channels", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_layouts(results: dict[str, Any]) -> Figure:
    """Every layout along the beam: colour is the pitch, shape the material."""
    designs = results["designs"]
    figure = Figure(figsize=(10, 1.2 + 0.5 * len(designs)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(MAGNET_START, MAGNET_START + MAGNET_LENGTH, color="#EEEEEE", lw=0)
    axes.text(MAGNET_START + MAGNET_LENGTH / 2, -0.62, "dipole, 1 T", ha="center", fontsize=9, color="#555555")
    for line, found in enumerate(designs.values()):
        axes.plot([0, LENGTH_LIMIT], [line, line], color="#DDDDDD", lw=0.8, zorder=0)
        clusters: list[list[float]] = []
        for position, station in row(found["design"]):
            near = clusters[-1] if clusters and position - clusters[-1][-1] < 6 else clusters.append([]) or clusters[-1]
            near.append(position)
            side = -1 if near[0] > LENGTH_LIMIT / 2 and near[0] > 350 else 1
            axes.plot(near[0] + side * 5.0 * (len(near) - 1), line, MARKERS[station["material"]], ms=9, mec="black",
                      mew=0.6, color=COLORS[pitch_name(station)])  # fmt: skip
        label = f"{100 * found['sigma_p_over_p']:.3f} %, {found['channels']:.0f} channels"
        axes.text(LENGTH_LIMIT + 12, line, label, va="center", fontsize=9)
    axes.set(yticks=range(len(designs)), yticklabels=list(designs), ylim=(len(designs) - 0.5, -0.9))
    axes.set(xlim=(-10, 540), xticks=range(0, 401, 50), xlabel="distance from the source [cm]")
    axes.spines[["top", "right", "left"]].set_visible(False)
    for name, color in COLORS.items():
        axes.plot([], [], "s", ms=8, mec="black", mew=0.6, color=color, label=name)
    for name, marker in MARKERS.items():
        axes.plot([], [], marker, ms=8, mec="black", mew=0.6, color="white", label=name)
    figure.legend(loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    axes.set_title("stations closer than 6 cm are drawn side by side; right: mean sigma_p / p, held out", fontsize=9)
    return figure


def pitch_name(station: dict[str, Any]) -> str:
    """The class of the pitch that is read out."""
    return next(name for name, size in PITCHES.items() if math.isclose(size, pitch(station)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--agent", choices=tuple(AGENTS), action="append", help="train this one only")
    torch.set_num_threads(1)
    arguments, path = parser.parse_args(), FOLDER / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    if not arguments.show:
        results = all_runs(arguments.agent or tuple(AGENTS), results["runs"])
    path.write_text(json.dumps(results, indent=1) + "\n")
    draw_curves(results).savefig(FOLDER / "curves.png", dpi=140)
    draw_layouts(results).savefig(FOLDER / "layouts.png", dpi=140)
    show(results)


if __name__ == "__main__":
    main()
