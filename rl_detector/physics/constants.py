"""Define each constant of nature once, with its source.

Masses, momenta and energies are in GeV, as everywhere in the package. A name says where a constant has another unit.
"""

from __future__ import annotations

MUON_MASS_MEV = 105.6583755
"""Mass of the muon in MeV (PDG 2024, lepton summary table)."""

MUON_MASS = MUON_MASS_MEV / 1000
"""Mass of the muon in GeV."""

PION_MASS_MEV = 139.57039
"""Mass of the charged pion in MeV (PDG 2024, meson summary table)."""

PION_MASS = PION_MASS_MEV / 1000
"""Mass of the charged pion in GeV."""

ELECTRON_MASS = 0.51099895e-3
"""Mass of the electron in GeV (PDG 2024, lepton summary table)."""

INVERSE_FINE_STRUCTURE = 137.036
"""1 / alpha (PDG 2024, table 1.1, to six digits)."""

BETHE_GEV_CM2_PER_MOL = 0.307075e-3
"""K = 4 pi N_A r_e^2 m_e c^2 in GeV cm2 / mol (PDG 2024, table 34.1)."""

CURVATURE_GEV_PER_T_M = 0.299792458
"""Transverse momentum per field and radius of a unit charge: p = 0.2998 B R (PDG 2024, sec. 35.14)."""

CURVATURE_GEV_PER_T_CM = 0.00299792458
"""Transverse momentum per field and radius of a unit charge, for radii in cm."""

AIR_RADIATION_LENGTH_M = 303.9
"""Radiation length of dry air in m at 20 C and 1 atm (PDG 2024, atomic and nuclear properties)."""
