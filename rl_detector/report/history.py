"""A ledger as arrays: what figures and comparisons need of many trials at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import RunFolderError
from rl_detector.ledger import Ledger, Trial
from rl_detector.space import Design, FloatArray, IntArray

MAXIMUM_GROUPS = 40
"""Most points of a curve; longer studies show the mean of several consecutive batches."""

ROUNDING = 1e-9
"""Violations up to this, in the constraint's unit, are rounding and not shown as violations."""


class Trend(NamedTuple):
    """A quantity in groups of trials, each [groups]: mean, standard deviation, standard error, 16 and 84 % quantile."""

    mean: FloatArray
    deviation: FloatArray
    error: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class History:
    """The finished trials of a study, in order of their numbers, and how many others there were.

    Attributes:
        events: simulated events up to and with each trial, failed ones included, [trials].
        batch: number of the batch, [trials].
        reward, reach, error, metric: results, the error is that of the reach, [trials].
        costs: name -> amount, [trials].
        allowed: whether no constraint is violated, [trials].
        continuous, discrete: what the agent asked, [trials, c] and [trials, k].
        best: design of the best reward (optimistic: the best of many noisy ones).
        failures: reason -> number of failed trials.
        spent, seconds: simulated events and computing time of all trials.
    """

    events: IntArray
    batch: IntArray
    reward: FloatArray
    reach: FloatArray
    error: FloatArray
    metric: FloatArray
    costs: Mapping[str, FloatArray]
    allowed: NDArray[np.bool_]
    continuous: FloatArray
    discrete: IntArray
    best: Design | None
    failures: Counter[str]
    spent: int
    seconds: float

    def __len__(self) -> int:
        return len(self.events)

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return self.failures.total()

    @property
    def batches_per_group(self) -> int:
        """How many consecutive batches make one point of a curve."""
        return -(-len(np.unique(self.batch)) // MAXIMUM_GROUPS)

    def groups(self) -> list[IntArray]:
        """Indices of the trials of each group of consecutive batches; a short last one joins its neighbour."""
        if len(self) == 0:
            return []
        group = np.unique(self.batch, return_inverse=True)[1] // self.batches_per_group
        parts = np.split(np.arange(len(self)), np.flatnonzero(np.diff(group)) + 1)
        if len(parts) > 1 and 2 * len(parts[-1]) < len(parts[-2]):
            parts[-2:] = [np.concatenate(parts[-2:])]
        return parts

    @property
    def logarithmic(self) -> bool:
        """Whether the reach is ln(reference / metric), so that 0.69 means twice as good."""
        if len(self) == 0 or self.metric.min() <= 0:
            return False
        return bool(np.ptp(np.log(self.metric) + self.reach) < 1e-6)

    def improvements(self) -> IntArray:
        """Indices of the trials that had a better reward than all before."""
        best = np.maximum.accumulate(self.reward)
        return np.flatnonzero(np.diff(best, prepend=-np.inf) > 0)

    def shifted(self, shift: float) -> History:
        """The same with another zero of the reach."""
        return replace(self, reach=self.reach + shift, reward=self.reward + shift)


def trend(values: FloatArray, groups: Sequence[IntArray], batches: IntArray) -> Trend:
    """Mean and spread of a quantity in each group; a single trial has spread 0.

    The standard error of the mean comes from the scatter of the batches in a group of three or more, which contains
    what the designs of a batch share (their events); from the scatter of the designs in a smaller group.
    """
    parts = [values[group] for group in groups]
    means = np.array([part.mean() for part in parts])
    deviations = np.array([part.std(ddof=1) if len(part) > 1 else 0.0 for part in parts])
    low, high = np.array([np.percentile(part, (16, 84)) for part in parts]).T
    errors = np.array([_error_of_mean(values[group], batches[group]) for group in groups])
    return Trend(means, deviations, errors, low, high)


def _error_of_mean(values: FloatArray, batches: IntArray) -> float:
    names, index = np.unique(batches, return_inverse=True)
    if len(names) >= 3:
        values = np.bincount(index, values) / np.bincount(index)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def read_history(path: Path) -> History:
    """All trials of a ledger; a ledger that does not exist is an empty one.

    Raises:
        RunFolderError: the file is no ledger or damaged.
    """
    if not path.exists():
        return _history([])
    ledger = Ledger(path, read_only=True)
    try:
        return _history(list(ledger.trials()))
    except RunFolderError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise RunFolderError(f"the ledger {path} is damaged: {type(error).__name__}: {error}") from error
    finally:
        ledger.close()


def _history(trials: Sequence[Trial]) -> History:
    events = np.cumsum([trial.evaluation.events for trial in trials], dtype=np.int64)
    done = [i for i, trial in enumerate(trials) if not trial.evaluation.failed]
    kept = [trials[i].evaluation for i in done]
    numbers = np.array(
        [(e.reward, m.reach, m.error, m.metric) for e in kept if (m := e.measurement) is not None], dtype=np.float64
    ).reshape(-1, 4)
    if not np.isfinite(numbers).all():
        raise ValueError("a finished trial has no finite reward, reach or metric")
    reward, reach, error, metric = numbers.T
    names = list(kept[0].costs) if kept else []
    return History(
        events=events[done],
        batch=np.array([trials[i].batch for i in done], dtype=np.int64),
        reward=reward,
        reach=reach,
        error=error,
        metric=metric,
        costs={name: np.array([e.costs[name] for e in kept], dtype=np.float64) for name in names},
        allowed=np.array([not any(value > ROUNDING for value in e.violations.values()) for e in kept], dtype=np.bool_),
        continuous=np.array([trials[i].action.continuous for i in done], dtype=np.float64),
        discrete=np.array([trials[i].action.discrete for i in done], dtype=np.int64),
        best=kept[int(np.argmax(reward))].design if kept else None,
        failures=Counter(t.evaluation.failure or "unknown" for t in trials if t.evaluation.failed),
        spent=int(events[-1]) if len(events) else 0,
        seconds=float(sum(trial.seconds for trial in trials)),
    )
