"""A farm of 1000 workers, with and without waiting for the slowest: writes results.json and the figure.

python run.py farm [case] [seeds]    # the studies: utilisation, and gain against designs and time
python run.py figure                 # means and the figure from the stored results
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from farm import Farm, FarmSettings

from rl_detector.agents import make_agent
from rl_detector.envs.oracles.problem import oracle
from rl_detector.records.ledger import Ledger
from rl_detector.study import Budget, Progress, Study
from rl_detector.study.asynchronous import AsynchronousStudy

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
DESIGNS, EVERY, SEEDS = 20_000, 500, 4

NOISY_20 = {"kind": "quadratic", "dimensions": 20, "noise": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "policy_gradient": {"agent": {}, "problem": {"kind": "quadratic", "dimensions": 60, "noise": 1.0}},
    "reinforce, learning rate 0.005": {
        "agent": {"designs_per_update": 250, "learning_rate": 0.005},
        "problem": NOISY_20,
    },
    "reinforce, learning rate 0.02": {
        "agent": {"designs_per_update": 250, "learning_rate": 0.02},
        "problem": NOISY_20,
    },
}
"""Name, which begins with the agent -> settings of the agent, and the oracle."""

WAITING, LARGE, SMALL = "synchronous", "synchronous, 4000 a batch", "synchronous, 250 a batch"
UNCORRECTED = "asynchronous, uncorrected"
WAYS = {"asynchronous": 0, WAITING: 1000, LARGE: 4000, SMALL: 250, UNCORRECTED: 0}
"""Way -> designs per batch. 250 a batch: the updates of the asynchronous reinforce, with designs that are not stale."""


def applies(case: str, way: str) -> bool:
    """Only reinforce corrects for stale designs; only policy_gradient is tried with large batches."""
    return way in ("asynchronous", WAITING) or (case == "policy_gradient") == (way == LARGE)


class Uncorrected:
    """Hides an agent's log-probabilities, so that all designs count as proposed by its present policy."""

    def __init__(self, agent: Any) -> None:
        self.space, self.ask, self.tell, self.recommend = agent.space, agent.ask, agent.tell, agent.recommend
        self.metrics, self.state_dict, self.load_state_dict = agent.metrics, agent.state_dict, agent.load_state_dict


def one_study(case: str, way: str, seed: int) -> dict[str, Any]:
    """A study on a new farm: its utilisation, and the gain of the recommended design on the way."""
    settings, per_batch = CASES[case], WAYS[way]
    problem, farm = oracle(**settings["problem"]), Farm(FarmSettings(seed=seed))
    agent = make_agent(case.split(",")[0], problem.space, seed, problem.start, **settings["agent"])
    agent = Uncorrected(agent) if way == UNCORRECTED else agent
    loop = Study if per_batch else AsynchronousStudy
    budget = Budget(DESIGNS, 1, per_batch or 64)
    study = loop(problem, agent, Ledger(Path(":memory:")), budget, seed=seed, evaluator=farm)
    curve: list[tuple[int, float, float]] = []

    def listen(progress: Progress) -> None:
        if progress.trials // EVERY > (curve[-1][0] // EVERY if curve else 0):
            curve.append((progress.trials, farm.time, problem.simulator.truth(study.recommended())))

    started = time.process_time()
    best = study.run(listen)
    seconds = time.process_time() - started
    whole, asked = farm.snapshot(), farm.asked_last
    return {
        "case": case,
        "way": way,
        "seed": seed,
        "gain": problem.simulator.truth(best),
        "utilisation": asked.utilisation,
        "utilisation_with_the_last": whole.utilisation,
        "lost": whole.lost / whole.busy,
        "time": whole.time,
        "time_asked": asked.time,
        "failed": study.failed,
        "own_seconds_per_design": seconds / DESIGNS,
        "curve": curve,
        "busy": [farm.trace[i] for i in np.linspace(0, len(farm.trace) - 1, 400).astype(int)] if seed == 0 else [],
    }


def farm_studies(cases: list[str], seeds: int) -> None:
    """All ways with the same seeds; each result is stored at once."""
    for case in cases:
        for seed in range(seeds):
            for way in (way for way in WAYS if applies(case, way)):
                result = one_study(case, way, seed)
                stored = load()
                others = [r for r in stored["farm"] if (r["case"], r["way"], r["seed"]) != (case, way, seed)]
                store({**stored, "settings": asdict(FarmSettings()), "farm": [*others, result]})
                shown = {k: v for k, v in result.items() if k not in ("curve", "busy")}
                print(json.dumps(shown), flush=True)
    summarise()


def summarise() -> None:
    """Means and standard errors over the seeds, and paired differences of the gains."""
    stored = load()
    table = {case: _summary([r for r in stored["farm"] if r["case"] == case]) for case in CASES}
    store({**stored, "summary": table})
    print(json.dumps(table, indent=1))


def _summary(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    by_way = {way: {r["seed"]: r for r in results if r["way"] == way} for way in WAYS}
    names = ("gain", "utilisation", "utilisation_with_the_last", "lost", "time", "own_seconds_per_design")
    ways = {way: list(found.values()) for way, found in by_way.items() if found}
    table: dict[str, Any] = {way: {n: _mean([r[n] for r in found]) for n in names} for way, found in ways.items()}
    for way, found in ways.items():
        table[way]["gain after 3000 designs"] = _mean([_early(r) for r in found])
    mine = by_way["asynchronous"]
    for way in (way for way in WAYS if way != "asynchronous" and by_way[way]):
        seeds = sorted(set(mine) & set(by_way[way]))
        table[way]["gain of asynchronous over it"] = _mean([mine[s]["gain"] - by_way[way][s]["gain"] for s in seeds])
        early = [_early(mine[s]) - _early(by_way[way][s]) for s in seeds]
        table[way]["gain of asynchronous over it after 3000 designs"] = _mean(early)
        table[way]["time over asynchronous"] = _mean([by_way[way][s]["time"] / mine[s]["time"] for s in seeds])
    return table


def _early(result: Mapping[str, Any]) -> float:
    """Gain after 3000 designs."""
    told, _, gain = np.array(result["curve"]).T
    return float(np.interp(3000, told, gain))


def _mean(values: list[float]) -> list[float]:
    """Mean and its standard error."""
    return [float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0]


def load() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"farm": []}


def store(results: Mapping[str, Any]) -> None:
    text = json.dumps(_rounded(results), separators=(",", ":"))
    RESULTS.write_text(text.replace('{"case"', '\n{"case"') + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


COLOURS = {"asynchronous": "C0", WAITING: "C1", LARGE: "C2", SMALL: "C4", UNCORRECTED: "C3"}


def figure() -> None:
    """Busy workers and gain against time, and gain against designs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    results = load()["farm"]
    cases = [case for case in CASES if any(r["case"] == case for r in results)]
    drawing, rows = plt.subplots(len(cases), 3, figsize=(13, 3.6 * len(cases)), squeeze=False, layout="constrained")
    for axes, case in zip(rows, cases, strict=True):
        for way, colour in COLOURS.items():
            _draw(axes, [r for r in results if r["case"] == case and r["way"] == way], way, colour)
        kind = CASES[case]["problem"]
        axes[0].set(xlabel="time [h]", ylabel="workers that simulate", title=case, xlim=(0, 2.5))
        axes[1].set(xlabel="time [h]", ylabel="gain of the recommended design", xscale="log")
        axes[2].set(xlabel="designs told", title=f"{kind['kind']} {kind['dimensions']}, noise {kind['noise']:g}")
        axes[1].legend(fontsize="small")
    drawing.savefig(FOLDER / "farm.png", dpi=90)


def _draw(axes: Any, results: list[Mapping[str, Any]], way: str, colour: str) -> None:
    for result in results:
        told, when, gain = np.array(result["curve"]).T
        axes[1].plot(when / 3600, gain, color=colour, lw=0.9, label=way if result["seed"] == 0 else None)
        axes[2].plot(told, gain, color=colour, lw=0.9)
        if result["busy"]:
            hours, busy = np.array(result["busy"]).T
            axes[0].step(hours / 3600, busy, color=colour, lw=0.9, where="post")


def main(words: list[str]) -> None:
    if words[:1] == ["farm"]:
        farm_studies(words[1:2] or list(CASES), int(words[2]) if len(words) > 2 else SEEDS)
    elif words == ["figure"]:
        summarise()
        figure()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
