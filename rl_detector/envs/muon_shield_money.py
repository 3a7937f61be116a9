"""What a shield costs: iron by weight, coils, and the electricity of the coils, in thousands of CHF.

Prices as in the public code of the newer studies (lfpc/BlackBoxOptimization, lfpc/MuonsAndMatter). That code names no
currency and takes the ampere turns from field maps; CHF, the constant field strength H and the shape of the coil are
our choices.
"""

from __future__ import annotations

import math

from rl_detector.envs.muon_shield_layout import magnets
from rl_detector.physics.magnets import Magnet
from rl_detector.space import Design

IRON_PRICE = 8.0
"""CHF per kg: 2 for material, 6 for manufacturing."""

COPPER_PRICE = 270.0
"""CHF per kg: 20 for material, 250 for manufacturing."""

COPPER_DENSITY, RESISTIVITY = 8960.0, 1.77e-8
"""kg/m3, Ohm m."""

ELECTRICITY = 5.0
"""CHF per W."""


FIELD_STRENGTH = 5000.0
"""A/m in the iron at 1.7 T, of the order of pure iron; our choice."""

DENSITY_OF_CURRENT = math.sqrt(COPPER_PRICE * COPPER_DENSITY / (ELECTRICITY * RESISTIVITY))
"""A/m2 at which copper and electricity cost the same, the cheapest: 5.2 A/mm2."""


def money(layout: Design) -> float:
    """Price in kCHF without the fixed absorber."""
    return sum(_iron(magnet) + _coil(magnet) for magnet in magnets(layout)) / 1000


def _iron(magnet: Magnet) -> float:
    return IRON_PRICE * magnet.mass()


def _coil(magnet: Magnet) -> float:
    """Copper and electricity, in equal parts, of a coil around the core with the ampere turns of the flux path."""
    sections = (magnet.entrance, magnet.exit)
    path = sum(2 * (2 * s.height + s.gap + 3 * s.iron) for s in sections) / 2 / 100
    turn = 2 * (2 * magnet.half_length + sum(2 * s.iron for s in sections) / 2) / 100
    copper = FIELD_STRENGTH * path / DENSITY_OF_CURRENT * turn * COPPER_DENSITY
    return 2 * COPPER_PRICE * copper
