"""Muons of 400 GeV protons in a dense target: a table made with Pythia, and a simple parametrisation.

The table (source.npz, made by experiments/muon_shield/generate.py) holds total and transverse momentum
at production, charge and weight. Every draw rotates a row by a random azimuth, which is exact, and smears both momenta
a little, so that finitely many rows give a continuous spectrum.
Momenta in GeV, lengths in cm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray

TABLE_FILE = Path(__file__).parent / "source.npz"


PROTONS_ON_TARGET = 1e10
"""Protons on target that weights are scaled to: the published design then has a few dozen hits; our choice."""


SPOT_WIDTH = 0.5
"""Standard deviation of the beam spot in cm, in x and y (public SHiP codes)."""


START_Z = -100.0
"""z in cm at which muons begin, 1 m in front of the absorber; our choice. The target has no mass here."""


MOMENTUM_SMEAR = 0.08
"""Standard deviation of the smearing of ln p and ln p_T; our choice."""


LOWEST_MOMENTUM = 5.0
"""Momentum in GeV below which muons are left out: 5.4 m of iron in the absorber take more than 6 GeV."""


class Primaries(NamedTuple):
    """Muons at `START_Z`.

    Attributes:
        position: x and y in cm, [2, events].
        momentum: GeV, [3, events].
        charge: +1 or -1, [events].
        weight: muons per `PROTONS_ON_TARGET` protons that the event represents, times the number of events, [events].
            The mean of weight times anything is that per `PROTONS_ON_TARGET` protons.
    """

    position: FloatArray
    momentum: FloatArray
    charge: FloatArray
    weight: FloatArray


def importance(momentum: FloatArray) -> FloatArray:
    """Factor by which a muon of this momentum in GeV is drawn more often, [muons].

    It rises steeply to 13 GeV, below which hardly any muon crosses the iron, then in proportion to p. That is close to
    what a muon adds to the blurred objective of shields like the published one (root mean square).
    """
    relative = momentum / IMPORTANCE_KNEE
    favour: FloatArray = np.minimum(relative, 1.0) ** 6 * np.maximum(relative, 1.0)
    return favour


IMPORTANCE_KNEE = 13.0
"""Momentum in GeV below which hardly any muon crosses the iron."""


class MuonSource(Protocol):
    """Where muons come from."""

    def sample(self, events: int, rng: np.random.Generator) -> Primaries:
        """Draw muons."""
        ...

    def describe(self) -> str:
        """Facts that results must state."""
        ...


class Rows(NamedTuple):
    """Rows of the table, each [rows]: GeV, GeV, +1 or -1, and muons per proton."""

    momentum: FloatArray
    transverse: FloatArray
    charge: FloatArray
    weight: FloatArray


@lru_cache
def table(part: str = "all") -> Rows:
    """The table, or its first or second half.

    Raises:
        ConfigError: unknown part.
    """
    parts = {"all": slice(None), "first": slice(0, None, 2), "second": slice(1, None, 2)}
    if part not in parts:
        raise ConfigError(f"unknown part {part!r} of the table of muons: known are {', '.join(parts)}")
    with np.load(TABLE_FILE, allow_pickle=False) as file:
        momentum, transverse, charge, weight = (file[n].astype(np.float64)[parts[part]] for n in Rows._fields)
    return Rows(momentum, transverse, charge, weight * (1.0 if part == "all" else 2.0))


@dataclass(frozen=True)
class PythiaSource:
    """Muons of the table, drawn more often where they can become hits, with weights that undo it.

    Attributes:
        part: "all" of the table, or its "first" or "second" half, which share no row.
        importance: whether rows are drawn with probability in proportion to weight times `importance`, else to weight.
    """

    part: str = "all"
    importance: bool = True

    def sample(self, events: int, rng: np.random.Generator) -> Primaries:
        """Draw muons, systematically over the rows (one uniform number for all)."""
        rows = table(self.part)
        favour = importance(rows.momentum) if self.importance else np.ones(len(rows.momentum))
        drawn = np.cumsum(rows.weight * favour)
        places = (np.arange(events) + rng.random()) / events * drawn[-1]
        which = rng.permutation(np.minimum(np.searchsorted(drawn, places, side="right"), len(drawn) - 1))
        total, transverse = np.exp(MOMENTUM_SMEAR * rng.standard_normal((2, events)))
        weight = PROTONS_ON_TARGET * drawn[-1] / favour[which]
        p = total * rows.momentum[which]
        p_t = np.minimum(transverse * rows.transverse[which], 0.9 * p)
        return _around(p, p_t, rows.charge[which], weight, rng)

    def describe(self) -> str:
        """Name and part of the table."""
        return f"Pythia 8 table of muons, 400 GeV protons, {self.part} rows"


@dataclass(frozen=True)
class ExponentialSource:
    """Normal p_x and p_y, exponential p_z, equal charges (comments of public SHiP codes); no importance.

    Attributes:
        width: standard deviation of p_x and p_y in GeV.
        mean: of p_z in GeV.
        rate: muons above `LOWEST_MOMENTUM` per proton; our choice, it only scales the hits.
    """

    width: float = 0.38
    mean: float = 14.29
    rate: float = 2e-3

    def sample(self, events: int, rng: np.random.Generator) -> Primaries:
        """Draw muons."""
        p_z = LOWEST_MOMENTUM + self.mean * rng.standard_exponential(events)
        p_t = self.width * np.sqrt(2 * rng.standard_exponential(events))
        charge = np.where(rng.random(events) < 0.5, -1.0, 1.0)
        return _around(np.hypot(p_z, p_t), p_t, charge, np.full(events, PROTONS_ON_TARGET * self.rate), rng)

    def describe(self) -> str:
        """Parameters."""
        return f"p_x, p_y normal ({self.width:g} GeV), p_z exponential ({self.mean:g} GeV)"


def _around(
    p: FloatArray, p_t: FloatArray, charge: FloatArray, weight: FloatArray, rng: np.random.Generator
) -> Primaries:
    """Muons at random azimuths from the beam spot."""
    azimuth = 2 * math.pi * rng.random(len(p))
    momentum = np.stack([p_t * np.cos(azimuth), p_t * np.sin(azimuth), np.sqrt(p**2 - p_t**2)])
    return Primaries(SPOT_WIDTH * rng.standard_normal((2, len(p))), momentum, charge, weight)
