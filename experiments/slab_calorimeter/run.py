"""Sensors in a steel slab at no more than the price of beta: trains, validates on held-out and Geant4's events, draws.

python run.py               # trains what results.json lacks, validates, writes results.json and layouts.png
python run.py --validate    # validates the trained designs again
python run.py --show        # only the table and the figure again
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cma
import numpy as np
import torch
from matplotlib.figure import Figure

from rl_detector.agents import make_agent
from rl_detector.envs.slab_calorimeter.layout import SENSOR_TYPES, SLAB_LENGTH_MM, design, length, price, row
from rl_detector.envs.slab_calorimeter.library import SAMPLES, Book
from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter
from rl_detector.envs.slab_calorimeter.reach import SlabReach
from rl_detector.envs.slab_calorimeter.sensors import cut_out
from rl_detector.envs.slab_calorimeter.stored import whole_book
from rl_detector.reach.paired import paired_difference
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed, trial_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study
from rl_detector.terms import Measurement

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SHOWERS = str(FOLDER / "showers.npz")
SEEDS = (0, 1, 2)
EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 500, 64
SEARCHES: dict[str, tuple[str, int, dict[str, float]]] = {
    "cma_es, 10 M": ("cma_es", 10_000_000, {"sigma": 0.1}),
    "cma_es, 1 M": ("cma_es", 1_000_000, {"sigma": 0.1}),
    "policy_gradient, 1 M": (
        "policy_gradient",
        1_000_000,
        {"sigma": 0.15, "exploration": 0.05, "posterior_share": 0.0},
    ),
}
"""Name -> agent, simulated events, settings."""

KNOTS, KNOT_EVENTS, KNOT_BATCH, KNOT_BATCHES = (8.0, 7.0, 8.0, 12.0, 25.0, 50.0, 80.0), 2000, 16, 62
HELD_OUT, HELD_OUT_ROOT = 40_000, 1000
PROBLEM = slab_calorimeter()
COLORS = dict(zip(SENSOR_TYPES, ("#D55E00", "#E69F00", "#0072B2", "#009E73"), strict=True))


def trained(name: str, seed: int) -> tuple[Design, float]:
    """The design that one training recommends, and its CPU seconds."""
    kind, events, settings = SEARCHES[name]
    started = time.process_time()
    agent = make_agent(kind, PROBLEM.space, seed, PROBLEM.start, **settings)
    budget = Budget(events, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(PROBLEM, agent, Ledger(Path(":memory:")), budget, seed=seed, common_events=True)
    return study.run(), time.process_time() - started


def knotted(numbers: Any) -> Design:
    """56 sensors of 0.2 mm: first gap, then gaps whose logarithm is linear between six knots along the row."""
    places, at = np.linspace(0, 1, 56), np.linspace(0, 1, len(numbers) - 1)
    gaps = np.exp(np.interp(places, at, numbers[1:]))
    gaps[0] = math.exp(numbers[0])
    return design(*((gap, "0.2 mm") for gap in np.clip(gaps, 0.5, 120.0)))


def by_knots() -> Design:
    """A search in seven numbers with the library cma, 2 million events: how good a smooth row of equal sensors is."""
    strategy = cma.CMAEvolutionStrategy(np.log(KNOTS), 0.3, {"verbose": -9, "popsize": KNOT_BATCH, "seed": 1})
    for batch in range(KNOT_BATCHES):
        asked = strategy.ask()
        found = PROBLEM.evaluate_batch([knotted(x) for x in asked], KNOT_EVENTS, [trial_seed(0, batch)] * len(asked))
        strategy.tell(asked, [math.inf if each.reward is None else -each.reward for each in found])
    return knotted(strategy.result.xfavorite)


def validated(found: dict[str, Measurement]) -> dict[str, dict[str, Any]]:
    """What every design gains over beta and over alpha on the same events, and its resolutions."""
    rows: dict[str, dict[str, Any]] = {}
    for name, measured in found.items():
        over = {other: paired_difference(measured, found[other]) for other in ("beta", "alpha")}
        gains = {f"over_{other}": [each.value, each.error] for other, each in over.items()}
        rows[name] = {**gains, **measured.diagnostics}
    return rows


def held_out(layout: Design) -> Measurement:
    """On held-out events of the fast library, the same for all designs."""
    measured = PROBLEM.evaluate(layout, HELD_OUT, held_out_seed(HELD_OUT_ROOT)).measurement
    if measured is None:
        raise RuntimeError("a design could not be validated")
    return measured


def in_geant4(layout: Design, book: Book) -> Measurement:
    """On all of Geant4's events, the same for all designs."""
    built = row(layout)
    normal = np.random.default_rng(0).standard_normal((60, book.crossings.shape[1]), dtype=np.float32)
    return SlabReach().measure(cut_out(built, book, normal[: len(built.gap)]))


def all_searches() -> dict[str, Any]:
    """Every training from every seed, except those that results.json has already."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cpu_seconds": {}}
    results["searches"] = SEARCHES
    designs = results.setdefault("designs", {name: dict(layout) for name, layout in PROBLEM.baselines.items()})
    if "seven numbers" not in designs:
        designs["seven numbers"] = by_knots()
    for name in SEARCHES:
        for seed in SEEDS:
            label = f"{name}, seed {seed}"
            if label not in designs:
                designs[label], results["cpu_seconds"][label] = trained(name, seed)
                print(label, f"{results['cpu_seconds'][label]:.0f} s of CPU", flush=True)
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return results


def validate(results: dict[str, Any]) -> dict[str, Any]:
    """The results with held-out events of the fast library and all that is stored of Geant4's."""
    book, designs = whole_book(SHOWERS), results["designs"]
    results["fast"] = validated({name: held_out(layout) for name, layout in designs.items()})
    results["geant4"] = validated({name: in_geant4(layout, book) for name, layout in designs.items()})
    violations = {name: PROBLEM.evaluate(layout, 50, 0).violations for name, layout in designs.items()}
    stored = {f"{p} {e:g}": int((book.events.sample == n).sum()) for n, (p, e) in enumerate(SAMPLES)}
    return {**results, "violations": violations, "held_out": HELD_OUT, "geant4_events": stored}


def show(results: dict[str, Any]) -> None:
    """The table of the README."""
    columns = " | ".join(f"{particle} {energy:g}" for particle, energy in SAMPLES)
    print(f"| design | sensors | kEUR | mm | {columns} | over beta | in Geant4 | over alpha | in Geant4 |")
    print("|" + "---|" * 12)
    for name, layout in results["designs"].items():
        fast, geant4 = results["fast"][name], results["geant4"][name]
        numbers = " | ".join(f"{100 * fast[f'resolution {p} {e:g} GeV']:.2f}" for p, e in SAMPLES)
        gains = [each[column] for column in ("over_beta", "over_alpha") for each in (fast, geant4)]
        gained = " | ".join(f"{value:.3f} +- {error:.3f}" for value, error in gains)
        size = f"{len(layout['sensor'])} | {price(layout):.0f} | {length(layout):.0f}"
        print(f"| {name} | {size} | {numbers} | {gained} |")
    for name in (name for name in SEARCHES if len(seeds_of(results, name)) > 1):
        for column in ("over_beta", "over_alpha"):
            for library in ("fast", "geant4"):
                values = np.array([results[library][label][column][0] for label in seeds_of(results, name)])
                error = values.std(ddof=1) / math.sqrt(len(values))
                print(f"{name} {column}, {library}: {values.mean():.3f} +- {error:.3f} (scatter of seeds)")
    print("violations:", {name: each for name, each in results["violations"].items() if any(each.values())} or "none")
    print("events of Geant4:", results["geant4_events"])


def seeds_of(results: dict[str, Any], name: str) -> list[str]:
    """The trainings of one search that are there."""
    return [label for label in results["designs"] if label.startswith(f"{name}, seed ")]


def drawn(results: dict[str, Any]) -> list[str]:
    """The baselines, the smooth row, and the best seed of every search."""
    best = [
        max(seeds_of(results, name), key=lambda label: results["fast"][label]["over_beta"][0])
        for name in SEARCHES
        if seeds_of(results, name)
    ]
    return [*PROBLEM.baselines, "seven numbers", *best]


def draw(results: dict[str, Any]) -> Figure:
    """Rows of sensors along the slab, the colour is the type; below, their gaps."""
    names = drawn(results)
    figure = Figure(figsize=(9.6, 7.2), layout="constrained")
    rows, gaps = figure.subplots(2, 1, height_ratios=(1.1, 1), sharex=True)
    for line, name in enumerate(names):
        layout = results["designs"][name]
        rows.axhspan(line - 0.32, line + 0.32, xmax=1, color="#F2F2F2", lw=0)
        for front, sensor in zip(row(layout).front, layout["sensor"], strict=True):
            rows.plot([front / 10] * 2, [line - 0.32, line + 0.32], color=COLORS[sensor["type"]], lw=1.5)
        value, error = results["fast"][name]["over_beta"]
        kinds = len(Counter(sensor["type"] for sensor in layout["sensor"]))
        text = f"{value:+.3f} $\\pm$ {error:.3f}" if name != "beta" else "0"
        rows.text(203, line, f"{text}\n{len(layout['sensor'])} sensors, {kinds} type(s)", va="center", fontsize=8)
    rows.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.6), xlim=(-2, 240))
    rows.set_title("sensors in the slab; right: reach over beta, held out", fontsize=9)
    for kind, color in COLORS.items():
        rows.plot([], [], color=color, label=kind)
    rows.legend(loc="upper center", ncols=4, fontsize=8, frameon=False, bbox_to_anchor=(0.42, 0.0))
    for name in (*PROBLEM.baselines, "seven numbers", names[len(PROBLEM.baselines) + 1]):
        built = row(results["designs"][name])
        gaps.plot(built.front / 10, built.gap, "o-", ms=2.5, lw=0.8, label=name)
    gaps.set(yscale="log", xlabel="depth [cm]", ylabel="steel before the sensor [mm]", xticks=range(0, 201, 25))
    gaps.axvline(SLAB_LENGTH_MM / 10, color="#999999", lw=0.8)
    gaps.legend(fontsize=8, frameon=False)
    for axes in (rows, gaps):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if given.validate or given.show else all_searches()
    if not given.show:
        results = validate(results)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results).savefig(FOLDER / "layouts.png", dpi=130)
    show(results)


if __name__ == "__main__":
    main()
