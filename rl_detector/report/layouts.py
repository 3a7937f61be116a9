"""Designs drawn to scale, side by side on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from rl_detector.report.figures import VERMILLION, WIDTH, plain
from rl_detector.terms import Component

MATERIALS = ("#77AADD", "#EEDD88", "#EE8866", "#BBCC33", "#FFAABB", "#44BB99", "#99DDFF", "#AAAA00", "#DDDDDD")
"""Colours of materials that stay apart for colour-blind people: P. Tol's light scheme (2021)."""

HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Drawing:
    """One design of the layouts figure: its name, a line about it, its components."""

    name: str
    facts: str
    components: Sequence[Component]


def layouts(drawings: Sequence[Drawing], limit: float | None) -> Figure:
    """Side views on one axis, one design below the other; colour is the material, hatching the role."""
    figure = Figure(figsize=(WIDTH, 1.6 + 0.82 * len(drawings)), layout="constrained")
    axes = figure.subplots()
    pieces = [piece for drawing in drawings for piece in drawing.components]
    end = max([piece.start + piece.length for piece in pieces] + ([limit] if limit else []), default=1.0)
    start = min([piece.start for piece in pieces], default=0.0)
    span = end - start
    axes.set(xlim=(start - 0.09 * span, end + 0.03 * span), ylim=(0.62 - len(drawings), 0.74), yticks=[])
    axes.set_xlabel("position along the beam [cm]")
    axes.spines["left"].set_visible(False)
    looks = _looks(pieces)
    for row, drawing in enumerate(drawings):
        _draw(axes, drawing, -row, start, span, looks)
    if limit is not None:
        axes.axvline(limit, color="black", ls="--", lw=1.0)
        axes.text(limit, 0.72, f"limit {limit:g} cm ", ha="right", va="top", fontsize=8)
    patches = [
        Patch(fc=c, ec="#555555", hatch=h, label=plain(f"{m} ({r})" if r else m)) for (m, r), (c, h) in looks.items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=9, handleheight=1.3, handlelength=2.2)
    return figure


def _role(piece: Component) -> str:
    """A label without its number: `absorber 2` is an absorber."""
    return piece.label.rstrip("0123456789[]() ")


def _looks(pieces: Sequence[Component]) -> dict[tuple[str, str], tuple[str, str]]:
    """(material, role) -> (colour, hatching)."""
    roles = sorted({_role(piece) for piece in pieces})
    pairs = sorted(
        {(piece.material, _role(piece)) for piece in pieces}, key=lambda pair: (roles.index(pair[1]), pair[0])
    )
    colors = _colors(sorted({material for material, _ in pairs}))
    return {(m, r): (colors[m], HATCHES[roles.index(r) % len(HATCHES)]) for m, r in pairs}


def _colors(materials: Sequence[str]) -> dict[str, str]:
    """Material -> colour, from its name, the same in all reports; if taken, the next free one."""
    chosen: dict[str, str] = {}
    for material in materials:
        first = crc32(material.encode("utf-8", "replace")) % len(MATERIALS)
        order = MATERIALS[first:] + MATERIALS[:first]
        chosen[material] = next((color for color in order if color not in chosen.values()), order[0])
    return chosen


def _draw(axes: Axes, drawing: Drawing, row: float, start: float, span: float, looks: Mapping[Any, Any]) -> None:
    head = {"arrowstyle": "-|>", "color": VERMILLION, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (start - 0.005 * span, row), (start - 0.085 * span, row), arrowprops=head)
    axes.text(start - 0.045 * span, row + 0.06, "beam", color=VERMILLION, ha="center", va="bottom", fontsize=8)
    name = axes.annotate(plain(drawing.name), (start, row + 0.32), fontsize=9.5, weight="bold")
    axes.annotate(plain(drawing.facts, 80), (1, 0), (8, 0), name, "offset points", fontsize=9, va="bottom")
    for piece in drawing.components:
        color, hatch = looks[piece.material, _role(piece)]
        box = (piece.start, row - 0.28), piece.length, 0.56
        axes.add_patch(Rectangle(*box, fc=color, ec="#888888", hatch=hatch, lw=0))
        axes.add_patch(Rectangle(*box, fill=False, ec="#333333", lw=0.7))
        _label(axes, piece, row, piece.length / span * 0.86 * WIDTH)


def _label(axes: Axes, piece: Component, row: float, inches: float) -> None:
    """Name and thickness inside a component where they fit, else the thickness, else nothing."""
    thickness = f"{piece.length:.1f}"
    name = plain(piece.label)
    lines = (f"{name}\n{thickness} cm", thickness)
    for text, letters in zip(lines, (max(len(name), len(thickness) + 3), len(thickness)), strict=True):
        if inches > 0.057 * letters + 0.06:
            back = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8}
            middle = piece.start + piece.length / 2
            axes.text(middle, row, text, ha="center", va="center", fontsize=7.5, bbox=back, linespacing=1.1)
            return
