"""Tracks of the fast simulators against Geant4, piece by piece: writes results.json and the figures.

python run.py                     # everything
python run.py iron furnace        # some of the parts
python run.py --show              # only the tables and figures again
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"

PARTS: dict[str, dict[str, Any]] = {
    "iron": {"momenta": (5.0, 20.0, 100.0), "muons": 30_000},
    "magnets": {"muons": 6_000},
    "spectrometer": {"momenta": (3.0, 10.0, 40.0, 120.0), "tracks": 10_000},
    "furnace": {"muons": 20_000, "volumes": 327_680},
}
"""What is run with which numbers of events."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--show", action="store_true", help="tables and figures of what is stored")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in () if options.show else options.parts or PARTS:
        started = time.monotonic()
        found = importlib.import_module(name).run(**PARTS[name])
        results[name] = {"settings": PARTS[name], "seconds": time.monotonic() - started, "found": found}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for name, part in results.items():
        show(name, part["found"])
    figures = importlib.import_module("figures")
    figures.draw(results, FOLDER)


def show(name: str, found: dict[str, Any]) -> None:
    """One line per number."""
    for case, rows in found.items():
        for label, row in rows.items():
            if isinstance(row, dict):
                ratio = f"{row['ratio']:7.3f} +- {row['ratio_error']:.3f}" if "ratio" in row else " " * 17
                closed = f"  closed form {row['closed_form']:.5g}" if "closed_form" in row else ""
                closed += f"  thick / Geant4 {row['thick'] / row['geant4']:.3f}" if "thick" in row else ""
                print(
                    f"{name:13}{case:16}{label:38}{row['geant4']:11.5g} +- {row['geant4_error']:8.2g}"
                    f"{row['fast']:11.5g} +- {row['fast_error']:8.2g} {ratio} {row['sigma']:6.1f} sigma{closed}"
                )
            else:
                print(f"{name:13}{case:16}{label:38}{row}")


if __name__ == "__main__":
    main()
