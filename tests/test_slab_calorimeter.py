"""The sequential calorimeter: showers of the library, sensors cut out of them, and what they are worth."""

from __future__ import annotations

import pytest

from rl_detector.envs.slab_calorimeter import AREA, LENGTH, baselines, length, price, slab_calorimeter
from rl_detector.errors import ConfigError


def test_the_baselines_have_their_sensors_and_prices() -> None:
    """56, 56 and 42 sensors; 5 EUR/cm2 each, but 3.6 for the 14 thin ones of gamma."""
    layouts = baselines()
    assert {name: len(layout["sensor"]) for name, layout in layouts.items()} == {"beta": 56, "alpha": 56, "gamma": 42}
    assert price(layouts["beta"]) == price(layouts["alpha"]) == pytest.approx(56 * 5.0 * AREA / 1000)
    assert price(layouts["gamma"]) == pytest.approx((14 * 3.6 + 28 * 5.0) * AREA / 1000)
    assert all(length(layout) < LENGTH for layout in layouts.values())


def test_too_few_sensors() -> None:
    with pytest.raises(ConfigError, match="room for the 56 sensors of its baselines, got sensors=40"):
        slab_calorimeter(sensors=40)
