"""One picture of all parts: ratios in iron, tracks through the magnets, momentum errors, fill heights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Writes tracking.png with a panel for every part that is there."""
    parts = [name for name in PANELS if name in results]
    figure = Figure(figsize=(12, 4.4 * ((len(parts) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(parts) + 1) // 2, 2, squeeze=False).reshape(-1)
    for axis, name in zip(axes, parts, strict=False):
        PANELS[name](axis, results[name]["found"])
    for axis in axes[len(parts) :]:
        axis.set_visible(False)
    figure.savefig(folder / "tracking.png", dpi=110)


def iron(axis: Axes, found: Mapping[str, Any]) -> None:
    names = list(next(iter(found.values())))
    for index, (case, rows) in enumerate(found.items()):
        shift = 0.2 * (index - 1)
        y = [-(place + shift) for place in range(len(names))]
        ratio, error = ([rows[name][key] for name in names] for key in ("ratio", "ratio_error"))
        axis.errorbar(ratio, y, xerr=error, fmt="o", ms=4, color=COLORS[index], label=case)
        closed = [
            (rows[n]["closed_form"] / rows[n]["geant4"], at)
            for n, at in zip(names, y, strict=True)
            if "closed_form" in rows[n]
        ]
        axis.plot(*zip(*closed, strict=True), "x", color=COLORS[index], label="closed form" if index == 2 else None)
        thick = [(rows[n]["thick"] / rows[n]["geant4"], at) for n, at in zip(names, y, strict=True) if n[0] in "ao"]
        axis.plot(
            *zip(*thick, strict=True), "D", mfc="none", color=COLORS[index], label="thick" if index == 2 else None
        )
    axis.axvline(1, color="gray", lw=0.8)
    axis.set_yticks([-place for place in range(len(names))], [name.split(" [")[0] for name in names])
    axis.set_xlabel("fast / Geant4")
    axis.set_title("1 m of iron, 1.7 T")
    axis.legend(fontsize=8)


def magnets(axis: Axes, found: Mapping[str, Any]) -> None:
    slices = list(dict.fromkeys(case.split(",")[0] for case in found))
    for index, case in enumerate(slices):
        rows = {int(k.split()[-1]): v for k, v in found.items() if k.startswith(f"{case},")}
        number = list(rows)
        for key, style in (("geant4", "o"), ("fast", "-")):
            middle, width = ([rows[n][f"q x [cm], {kind}"][key] / 100 for n in number] for kind in ("median", "68 %"))
            label = f"{case}, Geant4" if key == "geant4" else None
            if style == "o":
                axis.errorbar(number, middle, yerr=width, fmt="o", ms=4, capsize=3, color=COLORS[index], label=label)
            else:
                axis.plot(number, middle, color=COLORS[index])
                edges = [[m + s * w for m, w in zip(middle, width, strict=True)] for s in (-1, 1)]
                axis.fill_between(number, *edges, color=COLORS[index], alpha=0.15)
    axis.set_xlabel("behind magnet (1, 2: absorber)")
    axis.set_ylabel("charge times x [m], median and 68 %")
    axis.set_title("published muon shield: points Geant4, bands fast")
    axis.legend(fontsize=8)


def spectrometer(axis: Axes, found: Mapping[str, Any]) -> None:
    cases = [case for case in found if case.endswith("GeV")]
    momenta = [float(case.split()[0]) for case in cases]
    for index, name in enumerate(("momentum error, 68 %", "momentum error, inner 98 %")):
        for key, style in (("geant4", "o"), ("fast", "-")):
            values = [100 * found[case][name][key] for case in cases]
            errors = [100 * found[case][name][f"{key}_error"] for case in cases]
            label = f"{name.split(', ')[1]}, {'Geant4' if key == 'geant4' else 'fast'}"
            axis.errorbar(momenta, values, yerr=errors, fmt=style, ms=4, color=COLORS[index], label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("momentum [GeV]")
    axis.set_ylabel("relative momentum error [%]")
    axis.set_title("spectrometer, equidistant stations, helium")
    axis.legend(fontsize=8)


def furnace(axis: Axes, found: Mapping[str, Any]) -> None:
    rows = found["designs"]
    for index, (key, shift) in enumerate((("geant4", -0.18), ("fast", 0.18))):
        heights, errors = ([1e3 * row[name] for row in rows.values()] for name in (key, f"{key}_error"))
        places = [place + shift for place in range(len(rows))]
        label = "Geant4" if key == "geant4" else "fast (no energy loss)"
        axis.bar(places, heights, width=0.34, yerr=errors, color=COLORS[index], label=label)
    axis.set_xticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axis.set_yscale("log")
    axis.set_ylabel("squared error of the fill height [1e-3 m2]")
    axis.set_title("ladle furnace")
    axis.legend(fontsize=8)


PANELS: dict[str, Callable[[Axes, Mapping[str, Any]], None]] = {
    "iron": iron,
    "magnets": magnets,
    "spectrometer": spectrometer,
    "furnace": furnace,
}
