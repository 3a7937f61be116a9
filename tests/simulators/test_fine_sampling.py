"""Known errors of the fast simulator in finely sampling stacks.

The card of the calorimeter quotes these numbers. If you repair the simulator, change them here and in the card.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rl_detector.physics.materials import material
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Beam, Stack

pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="geant4 extra not installed"),
]

BEAM = Beam({"gamma": 1.0}, 5.0, 5.0)
DEPTH = 30
"""Radiation lengths of lead."""


def visible_share(engine: FastStackSimulator | Geant4Simulator, stack: Stack, photons: int) -> float:
    """Return the mean share of the energy that the scintillators see."""
    primaries = BEAM.sample(photons, np.random.default_rng(1))
    deposits = np.asarray(engine.deposits([stack], [primaries], [1])[0])
    return float(np.mean(deposits[:, 1::2].sum(axis=1) / primaries.energies))


@pytest.mark.parametrize(("lead", "ratio"), [(0.05, 0.48), (0.5, 0.66), (2.0, 0.78)])
def test_visible_share_in_fine_sampling(lead: float, ratio: float) -> None:
    pairs = round(DEPTH * material("Pb").radiation_length / lead)
    stack = Stack(("Pb", "polystyrene") * pairs, (lead, 2 * lead) * pairs)
    with Geant4Simulator(workers=1) as geant4:
        reference = visible_share(geant4, stack, 60)
    assert visible_share(FastStackSimulator(), stack, 600) / reference == pytest.approx(ratio, abs=0.03)
