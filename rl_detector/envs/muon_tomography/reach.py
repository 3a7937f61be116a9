"""How well the fill height of a furnace is known from the heights where muons scattered, as physics reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import polygamma  # type: ignore[import-untyped]

from rl_detector.envs.muon_tomography.furnace import FILL_HEIGHTS
from rl_detector.errors import ConfigError
from rl_detector.reach.unseen import JEFFREYS, carrying
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

MINIMUM_EVENTS = 10 * len(FILL_HEIGHTS)
"""Fewest events that are measured: ten muons per fill height. Their reach is crude; thousands are sensible."""


FEWEST_VERTICES = 4
"""Fewest vertices of all fill heights together that show how they follow the fill height; with fewer it is assumed."""


ASSUMED_SLOPE, ASSUMED_SPREAD = 0.1, 0.3
"""Slope, and spread of vertices in m, where too few are seen: about those of the published start."""


SLOPE_PRIOR = 0.3
"""Standard deviation of the slope around `ASSUMED_SLOPE` before vertices are seen: slopes up to 0.5 are found."""


ENOUGH_VERTICES = 20
"""Vertices of every fill height from which each has a mean of its own; with fewer, one line goes through all."""


CENTRAL_QUANTILES = (0.15865, 0.84135)
"""Quantiles between which weights are kept: the central 68 % (TomOpt)."""


_LEVER = FILL_HEIGHTS - FILL_HEIGHTS.mean()


HEIGHT_VARIANCE = float(np.mean(_LEVER**2))
"""Variance of the fill heights in m2: the metric of a layout that sees nothing."""


_SLOPE = _LEVER / (len(_LEVER) * HEIGHT_VARIANCE)


_BEND = (_LEVER**2 - HEIGHT_VARIANCE) / float(np.mean((_LEVER**2 - HEIGHT_VARIANCE) ** 2)) ** 0.5 / len(_LEVER)
"""Weights of values per fill height that give the slope of a line and the rms of a parabola (least squares)."""


_POINTS, _SHARES = np.polynomial.hermite_e.hermegauss(9)


_NODES = np.stack(np.meshgrid(_POINTS, _POINTS, _POINTS)).reshape(3, -1)


_NODE_WEIGHTS = np.einsum("i,j,k->ijk", _SHARES, _SHARES, _SHARES).reshape(-1) / _SHARES.sum() ** 3
"""Gauss-Hermite rule in three dimensions, for standard normal numbers."""


@dataclass(frozen=True)
class FillHeightReach:
    """reach = ln(reference / metric), metric = mean squared error of the calibrated fill height of one volume, in m2.

    M muons scan a volume, and its raw height T is the weighted mean height of their vertices. A line through (T,
    height), fitted by least squares over volumes of all heights, calibrates it (TomOpt, ladle furnace benchmark: the
    "debiased" squared error). Weights are 1 / error^2 of the vertex height, with the error and then the weight kept
    within the central 68 %, times how far inside the furnace the vertex is. The expected squared error is

        V Q / (V b^2 + Q),  Q = R + v / M,

    with V the variance of the heights, b the slope of E[T] against the height, R the mean square of its parabola (what
    is left then is neglected), and v / M the variance of T. b^2, R and v are estimated from all muons of a readout, and
    b^2 and R are freed of the noise of finitely many muons. So the metric does not depend on how many muons measured
    it. The error is that of `_logarithmic_error`, which also holds where the slope is compatible with zero. `losses`
    are the metric plus the influence of each event on it (delta method), stretched to that error where they carry it.

    Attributes:
        reference: metric of the baseline in m2, so that its reach is 0.
        muons: M, muons per volume.
    """

    reference: float
    muons: int

    def measure(self, readout: Readout) -> Measurement:
        """Reach of a readout with truth `height` [events] in m, cyclic, and signals z, error of z, acceptance."""
        groups = len(readout.signals) // len(FILL_HEIGHTS)
        if groups * len(FILL_HEIGHTS) < MINIMUM_EVENTS:
            raise ConfigError(f"a fill height needs at least {MINIMUM_EVENTS} events, got {len(readout.signals)}")
        signals = readout.signals[: groups * len(FILL_HEIGHTS)].reshape(groups, len(FILL_HEIGHTS), 3)
        vertices = Vertices(*np.moveaxis(signals, 2, 0))
        found = np.count_nonzero(vertices.acceptance > 0, axis=0)
        used = {"used": float(found.mean()) / groups}
        if not found.any():
            nothing = np.zeros((groups, len(FILL_HEIGHTS)))
            line = Line(0.0, nothing, 0.0, nothing, ASSUMED_SPREAD**2 * nothing.size / JEFFREYS, nothing)
            error = _logarithmic_error(line, self.muons, float(np.log(HEIGHT_VARIANCE)))
            return self._measurement(HEIGHT_VARIANCE, error, nothing, {**used, "slope": 0.0})
        if found.sum() < FEWEST_VERTICES:
            return self._of_line(assumed(vertices), used)
        line = separate(vertices) if found.min() >= ENOUGH_VERTICES else pooled(vertices)
        return self._of_line(line if line.variance > 0 else assumed(vertices), used)

    def _of_line(self, line: Line, used: dict[str, float]) -> Measurement:
        """Expected squared error and its influence functions."""
        squared, by_slope = _unbiased_square(line.slope, line.slope_pulls)
        bent, by_bend = _unbiased_square(line.bend, line.bend_pulls)
        scatter = bent + line.variance / self.muons
        total = HEIGHT_VARIANCE * squared + scatter
        moved = line.variance_pulls / self.muons + by_bend * line.bend_pulls
        change = HEIGHT_VARIANCE**2 * (squared * moved - scatter * by_slope * line.slope_pulls) / total**2
        numbers = {"slope": line.slope, "bend": bent**0.5, "spread": line.variance**0.5}
        metric = HEIGHT_VARIANCE * scatter / total
        error = _logarithmic_error(line, self.muons, float(np.log(metric)))
        return self._measurement(metric, error, change, {**used, **numbers})

    def _measurement(self, metric: float, error: float, change: FloatArray, numbers: dict[str, float]) -> Measurement:
        """From the metric in m2, the error of its logarithm, and influences on it [groups, heights]."""
        losses = carrying(change.reshape(-1), metric, error * metric)
        return Measurement(float(np.log(self.reference / metric)), error, metric, error * metric, losses, numbers)


def _logarithmic_error(line: Line, muons: int, value: float) -> float:
    """Root mean square of ln metric - value over the slopes, bends and variances that the pulls leave possible.

    Where the slope is compatible with zero the metric saturates and its derivatives vanish, but not its error. So the
    metric is taken on the nodes of a Gauss-Hermite rule, for normal slope and bend and log-normal variance with the
    covariance of the pulls. The prior of the slope, N(`ASSUMED_SLOPE`, `SLOPE_PRIOR`), only matters for few vertices.
    """
    pulls = np.stack([line.slope_pulls, line.bend_pulls, line.variance_pulls / line.variance]).reshape(3, -1)
    seen = int(np.count_nonzero(line.slope_pulls))
    known = pulls @ pulls.T / pulls.shape[1] ** 2 * (seen / max(seen - 2, 1) if seen else 1.0)
    known[2, 2] += float(polygamma(1, seen / 2 + JEFFREYS)) - 2 / (seen + 1)
    weight = SLOPE_PRIOR**2 / (SLOPE_PRIOR**2 + known[0, 0]) if seen else 0.0
    slope = ASSUMED_SLOPE + weight * (line.slope - ASSUMED_SLOPE)
    known[0], known[:, 0] = known[0] * weight**0.5, known[:, 0] * weight**0.5
    known[0, 0] = known[0, 0] if seen else SLOPE_PRIOR**2
    size, turned = np.linalg.eigh(known)
    slopes, bends, logs = (turned * np.sqrt(np.maximum(size, 0))) @ _NODES
    scatter = (line.bend + bends) ** 2 + line.variance * np.exp(logs) / muons
    wrong = np.log(HEIGHT_VARIANCE * scatter / (HEIGHT_VARIANCE * (slope + slopes) ** 2 + scatter)) - value
    return float(np.sqrt(_NODE_WEIGHTS @ wrong**2))


class Vertices(NamedTuple):
    """Heights z of vertices in m, their errors in m and acceptances (0: none), [groups, fill heights] each."""

    z: FloatArray
    error: FloatArray
    acceptance: FloatArray


class Line(NamedTuple):
    """How vertices follow the fill height: estimates, and the pull of each event on them, [groups, fill heights].

    An estimate differs from its expectation by the mean of its pulls, to first order. Slope; rms of the parabola in m;
    variance of the weighted mean of vertices times the number of muons, in m2.
    """

    slope: float
    slope_pulls: FloatArray
    bend: float
    bend_pulls: FloatArray
    variance: float
    variance_pulls: FloatArray


def separate(vertices: Vertices) -> Line:
    """From a weighted mean per fill height, as it would be measured."""
    columns = zip(vertices.error.T, vertices.acceptance.T, strict=True)
    weights = np.stack([vertex_weights(error, acceptance) for error, acceptance in columns], axis=1)
    relative = weights / weights.mean(axis=0)
    means = (relative * vertices.z).mean(axis=0)
    pulls = relative * (vertices.z - means)
    variances = (pulls**2).mean(axis=0)
    again = pulls**2 - variances - 2 * variances * (relative - 1) - 2 * (relative * pulls).mean(axis=0) * pulls
    size = len(means)
    slope, bend, variance = float(_SLOPE @ means), float(_BEND @ means), float(variances.mean())
    return Line(slope, size * _SLOPE * pulls, bend, size * _BEND * pulls, variance, again)


def pooled(vertices: Vertices) -> Line:
    """From one weighted regression through all vertices, without a parabola."""
    weights = vertex_weights(vertices.error.reshape(-1), vertices.acceptance.reshape(-1)).reshape(vertices.z.shape)
    relative = weights / weights.mean()
    lever = _LEVER - (relative * _LEVER).mean()
    width = max(float((relative * lever**2).mean()), HEIGHT_VARIANCE / 10)
    slope = float((relative * lever * vertices.z).mean()) / width
    left = vertices.z - (relative * vertices.z).mean() - slope * lever
    pulls, count = relative * left, np.count_nonzero(weights)
    squares = pulls**2 * count / (count - 2)  # two parameters are fitted
    variance = float(squares.mean())
    return Line(
        slope, pulls * lever / width, 0.0, np.zeros_like(pulls), variance, squares - variance * (2 * relative - 1)
    )


def assumed(vertices: Vertices) -> Line:
    """From the share of muons with a vertex alone."""
    seen = vertices.acceptance > 0
    variance, nothing = ASSUMED_SPREAD**2 / float(seen.mean()), np.zeros(seen.shape)
    return Line(ASSUMED_SLOPE, nothing, 0.0, nothing, variance, -variance * (seen / seen.mean() - 1))


def _unbiased_square(value: float, pulls: FloatArray) -> tuple[float, float]:
    """x^4 / (x^2 + s^2) for an x of error s, which is x^2 - s^2 where x >> s and never negative, and its derivative."""
    noise = float((pulls**2).mean()) / pulls.size
    total = value**2 + noise
    if total == 0:
        return 0.0, 0.0
    return value**4 / total, (2 * value**5 + 4 * value**3 * noise) / total**2


def vertex_weights(error: FloatArray, acceptance: FloatArray) -> FloatArray:
    """Weights of the vertices of one volume, [muons], from the errors of their heights in m and their acceptance."""
    used = acceptance > 0
    low, high = np.quantile(error[used], CENTRAL_QUANTILES)
    weights: FloatArray = acceptance / np.clip(error, low, high) ** 2
    return np.minimum(weights, np.quantile(weights[used], CENTRAL_QUANTILES[1]))
