"""Iron magnets: mass in closed form, blocks that tile the iron, flux that comes back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.errors import DesignError
from rl_detector.physics.magnets import Magnet, Section, frustum, magnet_blocks, row_blocks

FIRST, SECOND = Section(72, 29, 10), Section(51, 46, 7)


def area(corners: np.ndarray) -> float:
    """Return the area by the shoelace formula, positive if counter-clockwise."""
    x, y = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_frusta_of_a_prism_and_a_pyramid() -> None:
    assert frustum(4.0, 4.0, 3.0) == pytest.approx(12.0)
    assert frustum(4.0, 0.0, 3.0) == pytest.approx(4.0)


def test_mass_of_a_straight_magnet_is_area_times_length() -> None:
    section = Section(10, 20, 5)
    iron = 4 * 25 * 30 - 4 * 5 * 20
    assert Magnet(50, section, section, 1.7).mass(7.87) == pytest.approx(7.87e-3 * iron * 100)


def test_mass_of_one_frustum() -> None:
    """Without windows and with half the size at the exit in both directions: a cut pyramid, 7/12 of the prism."""
    whole, half = Section(10, 30, 0), Section(5, 15, 0)
    assert Magnet(50, whole, half, 1.7).mass(1.0) == pytest.approx(7 / 12 * 1e-3 * 40 * 80 * 100)


@pytest.mark.parametrize("end", ["in", "out"])
def test_blocks_tile_the_iron(end: str) -> None:
    section = FIRST if end == "in" else SECOND
    blocks = magnet_blocks(Magnet(208, FIRST, SECOND, 1.7), 100.0)
    areas = [area(getattr(block, f"corners_{end}")) for block in blocks]
    assert min(areas) > 0, "counter-clockwise"
    assert sum(areas) == pytest.approx(section.outline - 2 * section.window)
    assert {(block.z_in, block.z_out) for block in blocks} == {(100.0, 516.0)}


def test_flux_of_the_core_comes_back_through_the_yokes() -> None:
    core, top, yoke, bottom, *left = magnet_blocks(Magnet(208, FIRST, SECOND, 1.7), 0.0)
    assert (core.field, top.field, yoke.field, bottom.field) == ((0, 1.7, 0), (1.7, 0, 0), (0, -1.7, 0), (-1.7, 0, 0))
    for one, other in zip((core, top, yoke, bottom), left, strict=True):
        assert other.field == (-one.field[0], one.field[1], 0)
    assert np.ptp(core.corners_in[:, 0]) == np.ptp(yoke.corners_in[:, 0]) == np.ptp(top.corners_in[:, 1]) == FIRST.iron


def test_magnets_stand_without_gaps() -> None:
    magnets = (Magnet(10, FIRST, SECOND, 1.0), Magnet(20, SECOND, FIRST, -1.0))
    ends = [(block.z_in, block.z_out) for block in row_blocks(magnets, 5.0)]
    assert ends == [(5, 25)] * 8 + [(25, 65)] * 8


@pytest.mark.parametrize(
    ("half_length", "section", "field"),
    [(0, FIRST, 1.7), (10, Section(-1, 2, 3), 1.7), (10, Section(1, math.nan, 3), 1.7), (10, FIRST, math.inf)],
)
def test_impossible_magnets(half_length: float, section: Section, field: float) -> None:
    with pytest.raises(DesignError, match="magnet"):
        Magnet(half_length, section, SECOND, field)
