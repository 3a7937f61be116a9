"""One contextual training over all prices of cost against one flagship training per price, at equal total events.

python run.py            # trains, validates on held-out events, writes results.json and front.png
python run.py --show     # only the table and the figure again
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from rl_detector.agents import make_agent
from rl_detector.assembly import build_problem
from rl_detector.problem import DesignProblem
from rl_detector.reach.paired import paired_difference
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study
from rl_detector.study.contexts import Contexts, ContextualStudy
from rl_detector.terms import Measurement

FOLDER = Path(__file__).parent
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)
SEEDS = (0, 1, 2)
TOTAL = 1_000_000
EACH = TOTAL // len(WEIGHTS)
EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 100, 32
HELD_OUT, HELD_OUT_ROOT = 100_000, 1000
COLORS = {"policy_gradient": "#0072B2", "contextual": "#D55E00", "contextual, a fifth": "#E69F00"}
LABELS = {
    "policy_gradient": f"policy_gradient, one training per price ({len(WEIGHTS)} x {EACH:,} events)",
    "contextual": f"contextual_policy_gradient, one training ({TOTAL:,} events)",
    "contextual, a fifth": f"contextual_policy_gradient, one training ({EACH:,} events)",
}


def problem_at(weight: float) -> DesignProblem:
    problem: DesignProblem = build_problem({"name": "calorimeter", "cost_weight": weight}, {"name": "fast"})
    return problem


def study(name: str, weight: float, events: int, seed: int, contexts: Contexts | None) -> Study:
    """A finished study with the agent's default settings."""
    problem = problem_at(weight)
    agent = make_agent(name, problem.space, seed, problem.start)
    budget = Budget(events, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    ledger = Ledger(Path(":memory:"))
    options: dict[str, Any] = {"seed": seed, "common_events": True}
    if contexts is None:
        made = Study(problem, agent, ledger, budget, **options)
    else:
        made = ContextualStudy(problem, agent, ledger, budget, contexts=contexts, **options)
    made.run()
    return made


def separate(seed: int) -> dict[float, Design]:
    """One flagship training per price."""
    return {weight: study("policy_gradient", weight, EACH, seed, None).recommended() for weight in WEIGHTS}


def together(events: int) -> Callable[[int], dict[float, Design]]:
    """One contextual training for all prices."""

    def designs(seed: int) -> dict[float, Design]:
        contexts = Contexts((WEIGHTS[0], WEIGHTS[-1]))
        found = study("contextual_policy_gradient", 1.0, events, seed, contexts)
        assert isinstance(found, ContextualStudy)
        return {weight: found.recommended_at(weight) for weight in WEIGHTS}

    return designs


METHODS = {"policy_gradient": separate, "contextual": together(TOTAL), "contextual, a fifth": together(EACH)}


def validated(seed: int, method: str) -> tuple[dict[str, Any], dict[float, Measurement]]:
    """Designs of a method, validated on the held-out events that all designs share."""
    started = time.process_time()
    designs = METHODS[method](seed)
    seconds, rows, measured = time.process_time() - started, [], {}
    for weight, design in designs.items():
        evaluation = problem_at(weight).evaluate(design, HELD_OUT, held_out_seed(HELD_OUT_ROOT))
        if evaluation.measurement is None:
            raise RuntimeError(evaluation.failure)
        found = measured[weight] = evaluation.measurement
        numbers = {"reward": evaluation.reward, "reach": found.reach, "error": found.error}
        rows.append({"cost_weight": weight, **numbers, "price": evaluation.costs["price"], "design": dict(design)})
    return {"method": method, "seed": seed, "cpu_seconds": round(seconds, 1), "rows": rows}, measured


def all_runs() -> dict[str, Any]:
    """Every method from every seed, and paired differences to the flagship."""
    runs, differences = [], []
    for seed in SEEDS:
        flagship: tuple[dict[str, Any], dict[float, Measurement]] | None = None
        for method in METHODS:
            run, measured = validated(seed, method)
            runs.append(run)
            flagship = flagship or (run, measured)
            print(seed, method, f"{run['cpu_seconds']} s", flush=True)
            for row, other in zip(run["rows"], flagship[0]["rows"], strict=True):
                weight = row["cost_weight"]
                error = paired_difference(measured[weight], flagship[1][weight]).error
                value = row["reward"] - other["reward"]
                differences.append(
                    {"method": method, "seed": seed, "cost_weight": weight, "value": value, "error": error}
                )
    setting = {"total_events": TOTAL, "events_per_design": EVENTS_PER_DESIGN, "designs_per_batch": DESIGNS_PER_BATCH}
    return {**setting, "held_out_events": HELD_OUT, "runs": runs, "differences": differences}


def of_seeds(results: dict[str, Any], method: str, weight: float, name: str) -> np.ndarray:
    """A number of every seed, [seeds]."""
    runs = [run for run in results["runs"] if run["method"] == method]
    return np.array([row[name] for run in runs for row in run["rows"] if row["cost_weight"] == weight])


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error from the scatter of the seeds."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def show(results: dict[str, Any]) -> None:
    """Reward of every method at every price, and by how much the contextual training is better."""
    print("| cost weight |", " | ".join(METHODS), "| contextual - flagship, per seed |")
    print("|---|" + "---|" * (len(METHODS) + 1))
    for weight in WEIGHTS:
        cells = [mean(of_seeds(results, method, weight, "reward")) for method in METHODS]
        paired = [d for d in results["differences"] if d["method"] == "contextual" and d["cost_weight"] == weight]
        each = ", ".join(f"{d['value']:+.3f} +- {d['error']:.3f}" for d in paired)
        print(f"| {weight:g} |", " | ".join(f"{value:+.3f} +- {error:.3f}" for value, error in cells), f"| {each} |")
    for method in METHODS:
        overall = [
            np.mean([row["reward"] for row in run["rows"]]) for run in results["runs"] if run["method"] == method
        ]
        value, error = mean(np.array(overall))
        print(f"mean over prices, {method}: {value:+.3f} +- {error:.3f}")


def draw(results: dict[str, Any]) -> Figure:
    """Reward against the price of cost, and reach against price in EUR."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for shift, (method, color) in enumerate(COLORS.items()):
        cells = [mean(of_seeds(results, method, weight, "reward")) for weight in WEIGHTS]
        place = np.array(WEIGHTS) + 0.03 * (shift - 1)
        values, errors = np.array(cells).T
        left.errorbar(place, values, errors, color=color, marker="o", capsize=3, lw=1.4, label=LABELS[method])
        for seed in SEEDS:
            (run,) = [run for run in results["runs"] if run["method"] == method and run["seed"] == seed]
            prices, reaches = np.array([(row["price"] / 1000, row["reach"]) for row in run["rows"]]).T
            errors = np.array([row["error"] for row in run["rows"]])
            right.errorbar(prices, reaches, errors, color=color, marker="os^"[seed], ls="", alpha=0.75, ms=6)
    left.set(xlabel="cost weight (reach that 200 kEUR must buy)", ylabel="reward of the recommended design, held out")
    right.set(xlabel="price [kEUR]", ylabel="reach against the published start point, held out")
    for axes in (left, right):
        axes.grid(color="#E6E6E6", lw=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title("mean of three seeds, standard error from their scatter", fontsize=9)
    right.set_title("every design; symbol: seed", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", fontsize=9, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true")
    torch.set_num_threads(1)
    path = FOLDER / "results.json"
    results = json.loads(path.read_text()) if parser.parse_args().show else all_runs()
    path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results).savefig(FOLDER / "front.png", dpi=140)
    show(results)


if __name__ == "__main__":
    main()
