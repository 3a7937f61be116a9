"""Tabulate materials and their constants, from the PDG's "Atomic and nuclear properties of materials" (2024).

Steel is stainless: 74.6 % Fe, 16.9 % Cr, 8.5 % Ni by mass. Composition, density and lengths are those of Geant4's NIST
table. Its energy loss is the mean of its elements by mass, its critical energy that of iron.
"""

from __future__ import annotations

from dataclasses import dataclass

from rl_detector.errors import DesignError


@dataclass(frozen=True)
class Material:
    """Bulk properties of one material.

    Attributes:
        name: name used in designs and configs.
        geant4: name in Geant4's NIST material table.
        density: g/cm3.
        radiation_length: X0 in cm.
        interaction_length: nuclear interaction length lambda_I in cm.
        de_dx_min: minimum ionisation loss in MeV cm2/g.
        critical_energy: Ec of electrons in MeV.
    """

    name: str
    geant4: str
    density: float
    radiation_length: float
    interaction_length: float
    de_dx_min: float
    critical_energy: float

    @property
    def mip_loss(self) -> float:
        """Energy loss of a minimum-ionising particle in GeV/cm."""
        return self.de_dx_min * self.density * 1e-3


_TABLE = (
    Material("Be", "G4_Be", 1.848, 35.28, 42.10, 1.595, 113.7),
    Material("C", "G4_C", 2.210, 19.32, 38.83, 1.742, 81.7),
    Material("Al", "G4_Al", 2.699, 8.897, 39.70, 1.615, 42.7),
    Material("Si", "G4_Si", 2.329, 9.370, 46.52, 1.664, 40.2),
    Material("Fe", "G4_Fe", 7.874, 1.757, 16.77, 1.451, 21.7),
    Material("steel", "G4_STAINLESS-STEEL", 8.000, 1.7424, 16.588, 1.458, 21.7),
    Material("Cu", "G4_Cu", 8.960, 1.436, 15.32, 1.403, 19.4),
    Material("W", "G4_W", 19.30, 0.3504, 9.946, 1.145, 7.97),
    Material("Pb", "G4_Pb", 11.35, 0.5612, 17.59, 1.122, 7.43),
    Material("U", "G4_U", 18.95, 0.3166, 11.03, 1.081, 6.65),
    Material("PbWO4", "G4_PbWO4", 8.30, 0.8903, 20.27, 1.229, 9.64),
    Material("polystyrene", "G4_POLYSTYRENE", 1.060, 41.31, 77.07, 1.936, 93.1),
    Material("water", "G4_WATER", 1.000, 36.08, 83.3, 1.992, 78.3),
)

MATERIALS: dict[str, Material] = {material.name: material for material in _TABLE}


def material(name: str) -> Material:
    """Look a material up by its name.

    Raises:
        DesignError: the name is unknown; the message lists the known ones.

    Examples:
        >>> material("Pb").radiation_length
        0.5612
        >>> round(material("Fe").mip_loss * 1e3, 2)
        11.43
    """
    if name not in MATERIALS:
        raise DesignError(f"unknown material {name!r}: known are {', '.join(MATERIALS)}")
    return MATERIALS[name]
