"""The ladle furnace as blocks in a hall, for a simulator of tracks such as Geant4; z is the depth below the top."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rl_detector.envs.muon_tomography.furnace import (
    FILL_HEIGHTS,
    FURNACE_BOTTOM,
    FURNACE_TOP,
    FURNACE_WIDTH,
    RADIATION_LENGTHS,
    TOP_HEIGHT,
    VOXEL_SIDE,
)
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.physics.magnets import Block
from rl_detector.physics.materials import material
from rl_detector.simulators.hall import Charged, Hall, Matter, Tracker
from rl_detector.space import FloatArray, IntArray

LONGEST_STEP, ENERGY_THRESHOLD = 2.0, 0.01
"""Longest step in cm in the furnace, and kinetic energy in GeV below which muons are dropped."""


STAND_IN_ELEMENTS = {"steel": "Fe", "liquid steel": "Fe", "slag": "Al"}
"""Element that stands in for a material, with the density that gives its radiation length.

A slag is mostly light oxides with about the atomic number of aluminium.
"""


HALL_HALF_WIDTH = 1000.0
"""Half width of the hall in cm."""


def matter(name: str) -> Matter:
    """A material of the furnace: X0 times density is that of the element."""
    element = material(STAND_IN_ELEMENTS[name])
    density = element.density * element.radiation_length / (100 * RADIATION_LENGTHS[name])
    return Matter(element.name, density)


@lru_cache
def furnace(fill: int) -> Hall:
    """The furnace with one of the fill heights: walls and floor of steel, liquid steel, slag; planes around it."""
    half, wall = 50 * FURNACE_WIDTH, 100 * VOXEL_SIDE
    top, bottom, surface = (round(100 * (TOP_HEIGHT - z), 6) for z in (FURNACE_TOP, FURNACE_BOTTOM, FILL_HEIGHTS[fill]))
    inner = half - wall
    boxes = [
        ("steel", top, bottom, (-half, -inner), (-half, half)),
        ("steel", top, bottom, (inner, half), (-half, half)),
        ("steel", top, bottom, (-inner, inner), (-half, -inner)),
        ("steel", top, bottom, (-inner, inner), (inner, half)),
        ("steel", bottom - wall, bottom, (-inner, inner), (-inner, inner)),
        ("liquid steel", surface, bottom - wall, (-inner, inner), (-inner, inner)),
        ("slag", surface - wall, surface, (-inner, inner), (-inner, inner)),
    ]
    blocks = tuple(_box(float(z_in), float(z_out), x, y) for _, z_in, z_out, x, y in boxes)
    return Hall(blocks, (top, bottom), tuple(matter(name) for name, *_ in boxes), "air", HALL_HALF_WIDTH)


def _box(z_in: float, z_out: float, x: tuple[float, float], y: tuple[float, float]) -> Block:
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
    return Block(z_in, z_out, corners, corners, (0.0, 0.0, 0.0))


def scattered(tracker: Tracker, muons: Muons, fills: IntArray, charge: FloatArray, seed: int) -> tuple[Rays, BoolArray]:
    """Muons below the furnace, as `furnace.scatter` gives them; muons that stop do not go down.

    Args:
        tracker: follows the muons.
        muons: at the top, [muons].
        fills: index of the fill height of the volume that each muon crosses, [muons].
        charge: +1 or -1, [muons].
        seed: of the tracker.

    Raises:
        SimulationError: the tracker failed.
    """
    sent = particles(muons, charge)
    chosen = [np.flatnonzero(fills == fill) for fill in range(len(FILL_HEIGHTS))]
    halls = [furnace(fill) for fill in range(len(FILL_HEIGHTS))]
    groups = [Charged(tuple(sent.names[i] for i in c), sent.position[c], sent.momentum[c]) for c in chosen]
    seeds = np.random.SeedSequence(seed).generate_state(len(halls)).tolist()
    position, slope, down = np.zeros((2, len(sent))), np.zeros((2, len(sent))), np.zeros(len(sent), dtype=bool)
    for events, found in zip(chosen, tracker.crossings(halls, groups, seeds), strict=True):
        if isinstance(found, Exception):
            raise found
        down[events] = found.seen[:, -1]
        position[:, events] = found.position[:, -1].T / 100 + FURNACE_WIDTH / 2
        along = np.where(found.seen[:, -1], found.momentum[:, -1, 2], 1.0)
        slope[:, events] = found.momentum[:, -1, :2].T / along
    return Rays(position, slope), down


def particles(muons: Muons, charge: FloatArray) -> Charged:
    """The muons in the coordinates of the hall."""
    slope = muons.rays.slope
    along = muons.momentum / np.sqrt(1 + (slope**2).sum(axis=0))
    place = np.stack([*(100 * (muons.rays.position - FURNACE_WIDTH / 2)), np.zeros_like(along)], axis=1)
    return Charged.muons(place, np.stack([*(slope * along), along], axis=1), charge)
