"""Muons in magnetised iron: closed forms, symmetries, and no dependence on the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl_detector.physics.constants import CURVATURE_GEV_PER_T_CM, MUON_MASS
from rl_detector.physics.energy_loss import mean_loss
from rl_detector.physics.magnets import Magnet, Section, magnet_blocks
from rl_detector.physics.muon_transport import IRON_LENGTH, IronTransport, Muons, Noise, Stage, field_at
from rl_detector.physics.scattering import HIGHLAND_MEV, IRON_RATE, highland_angle

PLAIN = IronTransport(straggling=None, scattering=False, threshold=0.0)
WIDE = Section(500, 500, 1)


def beam(number: int, p: float = 20.0, charge: float = -1.0, x: float = 10.0, y: float = 5.0) -> Muons:
    momentum = np.zeros((3, number))
    momentum[2] = p
    return Muons.of(np.full(number, x), np.full(number, y), momentum, np.full(number, charge))


def taken(transport: IronTransport, muons: Muons, magnet: Magnet, steps: int, seed: int = 0) -> Muons:
    where = np.arange(len(muons))
    noise = Noise.draw(np.random.default_rng(seed), steps, len(muons))
    return transport.through(muons, np.zeros_like(where), where, Stage.of([magnet]), noise)[0]


@pytest.mark.parametrize("steps", [1, 7])
def test_deflection_in_one_block(steps: int) -> None:
    """p_x changes by 0.3 B L, the path is an arc of the radius p / 0.3 B: exact for any number of steps."""
    p, b, half = 20.0, 1.7, 100.0
    after = taken(PLAIN, beam(1, p), Magnet(half, WIDE, WIDE, b), steps)
    kick = CURVATURE_GEV_PER_T_CM * b * 2 * half
    assert float(p * after.u[0]) == pytest.approx(kick, rel=1e-12)
    radius = p / (CURVATURE_GEV_PER_T_CM * b)
    assert float(after.x[0] - 10) == pytest.approx(radius - np.sqrt(radius**2 - (2 * half) ** 2), rel=1e-9)
    assert float(after.u[0]) == pytest.approx(0.3 * b * 2 / p, rel=1e-3)
    assert float(after.v[0]) == 0 and float(after.y[0]) == 5


def test_the_other_coordinate_follows_the_helix() -> None:
    """y = y0 + v R phi, to phi^2 / 12 of one step."""
    muons = replace(beam(1), v=np.array([0.1]))
    after = taken(PLAIN, muons, Magnet(100, WIDE, WIDE, 1.7), 10)
    radius = 20.0 * np.sqrt(0.99) / (CURVATURE_GEV_PER_T_CM * 1.7)
    phi = np.arcsin(200 / radius)
    assert float(after.y[0] - 5) == pytest.approx(0.1 / np.sqrt(0.99) * radius * phi, rel=5e-6)


def test_no_field_is_straight() -> None:
    muons = replace(beam(3), u=np.array([0.0, 0.1, -0.2]), v=np.array([0.05, 0.0, 0.1]))
    after = taken(PLAIN, muons, Magnet(100, WIDE, WIDE, 0.0), 5)
    np.testing.assert_array_equal(after.u, muons.u)
    np.testing.assert_allclose(after.x, muons.drift(200.0).x)
    np.testing.assert_allclose(after.y, muons.drift(200.0).y)


def test_negative_muons_go_to_positive_x_in_a_field_that_points_up() -> None:
    magnet = Magnet(100, WIDE, WIDE, 1.7)
    assert taken(PLAIN, beam(1, charge=-1), magnet, 3).u[0] > 0 > taken(PLAIN, beam(1, charge=1), magnet, 3).u[0]


def test_a_positive_muon_mirrors_a_negative_one() -> None:
    """x -> -x, y -> y; with all noise, mirrored in x."""
    magnet = Magnet(200, Section(40, 60, 10), Section(60, 30, 20), 1.7)
    rng, full = np.random.default_rng(1), IronTransport()
    minus = replace(beam(400, 30.0), x=rng.uniform(-60, 60, 400), y=rng.uniform(-80, 80, 400))
    plus = replace(minus, x=-minus.x, charge=-minus.charge)
    where, noise = np.arange(400), Noise.draw(rng, 12, 400)
    mirrored = Noise(noise.normals * np.array([-1, -1, 1, 1, 1], dtype=np.float32)[:, None], noise.uniform)
    one, _, kept = full.through(minus, np.zeros_like(where), where, Stage.of([magnet]), noise)
    other, _, also = full.through(plus, np.zeros_like(where), where, Stage.of([magnet]), mirrored)
    np.testing.assert_array_equal(kept, also)
    for name, sign in (("x", -1), ("u", -1), ("y", 1), ("v", 1), ("energy", 1)):
        np.testing.assert_array_equal(getattr(one, name), sign * getattr(other, name))


def test_fields_are_those_of_the_blocks() -> None:
    """Both agree at random points of a cross-section; a point in none of the blocks is in air."""
    first, last = Section(72, 29, 10), Section(51, 46, 7)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-170, 170, 4000), rng.uniform(-120, 120, 4000)
    expected = np.zeros((3, 4000))
    for block in magnet_blocks(Magnet(100, first, last, -1.7), 0.0):
        corners = (block.corners_in + 3 * block.corners_out) / 4
        edges = np.roll(corners, -1, axis=0) - corners
        sides = edges[:, 0, None] * (y - corners[:, 1, None]) - edges[:, 1, None] * (x - corners[:, 0, None])
        expected[:, (sides > 0).all(axis=0)] = [[block.field[0]], [block.field[1]], [1.0]]
    stage = Stage.of([Magnet(100, first, last, -1.7)])
    found = field_at(x, y, *stage.middle(0.75), stage.field)
    np.testing.assert_array_equal(np.array(found), expected)


def test_mean_energy_loss_in_a_metre() -> None:
    after = taken(IronTransport(scattering=False), beam(40_000), Magnet(50, WIDE, WIDE, 0.0), 5)
    lost = np.hypot(20, MUON_MASS) - after.energy
    expected = 100 * float(mean_loss(20 - 50 * float(mean_loss(20))))
    assert abs(lost.mean() - expected) < 4 * lost.std() / 200 + 0.002 * expected


@pytest.mark.parametrize("steps", [1, 20])
def test_scattering_has_the_width_of_the_whole_slab(steps: int) -> None:
    """1 step = 20 steps: angle theta0, the logarithm that of the whole; offset theta0 L / sqrt 3, both planes.

    The logarithm grows on the way, so that with many steps the offset is 2.4 % smaller than that of even scattering.
    """
    transport = IronTransport(straggling=None, threshold=0.0)
    after = taken(transport, beam(40_000), Magnet(50, WIDE, WIDE, 0.0), steps)
    theta = float(highland_angle(20_000, 20 / np.hypot(20, MUON_MASS), 100 / IRON_LENGTH))
    for angle, offset in ((after.u, after.x - 10), (after.v, after.y - 5)):
        assert angle.std() == pytest.approx(theta, rel=0.012)
        assert offset.std() == pytest.approx(theta * 100 / np.sqrt(3), rel=0.012 if steps == 1 else 0.036)
        assert np.corrcoef(angle, offset)[0, 1] == pytest.approx(np.sqrt(3) / 2, abs=0.01)


def test_scattering_of_thick_iron_knows_no_history() -> None:
    """Without Highland's logarithm the width is sqrt(rate x), behind 10 m of iron as well as at the entrance."""
    transport = IronTransport(straggling=None, threshold=0.0, highland=False)
    theta = HIGHLAND_MEV / 1000 * np.hypot(20, MUON_MASS) / 400 * np.sqrt(IRON_RATE * 100 / IRON_LENGTH)
    muons = beam(40_000)
    for behind in (0.0, 1000 / IRON_LENGTH):
        after = taken(transport, replace(muons, crossed=muons.crossed + behind), Magnet(50, WIDE, WIDE, 0.0), 5)
        assert after.u.std() == pytest.approx(theta, rel=0.012)
        assert after.v.std() == pytest.approx(theta, rel=0.012)


def test_soft_muons_stop() -> None:
    """3 GeV muons do not get through 3 m of iron, 6 GeV muons do."""
    magnet = Magnet(150, WIDE, WIDE, 0.0)
    assert len(taken(IronTransport(), beam(200, 3.0), magnet, 10)) == 0
    assert len(taken(IronTransport(), beam(200, 6.5), magnet, 10)) > 190


def test_air_neither_bends_nor_brakes() -> None:
    window = Section(20, 30, 50)
    after = taken(IronTransport(), beam(10, 5.0, x=45.0), Magnet(50, window, window, 1.7), 4)
    np.testing.assert_array_equal(after.u, 0)
    np.testing.assert_array_equal(after.energy, beam(10, 5.0).energy)
