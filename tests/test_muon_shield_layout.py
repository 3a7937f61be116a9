"""The layout of the muon shield: published numbers to the printed digits."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.checks.problems import check_space
from rl_detector.envs.muon_shield.layout import design, length, magnets, mass, published, shield_blocks, space
from rl_detector.errors import DesignError


def test_mass_and_length_of_the_published_design() -> None:
    assert round(mass(published()) / 1e6, 4) == 1.2704
    assert round(length(published()) / 100, 2) == 35.44


def test_42_parameters() -> None:
    assert len(space().continuous) == 42
    assert space().contains(published())
    check_space(space())


def test_blocks_of_the_published_design() -> None:
    blocks = shield_blocks(published())
    assert len(blocks) == 9 * 8
    assert blocks[0].z_in == 0
    assert blocks[-1].z_out == pytest.approx(length(published()))
    cores = [block.field[1] for block in blocks[::8]]
    assert cores == [1.6, 1.6, 1.7, 1.7, 1.7, -1.7, -1.7, -1.7, -1.7]


def test_the_last_magnet_goes_on_as_the_sixth_ends() -> None:
    *_, sixth, last = magnets(published())
    assert (last.entrance, last.exit, last.half_length) == (sixth.exit, sixth.exit, 10)
    np.testing.assert_array_equal(shield_blocks(published())[-9].corners_out, shield_blocks(published())[-1].corners_in)


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(DesignError, match="6 half-lengths and 6 shapes"):
        design([200] * 5, [[1] * 6] * 6)
