"""Train on the fast simulator from several seeds and validate in Geant4: writes results.json.

python run.py            # three seeds of `make train`, each validated in Geant4
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
GEANT4_EVENTS = 1000
SEEDS = 3


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


def trained(seed: int, held_out_seed: int, *words: str) -> tuple[Path, dict[str, Any]]:
    """One training, its recommended design next to the baselines in Geant4."""
    run, seconds = train(f"seed={seed}", *words)
    rows = validate(run, "geant4", GEANT4_EVENTS, held_out_seed)
    return run, {"seed": seed, "seconds": round(seconds, 1), "geant4": rows}


def main_job() -> list[dict[str, Any]]:
    """Trainings on the fast simulator; the figures are those of the first."""
    found = [trained(seed, 1000 + seed, "experiment=calorimeter") for seed in range(SEEDS)]
    shutil.copytree(found[0][0] / "figures", FOLDER / "figures", dirs_exist_ok=True)
    return [result for _, result in found]


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
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = main_job()
    RESULTS.write_text(json.dumps({"main": found}, indent=1) + "\n")
    significances(found)
    means(found)


if __name__ == "__main__":
    main()
