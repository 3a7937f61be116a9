"""Train on the fast simulator from several seeds, judge in Geant4, compare agents at equal events: writes results.json.

python run.py main       # five seeds of `make train`, each validated in Geant4
python run.py agents     # policy_gradient, cma_es and random_search at equal events, ten seeds each
python run.py direct     # training on Geant4 itself with 3000 events, three seeds
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RUNS = FOLDER / "runs"
RESULTS = FOLDER / "results.json"
GEANT4_EVENTS = 2000


def rl_detector(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "rl_detector", *words], check=True)


def train(*words: str) -> tuple[Path, float]:
    """The new run's folder and how long the training took, in seconds."""
    before, started = set(RUNS.glob("*/config.yaml")), time.monotonic()
    rl_detector("train", f"runs={RUNS}", *words)
    (new,) = set(RUNS.glob("*/config.yaml")) - before
    return new.parent, time.monotonic() - started


def validate(run: Path, simulator: str, events: int, seed: int) -> list[dict[str, Any]]:
    rl_detector("validate", str(run), "--simulator", simulator, "--events", str(events), "--seed", str(seed))
    rows: list[dict[str, Any]] = json.loads((run / "validation.json").read_text())[simulator]
    return rows


def judged(seed: int, held_out_seed: int, *words: str) -> tuple[Path, dict[str, Any]]:
    """One training, its recommended design next to the baselines in Geant4."""
    run, seconds = train(f"seed={seed}", *words)
    rows = validate(run, "geant4", GEANT4_EVENTS, held_out_seed)
    return run, {"seed": seed, "seconds": round(seconds, 1), "geant4": rows}


def main_job() -> list[dict[str, Any]]:
    """Five trainings on the fast simulator; the figures are those of the first."""
    found = [judged(seed, 1000 + seed, "experiment=calorimeter") for seed in range(5)]
    shutil.copytree(found[0][0] / "figures", FOLDER / "figures", dirs_exist_ok=True)
    return [result for _, result in found]


def agents() -> list[dict[str, Any]]:
    """Held-out reward in the fast simulator after equal numbers of simulated events."""
    results = []
    for agent in ("policy_gradient", "cma_es", "random_search"):
        for events in (20_000, 200_000):
            budget = [f"budget.events={events}", "budget.events_per_design=50", "budget.designs_per_batch=20"]
            rewards = []
            for seed in range(10):
                run, _ = train(f"agent={agent}", f"seed={seed}", *budget)
                rewards.append(json.loads((run / "recommended.json").read_text())["reward"])
            results.append({"agent": agent, "events": events, "rewards": rewards})
    return results


def direct() -> list[dict[str, Any]]:
    """Three trainings on Geant4 with 3000 events each."""
    return [judged(seed, 2000 + seed, "simulator=geant4")[1] for seed in range(3)]


def significances(results: list[dict[str, Any]]) -> None:
    """Reach of the recommended design over each other design, and sigmas of the paired difference."""
    for result in results:
        print(f"seed {result['seed']}, {result['seconds']:.0f} s")
        for row in result["geant4"]:
            paired = row["difference"]
            over = f"  recommended over it {paired['value']:+.3f} +- {paired['error']:.3f}" if paired else ""
            print(f"  {row['name']:17} metric {row['metric']:.4f} +- {row['metric_error']:.4f}{over}")


def means(results: list[dict[str, Any]]) -> None:
    """Means over the seeds with their errors, and the least significant of the differences."""
    for name in [row["name"] for row in results[0]["geant4"]]:
        rows = [next(row for row in result["geant4"] if row["name"] == name) for result in results]
        metric = statistics.mean(row["metric"] for row in rows)
        error = math.hypot(*(row["metric_error"] for row in rows)) / len(rows)
        line = f"mean of {len(rows)}: {name:17} metric {metric:.4f} +- {error:.4f}"
        if name != "recommended":
            paired = [row["difference"] for row in rows]
            value = statistics.mean(difference["value"] for difference in paired)
            error = math.hypot(*(difference["error"] for difference in paired)) / len(paired)
            least = min(difference["significance"] for difference in paired)
            line += f"  recommended over it {value:+.3f} +- {error:.3f}, at least {least:.1f} sigma"
        print(line)


def main() -> None:
    jobs = {"main": main_job, "agents": agents, "direct": direct}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=jobs)
    job = parser.parse_args().job
    found = jobs[job]()
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**stored, job: found}, indent=1) + "\n")
    if job != "agents":
        significances(found)
        means(found)
        return
    for row in found:
        low, middle, high = statistics.quantiles(row["rewards"], n=4)
        print(f"{row['agent']:16} {row['events']:7} events: reward {middle:+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
