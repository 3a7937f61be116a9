"""Validate the fast simulator on designs that its fit has not seen: writes results.json and figures/."""

from __future__ import annotations

import json
import time
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from reference import FOLDER, Sample, load
from scipy.stats import spearmanr

from rl_detector.reach.resolution import ResolutionReach
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.stack import Beam, Primaries, Stack
from rl_detector.terms import Readout

Array = NDArray[np.float64]
BINS = ((1.0, 5.0), (5.0, 12.0), (12.0, 20.1))
REPEATS = 8
PARTICLES = ("gamma", "e-", "pi+")


def fast_events(sample: Sample) -> list[Array]:
    """The same primaries, REPEATS times with other random numbers: [events, layers] each."""
    seeds = list(range(1, REPEATS + 1))
    found = FastStackSimulator().deposits([sample.stack] * REPEATS, [sample.primaries] * REPEATS, seeds)
    return [np.asarray(deposits) for deposits in found]


def cells(sample: Sample, fast: list[Array]) -> list[dict[str, Any]]:
    """Shares of the beam energy per layer and width of the scintillator sum, per particle and energy bin."""
    names, energies, result = np.array(sample.primaries.particles), sample.primaries.energies, []
    for particle in PARTICLES:
        for low, high in BINS:
            events = np.flatnonzero((names == particle) & (low <= energies) & (energies < high))
            if len(events) < 15:
                continue
            reference = sample.deposits[events] / energies[events, None]
            model = np.concatenate([deposits[events] / energies[events, None] for deposits in fast])
            sums = [shares[:, sample.scintillators].sum(1) for shares in (reference, model)]
            error = np.sqrt(1 + 1 / REPEATS) * reference.std(0) / np.sqrt(len(events))
            result.append(
                {
                    "design": sample.name,
                    "particle": particle,
                    "energy": [low, high],
                    "events": len(events),
                    "share": reference.mean(0),
                    "difference": model.mean(0) - reference.mean(0),
                    "difference_error": error,
                    "width": [float(part.std() / max(part.mean(), 1e-9)) for part in sums],
                    "width_log_error": width_error(sums[0]),
                    "sum_share": float(sums[0].mean()),
                }
            )
    return result


def per_design(sample: Sample, fast: list[Array]) -> list[dict[str, Any]]:
    """Over the whole spectrum: largest difference of a mean visible share, and ratio of the widths of the sums."""
    names, energies, rows = np.array(sample.primaries.particles), sample.primaries.energies[:, None], []
    for particle in PARTICLES:
        events = names == particle
        geant, *found = [(d / energies)[events][:, sample.scintillators] for d in (sample.deposits, *fast)]
        difference = np.abs(geant.mean(0) - np.mean([shares.mean(0) for shares in found], axis=0)).max()
        sums = geant.sum(1), np.concatenate([shares.sum(1) for shares in found])
        widths = [part.std() / part.mean() for part in sums]
        wide = sums[0].mean() > 0.02 and widths[0] > 0.01
        ratio = float(widths[1] / widths[0]) if wide else None
        rows.append({"particle": particle, "difference": float(difference), "width_ratio": ratio})
    return rows


def summary_of_designs(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per particle: how many designs meet the targets of 5 % of the beam energy and 15 % of the width."""
    result = {}
    for particle in PARTICLES:
        mine = [row for row in rows if row["particle"] == particle]
        differences = np.array([row["difference"] for row in mine])
        logs = np.log([row["width_ratio"] for row in mine if row["width_ratio"]])
        result[particle] = {
            "designs": len(mine),
            "share_within_0.05": float((differences <= 0.05).mean()),
            "share_largest_difference": float(differences.max()),
            "width_designs": len(logs),
            "width_within_0.15": float((np.abs(logs) <= np.log(1.15)).mean()),
            "width_log_ratio_rms": rms(logs),
        }
    return result


def width_error(values: Array) -> float:
    """Relative error of std / mean, with the fourth moment."""
    centred, events = values - values.mean(), len(values)
    variance = max(float((centred**2).mean()), 1e-18)
    excess = float((centred**4).mean()) / variance**2 - 1
    return float(np.sqrt(excess / (4 * events) + variance / (events * max(values.mean(), 1e-9) ** 2)))


def metrics(sample: Sample, fast: list[Array]) -> list[float]:
    """Figure of merit of the mixed beam in Geant4 and in the fast simulator, each with its error."""
    beam = np.array(sample.primaries.particles) != "e-"
    energies, found = sample.primaries.energies[beam], []
    for deposits in [sample.deposits, *fast]:
        readout = Readout({"energy": energies}, deposits[beam][:, sample.scintillators])
        found.append(ResolutionReach(1.0).measure(readout))
    model = [measurement.metric for measurement in found[1:]]
    error = found[1].metric_error / np.sqrt(REPEATS)
    return [found[0].metric, found[0].metric_error, float(np.mean(model)), float(error)]


def summary_of_cells(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many means and widths meet the targets, per particle."""
    result: dict[str, Any] = {}
    for particle in PARTICLES:
        mine = [row for row in rows if row["particle"] == particle]
        difference = np.concatenate([row["difference"] for row in mine])
        error = np.concatenate([row["difference_error"] for row in mine])
        wide = [row for row in mine if is_wide(row)]
        ratio = np.log([row["width"][1] / row["width"][0] for row in wide])
        ratio_error = np.array([row["width_log_error"] for row in wide])
        result[particle] = {
            "share_cells": len(difference),
            "share_rms_difference": rms(difference),
            "share_rms_expected_from_statistics": rms(error),
            "share_largest_difference": float(np.abs(difference).max()),
            "share_within_0.05": float((np.abs(difference) <= 0.05).mean()),
            "width_cells": len(ratio),
            "width_ratio_mean": float(np.exp(np.average(ratio, weights=ratio_error**-2))),
            "width_log_ratio_rms": rms(ratio),
            "width_log_ratio_rms_expected_from_statistics": rms(ratio_error),
            "width_within_0.15": float((np.abs(ratio) <= 0.15).mean()),
        }
    return result


def is_wide(row: dict[str, Any]) -> bool:
    """Widths worth comparing: measured to 15 %, enough signal, and above the 1 % where light yield takes over."""
    return bool(row["width_log_error"] < 0.15 and row["sum_share"] > 0.02 and row["width"][0] > 0.01)


def rms(values: Array) -> float:
    """Root mean square."""
    return float(np.sqrt((values**2).mean()))


def ranking(found: dict[str, list[float]]) -> dict[str, Any]:
    """Rank correlation and ratio of the figure of merit, per family of designs."""
    families = {"random": [n for n in found if n.startswith("random")], "all": list(found)}
    families["crystal"] = [n for n in found if n.startswith(("crystal", "homog"))]
    result: dict[str, Any] = {}
    for family, names in families.items():
        values = np.array([found[name] for name in names])
        ratio = np.log(values[:, 2] / values[:, 0])
        error = np.hypot(values[:, 1] / values[:, 0], values[:, 3] / values[:, 2])
        rng = np.random.default_rng(0)
        noisy = [spearmanr(values[:, 2], rng.normal(values[:, 2], values[:, 1])).statistic for _ in range(200)]
        result[family] = {
            "designs": len(names),
            "spearman": float(spearmanr(values[:, 0], values[:, 2]).statistic),
            "spearman_of_a_perfect_simulator": float(np.mean(noisy)),
            "log_ratio_mean": float(ratio.mean()),
            "log_ratio_mean_error": float(np.sqrt((error**2).sum()) / len(names)),
            "log_ratio_std": float(ratio.std()),
            "log_ratio_std_expected_from_statistics": rms(error),
        }
    return result


def profiles() -> dict[str, Any]:
    """Depth of the shower maximum and mean depth in blocks of fine layers, in cm, Geant4 and fast."""
    result: dict[str, Any] = {}
    for sample in load(FOLDER / "training.npz"):
        if not sample.name.startswith("block"):
            continue
        fast, names, energies = fast_events(sample), np.array(sample.primaries.particles), sample.primaries.energies
        for low, high in ((1.0, 3.0), (3.0, 8.0), (8.0, 20.1)):
            events = np.flatnonzero((names == "gamma") & (low <= energies) & (energies < high))
            reference = sample.deposits[events] / energies[events, None]
            model = np.concatenate([deposits[events] / energies[events, None] for deposits in fast])
            step = sample.stack.thicknesses[0]
            rng = np.random.default_rng(0)
            resampled = [
                maximum(reference[rng.integers(0, len(events), len(events))].mean(0), step) for _ in range(100)
            ]
            result[f"{sample.name[6:]} {low:g}-{high:g} GeV"] = {
                "geant4": maximum(reference.mean(0), step),
                "error": float(np.std(resampled)),
                "fast": maximum(model.mean(0), step),
                "profiles": [reference.mean(0), model.mean(0)],
                "step": step,
            }
    return result


def maximum(profile: Array, step: float) -> float:
    """Depth of the maximum in cm: vertex of the parabola through the logarithms of the three largest neighbours."""
    peak = int(np.clip(np.argmax(profile), 1, len(profile) - 2))
    left, centre, right = np.log(profile[peak - 1 : peak + 2])
    return float(step * (peak + 0.5 + 0.5 * (left - right) / (left - 2 * centre + right)))


def speed() -> float:
    """Events x layers per second: 64 designs x 400 events x 6 layers of the mixed beam, own seed for every design."""
    rng, beam = np.random.default_rng(0), Beam({"gamma": 0.5, "pi+": 0.5})
    names = ("Pb", "PbWO4", "Fe", "polystyrene", "Fe", "PbWO4")
    stacks = [Stack(names, tuple(rng.uniform(1, 30, 6).tolist())) for _ in range(64)]
    primaries: list[Primaries] = [beam.sample(400, rng) for _ in stacks]
    times = []
    for _ in range(20):
        start = time.perf_counter()
        FastStackSimulator().deposits(stacks, primaries, range(64))
        times.append(time.perf_counter() - start)
    return 64 * 400 * 6 / min(times)


def figures(rows: list[dict[str, Any]], found: dict[str, list[float]], shapes: dict[str, Any]) -> None:
    """Shares, figure of merit and profiles, Geant4 against fast."""
    mpl.use("Agg")
    (FOLDER / "figures").mkdir(exist_ok=True)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6))
    for particle in PARTICLES:
        mine = [row for row in rows if row["particle"] == particle]
        shares = np.concatenate([row["share"] for row in mine])
        axes[0].plot(shares, shares + np.concatenate([row["difference"] for row in mine]), ".", ms=3, label=particle)
        used = [row["width"] for row in mine if row["width_log_error"] < 0.15 and row["sum_share"] > 0.02]
        axes[1].loglog(*np.array(used).T, ".", ms=4, label=particle)
    axes[0].plot([0, 1], [0, 1], "k-", lw=0.7)
    axes[1].plot([3e-3, 2], [3e-3, 2], "k-", lw=0.7)
    axes[0].set(xlabel="Geant4: mean share of the beam energy in a layer", ylabel="fast")
    axes[1].set(xlabel="Geant4: sigma / mean of the scintillator sum", ylabel="fast")
    for family, marker in (("random", "o"), ("crystal", "s"), ("box", "^"), ("published", "*"), ("homog", "*")):
        values = np.array([value for name, value in found.items() if name.startswith(family)]).reshape(-1, 4)
        axes[2].errorbar(values[:, 0], values[:, 2], values[:, 3], values[:, 1], fmt=marker, ms=4, label=family)
    axes[2].plot([0.15, 4], [0.15, 4], "k-", lw=0.7)
    axes[2].set(xlabel="Geant4: figure of merit [GeV]", ylabel="fast [GeV]", xscale="log", yscale="log")
    axes[2].xaxis.set_minor_formatter(NullFormatter())
    axes[2].yaxis.set_minor_formatter(NullFormatter())
    for axis in axes:
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / "figures" / "agreement.png", dpi=110)
    plot_profiles(shapes)


def plot_profiles(shapes: dict[str, Any]) -> None:
    """Mean longitudinal profiles of photons in homogeneous blocks."""
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.8))
    for axis, material in zip(axes, ("PbWO4", "Pb", "Fe", "polystyrene"), strict=True):
        for color, (name, shape) in zip(
            "rgb", ((n, s) for n, s in shapes.items() if n.split()[0] == material), strict=True
        ):
            depth = shape["step"] * (np.arange(len(shape["profiles"][0])) + 0.5)
            axis.plot(depth, shape["profiles"][0], color + "o", ms=4, label=f"Geant4 {name}")
            axis.plot(depth, shape["profiles"][1], color + "-")
        axis.set(xlabel="depth [cm]", ylabel="share of the beam energy per layer")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(FOLDER / "figures" / "profiles.png", dpi=110)


def main() -> None:
    rows, designs, found, losses = [], [], {}, {}
    for sample in load(FOLDER / "held_out.npz"):
        fast = fast_events(sample)
        rows += cells(sample, fast)
        designs += per_design(sample, fast)
        found[sample.name] = metrics(sample, fast)
        losses[sample.name] = sample.stack
    shapes = profiles()
    figures(rows, found, shapes)
    results = {
        "simulator": dict(FastStackSimulator().describe()),
        "designs": summary_of_designs(designs),
        "cells": summary_of_cells(rows),
        "ranking": ranking(found),
        "figure_of_merit": {
            name: {
                "geant4": v[0],
                "geant4_error": v[1],
                "fast": v[2],
                "fast_error": v[3],
                "stack": stack_text(losses[name]),
            }
            for name, v in found.items()
        },
        "shower_maximum_cm": {n: {k: s[k] for k in ("geant4", "error", "fast")} for n, s in shapes.items()},
        "events_times_layers_per_second": speed(),
    }
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(
        json.dumps(
            {key: results[key] for key in ("designs", "cells", "ranking", "events_times_layers_per_second")}, indent=1
        )
    )


def stack_text(stack: Stack) -> str:
    """Like 'Fe 9.03 + polystyrene 37.2'."""
    return " + ".join(f"{name} {size:g}" for name, size in zip(stack.materials, stack.thicknesses, strict=True) if size)


if __name__ == "__main__":
    main()
