"""Space, materials, prices and baselines of the calorimeter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_detector.parameters import Categorical, Continuous
from rl_detector.physics.materials import material
from rl_detector.simulators.stack import Stack
from rl_detector.space import Design, DesignSpace, FloatArray, Repeated
from rl_detector.terms import Component

ABSORBERS = ("Pb", "Fe")
"""Names in `rl_detector.physics.materials`; another one needs a price below."""


SCINTILLATORS = ("PbWO4", "polystyrene")
"""Names in `rl_detector.physics.materials`; another one needs a price and a light yield below."""


PRICE_PER_CM: Mapping[str, float] = {"Pb": 25.0, "Fe": 4.166, "PbWO4": 2500.0, "polystyrene": 0.01}
"""EUR per cm of thickness (AIDO, full calorimeter example)."""


PHOTOELECTRONS_PER_GEV: Mapping[str, float] = {"PbWO4": 4500.0, "polystyrene": 10_000.0}
"""Light yield. PbWO4: 4.5 photoelectrons per MeV with avalanche photodiodes (CMS, JINST 3 (2008) S08004, section 4.1).
Polystyrene: 10 per MeV, our choice, the order of tiles read out by wavelength-shifting fibres."""


LENGTH_LIMIT = 200.0
"""Largest total length in cm (AIDO, full calorimeter example)."""


PRICE_LIMIT = 200_000.0
"""Largest price in EUR (AIDO, full calorimeter example)."""


THICKNESS_LIMIT = 50.0
"""Largest thickness of one absorber or scintillator in cm; our choice, the published study has no upper bound."""


def space(layers: int = 3) -> DesignSpace:
    """N layers of (absorber, scintillator), each with a material and a thickness of 0-50 cm; 0 means absent."""
    layer = DesignSpace(
        (
            Categorical("absorber", ABSORBERS),
            Continuous("absorber_thickness", 0.0, THICKNESS_LIMIT, "cm"),
            Categorical("scintillator", SCINTILLATORS),
            Continuous("scintillator_thickness", 0.0, THICKNESS_LIMIT, "cm"),
        )
    )
    return DesignSpace((Repeated("layer", layer, layers, layers),))


def design(*layers: tuple[str, float, str, float]) -> dict[str, Any]:
    """A design from (absorber, cm, scintillator, cm) per layer."""
    names = ("absorber", "absorber_thickness", "scintillator", "scintillator_thickness")
    return {"layer": [dict(zip(names, layer, strict=True)) for layer in layers]}


def baselines(layers: int = 3) -> dict[str, Design]:
    """Hand-made designs to compare with.

    The card says where they come from. For another number of layers the thicknesses are spread over the layers.
    """
    published = [
        ("Fe", 9.03, "polystyrene", 37.2),
        ("Fe", 10.4, "polystyrene", 29.7),
        ("Fe", 36.0, "polystyrene", 27.5),
    ]
    start = [published[i % 3] for i in range(layers)]
    scale = min(1.0, 3 / layers)
    tail = (layers - 1) or 1
    return {
        "published_start": design(*((a, x * scale, s, y * scale) for a, x, s, y in start)),
        "uniform_sandwich": design(*[("Fe", 60.0 / max(layers, 3), "polystyrene", 90.0 / max(layers, 3))] * layers),
        "homogeneous": design(
            ("Fe", 0.0, "PbWO4", 37.2),
            *[("Fe", 40.0 / max(tail, 2), "polystyrene", 60.0 / max(tail, 2))] * (layers - 1),
        ),
        "all_pbwo4": design(*[("Fe", 0.0, "PbWO4", min(80.0 / layers, THICKNESS_LIMIT))] * layers),
    }


def stack(layout: Design) -> Stack:
    """The design as flat layers in the order of the beam: absorber 1, scintillator 1, absorber 2, ..."""
    parts = [
        (layer[kind], layer[f"{kind}_thickness"]) for layer in layout["layer"] for kind in ("absorber", "scintillator")
    ]
    return Stack(tuple(name for name, _ in parts), tuple(thickness for _, thickness in parts))


def price(layout: Design) -> float:
    """Price in EUR: thickness times price per cm, summed over all layers."""
    built = stack(layout)
    return sum(
        PRICE_PER_CM[name] * thickness for name, thickness in zip(built.materials, built.thicknesses, strict=True)
    )


def length(layout: Design) -> float:
    """Total length in cm."""
    return stack(layout).length


def components(layout: Design) -> list[Component]:
    """The layers thicker than 0, to scale along the beam."""
    built, result, position = stack(layout), [], 0.0
    for index, (name, thickness) in enumerate(zip(built.materials, built.thicknesses, strict=True)):
        label = f"{'absorber' if index % 2 == 0 else 'scintillator'} {index // 2 + 1}"
        if thickness > 0:
            result.append(Component(label, name, position, thickness))
        position += thickness
    return result


def view(layout: Design) -> FloatArray:
    """Describe a design to a reconstruction that designs share: 8 features of order 1 per scintillator, [8 layers].

    These are, as logarithms, the depth in front of it, its thickness and that of its absorber, each in radiation and in
    interaction lengths, and its `sampling_weights`; then whether it is PbWO4.
    """
    built, numbers, front = stack(layout), [], np.zeros(2)
    weights = sampling_weights(layout)
    parts = [material(name) for name in built.materials]
    per_cm = np.array([[1 / part.radiation_length, 1 / part.interaction_length] for part in parts])
    lengths = np.array(built.thicknesses)[:, None] * per_cm
    for index, weight in enumerate(weights):
        absorber, scintillator = lengths[2 * index], lengths[2 * index + 1]
        front = front + absorber
        depths = np.log1p(np.concatenate([front, scintillator, absorber]) * _UNITS) * _SPANS
        numbers += [
            *depths,
            np.log(weight) / 1.5,
            built.materials[2 * index + 1] == "PbWO4",
        ]
        front = front + scintillator
    return np.array(numbers, dtype=np.float64)


_UNITS = np.array([1.0, 2.0] * 3)


_SPANS = np.array([1 / 1.5, 1.0] * 3)
"""Factors that make logarithms of depths span about 1 between the designs of the space."""


LARGEST_WEIGHT = 200.0
"""Largest of the `sampling_weights`, reached where there is hardly any scintillator."""


def sampling_weights(layout: Design) -> FloatArray:
    """Energy lost in absorber and scintillator over that in the scintillator for a minimum-ionising particle, [layers].

    It is one over the sampling fraction. The signal times it is the classical estimate of the energy in a layer.
    """
    built = stack(layout)
    lost = np.array([material(n).mip_loss * t for n, t in zip(built.materials, built.thicknesses, strict=True)])
    weights: FloatArray = np.minimum(1 + lost[0::2] / (lost[1::2] + 0.01), LARGEST_WEIGHT)
    return weights


def event_features(layout: Design, signals: FloatArray) -> FloatArray:
    """Features of each event for a linear fit: 1, u, sqrt(u), sqrt(sum u) with u = signal * weight / 10 GeV.

    As `shower_features`, but every layer is calibrated, so that different designs have similar coefficients.
    """
    calibrated = signals * sampling_weights(layout) / 10
    total = calibrated.sum(axis=1, keepdims=True)
    return np.concatenate([np.ones_like(total), calibrated, np.sqrt(calibrated), np.sqrt(total)], axis=1)
