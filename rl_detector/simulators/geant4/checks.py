"""Rules that every result of Geant4 must obey: its shape, finite, not negative, no more energy than came in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.constants import PION_MASS
from rl_detector.simulators.geant4.worker import Chunk

ELECTROMAGNETIC_TOLERANCE = 1e-6
"""Relative excess of energy allowed for photons and electrons, to which ROUNDING adds.

It covers the rounding of floating-point sums only.
"""

ROUNDING = 1e-6
"""Absolute excess of energy allowed for photons and electrons, in GeV."""

NUCLEAR_TOLERANCE = 0.03
"""Relative excess of energy allowed for pions.

The Bertini cascade balances the energy of each interaction to a few per cent at worst (G4CascadeCheckBalance).
"""

NUCLEAR_ALLOWANCE = 0.05
"""Absolute excess in GeV allowed for pions, beyond their mass.

A pion releases its mass when it is absorbed or decays. Exothermic nuclear reactions add a few times 10 MeV.
"""


def violation(deposits: Any, chunk: Chunk) -> str | None:
    """Return the first broken rule with its values, or None if all hold.

    Args:
        deposits: energies in GeV, expected shape [events, layers].
        chunk: the events that were simulated.
    """
    shape = (len(chunk.particles), chunk.columns)
    if not isinstance(deposits, np.ndarray) or deposits.shape != shape:
        return f"expected deposits of shape {shape}, got {getattr(deposits, 'shape', type(deposits).__name__)}"
    if not np.all(np.isfinite(deposits)):
        return f"{int(np.sum(~np.isfinite(deposits)))} of {deposits.size} deposits are not finite"
    if np.any(deposits < 0):
        return f"negative deposit {deposits.min():.3g} GeV"
    return _energy_balance(deposits, chunk)


def _energy_balance(deposits: NDArray[np.float64], chunk: Chunk) -> str | None:
    excess = deposits.sum(axis=1) - available_energy(chunk)
    worst = int(np.argmax(excess))
    if excess[worst] <= 0:
        return None
    return (
        f"energy balance: event {worst} deposits {deposits[worst].sum():.6g} GeV from a {chunk.particles[worst]} of "
        f"{chunk.energies[worst]:.6g} GeV, {excess[worst]:.3g} GeV more than is possible"
    )


def available_energy(chunk: Chunk) -> NDArray[np.float64]:
    """Return the most energy that each event may deposit, in GeV, tolerances included, [events]."""
    energies = np.array(chunk.energies)
    hadronic = np.array([particle == "pi+" for particle in chunk.particles])
    nuclear = energies * (1 + NUCLEAR_TOLERANCE) + PION_MASS + NUCLEAR_ALLOWANCE
    return np.where(hadronic, nuclear, energies * (1 + ELECTROMAGNETIC_TOLERANCE) + ROUNDING)
