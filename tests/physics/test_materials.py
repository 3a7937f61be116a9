"""The table of materials against relations between its columns."""

from __future__ import annotations

import math

import pytest

from rl_detector.errors import DesignError
from rl_detector.physics.materials import MATERIALS, material

PURE = {"Be": (4, 9.0122), "C": (6, 12.011), "Al": (13, 26.982), "Si": (14, 28.086), "Fe": (26, 55.845)}
PURE |= {"Cu": (29, 63.546), "W": (74, 183.84), "Pb": (82, 207.2), "U": (92, 238.03)}


@pytest.mark.parametrize("name", PURE)
def test_radiation_length_follows_dahls_formula(name: str) -> None:
    """X0 = 716.4 A / (Z (Z + 1) ln(287 / sqrt Z)) g/cm2 within 5 % (Dahl, in PDG 2014, good to 2.5 %)."""
    z, a = PURE[name]
    substance = material(name)
    formula = 716.4 * a / (z * (z + 1) * math.log(287 / math.sqrt(z)))
    assert substance.radiation_length * substance.density == pytest.approx(formula, rel=0.05)


@pytest.mark.parametrize("name", PURE)
def test_critical_energy_of_solids(name: str) -> None:
    """Ec = 610 MeV / (Z + 1.24) for solids (PDG, "Passage of particles through matter"), a fit good to about 5 %."""
    z, _ = PURE[name]
    assert material(name).critical_energy == pytest.approx(610 / (z + 1.24), rel=0.09)


@pytest.mark.parametrize("name", PURE)
def test_interaction_length_grows_as_the_cube_root_of_the_mass(name: str) -> None:
    """lambda_I is about 35 A^(1/3) g/cm2, good to 15 % or so."""
    _, a = PURE[name]
    substance = material(name)
    assert substance.interaction_length * substance.density == pytest.approx(35 * a ** (1 / 3), rel=0.2)


@pytest.mark.parametrize("name", MATERIALS)
def test_minimum_ionisation_lies_between_uranium_and_hydrogen_rich_matter(name: str) -> None:
    substance = material(name)
    assert 1.08 <= substance.de_dx_min <= 2.0
    assert substance.mip_loss == pytest.approx(substance.de_dx_min * substance.density / 1000)


def test_unknown_material_names_the_known_ones() -> None:
    with pytest.raises(DesignError, match="PbWO4"):
        material("unobtainium")
