"""Simulate and measure designs; the failure of one never touches the others."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, MissingDependency, SimulationError
from rl_detector.space import Design
from rl_detector.terms import BatchReach, BatchSimulator, Group, Measurement, Reach, Readout, Simulator

_MISTAKES = (ConfigError, MissingDependency)
"""Errors that every design would meet: they end a study with their message instead of failing every trial."""


def simulate(simulator: Simulator, group: Group) -> list[Readout | SimulationError]:
    """Simulate copies of the designs of a group: complete, finite readouts, or the reason of a failure."""
    if isinstance(simulator, BatchSimulator):
        try:
            readouts = simulator.simulate_batch(_copies(group), group.events, list(group.seeds))
            return [_checked(readout, group.events) for _, readout in zip(group.designs, readouts, strict=True)]
        except _MISTAKES:
            raise
        except Exception as error:
            _warn_one_by_one("simulate_batch", error)
    pairs = zip(_copies(group), group.seeds, strict=True)
    return [_simulate_one(simulator, design, group.events, seed) for design, seed in pairs]


def _copies(group: Group) -> list[Design]:
    return [copy.deepcopy(design) for design in group.designs]


def _simulate_one(simulator: Simulator, design: Design, events: int, seed: int) -> Readout | SimulationError:
    try:
        return _checked(simulator.simulate(design, events, seed), events)
    except _MISTAKES:
        raise
    except Exception as error:  # whatever a user's simulator raises is a failed trial, not the end of a study
        return as_failure(error)


def measure(reach: Reach, readouts: Sequence[Readout | SimulationError]) -> list[Measurement | SimulationError]:
    """Measure readouts: finite measurements, or the reason of a failure. Earlier failures stay in their place."""
    good = [readout for readout in readouts if isinstance(readout, Readout)]
    measured: Iterator[Measurement | SimulationError] = iter(_measure_good(reach, good))
    return [next(measured) if isinstance(readout, Readout) else readout for readout in readouts]


def _measure_good(reach: Reach, readouts: Sequence[Readout]) -> list[Measurement | SimulationError]:
    if isinstance(reach, BatchReach) and readouts:
        try:
            measured = reach.measure_batch(readouts)
            return [_finite(measurement) for _, measurement in zip(readouts, measured, strict=True)]
        except _MISTAKES:
            raise
        except Exception as error:
            _warn_one_by_one("measure_batch", error)
    return [_measure_one(reach, readout) for readout in readouts]


def _measure_one(reach: Reach, readout: Readout) -> Measurement | SimulationError:
    try:
        return _finite(reach.measure(readout))
    except _MISTAKES:
        raise
    except Exception as error:  # as for simulators
        return as_failure(error)


def _warn_one_by_one(what: str, error: Exception) -> None:
    message = f"{what} failed ({type(error).__name__}: {error}); continuing with one design at a time"
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def as_failure(error: Exception) -> SimulationError:
    """Any exception as the reason of a failed trial."""
    return error if isinstance(error, SimulationError) else SimulationError(f"{type(error).__name__}: {error}")


def finite(name: str, value: Any) -> float:
    """A plain finite float, or SimulationError.

    Examples:
        >>> finite("price", 3)
        3.0
        >>> try:
        ...     finite("price", float("nan"))
        ... except SimulationError as error:
        ...     str(error)
        'price must be finite, got nan'
    """
    number = float(value)
    if not math.isfinite(number):
        raise SimulationError(f"{name} must be finite, got {number}")
    return number


def _checked(readout: Readout | SimulationError, events: int) -> Readout | SimulationError:
    """A readout only if it is complete and finite."""
    if isinstance(readout, SimulationError):
        return readout
    arrays: dict[str, Any] = {"signals": readout.signals, **readout.truth}
    for name, values in arrays.items():
        if len(values) != events:
            return SimulationError(f"the simulator returned {len(values)} events of {name}, expected {events}")
        if np.ndim(values) != (2 if name == "signals" else 1):
            wanted = "[events, channels]" if name == "signals" else "[events]"
            return SimulationError(f"the simulator returned {name} of shape {np.shape(values)}, expected {wanted}")
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            return SimulationError(f"the simulator returned {bad} NaN or infinite values of {name}")
    return readout


def _finite(measurement: Measurement) -> Measurement | SimulationError:
    """The measurement with plain finite floats, or the reason why it has none."""
    names = ("reach", "error", "metric", "metric_error")
    numbers = {name: float(getattr(measurement, name)) for name in names}
    if not all(math.isfinite(number) for number in numbers.values()):
        return SimulationError(f"reach, error, metric and metric error must be finite, got {tuple(numbers.values())}")
    diagnostics = {name: float(value) for name, value in measurement.diagnostics.items()}
    return replace(measurement, diagnostics=diagnostics, **dict[str, Any](numbers))
