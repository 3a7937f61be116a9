"""A few events of an expensive simulator, corrected by many of a cheap one (control variate).

`rl_detector.reach.corrected` explains how this reduces the error of the reach without bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.claims import Claim, claims_of
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.measure import as_failure, simulate
from rl_detector.simulators.batch import FromBatch
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Group, PairedReadout, Readout, ReplicatingSimulator, Simulator

_FURTHER_SPAWN_KEY = 4
"""Spawn key of the event seeds that draw the further primaries."""


@dataclass(frozen=True)
class TwoFidelities(FromBatch):
    """An expensive simulator with a cheap one as its control.

    Budget and ledger count the expensive events only. Each comes with (1 + further) * copies cheap events;
    `cost_per_event` and `describe` state the total cost in expensive events.

    Attributes:
        cheap, dear: the cheap and the expensive simulator. Both draw equal primaries for equal seeds, and independent
            ones for different seeds. An error of the cheap one costs precision and adds no bias.
        further: primaries that only the cheap simulator gets, per expensive event.
        copies: simulations of every primary by the cheap simulator. Their mean averages out fluctuations that the
            expensive simulator does not share. More than 1 needs a ReplicatingSimulator.
        cost_ratio: measured cost of an expensive event in cheap events.
    """

    cheap: Simulator
    dear: Simulator
    further: float = 5.0
    copies: int = 20
    cost_ratio: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.further < math.inf:
            raise ConfigError(f"two fidelities: further must be positive and finite, got {self.further}")
        if self.copies < 1:
            raise ConfigError(f"two fidelities: copies must be at least 1, got {self.copies}")
        if not self.cost_ratio > 0:
            raise ConfigError(f"two fidelities: cost_ratio must be positive, got {self.cost_ratio}")
        if self.copies > 1 and not isinstance(self.cheap, ReplicatingSimulator):
            raise ConfigError(
                f"two fidelities: {type(self.cheap).__name__} cannot simulate the same primaries again (it has no "
                f"method replicas): expected copies=1, got {self.copies}"
            )

    def claims(self) -> list[Claim]:
        """Return the programs that the two simulators start, for `--trust`."""
        return [*claims_of(self.cheap), *claims_of(self.dear)]

    @property
    def cheap_per_event(self) -> float:
        """Cheap events per expensive event."""
        return (1 + self.further) * self.copies

    @property
    def cost_per_event(self) -> float:
        """Cost of one expensive event with its cheap events, in expensive events."""
        return 1 + self.cheap_per_event / self.cost_ratio

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Simulate events in every design; return paired readouts, or the errors that stopped them."""
        found = simulate(self.dear, Group(designs, events, seeds))
        return [
            self._paired(readout, design, events, seed) if isinstance(readout, Readout) else readout
            for readout, design, seed in zip(found, designs, seeds, strict=True)
        ]

    def describe(self) -> Mapping[str, str]:
        """Return the facts of both simulators, and the cost of an event."""
        cheap, dear = (dict(simulator.describe()) for simulator in (self.cheap, self.dear))
        differing = {f"cheap {name}": fact for name, fact in cheap.items() if dear.get(name) != fact}
        known = math.isfinite(self.cost_ratio)
        cost = f"{self.cost_per_event:.3g} dear events ({self.cost_ratio:g} cheap ones per dear one)"
        return {
            **dear,
            "simulator": f"{cheap['simulator']}_to_{dear['simulator']}",
            **differing,
            "cheap events": f"{self.further:g} further primaries per dear event, all of them {self.copies} times",
            "cost of an event": cost if known else "1 dear event and its cheap ones, whose cost is not stated",
        }

    def _paired(self, dear: Readout, design: Design, events: int, seed: int) -> Readout | SimulationError:
        try:
            same = self._replicas(design, events, seed)
            others = self._replicas(design, math.ceil(self.further * events), _further_seed(seed))
        except ConfigError:
            raise
        except Exception as error:  # an error of a simulator fails its trial, and the study goes on
            return SimulationError(f"the cheap simulator: {as_failure(error)}")
        _check_primaries(dear, same)
        copies = tuple(_joined(first, then) for first, then in zip(same, others, strict=True))
        if not all(np.isfinite(copy.signals).all() for copy in copies):
            return SimulationError("the cheap simulator returned NaN or infinite signals")
        return PairedReadout(dear.truth, dear.signals, copies)

    def _replicas(self, design: Design, events: int, seed: int) -> Sequence[Readout]:
        if isinstance(self.cheap, ReplicatingSimulator) and self.copies > 1:
            return self.cheap.replicas(design, events, seed, self.copies)
        return [self.cheap.simulate(design, events, seed)]


@dataclass(frozen=True)
class Plan:
    """Finds how many cheap events pay, from a pilot run (`diagnostics` of `CorrectedReach`).

    The mean over c copies of the cheap loss of a primary has the variance V (kappa + (1 - kappa) / c). Its covariance
    with the expensive loss does not depend on c. So

        rho_c^2 = rho_1^2 / (kappa + (1 - kappa) / c).

    With f further primaries per expensive event, the variance is multiplied by 1 - rho_c^2 f / (1 + f), and the cost
    by 1 + (1 + f) c / w. One copy is the two-model case of Peherstorfer, Willcox and Gunzburger, SIAM Journal on
    Scientific Computing 38 (2016) A3163; its optimum is (1 + f)^2 = w rho^2 / (1 - rho^2).

    Attributes:
        correlation: rho_1, correlation of the expensive loss and one cheap loss of a primary.
        repeatability: kappa, correlation of two cheap losses of a primary, 0 < kappa <= 1.
        cost_ratio: w, cost of an expensive event in cheap events.
    """

    correlation: float
    repeatability: float
    cost_ratio: float

    @staticmethod
    def measured(correlation: float, copies: int, repeatability: float, cost_ratio: float) -> Plan:
        """Make a plan from the correlation of the expensive loss with the mean of `copies` cheap losses."""
        shared = repeatability + (1 - repeatability) / copies
        return Plan(correlation * math.sqrt(shared), repeatability, cost_ratio)

    def variance(self, further: float, copies: int) -> float:
        """Return the variance of the corrected reach over that of the expensive events alone."""
        shared = self.repeatability + (1 - self.repeatability) / copies
        return 1 - min(self.correlation**2 / shared, 1.0) * further / (1 + further)

    def cost(self, further: float, copies: int) -> float:
        """Return the cost with the cheap events over that of the expensive events alone."""
        return 1 + (1 + further) * copies / self.cost_ratio

    def best(self, most_copies: int = 100) -> tuple[float, int, float]:
        """Find the further primaries and copies with the smallest variance at equal cost.

        Returns:
            Further primaries, copies, and the variance relative to expensive events alone at equal cost. If the cheap
            simulator does not pay, these are 0, 1 and 1.
        """
        grid = [(float(f), c) for c in range(1, most_copies + 1) for f in _FURTHER_GRID]
        scores = [self.variance(*choice) * self.cost(*choice) for choice in grid]
        index = int(np.argmin(scores))
        return (0.0, 1, 1.0) if scores[index] >= 1 else (*grid[index], scores[index])


_FURTHER_GRID = np.geomspace(0.1, 1000, 81)


def _further_seed(seed: int) -> int:
    sequence = np.random.SeedSequence(seed, spawn_key=(_FURTHER_SPAWN_KEY,))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def _check_primaries(dear: Readout, copies: Sequence[Readout]) -> None:
    """Raise ConfigError unless every copy has the primaries of the expensive events."""
    for copy in copies:
        shared = dear.truth.keys() & copy.truth.keys()
        if not shared or not all(np.array_equal(dear.truth[name], copy.truth[name]) for name in shared):
            raise ConfigError(
                "two fidelities: the two simulators must draw the same primaries for the same seed, but their truths "
                f"({', '.join(dear.truth) or 'none'}; {', '.join(copy.truth) or 'none'}) differ"
            )


def _joined(first: Readout, then: Readout) -> Readout:
    truth: dict[str, FloatArray] = {name: np.concatenate([first.truth[name], then.truth[name]]) for name in first.truth}
    return Readout(truth, np.concatenate([first.signals, then.signals]))
