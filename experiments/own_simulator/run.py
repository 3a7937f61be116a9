"""Train on the compiled telescope from several seeds, compare with the closed form: writes results.json, figures/.

make install build/telescope && python run.py            # `make train` with two agents from three seeds
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from closed_form import best, metric, reward
from silicon_telescope import telescope

FOLDER = Path(__file__).parent
RUNS = FOLDER / "runs"
AGENTS, SEEDS, EVENTS = ("cma_es", "policy_gradient"), 3, 200_000


def train(agent: str, seed: int) -> tuple[Path, float]:
    """The folder of a new run, and its seconds."""
    before, started = set(RUNS.glob("*/config.yaml")), time.monotonic()
    settings = (f"agent={agent}", f"budget.events={EVENTS}", f"seed={seed}", f"runs={RUNS}")
    subprocess.run([sys.executable, "-m", "rl_detector", "train", "env=silicon_telescope", *settings], check=True)
    (new,) = set(RUNS.glob("*/config.yaml")) - before
    return new.parent, time.monotonic() - started


def validated(problem: Any, run: Path, best_reward: float) -> list[dict[str, Any]]:
    """Rows of the run's validation, each with the closed form beside it."""
    stored = json.loads((run / "validation.json").read_text())
    rows: list[dict[str, Any]] = stored[problem.simulator.describe()["simulator"]]
    for row in rows:
        row["exact_metric"] = metric(row["design"])
        row["below_best_reward"] = best_reward - reward(problem, row["design"])
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    problem = telescope()
    design, best_reward = best(problem)
    known = {"design": design, "exact_metric": metric(design), "price": problem.costs[0].amount(design)}
    known["over_start"] = best_reward - reward(problem, problem.start)
    results: dict[str, Any] = {"best_known": known, "runs": []}
    for agent, seed in product(AGENTS, range(SEEDS)):
        run, seconds = train(agent, seed)
        rows = validated(problem, run, best_reward)
        results["runs"].append({"agent": agent, "seed": seed, "seconds": round(seconds), "rows": rows})
        if (agent, seed) == (AGENTS[0], 0):
            shutil.copytree(run / "figures", FOLDER / "figures", dirs_exist_ok=True)
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def show(results: dict[str, Any]) -> None:
    """The table of the README."""
    known = results["best_known"]
    print(
        f"best known: metric {known['exact_metric']:.1f}, price {known['price']:.0f}, reward {known['over_start']:.3f}"
    )
    for run in results["runs"]:
        for row in run["rows"]:
            pull = (row["metric"] - row["exact_metric"]) / row["metric_error"]
            print(
                f"{run['agent']} seed {run['seed']} {run['seconds']} s {row['name']:16} metric {row['metric']:.1f} +- "
                f"{row['metric_error']:.1f} exact {row['exact_metric']:.1f} ({pull:+.1f} sigma) price "
                f"{row['costs']['price']:.0f} reward {row['reward']:.3f} below the best {row['below_best_reward']:.3f}"
            )
    for agent in AGENTS:
        rows = [row for run in results["runs"] if run["agent"] == agent for row in run["rows"]]
        gaps = [row["below_best_reward"] for row in rows if row["name"] == "recommended"]
        error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
        print(f"{agent}: recommended below the best {np.mean(gaps):.3f} +- {error:.3f}, {len(gaps)} seeds")


if __name__ == "__main__":
    main()
