"""Muon shields in Geant4, on muons no training saw: the published design and those of experiments/muon_shield.

python run.py --rounds 4                  # all designs; more rounds are added to those of results.json
python run.py --rounds 4 --only published # some of the designs
python run.py --show                      # the table and the figure again
python run.py --check 6                   # the method with the fast simulator in Geant4's place

Hits are rare (5 in 100,000 muons), so the muons that may become hits are followed by preference, without bias: behind
some magnets, `MUONS` of them are drawn with probabilities in proportion to their weight times what the fast simulator,
from there on, gives for the weight of their hit (blurred by `BLUR`, mean of `COPIES`), for a share `CHOSEN` of the
draws, and to their weight alone for the others; the draw divides the weight. Between the draws Geant4
alone moves them. A bad guess of the fast simulator makes the error larger, not the mean wrong. Rounds are independent,
with primaries of their own; errors are from the scatter of rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rl_detector.envs.muon_shield.fast import ABSORBER_STEPS, MAGNET_STEPS
from rl_detector.envs.muon_shield.geant4 import ENERGY_THRESHOLD, HALL_HALF_WIDTH, draw
from rl_detector.envs.muon_shield.layout import absorber, length, magnets, mass, published, shield_blocks
from rl_detector.envs.muon_shield.problem import muon_shield
from rl_detector.envs.muon_shield.reach import blurred_weight, hit_weight, mass_factor
from rl_detector.envs.muon_shield.source import START_Z
from rl_detector.errors import SimulationError
from rl_detector.physics.muon_transport import IRON_LENGTH, IronTransport, Muons, Noise, Stage
from rl_detector.simulators.geant4 import Geant4Tracker
from rl_detector.simulators.hall import Charged, Hall
from rl_detector.space import Design

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
DESIGNS = FOLDER.parent / "muon_shield" / "results.json"
POOL, MUONS, CUTS = 8000, 2500, (4, 6, 7)
"""Primaries and followed muons per round; the muons are drawn anew behind so many magnets (absorber: 2)."""
COPIES, BLUR, CHOSEN, TOGETHER = (20, 60, 100), 0.5, 0.7, 20
BLURS = (0.0, 0.3, 1.0)
STEPS = (*ABSORBER_STEPS, *MAGNET_STEPS)
SEED = 20_260_117

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crowd:
    """Weighted muons at one z: x, y in cm and momentum in GeV, [muons, 5]; charge; weight, the sum of which counts."""

    state: Array
    charge: Array
    weight: Array

    def take(self, which: NDArray[np.intp], weight: Array) -> Crowd:
        return Crowd(self.state[which], self.charge[which], weight)


def primaries(seed: int) -> Crowd:
    """Of the second half of the table."""
    sent = draw(muon_shield(part="second").simulator.source, POOL, seed)  # type: ignore[attr-defined]
    return Crowd(np.concatenate([sent.position, sent.momentum]).T, sent.charge, sent.weight / POOL)


def at_plane(state: Array, charge: Array, there: Array, blur: float) -> Array:
    """Weight of the hit of every muon, 0 where it is not there; positions in cm."""
    x, y = state[:, :2].T / 100
    momentum = np.where(there, np.sqrt((state[:, 2:] ** 2).sum(axis=1)), 0.0)
    return hit_weight(x, y, momentum, charge) if blur == 0 else blurred_weight(x, y, momentum, charge, blur)


def guess(crowd: Crowd, design: Design, first: int, copies: int, rng: np.random.Generator) -> Array:
    """Mean weight of the hit by the fast simulator from magnet `first` on, [muons]."""
    row, distance = (*absorber(), *magnets(design)), muon_shield().simulator.distance  # type: ignore[attr-defined]
    many, value = len(crowd.charge), np.zeros(len(crowd.charge))
    x, y, *momentum = np.tile(crowd.state, (TOGETHER, 1)).T
    start = Muons.of(x, y, np.stack(momentum), np.tile(crowd.charge, TOGETHER))
    behind = sum(2 * magnet.half_length for magnet in row[:first]) / IRON_LENGTH
    start = replace(start, crossed=start.crossed + behind)
    for _ in range(copies // TOGETHER):
        muons, which, source = start, np.zeros(len(x), dtype=np.intp), np.arange(len(x))
        for magnet, steps in zip(row[first:], STEPS[first:], strict=True):
            noise = Noise.draw(rng, steps, len(x))
            muons, which, source = IronTransport().through(muons, which, source, Stage.of([magnet]), noise)
        at = muons.drift(distance)
        hit = blurred_weight(at.x / 100, at.y / 100, at.momentum, at.charge, BLUR)
        value += np.bincount(source % many, hit, many) / copies
    return value


def drawn(crowd: Crowd, value: Array, rng: np.random.Generator) -> Crowd:
    """`MUONS` of a crowd, with weights that keep every expectation."""
    hoped = crowd.weight * value
    chances = CHOSEN * hoped / hoped.sum() + (1 - CHOSEN) * crowd.weight / crowd.weight.sum()
    which = rng.choice(len(chances), size=MUONS, p=chances / chances.sum())
    return crowd.take(which, crowd.weight[which] / (MUONS * chances[which]))


def moved(tracker: Geant4Tracker | None, crowd: Crowd, design: Design, legs: tuple[float, float], seed: int) -> Crowd:
    """In Geant4, or without a tracker in the fast simulator, from one z to another; those that get there."""
    start, end = legs
    if tracker is None:
        return moved_fast(crowd, design, legs, seed)
    blocks = tuple(block for block in shield_blocks(design) if start <= block.z_in + 1e-6 and block.z_in < end)
    z = np.full((len(crowd.charge), 1), START_Z if start <= 0 else start - 1e-3)
    sent = Charged.muons(np.concatenate([crowd.state[:, :2], z], axis=1), crowd.state[:, 2:], crowd.charge)
    (found,) = tracker.crossings([Hall(blocks, (end,), half_width=HALL_HALF_WIDTH)], [sent], [seed])
    if isinstance(found, SimulationError):
        raise found
    there = np.flatnonzero(found.seen[:, 0])
    state = np.concatenate([found.position[:, 0], found.momentum[:, 0]], axis=1)
    return Crowd(state[there], crowd.charge[there], crowd.weight[there])


def moved_fast(crowd: Crowd, design: Design, legs: tuple[float, float], seed: int) -> Crowd:
    """By the fast simulator, to check the method."""
    (start, end), rng, many = legs, np.random.default_rng(seed), len(crowd.charge)
    row = (*absorber(), *magnets(design))
    ends = np.cumsum([0.0, *(2 * magnet.half_length for magnet in row)])
    x, y, *momentum = crowd.state.T
    muons = Muons.of(x, y, np.stack(momentum), crowd.charge)
    muons = muons.drift(-START_Z) if start <= 0 else replace(muons, crossed=muons.crossed + start / IRON_LENGTH)
    which, source = np.zeros(many, dtype=np.intp), np.arange(many)
    for magnet, steps, front in zip(row, STEPS, ends, strict=False):
        if start - 1e-6 <= front < end - 1e-6:
            noise = Noise.draw(rng, steps, many)
            muons, which, source = IronTransport().through(muons, which, source, Stage.of([magnet]), noise)
    muons = muons.drift(max(end - float(ends[-1]), 0.0))
    p, w = muons.momentum, np.sqrt(1 - muons.u**2 - muons.v**2)
    state = np.stack([muons.x, muons.y, p * muons.u, p * muons.v, p * w], axis=1)
    return Crowd(state, muons.charge, crowd.weight[source])


def check(rounds: int) -> None:
    """The published design by the fast simulator with the same choice of muons: objectives and errors."""
    found = [one_round(None, published(), 1000 + number) for number in range(rounds)]
    row = {"mass": mass(published()), "rounds": found}
    for blur in map(str, BLURS):
        print("blur {} m: {:.1f} +- {:.1f}".format(blur, *objective(row, blur)))


def one_round(tracker: Geant4Tracker | None, design: Design, seed: int) -> dict[str, float]:
    """Sums of weight times w, per million protons, at every blur."""
    rng, row = np.random.default_rng(seed), (*absorber(), *magnets(design))
    ends = np.cumsum([0.0, *(2 * magnet.half_length for magnet in row)])
    stops = [*(float(ends[cut]) for cut in CUTS), length(design) + muon_shield().simulator.distance]  # type: ignore[attr-defined]
    crowd = moved(tracker, primaries(seed), design, (0.0, stops[0]), int(rng.integers(2**32)))
    for first, copies, legs in zip(CUTS, COPIES, itertools.pairwise(stops), strict=True):
        crowd = drawn(crowd, guess(crowd, design, first, copies, rng), rng)
        crowd = moved(tracker, crowd, design, legs, int(rng.integers(2**32)))
    hits = {f"{blur}": at_plane(crowd.state, crowd.charge, np.ones(len(crowd.charge), bool), blur) for blur in BLURS}
    return {**{name: float(crowd.weight @ w) for name, w in hits.items()}, "seen": float(np.count_nonzero(hits["0.0"]))}


def summary(name: str, stored: dict[str, Any]) -> dict[str, Any]:
    """Objectives with errors from the scatter of rounds; ln of their ratio to the published one."""
    row, zero = stored["designs"][name], stored["designs"]["published"]
    result: dict[str, Any] = {"rounds": len(row["rounds"]), "hit_muons": sum(each["seen"] for each in row["rounds"])}
    for blur in map(str, BLURS):
        (value, error), (other, other_error) = (objective(each, blur) for each in (row, zero))
        result[blur] = {"objective": value, "error": error}
        if name != "published":
            spread = math.hypot(error / value, other_error / other)
            result[blur] |= {"log_ratio": math.log(value / other), "log_ratio_error": spread}
    return result


def objective(row: dict[str, Any], blur: str) -> tuple[float, float]:
    sums = np.array([each[blur] for each in row["rounds"]])
    factor = mass_factor(row["mass"])
    return factor * (1 + float(sums.mean())), factor * float(sums.std(ddof=1)) / math.sqrt(len(sums))


def read() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"designs": {}, "summary": {}}


def validate(designs: dict[str, Design], rounds: int) -> None:
    """Some more rounds of every design, one design after the other, so that all have the same when it is stopped."""
    stored = read()
    for name, design in designs.items():
        known = stored["designs"].setdefault(name, {"mass": mass(design), "length": length(design), "rounds": []})
        known["design"] = dict(design)
    with Geant4Tracker(workers=1, timeout=600.0, threshold=ENERGY_THRESHOLD) as tracker:
        stored["geant4"] = dict(tracker.describe())
        for _ in range(rounds):
            for name, design in designs.items():
                known, started = stored["designs"][name]["rounds"], time.monotonic()
                seed = int(np.random.SeedSequence(SEED, spawn_key=(len(known),)).generate_state(1)[0])
                known.append({**one_round(tracker, design, seed), "seconds": time.monotonic() - started})
                print(name, known[-1], flush=True)
                write(stored)


def write(stored: dict[str, Any]) -> None:
    stored["settings"] = {"pool": POOL, "muons": MUONS, "cuts": CUTS, "copies": COPIES, "blur": BLUR, "chosen": CHOSEN}
    done = {name for name, row in stored["designs"].items() if len(row["rounds"]) > 1}
    stored["summary"] = {
        name: summary(name, stored) for name in stored["designs"] if name in done and "published" in done
    }
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def show(stored: dict[str, Any], fast: dict[str, Any]) -> None:
    """The table of the README."""
    print(
        "| design | mass [kt] | rounds | Geant4: objective | ln(this / published) | blurred by 0.3 m | ln ratio | "
        "blurred by 1 m | ln ratio | fast: objective | ln ratio |\n|" + "---|" * 11
    )
    for name, row in stored["summary"].items():
        cells = [name, f"{stored['designs'][name]['mass'] / 1e6:.4f}", str(row["rounds"])]
        for blur in map(str, BLURS):
            found = row[blur]
            cells.append(f"{found['objective']:.1f} +- {found['error']:.1f}")
            cells.append(f"{found['log_ratio']:+.2f} +- {found['log_ratio_error']:.2f}" if "log_ratio" in found else "")
        print(f"| {' | '.join([*cells, *fast_cells(name, fast)])} |")


def fast_cells(name: str, fast: dict[str, Any]) -> list[str]:
    """Objective and ln of its ratio to the published one by the fast simulator, if both were validated there."""
    if name not in fast or "published" not in fast:
        return ["", ""]
    (value, error), (zero, zero_error) = ((fast[n]["objective"], fast[n]["error"]) for n in (name, "published"))
    ratio = f"{math.log(value / zero):+.2f} +- {math.hypot(error / value, zero_error / zero):.2f}"
    return [f"{value:.1f} +- {error:.1f}", "" if name == "published" else ratio]


def picture(stored: dict[str, Any], fast: dict[str, Any]) -> Figure:
    """Objective of every design in Geant4, with and without blur, and in the fast simulator."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axis, names = figure.subplots(), list(stored["summary"])
    for shift, blur, color in ((-0.12, "0.0", "#0072B2"), (0.0, "0.3", "#56B4E9")):
        label = "Geant4" if blur == "0.0" else f"Geant4, hits blurred by {blur} m"
        rows = [(place + shift, stored["summary"][name][blur]) for place, name in enumerate(names)]
        points(axis, rows, color, label)
    points(axis, [(i + 0.12, fast[name]) for i, name in enumerate(names) if name in fast], "#D55E00", "fast simulator")
    labels = [
        f"{n.replace('_', ' ').replace(', ', chr(10))}\n{stored['designs'][n]['mass'] / 1e6:.2f} kt" for n in names
    ]
    axis.set_xticks(range(len(names)), labels, fontsize=8)
    axis.set(yscale="log", ylabel="objective")
    axis.legend()
    return figure


def points(axis: Any, rows: list[tuple[float, dict[str, Any]]], color: str, label: str) -> None:
    if rows:
        values, errors = ([row[key] for _, row in rows] for key in ("objective", "error"))
        axis.errorbar([x for x, _ in rows], values, yerr=errors, fmt="o", capsize=3, color=color, label=label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--check", type=int, metavar="ROUNDS", help="the fast simulator in Geant4's place")
    options = parser.parse_args()
    if options.check:
        check(options.check)
        return
    found = json.loads(DESIGNS.read_text()) if DESIGNS.exists() else {}
    fast = found.get("designs", {})
    designs = {"published": published()}
    designs |= {f"{name}, first stage": row["design"] for name, row in found.get("trained", {}).items()}
    designs |= {name: row["design"] for name, row in found.get("refined", {}).items()}
    if not options.show:
        validate({n: d for n, d in designs.items() if not options.only or n in options.only}, options.rounds)
    stored = read()
    show(stored, fast)
    picture(stored, fast).savefig(FOLDER / "objectives.png", dpi=110)


if __name__ == "__main__":
    main()
