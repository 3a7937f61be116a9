"""Panels for a map of X0 with cosmic muons, at equal cost: writes results.json, layouts.png and maps.png.

rl-detector train experiment=muon_map seed=0 runs=runs      # also with seed=1 and seed=2
python run.py runs/*                                        # fresh muons, next to the layouts by hand
python run.py                                               # only the pictures and the table again
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import rl_detector as rd
from rl_detector.envs.muon_map.fast import MapSimulator
from rl_detector.envs.muon_map.layout import ABOVE_AND_BELOW, TECHNOLOGIES, built
from rl_detector.envs.muon_map.problem import muon_map
from rl_detector.envs.muon_map.reach import density_map, rough_map
from rl_detector.envs.muon_map.volume import (
    BLOCK_PLACES,
    BLOCK_VOXELS,
    CEILING_HEIGHT,
    FLOOR_HEIGHT,
    TOP_HEIGHT,
    VOLUME_SIZE,
    VOLUME_VOXELS,
    densities,
)
from rl_detector.reach.paired import paired_difference
from rl_detector.records import RunFolder

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
HELD_OUT, SAMPLES, HELD_OUT_SEED = 1_000_000, 4, 987_654_321
"""Muons per sample of the validation, samples, 400 scans in all, and the first seed; no training has these seeds."""

COLORS = dict(zip(TECHNOLOGIES, ("#0072B2", "#CC79A7", "#009E73", "#D55E00"), strict=True))
SHOWN_PLACES = ((0, 6, 4), (0, 9, 1))
"""Places of the block in maps.png: in the middle, and low at the edge, where few muons that are seen pass."""


def trained(folders: list[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recommended designs of run folders by seed, and the settings of each."""
    runs = [RunFolder(folder) for folder in folders]
    stored = [run.read_config() for run in runs]
    configs = {f"seed_{config.seed}": config.to_plain() for config in stored}
    texts = [(run.path / "recommended.json").read_text() for run in runs]
    designs = {name: json.loads(text)["design"] for name, text in zip(configs, texts, strict=True)}
    kept = ("agent", "budget", "env", "simulator", "common_events", "seed")
    return designs, {name: {key: config[key] for key in kept} for name, config in configs.items()}


def validate(problem: rd.DesignProblem, designs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All designs with the same fresh muons: metrics, and reach of each over the baselines, paired by scan."""
    samples = [sample(problem, designs, HELD_OUT_SEED + i) for i in range(SAMPLES)]
    measured = {name: joined([each[name] for each in samples]) for name in designs}
    rows = []
    for name, found in measured.items():
        over = {other: paired_difference(found, measured[other]) for other in problem.baselines if other != name}
        differences = {o: {"value": d.value, "error": d.error, "significance": d.significance} for o, d in over.items()}
        cost = problem.costs[0].amount(designs[name])
        numbers = {"metric": found.metric, "metric_error": found.metric_error, "cost": cost}
        rows.append({"name": name, **numbers, **found.diagnostics, "over": differences, "design": designs[name]})
    return rows


def sample(problem: rd.DesignProblem, designs: Mapping[str, Any], seed: int) -> dict[str, rd.Measurement]:
    """Measurements of all designs with the muons of one seed."""
    readouts = problem.simulator.simulate_batch(list(designs.values()), HELD_OUT, [seed] * len(designs))
    return {name: problem.reach.measure(readout) for name, readout in zip(designs, readouts, strict=True)}


def joined(parts: list[rd.Measurement]) -> rd.Measurement:
    """One measurement from all scans."""
    losses = np.concatenate([part.losses for part in parts])
    metric, error = float(losses.mean()), float(losses.std(ddof=1) / len(losses) ** 0.5)
    numbers = {key: float(np.mean([part.diagnostics[key] for part in parts])) for key in parts[0].diagnostics}
    return rd.Measurement(-float(np.log(metric)), error / metric, metric, error, losses, numbers)


def layouts(designs: Mapping[str, Any], metrics: Mapping[str, float]) -> Figure:
    """Panels from the side (y, z) and from above (x, y), one column per design; colour is the technology."""
    figure = Figure(figsize=(2.6 * len(designs), 5.6), layout="constrained")
    axes = figure.subplots(2, len(designs), height_ratios=(1.15, 1))
    for column, (name, layout) in enumerate(designs.items()):
        for row, (across, up) in enumerate((("y", "z"), ("x", "y"))):
            draw(axes[row, column], built(layout), across, up)
            axes[row, column].set_xlabel(f"{across} [m]")
            axes[row, column].set_ylabel(f"{up} [m]" if column == 0 else "")
        axes[0, column].set_title(f"{name.replace('_', ' ')}\nrms error of ln X0: {metrics[name]:.3f}", fontsize=10)
    for name, color in COLORS.items():
        axes[0, 0].plot([], [], color=color, lw=2.5, label=name)
    figure.legend(loc="outside lower center", ncols=len(COLORS), frameon=False)
    return figure


def draw(axes: Axes, layout: Any, across: str, up: str) -> None:
    """One view of a layout; the volume is grey."""
    size = dict(zip("xyz", VOLUME_SIZE, strict=True))
    low = FLOOR_HEIGHT if up == "z" else 0.0
    axes.add_patch(Rectangle((0, low), size[across], size[up], fc="#E4E4E4", ec="#888888"))
    for side in ABOVE_AND_BELOW:
        for panel in layout[side]:
            span, color = panel[f"span_{across}"], COLORS[panel["technology"]]
            left = panel[across] - span / 2
            if up == "z":
                axes.plot([left, left + span], [panel["z"]] * 2, color=color, lw=2.2, solid_capstyle="butt")
            else:
                low = panel["y"] - panel["span_y"] / 2
                style = "-" if side == "upper" else "--"
                axes.add_patch(Rectangle((left, low), span, panel["span_y"], fill=False, ec=color, lw=1.3, ls=style))
    middle = size[across] / 2
    axes.set(xlim=(middle - 1.45, middle + 1.45), ylim=(-0.05, TOP_HEIGHT + 0.05) if up == "z" else (-0.95, 1.95))
    axes.set_aspect("equal")


def maps(designs: Mapping[str, Any]) -> Figure:
    """The same scans seen by several designs: 1 / X0 in the plane y, z across the middle of the block, two places."""
    best = list(designs)[-1]
    names = ["truth", *designs, f"{best}, closest approach only"]
    figure = Figure(figsize=(2.5 * len(names), 5.4), layout="constrained")
    axes = figure.subplots(2, len(names), sharex=True, sharey=True)
    for line, (row, place) in enumerate(zip(axes, SHOWN_PLACES, strict=True)):
        for each, (name, density) in zip(row, zip(names, seen_by(designs, place), strict=True), strict=True):
            image = density[:-1].reshape(VOLUME_VOXELS)[BLOCK_VOXELS[0] // 2].T
            extent, norm = (0.0, float(VOLUME_SIZE[1]), FLOOR_HEIGHT, CEILING_HEIGHT), LogNorm(1, 200)
            picture = each.imshow(image, origin="lower", extent=extent, cmap="magma", norm=norm, aspect="equal")
            each.set_title(name.replace("_", " ").replace(", ", "\n") if line == 0 else "", fontsize=10)
            each.set(xlabel="y [m]" if line else "", ylabel="z [m]" if each is row[0] else "")
    figure.colorbar(picture, ax=axes, label="1 / X0 [1/m]", shrink=0.8)
    return figure


def seen_by(designs: Mapping[str, Any], place: tuple[int, int, int]) -> list[Any]:
    """Maps of the first scan that has the block at a place: truth, by each design, and a rough one by the last."""
    simulator, index = MapSimulator(), int(np.ravel_multi_index(place, BLOCK_PLACES))
    seed = next(s for s in range(10_000) if first_place(s) == index)
    truth = densities(index, simulator.light)
    signals = [simulator.simulate(each, simulator.muons, seed).signals for each in designs.values()]
    found = [density_map(each, truth[0]) for each in signals]
    return [truth, *found, rough_map(signals[-1], truth[0])]


def first_place(seed: int) -> int:
    """Place of the block in the first scan of a seed."""
    return int(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))).integers(BLOCK_PLACES.prod()))


def show(problem: rd.DesignProblem, results: dict[str, Any]) -> None:
    """Table and pictures."""
    for row in results["rows"]:
        over = {name: f"{d['value']:+.3f} ({d['significance']:.1f} sigma)" for name, d in row["over"].items()}
        print(f"{row['name']:12} {row['metric']:.4f} +- {row['metric_error']:.4f}  cost {row['cost']:.2f}", over)
    metrics = {row["name"]: row["metric"] for row in results["rows"]}
    designs = {row["name"]: row["design"] for row in results["rows"]}
    best = min(metrics, key=metrics.__getitem__)
    columns = {name: designs[name] for name in [*problem.baselines, best]}
    layouts(columns, metrics).savefig(FOLDER / "layouts.png", dpi=110)
    maps({name: designs[name] for name in ("compact", "rpc", best)}).savefig(FOLDER / "maps.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="run folders of trainings")
    problem, folders = muon_map(), parser.parse_args().runs
    if folders:
        found, training = trained(folders)
        rows = validate(problem, {**problem.baselines, **dict(sorted(found.items()))})
        results = {"training": training, "held_out": SAMPLES * HELD_OUT, "rows": rows}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    show(problem, json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
