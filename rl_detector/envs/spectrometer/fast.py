"""Fast simulation of a magnetic spectrometer: tracks with multiple scattering, hits of finite pitch, a track fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.errors import ConfigError
from rl_detector.physics.constants import MUON_MASS_MEV, PION_MASS_MEV
from rl_detector.physics.scattering import deflections, highland_angle, velocity
from rl_detector.physics.tracks import BoolArray, Dipole, Steps, filter_kappa
from rl_detector.space import FloatArray
from rl_detector.terms import Readout

MINIMUM_HITS = 3
"""Fewest hits that determine position, slope and momentum."""


@dataclass(frozen=True)
class Stations:
    """What the tracks meet, arrays [stations] in the order of the beam.

    Attributes:
        position: z in m, ascending.
        pitch: distance of readout strips in m.
        radiation: thickness in radiation lengths.
        interaction: thickness in nuclear interaction lengths.
        efficiency: probability of a hit.
    """

    position: FloatArray
    pitch: FloatArray
    radiation: FloatArray
    interaction: FloatArray
    efficiency: FloatArray


@dataclass(frozen=True)
class TrackBeam:
    """Muons and charged pions of both charges from a source at z = 0, spread evenly in ln p.

    Attributes:
        momentum_low, momentum_high: spectrum in GeV, in the bending plane.
        pion_fraction: share of pions, the others are muons.
        divergence: slopes are uniform between -divergence and +divergence, in both planes, in rad.
        spot: standard deviation of the source in m, in both planes.
    """

    momentum_low: float
    momentum_high: float
    pion_fraction: float
    divergence: float = 0.05
    spot: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.momentum_low <= self.momentum_high < math.inf:
            raise ConfigError(
                f"momenta of the beam need 0 < low <= high, got {self.momentum_low} to {self.momentum_high} GeV"
            )
        if not 0 <= self.pion_fraction <= 1:
            raise ConfigError(f"share of pions in the beam must lie in [0, 1], got {self.pion_fraction}")

    def sample(self, events: int, rng: np.random.Generator) -> Tracks:
        """Draw tracks."""
        low, high = math.log(self.momentum_low), math.log(self.momentum_high)
        momentum = np.exp(rng.uniform(low, high, events))
        charge = np.where(rng.random(events) < 0.5, -1.0, 1.0)
        pion = rng.random(events) < self.pion_fraction
        beta = velocity(1000 * momentum, np.where(pion, PION_MASS_MEV, MUON_MASS_MEV))
        x, y = rng.normal(0.0, self.spot, (2, events))
        slope_x, slope_y = rng.uniform(-self.divergence, self.divergence, (2, events))
        range_ = np.where(pion, rng.standard_exponential(events), np.inf)
        return Tracks(charge / momentum, momentum, beta, x, y, slope_x, slope_y, range_)


@dataclass(frozen=True)
class Tracks:
    """Primaries at z = 0, arrays [events].

    Attributes:
        kappa: q / p in 1/GeV.
        momentum: p in GeV.
        beta: velocity over that of light.
        x, y: m. slope_x, slope_y: rad; x is the bending plane.
        range: matter in nuclear interaction lengths after which a pion is lost; infinite for muons.
    """

    kappa: FloatArray
    momentum: FloatArray
    beta: FloatArray
    x: FloatArray
    y: FloatArray
    slope_x: FloatArray
    slope_y: FloatArray
    range: FloatArray

    def __len__(self) -> int:
        return len(self.kappa)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one seed that do not depend on the design: tracks, and for every station its own.

    The draws of the first stations do not depend on how many there are.
    """

    tracks: Tracks
    normal: FloatArray
    strip: FloatArray
    chance: FloatArray

    @staticmethod
    def of(beam: TrackBeam, events: int, seed: int, stations: int) -> Draws:
        tracks, normal, strip, chance = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
        size = (stations, events)
        normals = normal.standard_normal((stations, 3, events))
        return Draws(beam.sample(events, tracks), normals, strip.random(size), chance.random(size))


@dataclass(frozen=True)
class Scattering:
    """The steps of the tracks, with the angles [stations, events] and [gaps, events] in rad of stations and gas."""

    all: Steps
    planes: FloatArray
    gaps: FloatArray


@dataclass(frozen=True)
class Spectrometer:
    """Magnet, gas, aperture and beam; it measures any row of stations.

    Simulated are bending to first order in the angle, scattering in the stations and the gas, inefficiency, and
    aperture. Hits are evenly distributed over their strip (sd pitch / sqrt 12). Pions are lost by nuclear interactions.
    Left out: energy loss, decays, noise hits, wrong assignment of hits, scattering in the other plane, which has no
    readout. The fit weighs hits by the scattering at the true momentum; 10 % beside it would cost less than 1 % of the
    variance.

    Attributes:
        magnet: the dipole.
        gas: radiation length in m of what fills the gaps; infinite for none.
        width: of the stations in m, in both directions.
        beam: what comes in.
    """

    magnet: Dipole
    gas: float
    width: float
    beam: TrackBeam

    def readouts(self, layouts: Sequence[Stations], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Truth `kappa` [events] = q / p in 1/GeV; signals [events, 3]: fitted kappa, its error, number of hits.

        Tracks with fewer than `MINIMUM_HITS` have 0 for kappa and error. Equal seeds share tracks and random numbers.
        """
        most = max(len(layout.position) for layout in layouts)
        draws = {seed: Draws.of(self.beam, events, seed, most) for seed in set(seeds)}
        return [self._readout(layout, draws[seed]) for layout, seed in zip(layouts, seeds, strict=True)]

    def _readout(self, layout: Stations, draws: Draws) -> Readout:
        y, steps = draws.tracks.y + draws.tracks.slope_y * layout.position[:, None], self.steps(layout, draws.tracks)
        return self.measured(layout, steps, draws, self._positions(layout, steps, draws), y)

    def measured(
        self, layout: Stations, steps: Scattering, draws: Draws, positions: FloatArray, y: FloatArray
    ) -> Readout:
        """The readout of tracks that cross the stations at positions (x) and y in m, [stations, events].

        A track that does not get to a station has an infinite x there.
        """
        n, seen = len(layout.position), self._seen(layout, positions, y, draws)
        measured = np.where(seen, positions, 0.0) + layout.pitch[:, None] * (draws.strip[:n] - 0.5)
        variances = np.broadcast_to(layout.pitch[:, None] ** 2 / 12, measured.shape)
        kappa, variance = filter_kappa(measured, seen, variances, steps.all)
        hits = seen.sum(axis=0)
        known = hits >= MINIMUM_HITS
        errors = np.sqrt(np.maximum(variance, 0.0))
        signals = np.stack([np.where(known, kappa, 0.0), np.where(known, errors, 0.0), hits], axis=1)
        return Readout({"kappa": draws.tracks.kappa}, signals)

    def steps(self, layout: Stations, tracks: Tracks) -> Scattering:
        """Scattering angles of these tracks; the logarithm of Highland's formula is that of all matter together."""
        thin, thick = layout.radiation, np.diff(layout.position) / self.gas
        whole = float(thin.sum() + thick.sum())
        total = highland_angle(1000 * tracks.momentum, tracks.beta, whole)
        planes, gaps = (total * np.sqrt(part / (whole or 1.0))[:, None] for part in (thin, thick))
        return Scattering(Steps.between(layout.position[:, None], self.magnet, planes, gaps), planes, gaps)

    def _positions(self, layout: Stations, steps: Scattering, draws: Draws) -> FloatArray:
        """True x at every station, [stations, events] in m."""
        tracks, first = draws.tracks, layout.position[0]
        x = tracks.x + tracks.slope_x * first + tracks.kappa * self.magnet.bend(first)
        slope = tracks.slope_x + tracks.kappa * self.magnet.kick(first)
        positions = [x]
        for i, (length, shift, kick, *_) in enumerate(steps.all):
            plane, first_gas, second_gas = draws.normal[i]
            thin = steps.planes[i] * plane
            thick, offset = deflections(steps.gaps[i], length, first_gas, second_gas)
            x = x + (slope + thin) * length + tracks.kappa * shift + offset
            slope = slope + thin + thick + tracks.kappa * kick
            positions.append(x)
        return np.stack(positions)

    def _seen(self, layout: Stations, positions: FloatArray, y: FloatArray, draws: Draws) -> BoolArray:
        """Which tracks leave a hit: inside the station, not lost before, and not missed, [stations, events]."""
        inside = np.maximum(np.abs(positions), np.abs(y)) < self.width / 2
        upstream = (np.cumsum(layout.interaction) - layout.interaction)[:, None]
        return inside & (upstream < draws.tracks.range) & (draws.chance[: len(y)] < layout.efficiency[:, None])

    def describe(self) -> Mapping[str, str]:
        """Facts of magnet and beam."""
        beam, magnet = self.beam, self.magnet
        return {
            "simulator": "spectrometer",
            "magnet": f"{magnet.field:g} T from {magnet.start:g} to {magnet.start + magnet.length:g} m",
            "beam": f"{beam.pion_fraction:.0%} pions, {1 - beam.pion_fraction:.0%} muons, "
            f"{beam.momentum_low:g}-{beam.momentum_high:g} GeV even in ln p",
        }
