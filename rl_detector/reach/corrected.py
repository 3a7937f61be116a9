"""The reach of a few expensive events, corrected by many cheap ones (control variate)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray, IntArray
from rl_detector.terms import Measurement, Reach, Readout


@dataclass(frozen=True)
class CorrectedReach:
    """R = R_dear + sum over folds of (n_f / n) b_f (mean of c over further primaries - mean of c over fold f).

    R_dear is the reach of the n expensive events. c_i = - (cheap loss of primary i, mean of its copies) / (mean cheap
    loss) is the influence of primary i on the reach in the cheap simulator. All cheap losses come from one
    reconstruction of all cheap events, with equal weights of the primaries. The coefficient of fold f is

        b_f = f / (1 + f) * (S_gc + prior V b_0) / (S_cc + prior V),    b_0 = 1 - W / (copies V),

    with g_i = - (expensive loss) / (mean expensive loss) of a fit that has not seen the fold, and sums of products S
    over the expensive events outside the fold. V is the variance of c, W the variance between copies of a primary, f
    the further primaries per expensive event. b_0 is the best coefficient if the cheap simulator is right. It needs
    two copies, and is 0 for one.

    Bias: none. Fix all events outside fold f, and the set of cheap losses of the fold and of the further primaries.
    Then b_f is a constant, and each loss of the set is as likely to be in the fold as among the further primaries. Both
    means have one expectation, however wrong the cheap simulator is, and E[R] = E[R_dear] exactly at equal n. R_dear
    itself has a bias of order 1/n (a logarithm, and a fit to few events: see the reach), which cheap events leave.

    Variance: that of R_dear times 1 - rho^2 f / (1 + f), with the correlation rho of g and c, plus that of estimating
    b. Control variates between levels: Giles, Acta Numerica 24 (2015) 259; Peherstorfer, Willcox and Gunzburger, SIAM
    Journal on Scientific Computing 38 (2016) A3163. Coefficients from the other events ("splitting"): Avramidis and
    Wilson, Operations Research 41 (1993) 833.

    Attributes:
        reach: measures expensive and cheap events; a reach ln(reference / metric) with per-event losses.
        coefficient: a fixed b instead of the estimated one, for example from earlier designs.
        folds: F; n (1 - 1 / F) events must be enough for the reach.
        prior: weight of b_0 in expensive events; with long tails some 50 events are needed to learn b.
    """

    reach: Reach
    coefficient: float | None = None
    folds: int = 5
    prior: float = 50.0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ConfigError(f"a corrected reach needs at least 2 folds, got {self.folds}")
        if not 0 <= self.prior < math.inf:
            raise ConfigError(f"prior of a corrected reach must be finite and >= 0 events, got {self.prior}")
        if self.coefficient is not None and not math.isfinite(self.coefficient):
            raise ConfigError(f"coefficient of a corrected reach must be finite or null, got {self.coefficient}")

    def measure(self, readout: Readout) -> Measurement:
        """Corrected reach of a readout of `TwoFidelities`; its standard error covers expensive and cheap events.

        Diagnostics: dear_reach (without correction), dear_error, coefficient, correlation (of g and c), repeatability
        (correlation of two copies), cheap_events.

        Raises:
            ConfigError: the readout has no cheap events, or the reach no per-event losses.
        """
        copies = getattr(readout, "copies", None)
        if not copies:
            raise ConfigError("a corrected reach needs readouts of two simulators: use it with TwoFidelities")
        dear = self.reach.measure(Readout(readout.truth, readout.signals))
        g, control = _influences(dear), self._control(copies)
        events = len(g)
        fold = np.arange(events) % self.folds
        b = self._coefficients(readout, control, fold)[fold]
        same, further = control.values[:events], control.values[events:]
        rest, steps = g - b * same, b * (further.mean() - same)
        numbers = {
            "coefficient": float(b.mean()),
            "correlation": _correlation(g, same),
            "repeatability": control.repeatability,
            "cheap_events": float(len(copies) * len(control.values)),
        }
        of_control = float(b.mean()) ** 2 * float(further.var(ddof=1)) / len(further)
        return _shifted(dear, float(steps.mean()), rest, of_control, numbers)

    def _control(self, copies: Sequence[Readout]) -> _Control:
        """c of all primaries, from one reconstruction of all cheap events."""
        names = copies[0].truth
        truth = {name: np.concatenate([copy.truth[name] for copy in copies]) for name in names}
        together = self.reach.measure(Readout(truth, np.concatenate([copy.signals for copy in copies])))
        values = _influences(together).reshape(len(copies), -1)
        means = values.mean(axis=0)
        total = float(means.var(ddof=1))
        if len(copies) == 1:
            return _Control(means, total, 0.0, 0.0)
        within = float(values.var(axis=0, ddof=1).mean())
        between = max(total - within / len(copies), 0.0)
        return _Control(means, total, between / total if total > 0 else 0.0, between / max(between + within, 1e-300))

    def _coefficients(self, readout: Readout, control: _Control, fold: IntArray) -> FloatArray:
        """b of every fold, [folds]."""
        if self.coefficient is not None or control.variance == 0:
            return np.full(self.folds, self.coefficient or 0.0)
        events = len(fold)
        share = 1 - events / len(control.values)
        found = []
        for number in range(self.folds):
            kept = np.flatnonzero(fold != number)
            without = Readout({name: value[kept] for name, value in readout.truth.items()}, readout.signals[kept])
            c = control.values[kept] - control.values[kept].mean()
            products = c @ _influences(self.reach.measure(without))
            weight = self.prior * control.variance
            found.append(share * float((products + weight * control.guess) / (c @ c + weight)))
        return np.array(found)


class _Control(NamedTuple):
    """Control variate: values of all primaries, their variance, b_0, and the correlation of two copies."""

    values: FloatArray
    variance: float
    guess: float
    repeatability: float


def _shifted(
    dear: Measurement, shift: float, rest: FloatArray, of_control: float, numbers: Mapping[str, float]
) -> Measurement:
    """The corrected measurement.

    Args:
        dear: measurement of the expensive events alone.
        shift: correction of the reach.
        rest: influence of each expensive event on the corrected reach, [events].
        of_control: variance of the reach from the further primaries.
        numbers: diagnostics.
    """
    events, spread = len(rest), float(_influences(dear).std(ddof=1))
    # the reach knows better than s / sqrt(n) what its fit adds to the error of the mean
    scale = dear.error * math.sqrt(events) / max(spread, 1e-300)
    error = scale * math.sqrt(float(rest.var(ddof=1)) / events + of_control)
    metric = dear.metric * math.exp(-shift)
    return Measurement(
        reach=dear.reach + shift,
        error=error,
        metric=metric,
        metric_error=metric * error,
        losses=metric * (1 - (rest - rest.mean())),
        diagnostics={**dear.diagnostics, "dear_reach": dear.reach, "dear_error": dear.error, **numbers},
    )


def _influences(measured: Measurement) -> FloatArray:
    """- loss / mean loss, [events]: what each event does to ln(reference / metric)."""
    if measured.losses is None:
        raise ConfigError(
            "a corrected reach needs a reach ln(reference / metric) that gives the loss of every event; "
            "this one gives none"
        )
    influences: FloatArray = -measured.losses / measured.metric
    return influences


def _correlation(first: FloatArray, second: FloatArray) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
