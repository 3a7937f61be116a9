"""Where to put the stations of a spectrometer, at equal channels: trains, validates on held-out tracks, draws.

python run.py            # trains from three seeds, writes results.json and layouts.png
python run.py --show     # only the table and the figures again
"""

from __future__ import annotations

import argparse
import json
import math
import time
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
from rl_detector.reach.paired import paired_difference
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
EVENTS, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 2_000_000, 500, 64
CANDIDATES, SELECTION = 10, 20_000
AGENT = {"sigma": 0.25, "exploration": 0.05, "posterior_share": 0.0}
HELD_OUT, HELD_OUT_ROOT = 400_000, 1000
PROBLEM = spectrometer()
COLORS = dict(zip(PITCHES, ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#BBBBBB"), strict=True))
MARKERS = {"Si": "s", "polystyrene": "D"}


def trained(seed: int) -> tuple[Design, float]:
    """The best of the designs recommended in the second half of one training, and its CPU seconds.

    They are compared by their reward on tracks of their own, which count in the budget and are not the held-out ones.
    """
    started = time.process_time()
    agent = make_agent("policy_gradient", PROBLEM.space, seed, PROBLEM.start, **AGENT)
    budget = Budget(EVENTS - CANDIDATES * SELECTION, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(PROBLEM, agent, Ledger(Path(":memory:")), budget, seed=seed, common_events=True)
    candidates: list[Design] = []
    while (size := budget.batch_size(study.trials * EVENTS_PER_DESIGN)) > 1:
        study.step(size)
        due = 0.5 * (1 + (len(candidates) + 1) / CANDIDATES)
        if study.trials * EVENTS_PER_DESIGN >= due * budget.events - DESIGNS_PER_BATCH * EVENTS_PER_DESIGN:
            candidates.append(study.recommended())
    found = PROBLEM.evaluate_batch(candidates, SELECTION, [held_out_seed(HELD_OUT_ROOT + 1 + seed)] * len(candidates))
    rewards = [-math.inf if evaluation.reward is None else evaluation.reward for evaluation in found]
    print("rewards of the candidates:", ", ".join(f"{reward:.3f}" for reward in rewards), flush=True)
    return candidates[int(np.argmax(rewards))], time.process_time() - started


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


def all_runs() -> dict[str, Any]:
    """Three trainings and the baselines."""
    designs, seconds = dict(PROBLEM.baselines), {}
    for seed in SEEDS:
        name = f"seed {seed}"
        designs[name], seconds[name] = trained(seed)
        print(name, f"{seconds[name]:.0f} s of CPU", flush=True)
    setting = {"events": EVENTS, "events_per_design": EVENTS_PER_DESIGN, "designs_per_batch": DESIGNS_PER_BATCH}
    setting |= {"candidates": CANDIDATES, "selection": SELECTION}
    return {**setting, "agent": AGENT, "held_out": HELD_OUT, "cpu_seconds": seconds, "designs": validated(designs)}


def show(results: dict[str, Any]) -> None:
    """The table of the README."""
    print("| design | mean sigma_p/p [%] | over equidistant | measured tracks | channels | price [kEUR] | violations |")
    print("|---|---|---|---|---|---|---|")
    for name, found in results["designs"].items():
        sigma = f"{100 * found['sigma_p_over_p']:.4f} +- {100 * found['error']:.4f}"
        ratio = f"{found['ratio']:.4f} +- {found['ratio_error']:.4f}"
        broken = ", ".join(key for key, value in found["violations"].items() if value > 0) or "none"
        print(
            f"| {name} | {sigma} | {ratio} | {found['measured']:.4f} | {found['channels']:.0f} | "
            f"{found['price'] / 1000:.0f} | {broken} |"
        )
    ratios = np.array([found["ratio"] for name, found in results["designs"].items() if name.startswith("seed")])
    print(f"mean of the seeds: {ratios.mean():.3f} +- {ratios.std(ddof=1) / math.sqrt(len(ratios)):.3f}")


def draw(results: dict[str, Any]) -> Figure:
    """Every layout along the beam: colour is the pitch, shape the material."""
    designs = results["designs"]
    figure = Figure(figsize=(9.6, 1.2 + 0.55 * len(designs)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(MAGNET_START, MAGNET_START + MAGNET_LENGTH, color="#EEEEEE", lw=0)
    axes.text(MAGNET_START + MAGNET_LENGTH / 2, -0.62, "dipole, 1 T", ha="center", fontsize=9, color="#555555")
    for line, found in enumerate(designs.values()):
        axes.plot([0, LENGTH_LIMIT], [line, line], color="#DDDDDD", lw=0.8, zorder=0)
        clusters: list[list[float]] = []
        for position, station in row(found["design"]):
            near = clusters[-1] if clusters and position - clusters[-1][-1] < 6 else clusters.append([]) or clusters[-1]
            near.append(position)
            spread = 5.0 * (len(near) - 1)
            axes.plot(near[0] + spread, line, MARKERS[station["material"]], ms=9, mec="black", mew=0.6,
                      color=COLORS[_name(station)])  # fmt: skip
        label = f"{100 * found['sigma_p_over_p']:.3f} %, {found['channels']:.0f} channels"
        axes.text(LENGTH_LIMIT + 22, line, label, va="center", fontsize=9)
    axes.set(yticks=range(len(designs)), yticklabels=list(designs), ylim=(len(designs) - 0.5, -0.9))
    axes.set(xlim=(-10, 545), xticks=range(0, 401, 50), xlabel="distance from the source [cm]")
    axes.spines[["top", "right", "left"]].set_visible(False)
    for name, color in COLORS.items():
        axes.plot([], [], "s", ms=8, mec="black", mew=0.6, color=color, label=name)
    for name, marker in MARKERS.items():
        axes.plot([], [], marker, ms=8, mec="black", mew=0.6, color="white", label=name)
    figure.legend(loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    axes.set_title("stations closer than 6 cm are drawn side by side; right: mean sigma_p / p, held out", fontsize=9)
    return figure


def _name(station: dict[str, Any]) -> str:
    """The class of the pitch that is read out."""
    return next(name for name, size in PITCHES.items() if math.isclose(size, pitch(station)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true")
    torch.set_num_threads(1)
    path = FOLDER / "results.json"
    results = json.loads(path.read_text()) if parser.parse_args().show else all_runs()
    path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results).savefig(FOLDER / "layouts.png", dpi=140)
    show(results)


if __name__ == "__main__":
    main()
