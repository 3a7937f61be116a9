"""Numbers of two samples side by side: value and bootstrap error of each, ratio or difference, and its significance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 200


def core(values: Array) -> float:
    """Half the distance between the quantiles of 16 and 84 %: sigma, if the distribution is normal."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def inner(values: Array) -> float:
    """Standard deviation of the inner 98 %, over that of a normal distribution cut alike (0.927): Highland's sense."""
    low, high = np.quantile(values, [0.01, 0.99])
    kept = values[(values >= low) & (values <= high)]
    return float(kept.std() / 0.92717)


def quantile(share: float) -> Callable[[Array], float]:
    return lambda values: float(np.quantile(values, share))


def with_error(function: Callable[[Array], float], values: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Value and bootstrap error."""
    draws = [function(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    return function(values), float(np.std(draws))


def side_by_side(
    geant4: Mapping[str, Array], fast: Mapping[str, Array], numbers: Mapping[str, tuple[str, Callable[[Array], float]]]
) -> dict[str, dict[str, Any]]:
    """Both samples' values of each number (name -> column, function), with the ratio fast / Geant4."""
    rng, rows = np.random.default_rng(0), {}
    for name, (column, function) in numbers.items():
        one, error = with_error(function, geant4[column], rng)
        other, other_error = with_error(function, fast[column], rng)
        rows[name] = row(one, error, other, other_error)
    return rows


def row(geant4: float, error: float, fast: float, fast_error: float) -> dict[str, Any]:
    """One comparison; the ratio is left out where its error would be larger than 0.3."""
    joint = float(np.hypot(error, fast_error))
    found = {"geant4": geant4, "geant4_error": error, "fast": fast, "fast_error": fast_error}
    relative = joint / abs(geant4) if geant4 else np.inf
    ratio = {"ratio": fast / geant4, "ratio_error": relative} if relative < 0.3 else {}
    return {**found, "difference": fast - geant4, "sigma": (fast - geant4) / joint if joint else 0.0, **ratio}
