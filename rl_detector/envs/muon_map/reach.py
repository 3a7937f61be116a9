"""How well a map of radiation lengths shows a block of lead in light material, as physics reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.muon_map.volume import (
    FLOOR_HEIGHT,
    VOLUME_SIZE,
    VOXEL_COUNT,
    densities,
    heights,
    voxels_along,
    voxels_at,
)
from rl_detector.errors import ConfigError
from rl_detector.physics.closest_approach import Tracks, closest_approach
from rl_detector.physics.scattering import HIGHLAND_MEV, velocity
from rl_detector.reconstruct.scattering_density import Kinks, Paths, Prior, closest_approach_map, likelihood_map
from rl_detector.space import FloatArray, IntArray
from rl_detector.terms import Measurement, Readout

SIGNAL_CHANNELS = (
    *("seen", "momentum", "x_in", "y_in", "slope_x_in", "slope_y_in", "x_out", "y_out", "slope_x_out", "slope_y_out"),
    *("angle_variance", "covariance", "offset_variance"),
)
"""Signals of a muon, 0 where it is not seen above and below: momentum in GeV; x, y in m and slopes per depth of the
upper track at the ceiling and of the lower one at the floor. The last three are the covariance of the differences of
slope and of position at the floor, from the resolution of hits."""


MINIMUM_EVENTS = 100
"""Fewest events that are measured, as a short scan; whole scans are sensible."""


PATH_PARTS = 20
"""Equal parts of the height in which the voxels along a muon are looked up."""


PRIOR_TRACK_LENGTH = 1.0
"""Track length in m in light material that every voxel is assumed to have shown before the scan; our choice."""


LIKELIHOOD_ITERATIONS = 12
"""Steps of expectation maximisation; our choice: with more, noise grows in voxels that few muons cross."""


TYPICAL_SCATTER, TYPICAL_SCANS = 0.5, 1.0
"""Assumed relative standard deviation of the losses of scans, and the number of scans that the assumption counts as.
They make the error of a reach from one or two scans sensible."""


FEWEST_PAIRED_SCANS = 10
"""Fewest scans whose scatter tells that of differences between designs: fewer give no `losses`."""


@dataclass(frozen=True)
class Seen:
    """Signals of the muons that were seen, one scan: arrays with the muons last."""

    momentum: FloatArray
    position: FloatArray
    slope: FloatArray
    exit_point: FloatArray
    exit_slope: FloatArray
    noise: FloatArray

    @staticmethod
    def of(signals: FloatArray) -> Seen:
        """From signals [events, channels]."""
        columns = signals[signals[:, 0] > 0].T
        return Seen(columns[1], columns[2:4], columns[4:6], columns[6:8], columns[8:10], columns[10:13])


def signals_of(momentum: FloatArray, above: Tracks, below: Tracks) -> FloatArray:
    """Signals of muons that were seen above and below, [muons, channels]."""
    ceiling, floor = np.full(momentum.shape, FLOOR_HEIGHT + VOLUME_SIZE[2]), np.full(momentum.shape, FLOOR_HEIGHT)
    levers = sum(track.slope_variance * (floor - track.middle) for track in (above, below))
    noise = [
        above.slope_variance + below.slope_variance,
        -np.asarray(levers),
        above.variance_at(floor) + below.variance_at(floor),
    ]
    rows = [np.ones_like(momentum), momentum, *above.at(ceiling), *-above.slope, *below.at(floor), *-below.slope]
    return np.stack([*rows, *(each[0] for each in noise)], axis=-1)


def kinks_of(seen: Seen) -> Kinks:
    """Kinks in the plane of the zenith angle and across it, where a slope is stretched differently."""
    beta = velocity(1000 * seen.momentum)
    unit = HIGHLAND_MEV / (1000 * seen.momentum * beta)
    steep = np.sqrt((seen.slope**2).sum(axis=0))
    stretch = np.sqrt(1 + steep**2)
    outward = np.where(steep > 0, seen.slope, np.array([[1.0], [0.0]])) / np.where(steep > 0, steep, 1.0)
    planes = np.stack([outward, np.stack([-outward[1], outward[0]])])
    turn = (planes * (seen.exit_slope - seen.slope)).sum(axis=1)
    offset = (planes * (seen.exit_point - seen.position - seen.slope * VOLUME_SIZE[2])).sum(axis=1)
    angles = turn / np.stack([stretch**2, stretch])
    offsets = offset / np.stack([stretch, np.ones_like(stretch)])
    return Kinks(angles / unit, offsets / unit, seen.noise / unit**2, beta**2)


def paths_of(seen: Seen) -> Paths:
    """Straight paths of the incoming muons, as in the simulation: scattered muons stay close to them."""
    stretch = np.sqrt(1 + (seen.slope**2).sum(axis=0))
    return Paths(
        voxels_along(seen.position, seen.slope, PATH_PARTS),
        VOXEL_COUNT,
        heights(PATH_PARTS),
        stretch,
        VOLUME_SIZE[2] / PATH_PARTS,
    )


def vertices_of(seen: Seen) -> IntArray:
    """Index of the voxel of closest approach of each muon, `VOXEL_COUNT` for outside the volume."""
    below = seen.position + seen.slope * VOLUME_SIZE[2]
    vertex = closest_approach(below, -seen.slope, seen.exit_point, -seen.exit_slope)
    return np.where(vertex.good, voxels_at(np.stack([vertex.x, vertex.y, vertex.z])), VOXEL_COUNT)


def rough_map(signals: FloatArray, light: float) -> FloatArray:
    """1 / X0 in 1/m of every voxel and 0 for outside from points of closest approach, [voxels + 1]."""
    seen = Seen.of(signals)
    return closest_approach_map(kinks_of(seen), paths_of(seen), vertices_of(seen), Prior(light, PRIOR_TRACK_LENGTH))


def density_map(signals: FloatArray, light: float, iterations: int = LIKELIHOOD_ITERATIONS) -> FloatArray:
    """1 / X0 in 1/m of every voxel and 0 for outside, by maximum likelihood, [voxels + 1].

    Args:
        signals: of one scan, [events, channels].
        light: 1 / X0 in 1/m of the light material, known beforehand.
        iterations: steps of expectation maximisation after the map of closest approach.
    """
    seen = Seen.of(signals)
    prior = Prior(light, PRIOR_TRACK_LENGTH)
    kinks, paths = kinks_of(seen), paths_of(seen)
    rough = closest_approach_map(kinks, paths, vertices_of(seen), prior)
    return likelihood_map(kinks, paths, rough, prior, iterations)


def map_errors(density: FloatArray, truth: FloatArray, light: float) -> tuple[float, float]:
    """Mean squared errors of ln X0 in the voxels of the block and in the light ones."""
    squared = np.log(density[:-1] / truth[:-1]) ** 2
    block = truth[:-1] != light
    return float(squared[block].mean()), float(squared[~block].mean())


@dataclass(frozen=True)
class MapReach:
    """reach = ln(reference / metric), metric = rms error of ln X0 in the map of one scan.

    A scan of M muons gives the map of maximum likelihood (`density_map`).
    Its error is the square root of the mean squared error of ln X0; block and light voxels count half each, our choice.
    Otherwise a detector that sees nothing, whose map is light everywhere, would be a good one.
    0.69 is a factor of two in X0. A design that sees nothing has ln(X0 light / X0 block) / sqrt 2, 2.94 for lead in
    water. The metric is the mean over the scans of a readout, each with the block at another place.
    `losses` are those of the scans if there are ten at least. The error is that of their mean, with a typical scatter
    mixed in while there are few.

    Attributes:
        reference: metric of the baseline, so that its reach is 0.
        muons: M, muons per scan; fewer events than that are one short scan, more are as many whole ones as there are.
        light: the light material.
    """

    reference: float
    muons: int
    light: str

    def measure(self, readout: Readout) -> Measurement:
        """Reach of a readout with truth `place` [events], the same within a scan, and signals `SIGNAL_CHANNELS`."""
        events = len(readout.signals)
        if events < MINIMUM_EVENTS:
            raise ConfigError(f"a map needs at least {MINIMUM_EVENTS} events, got {events}")
        scans = [slice(first, first + self.muons) for first in range(0, max(events - self.muons, 0) + 1, self.muons)]
        errors = np.array([self._errors(readout, scan) for scan in scans])
        losses = np.sqrt(errors.mean(axis=1))
        metric = float(losses.mean())
        spread = _spread(losses) / math.sqrt(len(losses))
        numbers = {name: float(np.sqrt(each).mean()) for name, each in zip(("block", "light"), errors.T, strict=True)}
        numbers["used"] = float(readout.signals[:, 0].mean())
        paired = losses if len(losses) >= FEWEST_PAIRED_SCANS else None
        return Measurement(math.log(self.reference / metric), spread / metric, metric, spread, paired, numbers)

    def _errors(self, readout: Readout, scan: slice) -> tuple[float, float]:
        truth = densities(int(readout.truth["place"][scan.start]), self.light)
        return map_errors(density_map(readout.signals[scan], truth[0], LIKELIHOOD_ITERATIONS), truth, truth[0])


def _spread(losses: FloatArray) -> float:
    """Standard deviation of the losses of scans, with the typical one mixed in."""
    typical = TYPICAL_SCANS * (TYPICAL_SCATTER * losses.mean()) ** 2
    total = ((losses - losses.mean()) ** 2).sum() + typical
    return float(np.sqrt(total / (len(losses) - 1 + TYPICAL_SCANS)))
