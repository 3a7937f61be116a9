"""Energy loss of muons in iron: published numbers, fluctuations in closed form, and no dependence on the steps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from rl_detector.physics.constants import ELECTRON_MASS, MUON_MASS
from rl_detector.physics.energy_loss import (
    IRON,
    Straggling,
    ionisation,
    largest_transfer,
    mean_loss,
    radiation,
)
from rl_detector.physics.materials import material

STRAGGLING = Straggling()


def momentum(kinetic: float) -> float:
    return float(np.sqrt((kinetic + MUON_MASS) ** 2 - MUON_MASS**2))


@pytest.mark.parametrize(
    ("kinetic", "loss"), [(0.3, 1.4496), (1.0, 1.5786), (10.0, 1.9390), (100.0, 2.2020), (1000.0, 2.4209)]
)
def test_ionisation_is_that_of_geant4(kinetic: float, loss: float) -> None:
    """G4EmCalculator of Geant4 11.4, G4_Fe, in MeV cm2/g, to 0.7 %."""
    assert 1000 * float(ionisation(momentum(kinetic))) / IRON.density == pytest.approx(loss, rel=0.007)


def test_smallest_loss_is_the_pdgs() -> None:
    smallest = ionisation(np.geomspace(0.1, 2, 2000)).min()
    assert smallest == pytest.approx(material("Fe").mip_loss, rel=0.005)


def test_a_mip_loses_1_1_gev_in_a_metre_of_iron() -> None:
    assert 100 * float(mean_loss(0.3)) == pytest.approx(1.143, rel=0.01)


def test_critical_energy_of_muons() -> None:
    """a = b E at 347 GeV in iron (PDG)."""
    excess = lambda p: float(ionisation(p)) - np.hypot(p, MUON_MASS) * float(sum(radiation(p)))  # noqa: E731
    assert brentq(excess, 100, 900) == pytest.approx(347, rel=0.03)


def test_largest_transfer_of_slow_and_fast_muons() -> None:
    assert largest_transfer(0.001) == pytest.approx(2 * ELECTRON_MASS * (0.001 / MUON_MASS) ** 2, rel=0.02)
    assert largest_transfer(1e5) == pytest.approx(1e5, rel=0.001)


@pytest.mark.parametrize("p", [10.0, 100.0])
def test_soft_and_hard_loss_add_up_to_the_mean(p: float) -> None:
    """The mean loss of all collisions above the cut, integrated numerically, is what the soft part lacks."""
    place = STRAGGLING.index(np.log(np.array([p])))[0]
    p = float(STRAGGLING.momenta[place])
    energy, top = np.hypot(p, MUON_MASS), float(largest_transfer(p))
    xi, b = float(STRAGGLING.xi[place]), float(radiation(p)[0])
    spectrum = lambda t: xi / t * (1 - (p / energy) ** 2 * t / top + t**2 / (2 * energy**2))  # noqa: E731
    electrons, _ = quad(spectrum, STRAGGLING.cut, top)
    photons, _ = quad(lambda v: b * energy * (4 / 3 - 4 / 3 * v + v**2), STRAGGLING.fraction, 1)
    assert STRAGGLING.soft_mean[place] + electrons + photons == pytest.approx(float(mean_loss(p)), rel=1e-6)


def draws(p: float, path: float, steps: int, muons: int, seed: int) -> np.ndarray:
    """Draw losses over a path that is divided into steps, at constant momentum."""
    rng, total = np.random.default_rng(seed), np.zeros(muons)
    for _ in range(steps):
        numbers = rng.standard_normal(muons), rng.random(muons), rng.random(muons)
        total += STRAGGLING.loss(np.full(muons, p), np.full(muons, path / steps), *numbers)
    return total


@pytest.mark.parametrize("p", [3.0, 30.0, 200.0])
def test_mean_of_the_draws(p: float) -> None:
    lost = draws(p, 20.0, 1, 150_000, 1)
    assert abs(lost.mean() - 20 * float(mean_loss(p))) < 4 * lost.std() / np.sqrt(len(lost))


def test_width_below_the_cut_is_the_closed_form() -> None:
    """No knock-on electrons above the cut: xi s T_max (1 - beta^2 / 2) (PDG eq. 34.8), and b s E^2 17/36 of photons."""
    p, path = 2.0, 20.0
    energy = np.hypot(p, MUON_MASS)
    xi, b = float(STRAGGLING.xi[STRAGGLING.index(np.log(np.array([p])))[0]]), float(radiation(p)[0])
    electrons = xi * float(largest_transfer(p)) * (1 - (p / energy) ** 2 / 2)
    expected = np.sqrt(path * (electrons + b * energy**2 * 17 / 36))
    assert draws(p, path, 1, 200_000, 2).std() == pytest.approx(expected, rel=0.02)


def test_one_step_and_twenty_steps_have_the_same_distribution() -> None:
    """40 cm of iron at 50 GeV: quantiles agree, the tail of single knock-on electrons included."""
    one, many = draws(50.0, 40.0, 2, 60_000, 3), draws(50.0, 40.0, 40, 60_000, 4)
    shares = np.array([0.1, 0.5, 0.9, 0.97, 0.99])
    for level in np.quantile(one, shares):
        below = [(values < level).mean() for values in (one, many)]
        assert below[0] == pytest.approx(below[1], abs=4 * np.sqrt(2 * below[0] * (1 - below[0]) / 60_000) + 0.003)


def test_knock_on_electrons_follow_their_spectrum() -> None:
    """Share of hard losses above 1 GeV at 30 GeV, against the integral of the spectrum."""
    p, path, muons = 30.0, 20.0, 400_000
    lost = draws(p, path, 1, muons, 5)
    energy, top = np.hypot(p, MUON_MASS), float(largest_transfer(p))
    xi = float(STRAGGLING.xi[STRAGGLING.index(np.log(np.array([p])))[0]])
    spectrum = lambda t: xi / t**2 * (1 - (p / energy) ** 2 * t / top + t**2 / (2 * energy**2))  # noqa: E731
    b = float(radiation(p)[0])
    photons, _ = quad(lambda v: b / v * (4 / 3 - 4 / 3 * v + v**2), 2 / energy, 1)
    electrons, _ = quad(spectrum, 2.0, top)
    expected = path * (electrons + photons)
    soft = 20 * float(STRAGGLING.soft_mean[STRAGGLING.index(np.log(np.array([p])))[0]])
    assert (lost - soft > 2).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / muons))
