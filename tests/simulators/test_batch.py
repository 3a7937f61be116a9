"""A simulator that implements batches also simulates single designs."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.errors import SimulationError
from rl_detector.simulators.batch import FromBatch
from rl_detector.terms import BatchSimulator, Readout


class Halves(FromBatch):
    """Fails for designs with x > 1/2; its signals are the seed."""

    def simulate_batch(self, designs, events, seeds):
        return [
            SimulationError(f"x = {design['x']}")
            if design["x"] > 0.5
            else Readout({}, np.full((events, 1), float(seed)))
            for design, seed in zip(designs, seeds, strict=True)
        ]

    def describe(self):
        return {"simulator": "halves"}


def test_one_design_is_a_batch_of_one() -> None:
    assert isinstance(Halves(), BatchSimulator)
    readout = Halves().simulate({"x": 0.25}, 3, 42)
    np.testing.assert_array_equal(readout.signals, np.full((3, 1), 42.0))


def test_a_failure_is_raised() -> None:
    with pytest.raises(SimulationError, match=r"x = 0\.75"):
        Halves().simulate({"x": 0.75}, 3, 42)


def test_it_cannot_be_made_without_a_batch() -> None:
    with pytest.raises(TypeError, match="simulate_batch"):
        type("Empty", (FromBatch,), {})()
