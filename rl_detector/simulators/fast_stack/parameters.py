"""Parameters of the fast calorimeter simulator, fitted to Geant4.

`python experiments/fast_vs_geant4/fit.py` writes the values below, fitted to designs that Geant4 simulated
(`generate.py` in its folder). The values of electromagnetic showers come from a larger sample than the stored one, see
experiments/fast_vs_geant4/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl_detector.physics.materials import Material


@dataclass(frozen=True)
class Response:
    """How showers develop in one material.

    Attributes:
        growth: s, logistic growth rate of the scaled age below equilibrium, per X0.
        relaxation: s above equilibrium, per X0. Soft particles that enter from a material of lower critical energy
            bring a shower there.
        absorption: b, share of the remaining energy deposited per X0 at equilibrium.
        criticality: kappa in GeV, in the place of the critical energy in v^3 = kappa / b * particles per GeV.
        quantum: energy in GeV that one independent electron track deposits in a thick layer (sampling fluctuations).
        path: pion mean free path in units of the nuclear interaction length.
        ionisation: energy loss of the pion track in units of the minimum ionisation loss.
        visible: share of the hadronic energy at a vertex that is not lost to binding energy and neutrinos.
        local: share of the visible hadronic energy that stays in the layer of the vertex.
        pool_rate: share of the remaining hadronic energy that is lost per interaction length.
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
        pion_start: as `photon_start`, for the neutral pions of a hadronic vertex.
        electron_spread, photon_spread, pion_spread: width of the logarithm of that particle number.
        growth_spread: width of the logarithm of the growth rate, event by event.
        albedo: mean energy in GeV that leaves backwards at 1 GeV. It grows as sqrt(E) and fluctuates exponentially.
    """

    conversion: float
    photon_start: float
    pion_start: float
    electron_spread: float
    photon_spread: float
    pion_spread: float
    growth_spread: float
    albedo: float


@dataclass(frozen=True)
class Hadronic:
    """Parameters of hadronic showers that do not depend on the material.

    Attributes:
        fraction_shape_a, fraction_shape_b: Kumaraswamy shapes of the share of the energy that neutral pions take at
            one vertex. Over several vertices they add up to an electromagnetic fraction that grows with the energy.
        fraction_slope: power of the energy at the vertex in GeV with which fraction_shape_a grows.
        exchange: share of the vertices with charge exchange, which use exchange_shape_b.
        exchange_shape_b: takes the place of fraction_shape_b at a charge exchange.
        leading_shape_a, leading_shape_b: Kumaraswamy shapes of the share of the non-electromagnetic energy that the
            leading hadron carries to the next vertex.
        leading_slope: power of the energy at the vertex in GeV with which leading_shape_a grows.
        visible_spread: width of the visible share, event by event.
        visible_slope: change of the visible share's logit per unit of ln(E / GeV).
        local_slope: power of the energy at the vertex in GeV with which the odds of the local share fall.
        pool_slope: power of the beam energy in GeV with which the loss rate of the remaining hadronic energy falls.
        quantum: energy in GeV of one independent low-energy hadron.
        straggling: relative width of the ionisation loss of the pion in a layer.
        rest_energy: part of the pion mass that is deposited, in GeV.
    """

    fraction_shape_a: float
    fraction_shape_b: float
    fraction_slope: float
    exchange: float
    exchange_shape_b: float
    leading_shape_a: float
    leading_shape_b: float
    leading_slope: float
    visible_spread: float
    visible_slope: float
    local_slope: float
    pool_slope: float
    quantum: float
    straggling: float
    rest_energy: float


@dataclass(frozen=True)
class FastParameters:
    """All parameters of `FastStackSimulator`.

    Attributes:
        materials: name of a fitted material -> its response.
        electromagnetic, hadronic: parameters for all materials.
    """

    materials: Mapping[str, Response]
    electromagnetic: Electromagnetic
    hadronic: Hadronic

    def response(self, material: Material) -> Response:
        """Return the response of a material; one that was not fitted takes that of the nearest critical energy."""
        if material.name in self.materials:
            return self.materials[material.name]
        return self.materials[min(_FITTED_ENERGIES, key=lambda name: abs(_ratio(name, material)))]


# BEGIN FITTED
FITTED = FastParameters(
    materials={
        "Pb": Response(
            growth=0.453,
            relaxation=0.357,
            absorption=0.3046,
            criticality=0.02867,
            quantum=0.002294,
            path=1.145,
            ionisation=1.585,
            visible=0.2242,
            local=0.6511,
            pool_rate=0.7105,
            pool_visible=0.5672,
        ),
        "Fe": Response(
            growth=0.4987,
            relaxation=0.006163,
            absorption=0.3806,
            criticality=0.04076,
            quantum=0.01542,
            path=1.246,
            ionisation=1.473,
            visible=0.3115,
            local=0.6589,
            pool_rate=0.6946,
            pool_visible=0.6214,
        ),
        "PbWO4": Response(
            growth=0.4964,
            relaxation=0.6549,
            absorption=0.3024,
            criticality=0.0269,
            quantum=0.008005,
            path=1.189,
            ionisation=1.499,
            visible=0.2635,
            local=0.6797,
            pool_rate=0.8797,
            pool_visible=0.5556,
        ),
        "polystyrene": Response(
            growth=0.6171,
            relaxation=0.6817,
            absorption=0.5199,
            criticality=0.1199,
            quantum=0.02933,
            path=1.427,
            ionisation=1.563,
            visible=0.9642,
            local=0.07401,
            pool_rate=5.335,
            pool_visible=0.2836,
        ),
    },
    electromagnetic=Electromagnetic(
        conversion=0.8641,
        photon_start=1.334,
        pion_start=4.688,
        electron_spread=0.2363,
        photon_spread=0.5066,
        pion_spread=0.1549,
        growth_spread=0.2186,
        albedo=0.003099,
    ),
    hadronic=Hadronic(
        fraction_shape_a=4.485,
        fraction_shape_b=55.7,
        fraction_slope=-0.1125,
        exchange=0.03839,
        exchange_shape_b=112.6,
        leading_shape_a=1.044,
        leading_shape_b=2.134,
        leading_slope=0.3887,
        visible_spread=0.1287,
        visible_slope=0.7284,
        local_slope=0.6426,
        pool_slope=-0.106,
        quantum=0.006607,
        straggling=0.5359,
        rest_energy=0.1485,
    ),
)


# END FITTED

_FITTED_ENERGIES = {"Pb": 7.43, "Fe": 21.7, "PbWO4": 9.64, "polystyrene": 93.1}
"""Critical energies in MeV of the fitted materials (PDG 2024)."""


def _ratio(name: str, material: Material) -> float:
    """Return the larger of two critical energies over the smaller, minus 1."""
    ratio = material.critical_energy / _FITTED_ENERGIES[name]
    return max(ratio, 1.0 / ratio) - 1.0
