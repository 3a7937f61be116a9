"""Fast simulation of showers in a steel slab: a parametrisation that makes every seed a book of events of its own.

Another seed has other events, so that nothing can be learned by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rl_detector.envs.slab_calorimeter.library import SLAB_LENGTH_CM, STEEL, Book, Events, SinglePrecision
from rl_detector.physics.profiles import electromagnetic_fraction, gamma_density, shower_shape
from rl_detector.physics.showers import PHOTON_CONVERSION
from rl_detector.space import FloatArray

ATOMIC_NUMBER = 25.6
"""Of stainless steel, mean by mass."""


PION_INTERACTION_LENGTH = 16.588 * 160.8 / 132.1
"""Pion interaction length of steel in cm: its nuclear one times the ratio of both in iron (PDG 2024)."""


PLANE_PITCH = 0.2
"""Distance of the planes of the fast library in cm; electrons of a shower cross a few mm of steel, our choice."""


@dataclass(frozen=True)
class Showers:
    """Constants of the fast library, fitted to Geant4 with pions of 10 and 50 GeV and photons of 50 GeV.

    Attributes:
        clumping: fluctuations of the number of crossing particles of a photon's shower, variance over mean.
        hadron_clumping: variance over mean where the rest of a pion's energy is deposited.
        hadron_response: mean signal of that rest over that of a photon of equal energy, h / e.
        hadron_spread: relative width of that rest.
        neutral_spread: width of the share of neutral pions.
        first_share, second_share: mean share of the energy at the first vertex of a pion, and at the second one of what
            is left then; shares are Beta distributed with `share_strength`.
        share_strength: sum of the two parameters of that distribution.
        hadron_range: half the mean distance of the rest's deposits from their vertex, in cm, for pions of 50 GeV.
        spacing: mean distance of the vertices over lambda_pi, for pions of 50 GeV.
        spacing_order: order of the Gamma distribution of that distance; 1 is exponential.
        growth: power of the energy with which both lengths grow.
        photon_start: offset of ln(energy / critical energy) of a photon's shower, see `shower_shape`.
    """

    clumping: float = 3.4
    hadron_clumping: float = 42.0
    hadron_response: float = 0.665
    hadron_spread: float = 0.1
    neutral_spread: float = 0.125
    first_share: float = 0.6
    second_share: float = 0.79
    share_strength: float = 9.4
    hadron_range: float = 11.8
    spacing: float = 1.12
    spacing_order: float = 1.1
    growth: float = 0.233
    photon_start: float = -0.25


FITTED_SHOWERS = Showers()


@dataclass(frozen=True)
class FastLibrary:
    """Books of parametrised showers.

    A photon converts after Exp(9/7 X0) and showers as in `physics.profiles`. A pion is one fast particle until its
    first vertex, at Exp(lambda_pi). A share f_em of its energy, Beta distributed around 1 - (E / 1 GeV)^-0.18, makes
    electromagnetic showers. The rest is seen less and decays exponentially. Both are shared by three vertices one
    lambda_pi apart. Particles cross a plane with more than Poisson fluctuations; planes are independent.

    Attributes:
        showers: its constants.
    """

    showers: Showers = FITTED_SHOWERS

    def book(self, seed: int, events: int) -> Book:
        """Events of this seed."""
        return _fast_book(self.showers, seed, events)

    def describe(self) -> Mapping[str, str]:
        """Name and origin."""
        origin = (
            "fitted to Geant4, experiments/slab_calorimeter"
            if self.showers == FITTED_SHOWERS
            else "given by the caller"
        )
        return {"simulator": "slab", "library": "fast, every seed has its own events", "parameters": origin}


@lru_cache(maxsize=8)
def _fast_book(showers: Showers, seed: int, events: int) -> Book:
    beam, shape, crossing = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    primaries = Events.of(events, beam)
    planes = round(SLAB_LENGTH_CM / PLANE_PITCH)
    depth = ((np.arange(planes) + 0.5) * PLANE_PITCH).astype(np.float32)[:, None]
    crossings = np.zeros((planes, events), np.float32)
    for pion, develop in ((False, _photons), (True, _pions)):
        chosen = np.flatnonzero(primaries.pion == pion)
        crossings[:, chosen] = develop(showers, primaries.energy[chosen], depth, shape, crossing)
    crossings.flags.writeable = False
    return Book(primaries, crossings, PLANE_PITCH, PLANE_PITCH / 2)


def mean_photons(
    showers: Showers, energy: FloatArray, depth: SinglePrecision, rng: np.random.Generator
) -> SinglePrecision:
    """Mean number of crossing particles of photon showers that begin at 0, [planes, events], depth in cm."""
    start = rng.exponential(PHOTON_CONVERSION * STEEL.radiation_length, len(energy))
    return _electromagnetic(energy, showers.photon_start, start, depth, rng)


def _photons(
    showers: Showers, energy: FloatArray, depth: SinglePrecision, shape: np.random.Generator, rng: np.random.Generator
) -> SinglePrecision:
    mean = mean_photons(showers, energy, depth, shape)
    return _counted(mean, np.float32(showers.clumping), rng)


def _electromagnetic(
    energy: FloatArray, offset: float, start: FloatArray, depth: SinglePrecision, rng: np.random.Generator
) -> SinglePrecision:
    """Mean crossings of showers that begin at `start` [cm], [planes, events]."""
    log_y = np.log(np.maximum(energy, 1e-6) / (STEEL.critical_energy * 1e-3)) + offset
    alpha, beta = shower_shape(log_y, ATOMIC_NUMBER, rng.standard_normal((2, len(energy))))
    lengths = (depth - start.astype(np.float32)) / np.float32(STEEL.radiation_length)
    per_mip = energy / (STEEL.mip_loss * STEEL.radiation_length)
    density: SinglePrecision = gamma_density(lengths, alpha, beta) * per_mip.astype(np.float32)
    return density


def _pions(
    showers: Showers, energy: FloatArray, depth: SinglePrecision, shape: np.random.Generator, rng: np.random.Generator
) -> SinglePrecision:
    growth = (energy / 50) ** showers.growth
    vertex = _vertices(showers, growth, shape)
    neutral = _neutral(showers, energy, shape)
    rest = (1 - neutral) * energy * showers.hadron_response
    rest = rest * np.maximum(1 + showers.hadron_spread * shape.standard_normal(len(energy)), 0)
    shares = _shares(showers, len(energy), shape)
    mean, spread = np.zeros((len(depth), len(energy)), np.float32), np.zeros((len(depth), len(energy)), np.float32)
    for place, share in zip(vertex, shares, strict=True):
        light = _electromagnetic(neutral * energy * share, 0.0, place, depth, shape)
        heavy = _tail(rest * share, place, depth, showers.hadron_range * growth)
        mean += light + heavy
        spread += np.float32(showers.clumping) * light + np.float32(showers.hadron_clumping) * heavy
    alone = depth < vertex[0].astype(np.float32)
    crossings: SinglePrecision = _counted(mean, np.maximum(spread / np.maximum(mean, SMALLEST_MEAN), 1), rng) + alone
    return crossings


PION_VERTICES = 3
"""Number of places at which a pion deposits its energy."""


SMALLEST_MEAN = np.float32(1e-20)
"""Smallest divisor of a mean number of particles."""


def _vertices(showers: Showers, growth: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depths in cm, [PION_VERTICES, events]: the first one exponential, the others Gamma distributed behind it."""
    spacing = showers.spacing * growth * PION_INTERACTION_LENGTH / showers.spacing_order
    steps = [rng.exponential(PION_INTERACTION_LENGTH, len(growth))]
    steps += [rng.gamma(showers.spacing_order, spacing) for _ in range(PION_VERTICES - 1)]
    return np.cumsum(steps, axis=0)


def _neutral(showers: Showers, energy: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Share of the energy that becomes neutral pions, [events]."""
    mean = np.clip(electromagnetic_fraction(energy), 0.05, 0.95)
    strength = np.maximum(mean * (1 - mean) / showers.neutral_spread**2 - 1, 0.1)
    share: FloatArray = rng.beta(mean * strength, (1 - mean) * strength)
    return share


def _shares(showers: Showers, events: int, rng: np.random.Generator) -> FloatArray:
    """Shares of the energy at the vertices, [PION_VERTICES, events], sum 1."""
    left, shares = np.ones(events), []
    for mean in (showers.first_share, showers.second_share):
        share = left * rng.beta(mean * showers.share_strength, (1 - mean) * showers.share_strength, events)
        shares.append(share)
        left = left - share
    return np.stack([*shares, left])


def _tail(energy: FloatArray, start: FloatArray, depth: SinglePrecision, length: FloatArray) -> SinglePrecision:
    """Mean crossings of energy that is deposited as x e^(-x / l) behind `start` [cm], [planes, events]."""
    behind = np.maximum((depth - start.astype(np.float32)) / length.astype(np.float32), 0)
    height = (energy / (STEEL.mip_loss * length)).astype(np.float32)
    density: SinglePrecision = behind * np.exp(-behind) * height
    return density


def _counted(mean: SinglePrecision, clumping: Any, rng: np.random.Generator) -> SinglePrecision:
    """Numbers of particles around their mean, with a variance of clumping times the mean, [planes, events]."""
    expected = mean / clumping
    counts = np.zeros_like(expected)
    seen = expected > NEGLIGIBLE_MEAN
    counts[seen] = rng.poisson(expected[seen])
    numbers: SinglePrecision = counts * clumping
    return numbers


NEGLIGIBLE_MEAN = 1e-4
"""Mean number of particles below which there is none."""
