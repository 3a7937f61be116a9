"""Simulate one design with a simulator of many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rl_detector.errors import SimulationError
from rl_detector.space import Design
from rl_detector.terms import Readout


class FromBatch(ABC):
    """Base of simulators that implement `simulate_batch` and `describe`.

    Examples:
        >>> import numpy as np
        >>> class Exact(FromBatch):
        ...     def simulate_batch(self, designs, events, seeds):
        ...         return [Readout({}, np.full((events, 1), design["x"])) for design in designs]
        ...     def describe(self):
        ...         return {"simulator": "exact"}
        >>> Exact().simulate({"x": 2.0}, events=2, seed=0).signals.tolist()
        [[2.0], [2.0]]
    """

    @abstractmethod
    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Sequence[Readout | SimulationError]:
        """Simulate events in every design; return an error in place of each readout that failed."""

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Simulate events in one design; a failure raises SimulationError."""
        (readout,) = self.simulate_batch([design], events, [seed])
        if isinstance(readout, SimulationError):
            raise readout
        return readout
