"""Energy loss of muons in matter: a(E) + b(E) E, and its fluctuations without bias under any division into steps.

Collisions below a cut are a drift with normal fluctuations. Those above it, knock-on electrons and hard radiation, are
drawn one by one from a Poisson process. Both add up, so one step and many steps have equal means and variances.
Momenta and energies in GeV, lengths in cm.

Sources: PDG 2024, "Passage of particles through matter", eqs. 34.4, 34.5, 34.7, 34.8, 34.41; Groom, Mokhov and
Striganov, At. Data Nucl. Data Tables 78 (2001) 183; Sternheimer, Berger and Seltzer, ibid. 30 (1984) 261.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_detector.physics.constants import BETHE_GEV_CM2_PER_MOL, ELECTRON_MASS, INVERSE_FINE_STRUCTURE, MUON_MASS

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stopper:
    """Constants of a material that determine its energy loss.

    Attributes:
        density: density in g/cm3.
        charge_over_mass: <Z/A> in mol/g.
        excitation: mean excitation energy I in GeV.
        sternheimer: a, k, x0, x1, C, delta0 of the density effect.
        radiation: (T in GeV, bremsstrahlung, pair production), the b of each in 1e-6 cm2/g.
        photonuclear: b of photonuclear interactions in 1e-6 cm2/g.
    """

    density: float
    charge_over_mass: float
    excitation: float
    sternheimer: tuple[float, float, float, float, float, float]
    radiation: tuple[tuple[float, float, float], ...]
    photonuclear: float


IRON = Stopper(
    density=7.874,
    charge_over_mass=0.46557,
    excitation=286.0e-9,
    sternheimer=(0.14680, 2.9632, -0.0012, 3.1531, 4.2911, 0.12),
    radiation=(
        (0.3, 0.4110, 0.0),
        (1.0, 0.6690, 0.2044),
        (3.0, 0.9920, 0.6761),
        (10.0, 1.4077, 1.4736),
        (30.0, 1.8102, 2.3017),
        (100.0, 2.2388, 3.1604),
        (200.0, 2.4644, 3.5687),
        (300.0, 2.5856, 3.7677),
        (400.0, 2.6658, 3.8902),
        (1000.0, 2.8864, 4.1824),
    ),
    photonuclear=0.4,
)
"""Iron. Density effect: muon tables of the PDG. Bremsstrahlung and pairs: G4EmCalculator of Geant4 11.4. Photonuclear:
Groom et al., rounded."""


def largest_transfer(momentum: ArrayLike) -> FloatArray:
    """Return the largest energy in GeV that one collision gives to an electron (PDG eq. 34.4).

    Examples:
        >>> round(float(largest_transfer(10.0)), 2)
        4.78
    """
    momentum = np.asarray(momentum, dtype=np.float64)
    gamma = np.hypot(momentum, MUON_MASS) / MUON_MASS
    ratio = ELECTRON_MASS / MUON_MASS
    transfer: FloatArray = 2 * ELECTRON_MASS * (momentum / MUON_MASS) ** 2 / (1 + 2 * gamma * ratio + ratio**2)
    return transfer


def density_effect(momentum: ArrayLike, matter: Stopper = IRON) -> FloatArray:
    """Return delta(beta gamma) of Sternheimer's parametrisation for conductors (PDG eq. 34.7).

    Examples:
        >>> [round(float(x), 2) for x in density_effect([1.0, 100.0])]
        [1.68, 9.42]
    """
    a, k, x0, x1, c, delta0 = matter.sternheimer
    x = np.log10(np.asarray(momentum, dtype=np.float64) / MUON_MASS)
    line = 2 * math.log(10) * x - c
    middle = line + a * np.maximum(x1 - x, 0.0) ** k
    delta: FloatArray = np.where(x < x0, delta0 * 10 ** (2 * (x - x0)), middle)
    return delta


def ionisation(momentum: ArrayLike, matter: Stopper = IRON) -> FloatArray:
    """Return the mean electronic loss a in GeV/cm.

    It is Bethe's formula with density effect and spin 1/2 (PDG eq. 34.5), plus bremsstrahlung from atomic electrons
    (Groom et al., sec. 4.2).

    Examples:
        >>> round(1e3 * float(ionisation(0.35)), 1)
        11.4
    """
    momentum = np.asarray(momentum, dtype=np.float64)
    energy = np.hypot(momentum, MUON_MASS)
    beta2, transfer = (momentum / energy) ** 2, largest_transfer(momentum)
    logarithm = np.log(2 * ELECTRON_MASS * (momentum / MUON_MASS) ** 2 * transfer / matter.excitation**2)
    bracket = logarithm / 2 - beta2 - density_effect(momentum, matter) / 2 + (transfer / energy) ** 2 / 8
    electrons = np.log(2 * transfer / ELECTRON_MASS)
    photons = (np.log(2 * energy / MUON_MASS) - electrons / 3) * electrons**2 / (4 * math.pi * INVERSE_FINE_STRUCTURE)
    loss: FloatArray = BETHE_GEV_CM2_PER_MOL * matter.density * matter.charge_over_mass * (bracket / beta2 + photons)
    return loss


def radiation(momentum: ArrayLike, matter: Stopper = IRON) -> tuple[FloatArray, FloatArray]:
    """Return b in 1/cm of bremsstrahlung with photonuclear interactions, and of pair production.

    The tables are interpolated linearly in ln T.

    Examples:
        >>> hard, pairs = radiation(100.0)
        >>> round(1e6 * float(hard + pairs), 1)
        45.7
    """
    kinetic = np.hypot(momentum, MUON_MASS) - MUON_MASS
    energies, hard, pairs = np.array(matter.radiation).T
    place, grid = np.log(np.maximum(kinetic, 1e-9)), np.log(energies)
    scale = 1e-6 * matter.density
    return scale * (np.interp(place, grid, hard) + matter.photonuclear), scale * np.interp(place, grid, pairs)


def mean_loss(momentum: ArrayLike, matter: Stopper = IRON) -> FloatArray:
    """Return the mean loss a + b E in GeV/cm (PDG eq. 34.41).

    Examples:
        >>> [round(1e3 * float(x), 1) for x in mean_loss([1.0, 10.0, 100.0])]
        [12.3, 15.5, 21.9]
    """
    energy = np.hypot(momentum, MUON_MASS)
    hard, pairs = radiation(momentum, matter)
    loss: FloatArray = ionisation(momentum, matter) + (hard + pairs) * energy
    return loss


@dataclass(frozen=True)
class Straggling:
    """Mean, variance and single hard collisions of the loss, tabulated in ln p.

    Knock-on electrons: dN/dT ds = xi / T^2 (1 - beta^2 T / T_max + T^2 / 2 E^2), xi = K rho Z / (2 A beta^2) (PDG eq.
    34.8). Bremsstrahlung and photonuclear: dN/dv ds = b / v (4/3 - 4/3 v + v^2), v = T / E, screened completely (PDG
    eq. 34.29), so that the mean of v is b. Pair production, always soft, has no fluctuations.

    Attributes:
        matter: material that is crossed.
        cut: energy in GeV above which a knock-on electron is a collision of its own.
        fraction: share of the muon's energy above which radiation is a collision of its own.
        low, high: lowest and highest momentum of the tables in GeV.
        points: number of momenta in the tables; a momentum between two takes the nearer.
    """

    matter: Stopper = IRON
    cut: float = 0.4
    fraction: float = 0.01
    low: float = 0.1
    high: float = 1000.0
    points: int = 4096

    def index(self, log_momentum: FloatArray) -> NDArray[np.intp]:
        """Return the index of the nearest momentum in the tables, from ln(p / GeV)."""
        scaled = (log_momentum - math.log(self.low)) * ((self.points - 1) / math.log(self.high / self.low)) + 0.5
        return np.clip(scaled, 0, self.points - 1).astype(np.intp)

    @cached_property
    def momenta(self) -> FloatArray:
        """Momenta of the tables in GeV, [points]."""
        return np.geomspace(self.low, self.high, self.points)

    @cached_property
    def energies(self) -> FloatArray:
        """Total energies of the tables in GeV, [points]."""
        energies: FloatArray = np.hypot(self.momenta, MUON_MASS)
        return energies

    @cached_property
    def xi(self) -> FloatArray:
        """Scale of the spectrum of knock-on electrons in GeV/cm, [points]."""
        beta2 = (self.momenta / self.energies) ** 2
        xi: FloatArray = BETHE_GEV_CM2_PER_MOL / 2 * self.matter.density * self.matter.charge_over_mass / beta2
        return xi

    @cached_property
    def electron_rate(self) -> FloatArray:
        """Knock-on electrons above the cut per cm before the factor in brackets, xi (1 / cut - 1 / T_max), [points]."""
        rate: FloatArray = self.xi * np.maximum(1 / self.cut - 1 / largest_transfer(self.momenta), 0.0)
        return rate

    @cached_property
    def radiation_rate(self) -> FloatArray:
        """Hard radiations per cm before the factor in brackets, 4/3 b ln(1 / fraction), [points]."""
        hard, _ = radiation(self.momenta, self.matter)
        return 4 / 3 * hard * math.log(1 / self.fraction)

    @cached_property
    def rate(self) -> FloatArray:
        """Candidates of hard collisions per cm, [points]."""
        return self.electron_rate + self.radiation_rate

    @cached_property
    def soft_mean(self) -> FloatArray:
        """Mean loss in GeV/cm without the hard collisions, [points]."""
        transfer, energy = largest_transfer(self.momenta), self.energies
        beta2, top = (self.momenta / energy) ** 2, np.maximum(largest_transfer(self.momenta), self.cut)
        electrons = np.log(top / self.cut) - beta2 * (top - self.cut) / top + (top**2 - self.cut**2) / (4 * energy**2)
        hard, _ = radiation(self.momenta, self.matter)
        v = self.fraction
        radiated = 4 / 3 * (1 - v) - 2 / 3 * (1 - v**2) + (1 - v**3) / 3
        collisions = np.where(transfer > self.cut, self.xi * electrons, 0.0)
        return mean_loss(self.momenta, self.matter) - collisions - hard * energy * radiated

    @cached_property
    def soft_variance(self) -> FloatArray:
        """Variance of the soft loss in GeV2/cm, [points]: integrals of T^2 dN/dT below the cuts."""
        transfer, energy = largest_transfer(self.momenta), self.energies
        beta2, top = (self.momenta / energy) ** 2, np.minimum(transfer, self.cut)
        electrons = self.xi * (top - beta2 * top**2 / (2 * transfer) + top**3 / (6 * energy**2))
        hard, _ = radiation(self.momenta, self.matter)
        v = self.fraction
        variance: FloatArray = electrons + hard * energy**2 * (2 / 3 * v**2 - 4 / 9 * v**3 + v**4 / 4)
        return variance

    def collision(self, momentum: FloatArray, chance: FloatArray, keep: FloatArray) -> FloatArray:
        """Return the energy in GeV lost in each candidate of a hard collision; 0 if the candidate is rejected.

        Args:
            momentum: momentum in GeV, [candidates].
            chance, keep: independent uniform numbers in [0, 1), [candidates].
        """
        energy, place = np.hypot(momentum, MUON_MASS), self.index(np.log(momentum))
        share = self.electron_rate[place] / self.rate[place]
        electron = chance < share
        top = np.maximum(largest_transfer(momentum), self.cut)
        within = np.where(electron, chance / np.where(share > 0, share, 1), (chance - share) / (1 - share))
        knocked = self.cut / (1 - within * (1 - self.cut / top))
        v = self.fraction ** (1 - within)
        beta2 = (momentum / energy) ** 2
        kept = np.where(electron, 1 - beta2 * knocked / top + knocked**2 / (2 * energy**2), 1 - v + 0.75 * v**2)
        lost: FloatArray = np.where(keep < kept, np.where(electron, knocked, v * energy), 0.0)
        return lost

    def loss(
        self, momentum: FloatArray, path: FloatArray, normal: FloatArray, chance: FloatArray, keep: FloatArray
    ) -> FloatArray:
        """Return the loss in GeV over short paths, with at most one hard collision in each, [muons].

        Args:
            momentum: momentum in GeV.
            path: length in cm, so short that `rate` times path is small.
            normal: standard normal numbers.
            chance, keep: independent uniform numbers in [0, 1).
        """
        place = self.index(np.log(momentum))
        lost = self.soft_mean[place] * path + np.sqrt(self.soft_variance[place] * path) * normal
        expected = self.rate[place] * path
        hit = np.flatnonzero(chance < expected)
        if len(hit):
            lost[hit] += self.collision(momentum[hit], chance[hit] / expected[hit], keep[hit])
        return lost
