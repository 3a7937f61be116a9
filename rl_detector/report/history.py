"""A ledger as arrays, for figures and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import RunFolderError
from rl_detector.records.ledger import NUMBERS, Ledger, Trial
from rl_detector.space import Design, FloatArray, IntArray

MAXIMUM_GROUPS = 40
"""Most points of a curve; longer studies show the mean of several consecutive batches."""

MAXIMUM_DESIGNS = 10_000
"""Most designs that are read, evenly spread over the finished trials; results are read for all trials."""

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
    """The finished trials of a study, in order of their numbers, and the number of others.

    Attributes:
        events: simulated events up to and with each trial, failed ones included, [trials].
        batch: number of the batch, [trials].
        reward, reach, error, metric: results, the error is that of the reach, [trials].
        sampled: indices of the trials whose designs were read: all, or MAXIMUM_DESIGNS evenly spread ones, [sampled].
        costs: name -> amount, [sampled].
        allowed: whether no constraint is violated, [sampled].
        continuous, discrete: what the agent asked, [sampled, c] and [sampled, k].
        best: design of the best reward (optimistic: the best of many noisy ones).
        failures: reason -> number of failed trials, the most frequent reasons.
        failed: number of failed trials.
        spent, seconds: simulated events and time of the simulations of all trials.
        simulator: facts that the simulator of the training stated, {} where none were kept.
        broken: trial numbers of rows that are left out because they do not fit their checksums.
    """

    events: IntArray
    batch: IntArray
    reward: FloatArray
    reach: FloatArray
    error: FloatArray
    metric: FloatArray
    sampled: IntArray
    costs: Mapping[str, FloatArray]
    allowed: NDArray[np.bool_]
    continuous: FloatArray
    discrete: IntArray
    best: Design | None
    failures: Counter[str]
    failed: int
    spent: int
    seconds: float
    simulator: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.events)

    @property
    def sample(self) -> History:
        """The history of the sampled trials alone, all arrays [sampled]."""
        names = ("events", "batch", "reward", "reach", "error", "metric")
        fields: dict[str, Any] = {name: getattr(self, name)[self.sampled] for name in names}
        return replace(self, sampled=np.arange(len(self.sampled)), **fields)

    @property
    def batches_per_group(self) -> int:
        """Number of consecutive batches that make one point of a curve."""
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
        """This history with another zero of the reach."""
        return replace(self, reach=self.reach + shift, reward=self.reward + shift)


def trend(values: FloatArray, groups: Sequence[IntArray], batches: IntArray) -> Trend:
    """Mean and spread of a quantity in each group; a single trial has spread 0.

    In a group of three or more batches the standard error of the mean comes from their scatter, which contains what the
    designs of a batch share: their events. In a smaller group it comes from the scatter of the designs.
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
        return _history(np.zeros((0, len(NUMBERS))), [], None, Counter())
    ledger = Ledger(path, read_only=True)
    try:
        return replace(_read(ledger), broken=ledger.broken)
    except RunFolderError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise RunFolderError(f"the ledger {path} is damaged: {type(error).__name__}: {error}") from error
    finally:
        ledger.close()


def _read(ledger: Ledger) -> History:
    """Results of all trials, and designs of at most MAXIMUM_DESIGNS of them."""
    numbers = np.concatenate([np.zeros((0, len(NUMBERS))), *ledger.numbers()])
    done = numbers[numbers[:, NUMBERS.index("done")] == 1]
    trials = done[:, NUMBERS.index("trial")].astype(np.int64)
    rewards = done[:, NUMBERS.index("reward")]
    best = _trial(ledger, trials[int(np.argmax(rewards))]).evaluation.design if len(done) else None
    found = _history(numbers, [_trial(ledger, trials[i]) for i in _sampled(len(done))], best, ledger.failures())
    return replace(found, simulator=ledger.simulator)


def _trial(ledger: Ledger, number: int) -> Trial:
    trial = ledger.trial(int(number))
    if trial is None:
        raise ValueError(f"trial {number} is gone")
    return trial


def _sampled(trials: int) -> IntArray:
    """Indices, evenly spread, of the finished trials whose designs are read."""
    return np.unique(np.linspace(0, trials - 1, min(trials, MAXIMUM_DESIGNS)).round().astype(np.int64))


def _history(numbers: FloatArray, sample: Sequence[Trial], best: Design | None, failures: Counter[str]) -> History:
    everything = dict(zip(NUMBERS, numbers.T, strict=True))
    good = everything["done"] == 1
    columns = {name: everything[name][good] for name in ("reward", "reach", "reach_error", "metric")}
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise ValueError("a finished trial has no finite reward, reach or metric")
    events = np.cumsum(everything["events"]).astype(np.int64)
    kept = [trial.evaluation for trial in sample]
    names = list(kept[0].costs) if kept else []
    return History(
        events=events[good],
        batch=everything["batch"][good].astype(np.int64),
        reward=columns["reward"],
        reach=columns["reach"],
        error=columns["reach_error"],
        metric=columns["metric"],
        sampled=_sampled(int(good.sum())),
        costs={name: _finite([e.costs[name] for e in kept]) for name in names},
        allowed=np.array([not any(value > ROUNDING for value in e.violations.values()) for e in kept], dtype=np.bool_),
        continuous=_finite([trial.action.continuous for trial in sample]),
        discrete=np.array([trial.action.discrete for trial in sample], dtype=np.int64),
        best=best,
        failures=failures,
        failed=int((~good).sum()),
        spent=int(events[-1]) if len(events) else 0,
        seconds=float(everything["seconds"].sum()),
    )


def _finite(values: Sequence[Any]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a finished trial has a cost or an action that is not finite")
    return array
