"""The layout of the SHiP muon shield: its 42 parameters with their bounds, the published design, magnets, mass, length.

Sources of the numbers: the public optimisation codes of the shield (olantwin/disney_common.py,
SchattenGenie/diff-surrogate) and FairShip, https://github.com/ShipSoft/FairShip. Field: 1.7 T in the iron, 1.6 T in the
hadron absorber, up (+y) in the first three magnets, down in the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rl_detector.errors import DesignError
from rl_detector.parameters import Continuous
from rl_detector.physics.magnets import Block, Magnet, Section, row_blocks
from rl_detector.space import Design, DesignSpace

FREE_MAGNETS = 6
"""Number of magnets whose shape is free."""


SHAPE_PARAMETERS = ("dX_in", "dX_out", "dY_in", "dY_out", "gap_in", "gap_out")
"""Parameters of one magnet besides its half-length: width of the iron, half height and width of the coil window, cm."""


BOUNDS = {"Z": (175.0, 305.0), "dX": (3.0, 100.0), "dY": (20.0, 241.0), "gap": (2.0, 70.0)}
"""Bounds in cm: half-length, iron, half height of the window, width of the window.

Those of the published search, 10-100 cm for dX and 20-200 cm for dY, leave out the published design.
"""


IRON_FIELD, ABSORBER_FIELD = 1.7, 1.6
"""Fields of the magnets and of the hadron absorber in T."""


POLARITY = (1, 1, 1, -1, -1, -1)


ABSORBER = ((40.0, 40, 40, 150, 150, 2, 2), (231.0, 80, 80, 150, 150, 2, 2))
"""Two fixed magnetised blocks of the hadron absorber in front: half-length and shape in cm."""


CLOSING_HALF_LENGTH = 10.0
"""Half-length in cm of the last magnet, which has the cross-section of the exit of the sixth."""


ABSORBER_MASS = 257.4e3
"""Mass in kg that the published codes count for the absorber; the blocks above have 576 t."""


MODEL_IRON_DENSITY = 7.87
"""Density of iron in the published mass model in g/cm3."""


PUBLISHED_LENGTHS = (208, 207, 281, 248, 305, 242)


PUBLISHED_SHAPES = (
    (72, 51, 29, 46, 10, 7),
    (54, 38, 46, 192, 14, 9),
    (10, 31, 35, 31, 51, 11),
    (3, 32, 54, 24, 8, 8),
    (22, 32, 209, 35, 8, 13),
    (33, 77, 85, 241, 9, 26),
)
"""The design that Bayesian optimisation found ("new baseline"): half-lengths and shapes in cm."""


def space() -> DesignSpace:
    """The 42 parameters: half-lengths Z3 to Z8, then the six of `SHAPE_PARAMETERS` for each of the magnets 3 to 8."""
    lengths = [Continuous(f"Z{n}", *BOUNDS["Z"], "cm") for n in MAGNET_NUMBERS]
    shapes = [
        Continuous(name, *BOUNDS[kind.split("_")[0]], "cm")
        for n in MAGNET_NUMBERS
        for name, kind in zip(_names(n), SHAPE_PARAMETERS, strict=True)
    ]
    return DesignSpace((*lengths, *shapes))


MAGNET_NUMBERS = range(3, 3 + FREE_MAGNETS)
"""Numbers of the free magnets: the two blocks of the absorber are 1 and 2."""


def _names(number: int) -> list[str]:
    """Parameters of one magnet, for example dX3_in."""
    return [name.replace("_", f"{number}_") for name in SHAPE_PARAMETERS]


def design(lengths: Sequence[float], shapes: Sequence[Sequence[float]]) -> dict[str, float]:
    """A design from six half-lengths and six shapes in the order of `SHAPE_PARAMETERS`, in cm.

    Raises:
        DesignError: wrong counts.
    """
    if len(lengths) != FREE_MAGNETS or [len(shape) for shape in shapes] != [len(SHAPE_PARAMETERS)] * FREE_MAGNETS:
        raise DesignError(
            f"a shield has {FREE_MAGNETS} half-lengths and {FREE_MAGNETS} shapes of {len(SHAPE_PARAMETERS)} numbers, "
            f"got {len(lengths)} half-lengths and shapes of {[len(shape) for shape in shapes]} numbers"
        )
    named = {f"Z{n}": float(z) for n, z in zip(MAGNET_NUMBERS, lengths, strict=True)}
    for number, shape in zip(MAGNET_NUMBERS, shapes, strict=True):
        named.update(zip(_names(number), map(float, shape), strict=True))
    return named


def published() -> dict[str, float]:
    """The published design: 35.44 m and 1.2704 kt."""
    return design(PUBLISHED_LENGTHS, PUBLISHED_SHAPES)


def magnets(layout: Design) -> tuple[Magnet, ...]:
    """The six magnets of a design and the closing one."""
    row = []
    for number, sign in zip(MAGNET_NUMBERS, POLARITY, strict=True):
        shape = [float(layout[name]) for name in _names(number)]
        row.append(_magnet(float(layout[f"Z{number}"]), shape, sign * IRON_FIELD))
    last = row[-1]
    return (*row, Magnet(CLOSING_HALF_LENGTH, last.exit, last.exit, last.field))


def absorber() -> tuple[Magnet, ...]:
    """The two fixed blocks in front."""
    return tuple(_magnet(half, shape, ABSORBER_FIELD) for half, *shape in ABSORBER)


def _magnet(half_length: float, shape: Sequence[float], field: float) -> Magnet:
    return Magnet(half_length, Section(*shape[0::2]), Section(*shape[1::2]), field)


def shield_blocks(layout: Design) -> tuple[Block, ...]:
    """All iron of a design, absorber and closing magnet included; it begins at z = 0 and stands without gaps."""
    return row_blocks((*absorber(), *magnets(layout)))


def mass(layout: Design) -> float:
    """Mass in kg with the absorber."""
    return ABSORBER_MASS + sum(magnet.mass(MODEL_IRON_DENSITY) for magnet in magnets(layout))


def length(layout: Design) -> float:
    """Length in cm from the front of the absorber to the back of the closing magnet."""
    return sum(2 * magnet.half_length for magnet in (*absorber(), *magnets(layout)))


IRON_PRICE = 8.0
"""Price of iron in CHF per kg: 2 for material, 6 for manufacturing."""


COPPER_PRICE = 270.0
"""Price of copper in CHF per kg: 20 for material, 250 for manufacturing."""


COPPER_DENSITY, COPPER_RESISTIVITY = 8960.0, 1.77e-8
"""Density in kg/m3 and resistivity in Ohm m."""


ELECTRICITY_PRICE = 5.0
"""Price of electricity in CHF per W."""


FIELD_STRENGTH = 5000.0
"""Field strength in A/m in the iron at 1.7 T, of the order of pure iron; our choice."""


CHEAPEST_CURRENT_DENSITY = math.sqrt(COPPER_PRICE * COPPER_DENSITY / (ELECTRICITY_PRICE * COPPER_RESISTIVITY))
"""Current density in A/m2 at which copper and electricity cost equally much, the cheapest: 5.2 A/mm2."""


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
    copper = FIELD_STRENGTH * path / CHEAPEST_CURRENT_DENSITY * turn * COPPER_DENSITY
    return 2 * COPPER_PRICE * copper
