"""How many simulated events until a design is found, with 1 to 50 events per design: writes results.json.

python run.py judge                  # how well few events rank designs, by the shared judge and by a fit per design
python run.py search                 # events until 90 % of the gain, agents x judges
python run.py search cma_es 3        # one agent, three seeds
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.agents import make_agent
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.reach.shared_judge import SharedJudge
from rl_detector.records import Ledger
from rl_detector.space import Encoding
from rl_detector.study import Budget, Study

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
PROBLEM = calorimeter()
BEST = 1.28
"""Reward of the best design known: CMA-ES, 300,000 events with 100 per design, 20,000 held-out events."""

HELD_OUT = 20_000
TRUTH = 5000
"""Events per design of the reach that few events are compared with."""

PER_BATCH = 20
WAYS = (
    (True, 2, 3000),
    (True, 5, 5000),
    (False, 25, 20_000),
    (False, 50, 20_000),
)
"""Shared judge or a fit per design, events per design, events in all."""


def gain(design: Any) -> float:
    """Reward of a design on held-out events over that of the best; the start has 0."""
    reward = PROBLEM.evaluate(design, HELD_OUT, 424_242).reward
    assert reward is not None
    return reward / BEST


def search(agent: str, shared: bool, events: int, budget: int, seed: int) -> list[tuple[int, float]]:
    """(events so far, gain of the recommended design) after every 40th part of the budget."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        study = Study(
            PROBLEM, make_agent(agent, PROBLEM.space, seed, PROBLEM.start), ledger,
            Budget(budget, events, PER_BATCH), seed=seed, common_events=True,
            judge=SharedJudge(PROBLEM, seed=seed) if shared else None,
        )  # fmt: skip
        curve: list[tuple[int, float]] = []
        while (size := study.budget.batch_size(study.trials * events)) > 1:
            study.step(size)
            spent = study.trials * events
            if not curve or spent - curve[-1][0] >= budget / 40:
                curve.append((spent, gain(study.recommended())))
        ledger.close()
    return curve


def reached(curve: list[tuple[int, float]], share: float = 0.9) -> float:
    """Events after which the gain is at least `share` and stays so on average over the next five points."""
    for index, (events, value) in enumerate(curve):
        if value >= share and np.mean([later for _, later in curve[index : index + 6]]) >= share:
            return float(events)
    return float("inf")


def at(curve: list[tuple[int, float]], events: int) -> float | None:
    before = [value for spent, value in curve if spent <= events]
    return before[-1] if before and curve[-1][0] >= 0.95 * events else None


def search_all(agent: str, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for shared, events, budget in WAYS:
        curves = [search(agent, shared, events, budget, seed) for seed in range(seeds)]
        row: dict[str, Any] = {"agent": agent, "judge": "shared" if shared else "none", "events_per_design": events}
        row["until_90"] = [reached(curve) for curve in curves]
        values = {n: [at(curve, n) for curve in curves] for n in (1000, 2000, 3000, 5000, 10_000, 20_000)}
        row["gain"] = {n: float(np.median(v)) for n, v in values.items() if None not in v}
        row["final"] = [curve[-1][1] for curve in curves]
        print(row, flush=True)
        rows.append(row)
    return rows


def population(seed: int, count: int, stage: float) -> list[Any]:
    """Designs as a search meets them: around a point between the start and the best, a tenth of the choices changed."""
    rng = np.random.default_rng(seed)
    start, best = (PROBLEM.space.encode(PROBLEM.baselines[name]) for name in ("published_start", "homogeneous"))
    designs = []
    for index in range(count):
        share = stage * index / count
        centre = (1 - share) * start.continuous + share * best.continuous
        discrete = np.where(rng.random(6) < share, best.discrete, start.discrete)
        flipped = np.where(rng.random(6) < 0.1, 1 - discrete, discrete)
        designs.append(PROBLEM.space.decode(Encoding(centre + 0.15 * rng.normal(size=6), flipped)))
    return designs


def ranked(events: int, per_design: int, common: bool, seed: int, reconstruction: str = "kernel") -> dict[str, float]:
    """Judge designs of `events` in all; the last 200 of them against TRUTH events and a fit each."""
    count = events // per_design // PER_BATCH * PER_BATCH
    designs, judge = population(seed, count, 1.0), SharedJudge(PROBLEM, reconstruction)
    kept = PROBLEM.for_judge()
    for first in range(0, count, PER_BATCH):
        seeds = [first + 10**6 * seed + (0 if common else 1 + index) for index in range(PER_BATCH)]
        judge.add(kept.evaluate_batch(designs[first : first + PER_BATCH], per_design, seeds))
    judged = np.array([measurement.reach for measurement in judge.judge()])[-200:]
    return compared(judged, designs[-200:])


def alone(per_design: int, seed: int) -> dict[str, float]:
    """The same with a fit per design."""
    designs = population(seed, 400, 1.0)[-200:]
    found = PROBLEM.evaluate_batch(designs, per_design, list(range(200)))
    return compared(np.array([e.measurement.reach for e in found if e.measurement]), designs)


def compared(judged: Any, designs: list[Any]) -> dict[str, float]:
    found = PROBLEM.evaluate_batch(designs, TRUTH, [99] * len(designs))
    truth = np.array([e.measurement.reach for e in found if e.measurement])
    slope = float(np.polyfit(truth, judged, 1)[0])
    return {
        "correlation": float(np.corrcoef(truth, judged)[0, 1]),
        "slope": slope,
        "offset": float((judged - truth).mean()),
    }


def rank_all() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cases = [(n, k, True, "kernel") for n in (200, 1000, 3000) for k in (1, 2, 5, 25)]
    cases += [(n, k, False, "kernel") for n in (1000, 3000) for k in (1, 5)]
    cases += [(n, 5, True, "network") for n in (1000, 3000)]
    cases += [(10_000, 5, True, name) for name in ("kernel", "network")]
    for events, per_design, common, reconstruction in cases:
        if events // per_design >= PER_BATCH:
            found = [ranked(events, per_design, common, seed, reconstruction) for seed in (0, 1)]
            what = {"events": events, "per_design": per_design, "common": common, "judge": reconstruction}
            rows.append({**what, **{name: float(np.mean([row[name] for row in found])) for name in found[0]}})
            print(rows[-1], flush=True)
    for per_design in (25, 50, 200):
        found = [alone(per_design, seed) for seed in (0, 1)]
        means = {name: float(np.mean([row[name] for row in found])) for name in found[0]}
        rows.append({"per_design": per_design, "judge": "none", **means})
        print(rows[-1], flush=True)
    return rows


def main(words: list[str]) -> None:
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if words[:1] == ["judge"]:
        stored["judge"] = rank_all()
    else:
        agents = words[1:2] or ["policy_gradient", "cma_es"]
        seeds = int(words[2]) if len(words) > 2 else 5
        for agent in agents:
            others = [row for row in stored.get("search", []) if row["agent"] != agent]
            stored["search"] = others + search_all(agent, seeds)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
