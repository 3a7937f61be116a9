"""Constants of nature agree with each other and are written once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rl_detector
from rl_detector.physics import constants as constants

PACKAGE = Path(rl_detector.__file__).parent


def test_units_agree_bit_for_bit() -> None:
    assert constants.MUON_MASS == 0.1056583755
    assert constants.PION_MASS == constants.PION_MASS_MEV / 1000
    assert pytest.approx(constants.CURVATURE_GEV_PER_T_M / 100, rel=1e-15) == constants.CURVATURE_GEV_PER_T_CM


def test_bethe_constant_follows_from_the_others() -> None:
    """4 pi N_A r_e^2 m_e with r_e = alpha hbar c / m_e; hbar c in GeV cm and N_A per mol (CODATA 2018)."""
    radius = 1.973269804e-14 / constants.INVERSE_FINE_STRUCTURE / constants.ELECTRON_MASS
    expected = 4 * 3.141592653589793 * 6.02214076e23 * radius**2 * constants.ELECTRON_MASS
    assert pytest.approx(expected, rel=3e-6) == constants.BETHE_GEV_CM2_PER_MOL


def test_radiation_length_of_air() -> None:
    """36.62 g/cm2 at 1.205e-3 g/cm3 (PDG 2024)."""
    assert pytest.approx(36.62 / 1.205e-3 / 100, rel=1e-3) == constants.AIR_RADIATION_LENGTH_M


def test_constants_are_written_once() -> None:
    digits = re.compile(r"0\.1056|105\.65|139\.57|0\.1395|0\.510998|0\.002997|0\.2997|137\.03|0\.30707|303\.9")
    found = {path.name for path in PACKAGE.rglob("*.py") if digits.search(path.read_text())}
    assert found == {"constants.py"}
