"""Parameters of the fast calorimeter simulator, fitted to Geant4.

Every number below is the output of `python experiments/fast_vs_geant4/fit.py`, which fits the training designs that
`python experiments/fast_vs_geant4/generate.py` simulates with Geant4; see experiments/fast_vs_geant4/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl_detector.physics.materials import Material


@dataclass(frozen=True)
class Response:
    """How showers develop in one material.

    Attributes:
        growth: s, logistic growth of the scaled age below equilibrium, per X0.
        relaxation: s above equilibrium (soft particles that enter from a material of lower critical energy), per X0.
        absorption: b, share of the remaining energy deposited per X0 at equilibrium.
        criticality: kappa in GeV, plays the role of the critical energy in v^3 = kappa / b * particles per GeV.
        quantum: energy in GeV that one independent electron track deposits in a thick layer (sampling fluctuations).
        path: pion mean free path in units of the nuclear interaction length.
        ionisation: energy loss of the pion track in units of the minimum ionisation loss.
        visible: share of the hadronic energy at a vertex that is not lost to binding energy and neutrinos.
        local: share of the visible hadronic energy that stays in the layer of the vertex.
        pool_rate: share per interaction length that the remaining hadronic energy loses.
        pool_visible: share of that loss that is deposited.
    """

    growth: float
    relaxation: float
    absorption: float
    criticality: float
    quantum: float
    path: float
    ionisation: float
    visible: float
    local: float
    pool_rate: float
    pool_visible: float


@dataclass(frozen=True)
class Electromagnetic:
    """Parameters of electromagnetic showers that do not depend on the material.

    Attributes:
        conversion: mean free path of a photon in units of 9/7 X0.
        photon_start: particles per GeV times E at the conversion of a photon; 1 for an electron.
        pion_start: the same for the neutral pions of a hadronic vertex.
        electron_spread, photon_spread, pion_spread: width of the logarithm of that number.
        growth_spread: width of the logarithm of the growth rate, event by event.
        early: number of independent early particles, in units of the shower particles of the model.
    """

    conversion: float
    photon_start: float
    pion_start: float
    electron_spread: float
    photon_spread: float
    pion_spread: float
    growth_spread: float
    early: float


@dataclass(frozen=True)
class Hadronic:
    """Parameters of hadronic showers that do not depend on the material.

    Attributes:
        fraction_scale, fraction_power: E0 in GeV and k of the mean electromagnetic fraction 1 - (1 + E / E0)^(k - 1).
        fraction_shape_a, fraction_shape_b: Kumaraswamy shapes of its distribution (the first times mean / (1 - mean)).
        leading_shape_a, leading_shape_b: Kumaraswamy shapes of the share of the non-electromagnetic energy that the
            leading hadron carries to the next vertex.
        leading_slope: the first of them grows with this power of the energy in GeV.
        visible_spread: width of the visible share, event by event.
        visible_slope: change of its logit per unit of ln(E / GeV).
        local_slope: the odds of the local share fall with this power of the energy at the vertex in GeV.
        pool_slope: the loss rate of the pool falls with this power of the beam energy in GeV.
        quantum: energy in GeV of one independent low-energy hadron.
        rest_energy: part of the pion mass that is deposited, in GeV.
    """

    fraction_scale: float
    fraction_power: float
    fraction_shape_a: float
    fraction_shape_b: float
    leading_shape_a: float
    leading_shape_b: float
    leading_slope: float
    visible_spread: float
    visible_slope: float
    local_slope: float
    pool_slope: float
    quantum: float
    rest_energy: float


@dataclass(frozen=True)
class FastParameters:
    """All parameters of `FastStackSimulator`; `materials` maps the names of the fitted materials to their response."""

    materials: Mapping[str, Response]
    electromagnetic: Electromagnetic
    hadronic: Hadronic

    def response(self, material: Material) -> Response:
        """Response of a material; one that was not fitted borrows that of the nearest critical energy."""
        if material.name in self.materials:
            return self.materials[material.name]
        return self.materials[min(_FITTED_ENERGIES, key=lambda name: abs(_ratio(name, material)))]


# BEGIN FITTED
FITTED = FastParameters(
    materials={
        "Pb": Response(
            growth=0.503,
            relaxation=0.5,
            absorption=0.2786,
            criticality=0.02855,
            quantum=0.007234,
            path=1.151,
            ionisation=1.263,
            visible=0.5526,
            local=0.3769,
            pool_rate=4.7,
            pool_visible=0.5923,
        ),
        "Fe": Response(
            growth=0.4896,
            relaxation=4.321,
            absorption=0.3802,
            criticality=0.04903,
            quantum=0.02449,
            path=1.181,
            ionisation=1.091,
            visible=0.7196,
            local=0.1353,
            pool_rate=4.011,
            pool_visible=0.6943,
        ),
        "PbWO4": Response(
            growth=0.4663,
            relaxation=0.6655,
            absorption=0.2975,
            criticality=0.03219,
            quantum=0.01561,
            path=1.148,
            ionisation=1.258,
            visible=0.5975,
            local=0.3392,
            pool_rate=3.9,
            pool_visible=0.6372,
        ),
        "polystyrene": Response(
            growth=0.5906,
            relaxation=1.999,
            absorption=0.4629,
            criticality=0.1552,
            quantum=0.0691,
            path=1.202,
            ionisation=1.275,
            visible=0.6123,
            local=0.1024,
            pool_rate=2.847,
            pool_visible=0.7387,
        ),
    },
    electromagnetic=Electromagnetic(
        conversion=0.9871,
        photon_start=1.561,
        pion_start=1.464,
        electron_spread=0.0699,
        photon_spread=0.01731,
        pion_spread=0.362,
        growth_spread=0.2366,
        early=42.07,
    ),
    hadronic=Hadronic(
        fraction_scale=0.01556,
        fraction_power=0.966,
        fraction_shape_a=4.622,
        fraction_shape_b=6.623,
        leading_shape_a=0.3418,
        leading_shape_b=1.646,
        leading_slope=0.4213,
        visible_spread=0.2623,
        visible_slope=0.1908,
        local_slope=0.3988,
        pool_slope=0.5696,
        quantum=0.07787,
        rest_energy=0.2537,
    ),
)
# END FITTED

_FITTED_ENERGIES = {"Pb": 7.43, "Fe": 21.7, "PbWO4": 9.64, "polystyrene": 93.1}
"""Critical energies in MeV of the fitted materials (PDG 2024)."""


def _ratio(name: str, material: Material) -> float:
    """Distance of two critical energies as their ratio minus 1, larger over smaller."""
    ratio = material.critical_energy / _FITTED_ENERGIES[name]
    return max(ratio, 1.0 / ratio) - 1.0
