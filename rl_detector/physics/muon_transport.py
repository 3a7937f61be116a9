"""Muons through a row of iron magnets, all muons of all designs at once, in steps of fixed length in z.

In a step the field is uniform: that in the middle of the step. p_x and p_y then change linearly with z. The bent
coordinate moves by dz (p_x0 + p_x1) / (p_z0 + p_z1), which is exact in a uniform field. The other coordinate moves by
this formula too, with an error of phi^2 / 12 of its change, for the bending angle phi of one step. Energy loss with
straggling and scattering (angle and offset) add up to equal means and variances for any number of steps.
Lengths in cm, momenta in GeV, fields in T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.constants import CURVATURE_GEV_PER_T_CM, MUON_MASS
from rl_detector.physics.energy_loss import Straggling
from rl_detector.physics.magnets import Magnet
from rl_detector.physics.materials import material
from rl_detector.physics.scattering import HIGHLAND_MEV, IRON_RATE, growth

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

FLATTEST = 0.1
"""Smallest cosine of the angle to the z axis; muons at larger angles are lost."""


@dataclass(frozen=True)
class Muons:
    """Muons at one z, arrays [muons].

    Attributes:
        x, y: positions in cm.
        u, v: direction cosines along x and y.
        energy: total energy in GeV.
        charge: +1 or -1.
        crossed: iron crossed so far, in radiation lengths.
    """

    x: FloatArray
    y: FloatArray
    u: FloatArray
    v: FloatArray
    energy: FloatArray
    charge: FloatArray
    crossed: FloatArray

    @staticmethod
    def of(x: FloatArray, y: FloatArray, momentum: FloatArray, charge: FloatArray) -> Muons:
        """Make muons from positions in cm and momenta (p_x, p_y, p_z) in GeV, [3, muons]."""
        total = np.sqrt((momentum**2).sum(axis=0))
        u, v, _ = momentum / total
        return Muons(x, y, u, v, np.hypot(total, MUON_MASS), charge, np.zeros_like(total))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def momentum(self) -> FloatArray:
        """Momenta in GeV, [muons]."""
        momentum: FloatArray = np.sqrt(np.maximum(self.energy**2 - MUON_MASS**2, 0.0))
        return momentum

    def take(self, which: IndexArray) -> Muons:
        """Select muons by index."""
        return Muons(*(getattr(self, field.name)[which] for field in fields(self)))

    def drift(self, distance: float | FloatArray) -> Muons:
        """Move the muons straight on, over a distance along z in cm."""
        stretch = distance / np.sqrt(1 - self.u**2 - self.v**2)
        return replace(self, x=self.x + self.u * stretch, y=self.y + self.v * stretch)


@dataclass(frozen=True)
class Noise:
    """Random numbers of every step and muon, single precision: normals [steps, 5, muons], uniform [steps, 2, muons]."""

    normals: NDArray[np.float32]
    uniform: NDArray[np.float32]

    @staticmethod
    def draw(rng: np.random.Generator, steps: int, muons: int) -> Noise:
        """Draw the random numbers of all steps and muons."""
        normals = rng.standard_normal((steps, 5, muons), dtype=np.float32)
        return Noise(normals, rng.random((steps, 2, muons), dtype=np.float32))


@dataclass(frozen=True)
class Stage:
    """One stage of the way: one magnet of every design, arrays [designs].

    Attributes:
        length: length along z in cm.
        iron, height, gap: cross-sections at entrance and exit in cm, [2, designs].
        field: B_y of the core in T.
    """

    length: FloatArray
    iron: FloatArray
    height: FloatArray
    gap: FloatArray
    field: FloatArray

    @staticmethod
    def of(magnets: Sequence[Magnet]) -> Stage:
        """Make a stage from one magnet per design."""
        ends = [[m.entrance for m in magnets], [m.exit for m in magnets]]
        names = ("iron", "height", "gap")
        iron, height, gap = (np.array([[getattr(s, name) for s in end] for end in ends]) for name in names)
        length = np.array([2 * m.half_length for m in magnets], dtype=np.float64)
        return Stage(length, iron, height, gap, np.array([m.field for m in magnets], dtype=np.float64))

    def middle(self, fraction: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return iron, height and gap in cm at a fraction of the length, each [designs]."""
        iron, height, gap = (ends[0] + fraction * (ends[1] - ends[0]) for ends in (self.iron, self.height, self.gap))
        return iron, height, gap


IRON_STRAGGLING = Straggling()
"""Energy loss in iron, whose tables are made once."""


@dataclass(frozen=True)
class IronTransport:
    """Transport of muons through magnets.

    Attributes:
        straggling: energy loss in iron; None for no loss.
        scattering: whether muons scatter.
        threshold: momentum in GeV below which muons are dropped.
        highland: whether the logarithm of Highland's formula grows with all iron crossed; else the width is that of
            `thick_rate`. Geant4's widths agree with `thick_rate`: they are 0.95 of Highland's behind 1 m and 0.86
            behind 10 to 35 m, see experiments/tracking_vs_geant4.
    """

    straggling: Straggling | None = IRON_STRAGGLING
    scattering: bool = True
    threshold: float = 1.0
    highland: bool = True

    def through(
        self, muons: Muons, which: IndexArray, source: IndexArray, stage: Stage, noise: Noise
    ) -> tuple[Muons, IndexArray, IndexArray]:
        """Carry muons to the end of a stage; drop those that stop or turn aside.

        Args:
            muons: at the entrance, [muons].
            which: index of the design of each muon, [muons].
            source: index of each muon in the random numbers, [muons].
            stage: the magnet of each design.
            noise: random numbers, which also set the number of steps.

        Returns:
            Muons at the exit, with their `which` and `source`.
        """
        steps = len(noise.normals)
        for step in range(steps):
            muons, alive = self._step(muons, which, source, stage, noise, step)
            if not alive.all():
                kept = np.flatnonzero(alive)
                muons, which, source = muons.take(kept), which[kept], source[kept]
        return muons, which, source

    def _step(
        self, muons: Muons, which: IndexArray, source: IndexArray, stage: Stage, noise: Noise, step: int
    ) -> tuple[Muons, NDArray[np.bool_]]:
        steps = len(noise.normals)
        dz = (stage.length / steps)[which]
        slope = np.sqrt(1 - muons.u**2 - muons.v**2)
        half = dz / (2 * slope)
        f, h, g = (size[which] for size in stage.middle((step + 0.5) / steps))
        bx, by, iron = field_at(muons.x + half * muons.u, muons.y + half * muons.v, f, h, g, stage.field[which])
        momentum = muons.momentum
        path = 2 * half * iron
        lost = self._loss(momentum, path, noise, step, source)
        middle = np.maximum(momentum - lost / 2, MUON_MASS)
        bend = CURVATURE_GEV_PER_T_CM * muons.charge * dz / middle
        u, v = muons.u - bend * by, muons.v + bend * bx
        w = np.sqrt(np.maximum(1 - u**2 - v**2, FLATTEST**2))
        shift = dz / (slope + w)
        x, y = muons.x + shift * (muons.u + u), muons.y + shift * (muons.v + v)
        moved = Muons(x, y, u, v, muons.energy - lost, muons.charge, muons.crossed)
        if self.scattering:
            moved = _scattered(moved, middle, path, noise, step, source, self.highland)
        enough = moved.energy > np.hypot(self.threshold, MUON_MASS)
        return moved, enough & (1 - moved.u**2 - moved.v**2 > FLATTEST**2)

    def _loss(self, momentum: FloatArray, path: FloatArray, noise: Noise, step: int, source: IndexArray) -> FloatArray:
        if self.straggling is None:
            return np.zeros_like(momentum)
        normal, (chance, keep) = noise.normals[step, 4, source], noise.uniform[step][:, source]
        return self.straggling.loss(momentum, path, normal, chance, keep)


def field_at(
    x: FloatArray, y: FloatArray, iron: FloatArray, height: FloatArray, gap: FloatArray, field: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return B_x and B_y in T at points of a cross-section, and whether there is iron (1 or 0); arrays [muons].

    Core, return yokes, top and bottom are those of `rl_detector.physics.magnets`, with mitred joints.

    Examples:
        >>> x, size = np.array([5.0, 12.0, 20.0]), [np.full(3, n) for n in (10.0, 20.0, 5.0)]
        >>> bx, by, iron = field_at(x, np.zeros(3), *size, np.full(3, 1.7))
        >>> by[iron > 0], iron
        (array([ 1.7, -1.7]), array([1., 0., 1.]))
    """
    a, b = np.abs(x), np.abs(y) - height
    right = a - iron - gap
    core = (a < iron) & (b < iron - a)
    yoke = (right > 0) & (b < right)
    inside = (right < iron) & (b < iron)
    cap = (b > 0) & inside & ~core & ~yoke
    side = core | (yoke & inside)
    by = np.where(core, field, -field) * side
    bx = field * np.sign(x * y) * cap
    return bx, by, (side | cap).astype(np.float64)


def _scattered(
    muons: Muons,
    momentum: FloatArray,
    path: FloatArray,
    noise: Noise,
    step: int,
    source: IndexArray,
    highland: bool,
) -> Muons:
    """Add scattering angles and offsets along x and along y, for small angles to the z axis."""
    crossed = muons.crossed + path / IRON_LENGTH
    squared = growth(crossed) - growth(muons.crossed) if highland else IRON_RATE * path / IRON_LENGTH
    width = np.sqrt(np.maximum(squared, 0.0))
    theta = HIGHLAND_MEV / 1000 * np.hypot(momentum, MUON_MASS) / momentum**2 * width
    first_x, second_x, first_y, second_y = noise.normals[step, :4][:, source]
    x = muons.x + path * theta * (first_x / np.sqrt(12) + second_x / 2)
    y = muons.y + path * theta * (first_y / np.sqrt(12) + second_y / 2)
    return replace(muons, x=x, y=y, u=muons.u + theta * second_x, v=muons.v + theta * second_y, crossed=crossed)


IRON_LENGTH = material("Fe").radiation_length
"""Radiation length of iron in cm."""
