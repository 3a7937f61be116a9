"""Detector panels around a ladle furnace, found from the published bad start: writes results.json and layouts.png.

rl-detector train experiment=muon_tomography seed=0 runs=runs      # also with seed=1 and seed=2
python run.py runs/*                                               # fresh muons, next to the layouts by hand
python run.py                                                      # the same designs again, from results.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import rl_detector as rd
from rl_detector.envs.muon_tomography.fast import TomographySimulator
from rl_detector.envs.muon_tomography.furnace import FURNACE_BOTTOM, FURNACE_TOP, FURNACE_WIDTH, TOP_HEIGHT
from rl_detector.envs.muon_tomography.layout import ABOVE_AND_BELOW, BUDGET_UNITS, built
from rl_detector.envs.muon_tomography.problem import muon_tomography
from rl_detector.envs.muon_tomography.reach import FillHeightReach
from rl_detector.reach.paired import paired_difference
from rl_detector.records import RunFolder

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
HELD_OUT, HELD_OUT_SEED = 2_000_000, 987_654_321
"""Muons for the validation; its seed is none of the trainings', whose seeds are 63 random bits."""


def trained(folders: list[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recommended designs of run folders by seed, and the settings of each; without folders those of results.json."""
    if not folders:
        results = json.loads(RESULTS.read_text())
        rows = {row["name"]: row["design"] for row in results["rows"]}
        return {name: rows[name] for name in results["training"]}, results["training"]
    runs = [RunFolder(folder) for folder in folders]
    stored = [run.read_config() for run in runs]
    configs = {f"seed_{config.seed}": config.to_plain() for config in stored}
    texts = [(run.path / "recommended.json").read_text() for run in runs]
    designs = {name: json.loads(text)["design"] for name, text in zip(configs, texts, strict=True)}
    kept = ("agent", "budget", "env", "simulator", "common_events", "seed")
    return designs, {name: {key: config[key] for key in kept} for name, config in configs.items()}


def validate(problem: rd.DesignProblem, designs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All designs with the same fresh muons: metrics, and reach of each over the baselines, paired."""
    simulator, reach = problem.simulator, problem.reach
    measured = {name: reach.measure(simulator.simulate(d, HELD_OUT, HELD_OUT_SEED)) for name, d in designs.items()}
    rows = []
    for name, found in measured.items():
        over = {other: paired_difference(found, measured[other]) for other in problem.baselines if other != name}
        differences = {
            other: {"value": d.value, "error": d.error, "significance": d.significance} for other, d in over.items()
        }
        cost = sum(cost.amount(designs[name]) for cost in problem.costs)
        numbers = {"metric": found.metric, "metric_error": found.metric_error, "cost": cost}
        rows.append({"name": name, **numbers, **found.diagnostics, "over": differences, "design": designs[name]})
    return rows


def smooth_edges(designs: Mapping[str, Any]) -> dict[str, Any]:
    """The same designs with the edges of TomOpt's training model, which sees muons beside a panel."""
    simulator, reach = TomographySimulator(smoothness=1.0), FillHeightReach(1.0, 1000)
    found = {name: reach.measure(simulator.simulate(d, HELD_OUT // 4, HELD_OUT_SEED)) for name, d in designs.items()}
    return {name: {"metric": m.metric, "metric_error": m.metric_error} for name, m in found.items()}


def picture(designs: Mapping[str, Any], metrics: Mapping[str, float], budget: float) -> Figure:
    """Panels from the side (x, z) and from above (x, y), one column per design."""
    figure = Figure(figsize=(3.1 * len(designs), 6.6), layout="constrained")
    axes = figure.subplots(2, len(designs), sharex=True, height_ratios=(1.9, 1.6))
    for column, (name, layout) in enumerate(designs.items()):
        for row, vertical in enumerate(("z", "y")):
            draw(axes[row, column], built(layout, budget), vertical)
            axes[row, column].set_ylabel(f"{vertical} [m]" if column == 0 else "")
        axes[0, column].set_title(
            f"{name.replace('_', ' ')}\nsquared error {1e3 * metrics[name]:.2f}e-3 m$^2$", fontsize=10
        )
        axes[1, column].set_xlabel("x [m]")
    return figure


def draw(axes: Axes, layout: Any, vertical: str) -> None:
    low, high = (FURNACE_BOTTOM, FURNACE_TOP) if vertical == "z" else (0.0, FURNACE_WIDTH)
    axes.add_patch(Rectangle((0, low), FURNACE_WIDTH, high - low, fc="#DDDDDD", ec="#888888"))
    for side, color in zip(ABOVE_AND_BELOW, ("#0072B2", "#D55E00"), strict=True):
        for panel in layout[side]:
            left, span = panel["x"] - panel["span"] / 2, panel["span"]
            if vertical == "z":
                axes.plot([left, left + span], [panel["z"]] * 2, color=color, lw=2, solid_capstyle="butt")
            else:
                corner = (left, panel["y"] - span / 2)
                axes.add_patch(Rectangle(corner, span, span, fill=False, ec=color, lw=1.4))
    axes.set(xlim=(-0.65, 1.65), ylim=(-0.05, TOP_HEIGHT + 0.05) if vertical == "z" else (-0.65, 1.65), aspect="equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="run folders of trainings")
    problem = muon_tomography()
    found, training = trained(parser.parse_args().runs)
    designs = {**problem.baselines, **dict(sorted(found.items()))}
    rows = validate(problem, designs)
    results = {"training": training, "held_out": HELD_OUT, "rows": rows}
    results["smooth_edges"] = smooth_edges(designs)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for row in rows:
        over = {name: f"{d['value']:+.3f} ({d['significance']:.1f} sigma)" for name, d in row["over"].items()}
        print(f"{row['name']:16} {row['metric']:.6f} +- {row['metric_error']:.6f} m2  cost {row['cost']:.3f}", over)
    metrics = {row["name"]: row["metric"] for row in rows}
    best = min(found, key=metrics.__getitem__)
    shown = [*problem.baselines, best]
    picture({name: designs[name] for name in shown}, metrics, BUDGET_UNITS).savefig(FOLDER / "layouts.png", dpi=110)


if __name__ == "__main__":
    main()
