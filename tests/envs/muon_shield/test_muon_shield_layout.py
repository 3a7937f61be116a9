"""The layout of the muon shield: published numbers to the printed digits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rl_detector.checks.problems import check_space
from rl_detector.envs.muon_shield.layout import (
    ABSORBER_MASS,
    absorber,
    design,
    length,
    magnets,
    mass,
    published,
    shield_blocks,
    space,
)
from rl_detector.errors import DesignError
from rl_detector.physics.magnets import Block, row_blocks

EXPERIMENT = Path(__file__).parents[3] / "experiments" / "muon_shield"


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


def iron(blocks: Sequence[Block]) -> float:
    """Mass in kg of blocks with the density of iron (Simpson's rule, exact for corners that move linearly)."""
    return 7.874e-3 * sum((b.z_out - b.z_in) * _mean_area(b) for b in blocks)


def _mean_area(block: Block) -> float:
    ends = block.corners_in, (block.corners_in + block.corners_out) / 2, block.corners_out
    x, y = np.moveaxis(np.stack(ends), 2, 0)
    areas = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1)) / 2
    return float(areas @ [1, 4, 1]) / 6


def test_the_mass_model_against_the_simulated_iron() -> None:
    """The card of the shield quotes these numbers: the model counts less than what muons cross."""
    fixed = iron(row_blocks(absorber()))
    assert fixed == pytest.approx(576.3e3, rel=1e-4)
    assert ABSORBER_MASS == 257.4e3
    results = json.loads((EXPERIMENT / "results.json").read_text())
    found = [each["design"] for stage in ("trained", "refined") for each in results[stage].values()]
    excess = [(iron(shield_blocks(each)) - fixed + ABSORBER_MASS) / mass(each) - 1 for each in found]
    assert len(excess) == 9
    assert round(min(excess), 3) == 0.017
    assert round(max(excess), 3) == 0.033
