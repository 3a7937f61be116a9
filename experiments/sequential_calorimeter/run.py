"""Sensors in a steel slab placed one after the other, at the price of the reference designs: trains, validates, draws.

python run.py            # trains what results.json lacks, validates all, writes results.json and layouts.png
python run.py --show     # only the table and the figure again
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from rl_detector.agents import make_agent
from rl_detector.envs.slab_calorimeter.layout import SENSOR_TYPES, price, row
from rl_detector.envs.slab_calorimeter.library import SAMPLES
from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter
from rl_detector.envs.slab_calorimeter.stored import stored
from rl_detector.problem import DesignProblem
from rl_detector.reach.paired import paired_difference
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study
from rl_detector.terms import Constraint

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
DESIGNS, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 4096, 2000, 64
AGENT = {"sigma": 0.05, "departure": 0.03}
HELD_OUT, HELD_OUT_ROOT = 60_000, 3000
GEANT4 = FOLDER.parent / "slab_calorimeter" / "showers.npz"
PROBLEM = slab_calorimeter()
CASES = {"price of alpha and beta": "alpha", "price of gamma": "gamma"}
"""What may be spent -> the baseline whose price is the limit, and with which the search begins."""


def at_price_of(name: str) -> DesignProblem:
    """The problem with the price of a baseline as its limit."""
    limit = price(PROBLEM.baselines[name])
    others = tuple(each for each in PROBLEM.constraints if each.name != "price")
    return replace(PROBLEM, constraints=(Constraint("price", "kEUR", limit, price), *others))


def trained(baseline: str, seed: int) -> dict[str, Any]:
    """The recommended design of one training, the mean reward of every batch, and CPU seconds."""
    started, problem = time.process_time(), at_price_of(baseline)
    agent = make_agent("sequential_policy_gradient", problem.space, seed, problem.baselines[baseline], **AGENT)
    budget = Budget(DESIGNS * EVENTS_PER_DESIGN, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(problem, agent, Ledger(Path(":memory:")), budget, seed=seed, common_events=True)
    rewards: list[float | None] = []
    study.run(lambda progress: rewards.append(progress.reward))
    return {"design": study.recommended(), "rewards": rewards, "cpu_seconds": time.process_time() - started}


def affordable(design: Design, baseline: str) -> dict[str, Any]:
    """The design with its last sensors of the next thinner type until it costs no more than the baseline.

    Penalties are smooth, so a recommended design may cost a few thousandths more than allowed.
    """
    kinds, sensors = list(SENSOR_TYPES), [dict(sensor) for sensor in design["sensor"]]
    while price({"sensor": sensors}) > price(PROBLEM.baselines[baseline]):
        last = next(sensor for sensor in reversed(sensors) if sensor["type"] != kinds[0])
        last["type"] = kinds[kinds.index(last["type"]) - 1]
    return {"sensor": sensors}


def validated(designs: dict[str, Design], problem: DesignProblem, events: int) -> dict[str, dict[str, Any]]:
    """Every design on the same events, with paired differences of the reach to the three baselines."""
    seeds = [held_out_seed(HELD_OUT_ROOT)] * len(designs)
    found = dict(zip(designs, problem.evaluate_batch(list(designs.values()), events, seeds), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    for name, evaluation in found.items():
        measured = evaluation.measurement
        if measured is None:
            raise RuntimeError(evaluation.failure)
        over = {}
        for other in PROBLEM.baselines:
            zero = found[other].measurement
            if other != name and zero is not None:
                difference = paired_difference(measured, zero)
                over[other] = [difference.value, difference.error]
        rows[name] = {
            "reach": measured.reach,
            "error": measured.error,
            "over": over,
            **measured.diagnostics,
            "price": price(evaluation.design),
            "sensors": len(evaluation.design["sensor"]),
            "length_violation": evaluation.violations["length"],
        }
    return rows


def all_runs(done: dict[str, Any], path: Path) -> dict[str, Any]:
    """Three trainings at each price, those done already are kept, and the baselines."""
    runs = dict(done)
    for case, baseline in CASES.items():
        for seed in SEEDS:
            label = f"{case}, seed {seed}"
            if label not in runs:
                runs[label] = trained(baseline, seed)
                path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
                print(label, f"{runs[label]['cpu_seconds']:.0f} s of CPU", flush=True)
    bought = {
        f"{case}, seed {seed}": affordable(runs[f"{case}, seed {seed}"]["design"], baseline)
        for case, baseline in CASES.items()
        for seed in SEEDS
    }
    designs = {**PROBLEM.baselines, **bought}
    setting = {"designs": DESIGNS, "events_per_design": EVENTS_PER_DESIGN, "agent": AGENT, "held_out": HELD_OUT}
    results = {**setting, "runs": runs, "layouts": designs, "fast": validated(designs, PROBLEM, HELD_OUT)}
    if GEANT4.exists():
        geant4, events = slab_calorimeter(library=str(GEANT4)), most_events()
        results |= {"geant4_events": events, "geant4": validated(designs, geant4, events)}
    return results


def most_events() -> int:
    """Events per design that the stored library holds: five samples, of which four are of one particle and energy."""
    deposits = stored(str(GEANT4)).deposits
    return (len(SAMPLES) + 1) * min(len(deposits[key]) for key in SAMPLES)


def show(results: dict[str, Any]) -> None:
    """The table of the README."""
    for kind in (kind for kind in ("fast", "geant4") if kind in results):
        print(f"\n{kind}\n")
        print("| design | sensors | price [kEUR] | reach | over alpha | over beta | over gamma |")
        print("|---|---|---|---|---|---|---|")
        for name, found in results[kind].items():
            cells = [_difference(found["over"].get(other)) for other in ("alpha", "beta", "gamma")]
            reach = f"{found['reach']:+.3f} +- {found['error']:.3f}"
            print(f"| {name} | {found['sensors']} | {found['price']:.0f} | {reach} | {' | '.join(cells)} |")


def _difference(value: list[float] | None) -> str:
    return "" if value is None else f"{value[0]:+.3f} +- {value[1]:.3f} ({value[0] / value[1]:.0f} sigma)"


def draw(results: dict[str, Any]) -> Figure:
    """Every sensor where it stands, on a square-root scale of depth; colour is its type."""
    layouts = results["layouts"]
    figure = Figure(figsize=(10, 1.2 + 0.42 * len(layouts)), layout="constrained")
    axes = figure.subplots()
    colors = dict(zip(SENSOR_TYPES, ("#56B4E9", "#0072B2", "#555555", "#D55E00"), strict=True))
    for line, (name, layout) in enumerate(layouts.items()):
        front = row(layout).front / 10
        for place, sensor in zip(front, layout["sensor"], strict=True):
            axes.plot([math.sqrt(place)] * 2, [line - 0.35, line + 0.35], color=colors[sensor["type"]], lw=1.3)
        found = results["fast"][name]
        label = f"{found['sensors']} sensors, {found['price']:.0f} kEUR, reach {found['reach']:+.3f}"
        axes.text(14.6, line, label, va="center", fontsize=8)
    ticks = np.array([0, 1, 5, 10, 20, 40, 70, 100, 150, 200])
    axes.set(xticks=np.sqrt(ticks), xlabel="depth in steel [cm], square-root scale", xlim=(-0.1, 20.5))
    axes.set_xticklabels([str(tick) for tick in ticks])
    axes.set(yticks=range(len(layouts)), yticklabels=list(layouts), ylim=(len(layouts) - 0.4, -0.6))
    axes.spines[["top", "right", "left"]].set_visible(False)
    for name, color in colors.items():
        axes.plot([], [], color=color, lw=3, label=f"Si {name}")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true")
    torch.set_num_threads(1)
    path = FOLDER / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    if not parser.parse_args().show:
        results = all_runs(results["runs"], path)
    path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results).savefig(FOLDER / "layouts.png", dpi=140)
    show(results)


if __name__ == "__main__":
    main()
