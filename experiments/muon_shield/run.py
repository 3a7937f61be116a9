"""A muon shield with fewer hits at less mass: trains, validates on the published objective, draws.

python run.py                    # what results.json lacks: trainings, then the held-out muons of all designs
python run.py --train policy_gradient 0   # one training only
python run.py --validate         # only the held-out muons of the designs that were trained
python run.py --more 34 "policy_gradient 0, long"   # 34 further parts of held-out muons for these
python run.py --thick published "policy_gradient 0, long"   # these with the scattering of thick iron, not Highland's
python run.py --hits "policy_gradient 1, long"   # momentum and place of the muons that hit
python run.py --show             # only the tables and the figures again

Training sees the first half of the table of muons, validation the second; the halves share no muon.
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
from rl_detector.envs.muon_shield.fast import ShieldSimulator
from rl_detector.envs.muon_shield.layout import CLOSING_HALF_LENGTH, absorber, length, magnets, mass, published
from rl_detector.envs.muon_shield.problem import muon_shield, muon_source
from rl_detector.envs.muon_shield.reach import hit_weight
from rl_detector.envs.muon_shield.source import PROTONS_ON_TARGET, PythiaSource
from rl_detector.physics.muon_transport import IronTransport
from rl_detector.problem import DesignProblem
from rl_detector.records import Ledger
from rl_detector.reproducible import held_out_seed
from rl_detector.space import Design
from rl_detector.study import Budget, Study
from rl_detector.terms import Measurement

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
AGENTS: dict[str, dict[str, Any]] = {"policy_gradient": {"sigma": 0.15}}
RUNS = [("policy_gradient", 0), ("policy_gradient", 1), ("policy_gradient", 2)]
EVENTS, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH = 9_600_000, 1000, 64
CANDIDATES, SELECTION, SELECTION_BLUR = 8, 100_000, 0.3
HELD_OUT_ROOT, HELD_OUT, AT_ONCE = 1000, 1_200_000, 50_000
FINE_EVENTS = {"": 3_072_000, ", long": 9_216_000}
"""Muons of the second stages; both begin with the first stage's design, and add this to its name."""
FINE_EVENTS_PER_DESIGN, FINE_SIGMA, KNEE = 1500, 0.08, 3.0
TRAINING = muon_shield(part="first")
FINE = muon_shield(part="first", knee=KNEE)
TRUE = muon_shield(part="second", blur=0.0)
THICK = replace(TRUE, simulator=ShieldSimulator(muon_source("pythia", "second"), 5000.0, IronTransport(highland=False)))
"""Narrower scattering, nearer to that of Geant4 in thick iron."""


def trained(agent_name: str, seed: int) -> dict[str, Any]:
    """The best of the designs recommended in the second half of one training.

    They are compared by their reward with little blur on muons of their own, which count in the budget.
    """
    started = time.process_time()
    agent = make_agent(agent_name, TRAINING.space, seed, TRAINING.start, **AGENTS[agent_name])
    budget = Budget(EVENTS - CANDIDATES * SELECTION, EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(TRAINING, agent, Ledger(Path(":memory:")), budget, seed=seed, common_events=True)
    candidates: list[Design] = []
    while (size := budget.batch_size(study.trials * EVENTS_PER_DESIGN)) > 1:
        progress = study.step(size)
        spent = study.trials * EVENTS_PER_DESIGN + DESIGNS_PER_BATCH * EVENTS_PER_DESIGN
        if spent >= 0.5 * (1 + (len(candidates) + 1) / CANDIDATES) * budget.events:
            candidates.append(study.recommended())
            print(f"{spent:,} muons, reward {progress.reward:.2f}, {mass(candidates[-1]) / 1e6:.3f} kt", flush=True)
    selection = muon_shield(part="first", blur=SELECTION_BLUR)
    found = selection.evaluate_batch(candidates, SELECTION, [held_out_seed(HELD_OUT_ROOT + 1 + seed)] * len(candidates))
    rewards = [-math.inf if evaluation.reward is None else evaluation.reward for evaluation in found]
    print("rewards of the candidates:", ", ".join(f"{reward:.2f}" for reward in rewards), flush=True)
    best = dict(candidates[int(np.argmax(rewards))])
    return {"design": best, "cpu_seconds": time.process_time() - started}


def refined(start: Design, seed: int, events: int) -> dict[str, Any]:
    """From there on with a blur that falls with the momentum: the best of the designs recommended late."""
    started = time.process_time()
    agent = make_agent("policy_gradient", FINE.space, seed + 10, start, sigma=FINE_SIGMA)
    budget = Budget(events, FINE_EVENTS_PER_DESIGN, DESIGNS_PER_BATCH)
    study = Study(FINE, agent, Ledger(Path(":memory:")), budget, seed=seed + 10, common_events=True)
    candidates: list[Design] = []
    while (size := budget.batch_size(study.trials * FINE_EVENTS_PER_DESIGN)) > 1:
        progress = study.step(size)
        if study.batch % 8 == 0 and study.trials * FINE_EVENTS_PER_DESIGN > budget.events / 2:
            candidates.append(study.recommended())
            print(f"batch {study.batch}, reward {progress.reward:.2f}, {mass(candidates[-1]) / 1e6:.3f} kt", flush=True)
    seeds = [held_out_seed(HELD_OUT_ROOT + 11 + seed)] * len(candidates)
    found = FINE.evaluate_batch(candidates, 2 * SELECTION, seeds)
    rewards = [-math.inf if evaluation.reward is None else evaluation.reward for evaluation in found]
    print("rewards of the candidates:", ", ".join(f"{reward:.2f}" for reward in rewards), flush=True)
    best = dict(candidates[int(np.argmax(rewards))])
    return {"design": best, "cpu_seconds": time.process_time() - started}


def held_out_seeds(parts: int) -> list[int]:
    """Event seeds of the first parts of the held-out muons."""
    return np.random.SeedSequence(held_out_seed(HELD_OUT_ROOT)).generate_state(parts).tolist()


def validated(
    designs: dict[str, Design], parts: range, problem: DesignProblem = TRUE
) -> dict[str, list[dict[str, float]]]:
    """Parts of the held-out muons, the same for all designs, by the published objective."""
    seeds = held_out_seeds(parts.stop)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in designs}
    for part in parts:
        found = problem.evaluate_batch(list(designs.values()), AT_ONCE, [seeds[part]] * len(designs))
        for name, evaluation in zip(designs, found, strict=True):
            if evaluation.measurement is None:
                raise RuntimeError(evaluation.failure)
            rows[name].append(row(evaluation.measurement))
        print(f"held-out part {part + 1} of {parts.stop}", flush=True)
    return rows


def row(measured: Measurement) -> dict[str, float]:
    """What is kept of one part."""
    kept = {"objective": measured.diagnostics["objective"], "error": measured.metric_error}
    return kept | {"hit_muons": measured.diagnostics["hit_events"], "arrived": measured.diagnostics["arrived"]}


def summary(design: Design, parts: list[dict[str, float]]) -> dict[str, Any]:
    """Objective with its error from the weights and from the scatter of the parts."""
    objective, error, hits, arrived = (np.array([part[name] for part in parts]) for name in parts[0])
    return {
        "objective": float(objective.mean()),
        "error": float(np.sqrt((error**2).sum())) / len(parts),
        "error_from_scatter": float(objective.std(ddof=1)) / math.sqrt(len(parts)),
        "hit_muons": float(hits.sum()),
        "arrived": float(arrived.mean()),
        "mass": mass(design),
        "length": length(design),
        "parts": objective.tolist(),
        "design": dict(design),
    }


def extended(found: dict[str, Any], more: list[dict[str, float]]) -> dict[str, Any]:
    """The summary of a design with further parts."""
    new, n, m = summary(found["design"], more), len(found["parts"]), len(more)
    parts = [*found["parts"], *new["parts"]]
    return new | {
        "objective": float(np.mean(parts)),
        "error": math.hypot(n * found["error"], m * new["error"]) / (n + m),
        "error_from_scatter": float(np.std(parts, ddof=1)) / math.sqrt(n + m),
        "hit_muons": found["hit_muons"] + new["hit_muons"],
        "arrived": (n * found["arrived"] + m * new["arrived"]) / (n + m),
        "parts": parts,
    }


def ratio(found: dict[str, Any], zero: dict[str, Any]) -> tuple[float, float]:
    """Objective over the published one on the same muons, and its error from the scatter of paired parts."""
    n = min(len(found["parts"]), len(zero["parts"]))
    mine, zeros = np.array(found["parts"][:n]), np.array(zero["parts"][:n])
    value = mine.mean() / zeros.mean()
    error = (mine - value * zeros).std(ddof=1) / math.sqrt(len(mine)) / zeros.mean()
    return float(value), float(error)


def read() -> dict[str, Any]:
    """The results so far."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {"trained": {}, "refined": {}, "designs": {}, "thick": {}} | found


def keep(kind: str, name: str, found: dict[str, Any]) -> None:
    """One more result, with the settings."""
    results = read()
    results[kind][name] = found
    settings = {"events": EVENTS, "events_per_design": EVENTS_PER_DESIGN, "designs_per_batch": DESIGNS_PER_BATCH}
    settings |= {"candidates": CANDIDATES, "selection": SELECTION, "selection_blur": SELECTION_BLUR}
    settings |= {"fine_events": FINE_EVENTS, "fine_events_per_design": FINE_EVENTS_PER_DESIGN, "fine_sigma": FINE_SIGMA}
    settings |= {"knee": KNEE, "agents": AGENTS, "held_out": HELD_OUT}
    RESULTS.write_text(json.dumps({**results, "settings": settings}, indent=1) + "\n")


def show(results: dict[str, Any]) -> None:
    """The tables of the README."""
    for kind in ("designs", "thick"):
        print(f"\n{kind}\n\n| design | objective | over published | hits seen | muons | mass [kt] | length [m] |")
        print("|---|---|---|---|---|---|---|")
        for name, found in results[kind].items():
            value, error = ratio(found, results[kind]["published"])
            muons = len(found["parts"]) * AT_ONCE / 1e6
            print(
                f"| {name} | {found['objective']:.1f} +- {found['error_from_scatter']:.1f} "
                f"| {value:.2f} +- {error:.2f} | {found['hit_muons']:.0f} | {muons:.1f} M "
                f"| {found['mass'] / 1e6:.3f} | {found['length'] / 100:.2f} |"
            )


UP, DOWN = "#D55E00", "#0072B2"
"""Colours of iron with B_y > 0 and B_y < 0."""


def draw_shield(axes: Any, design: Design, view: str) -> None:
    """One shield from above (x against z at y = 0) or from the side (y against z at x = 0), colour by field."""
    z = 0.0
    for magnet in (*absorber(), *magnets(design)):
        ends = (z / 100, z / 100 + magnet.half_length / 50)
        sections = (magnet.entrance, magnet.exit)
        color, other = (UP, DOWN) if magnet.field > 0 else (DOWN, UP)
        if view == "top":
            core = [s.iron / 100 for s in sections]
            yokes = [[(s.iron + s.gap) / 100 for s in sections], [s.half_width / 100 for s in sections]]
            for sign in (1, -1):
                axes.fill_between(ends, *(sign * np.array(yokes)), color=other, ec="black", lw=0.5)
        else:
            core = [s.half_height / 100 for s in sections]
        axes.fill_between(ends, np.array(core), -np.array(core), color=color, ec="black", lw=0.5)
        if magnet.half_length > CLOSING_HALF_LENGTH:
            mark = "\u2299" if magnet.field > 0 else "\u2297"
            axes.text(sum(ends) / 2, 0, mark if view == "top" else "\u2191" if magnet.field > 0 else "\u2193",
                      ha="center", va="center", fontsize=11, color="white")  # fmt: skip
        z += 2 * magnet.half_length
    axes.set(xlim=(-0.5, 37.5), ylim=(-3.4, 3.4), ylabel="x [m]" if view == "top" else "y [m]")
    axes.spines[["top", "right"]].set_visible(False)


def draw(results: dict[str, Any]) -> Figure:
    """The published shield and the best one, from above and from the side."""
    found = {name: row for name, row in results["designs"].items() if name != "published"}
    best = min(found, key=lambda name: found[name]["objective"] if found[name]["mass"] <= 1.0501e6 else math.inf)
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True)
    for pair, name in ((rows[:2], "published"), (rows[2:], best)):
        row = results["designs"][name]
        for axes, view in zip(pair, ("top", "side"), strict=True):
            draw_shield(axes, row["design"], view)
            title = f"{name}: {row['mass'] / 1e6:.2f} kt, {row['length'] / 100:.1f} m, objective {row['objective']:.0f}"
            axes.set_title(
                f"{title} +- {row['error_from_scatter']:.0f}; from {'above' if view == 'top' else 'the side'}",
                fontsize=9,
            )
    rows[-1].set_xlabel("z from the front of the absorber [m]")
    for color, label in ((UP, "field up (+y)"), (DOWN, "field down (-y)")):
        rows[0].fill_between([], [], color=color, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_muons() -> Figure:
    """Spectrum of the muons: per proton as they are, and as they are drawn."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    muons = PythiaSource().sample(200_000, np.random.default_rng(0))
    p, p_t = np.sqrt((muons.momentum**2).sum(axis=0)), np.hypot(*muons.momentum[:2])
    per_proton = muons.weight / PROTONS_ON_TARGET / len(p)
    for axes, values, edges, label in (
        (left, p, np.geomspace(5, 400, 45), "p"),
        (right, p_t, np.linspace(0, 2.5, 45), "p_T"),
    ):
        width = np.diff(edges)
        made, _ = np.histogram(values, edges, weights=per_proton)
        drawn, _ = np.histogram(values, edges)
        axes.stairs(made / width, edges, color="#0072B2", lw=1.5, label="per proton and GeV")
        axes.stairs(drawn / len(p) / width, edges, color="#D55E00", lw=1.5, label="share of the muons drawn, per GeV")
        axes.set(yscale="log", xlabel=f"${label}$ [GeV]")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xscale("log")
    left.legend(frameon=False, fontsize=9)
    return figure


def train(runs: list[tuple[str, int]]) -> None:
    """First and second stages that results.json lacks."""
    for agent, seed in runs:
        name = f"{agent} {seed}"
        if name not in read()["trained"]:
            keep("trained", name, trained(agent, seed))
        for label, events in FINE_EVENTS.items():
            if name + label not in read()["refined"]:
                keep("refined", name + label, refined(read()["trained"][name]["design"], seed, events))


def validate() -> None:
    """Held-out muons of the designs that had none."""
    designs = {"published": published()} | {name: run["design"] for name, run in read()["refined"].items()}
    missing = {name: design for name, design in designs.items() if name not in read()["designs"]}
    for name, parts in validated(missing, range(HELD_OUT // AT_ONCE)).items() if missing else ():
        keep("designs", name, summary(missing[name], parts))


def validate_more(count: int, names: list[str]) -> None:
    """Further parts for designs that have equally many."""
    rows = {name: read()["designs"][name] for name in names}
    first = len(rows[names[0]]["parts"])
    more = validated({name: found["design"] for name, found in rows.items()}, range(first, first + count))
    for name, parts in more.items():
        keep("designs", name, extended(rows[name], parts))


def validate_thick(names: list[str]) -> None:
    """The same muons with other scattering, as many as the first of these designs saw."""
    designs = {name: read()["designs"][name]["design"] for name in names}
    parts_of_each = range(len(read()["designs"][names[0]]["parts"]))
    for name, parts in validated(designs, parts_of_each, THICK).items():
        keep("thick", name, summary(designs[name], parts))


def show_hits(name: str, parts: int = 8) -> None:
    """Momentum and place of the hits among the first held-out muons."""
    design, found = read()["designs"][name]["design"], []
    for seed in held_out_seeds(parts):
        readout = TRUE.simulator.simulate(design, AT_ONCE, seed)
        (x, y, momentum, _), charge = readout.signals.T, readout.truth["charge"]
        weight = readout.truth["weight"] * hit_weight(x, y, momentum, charge) / AT_ONCE / parts
        found.append(np.stack([momentum, -charge * x, weight])[:, weight > 0])
    momentum, signed, weight = np.concatenate(found, axis=1)
    hard = momentum > 100
    print(f"{name}: {len(weight)} hits, sum of weights {weight.sum():.1f}; above 100 GeV {hard.sum()}, ", end="")
    print(f"{weight[hard].sum():.1f}; median of x {np.median(signed):.2f} m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--train", nargs=2, metavar=("AGENT", "SEED"))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--more", nargs="+", metavar="PARTS NAME", help="further parts for designs with equally many")
    parser.add_argument("--thick", nargs="+", metavar="NAME", help="validate with the scattering of thick iron")
    parser.add_argument("--hits", nargs="+", metavar="NAME", help="what hits the plane")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.more:
        validate_more(int(arguments.more[0]), arguments.more[1:])
    elif arguments.thick:
        validate_thick(arguments.thick)
    elif arguments.hits:
        for name in arguments.hits:
            show_hits(name)
        return
    elif arguments.train:
        train([(arguments.train[0], int(arguments.train[1]))])
    elif not arguments.show:
        train([] if arguments.validate else RUNS)
        validate()
    results = read()
    show(results)
    if results["designs"]:
        draw(results).savefig(FOLDER / "shields.png", dpi=130)
        draw_muons().savefig(FOLDER / "muons.png", dpi=130)


if __name__ == "__main__":
    main()
