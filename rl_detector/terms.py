"""The terms of a design problem: simulator, reach, costs and constraints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.space import Design, FloatArray


@dataclass(frozen=True)
class Group:
    """Designs that are simulated together, each with its own event seed; a slice of a group is a group.

    Attributes:
        designs: in physical units.
        events: per design.
        seeds: one per design; designs with equal seeds may share primaries.

    Examples:
        >>> group = Group([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}], events=100, seeds=[7, 8, 9])
        >>> len(group), group[1:].seeds
        (3, (8, 9))
    """

    designs: Sequence[Design]
    events: int
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.designs) != len(self.seeds):
            raise DesignError(f"each design needs a seed: got {len(self.designs)} designs and {len(self.seeds)} seeds")
        object.__setattr__(self, "designs", tuple(self.designs))
        object.__setattr__(self, "seeds", tuple(self.seeds))

    def __len__(self) -> int:
        return len(self.designs)

    def __getitem__(self, part: slice) -> Group:
        return Group(self.designs[part], self.events, self.seeds[part])

    def pairs(self) -> Iterator[tuple[Design, int]]:
        """Every design with its seed."""
        return zip(self.designs, self.seeds, strict=True)


@dataclass(frozen=True)
class Readout:
    """Result of a simulation of one design.

    Attributes:
        truth: what was generated, name -> [events], for example the energy of the primary in GeV.
        signals: what the detector saw, [events, channels].

    Examples:
        >>> import rl_detector as rd
        >>> import numpy as np
        >>> readout = rd.Readout({"energy": np.array([1.0, 2.0])}, signals=np.array([[0.9], [2.1]]))
        >>> readout.signals.shape
        (2, 1)
    """

    truth: Mapping[str, FloatArray]
    signals: FloatArray


@dataclass(frozen=True)
class PairedReadout(Readout):
    """Events of an expensive simulator, with a cheap simulator's events of their primaries and of further ones.

    Attributes:
        copies: cheap readouts that share all primaries and differ in the other random numbers. Their first events have
            the primaries of the expensive events, in order. All primaries are independent draws from one beam.
    """

    copies: tuple[Readout, ...]


@runtime_checkable
class Simulator(Protocol):
    """Measures one design. Equal arguments give equal results, bit for bit.

    Examples:
        >>> import numpy as np
        >>> import rl_detector as rd
        >>> class Exact:
        ...     def simulate(self, design, events, seed):
        ...         x = np.random.default_rng(seed).uniform(size=events)
        ...         return rd.Readout({"x": x}, x[:, None])
        ...     def describe(self):
        ...         return {"simulator": "exact"}
        >>> isinstance(Exact(), rd.Simulator)
        True
    """

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        """Simulate events in one design; a failure raises SimulationError."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts that every result must state: name of the simulator, version, physics list."""
        ...


@runtime_checkable
class BatchSimulator(Simulator, Protocol):
    """A simulator that measures many designs at once; each result equals that of `simulate`."""

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Sequence[Readout | SimulationError]:
        """Simulate events in every design; a failure stands in its place and does not touch the others."""
        ...


@runtime_checkable
class ReplicatingSimulator(Simulator, Protocol):
    """A simulator that can send its primaries through a design several times."""

    def replicas(self, design: Design, events: int, seed: int, copies: int) -> Sequence[Readout]:
        """Readouts with the primaries of `simulate(design, events, seed)`, each with other random numbers beyond."""
        ...


@dataclass(frozen=True)
class Measurement:
    """Physics reach of one design, dimensionless, larger is better, with its standard error.

    Attributes:
        reach, error: the reach and its standard error.
        metric, metric_error: the physical figure behind it (a resolution, a rate) and its standard error.
        losses: per-event terms, [events], for paired comparisons, where the metric is their mean and the reach
            ln(reference / metric); else None.
        diagnostics: further results, never part of the reward.

    Examples:
        >>> import rl_detector as rd
        >>> rd.Measurement(reach=0.69, error=0.05, metric=0.25, metric_error=0.0125)
        Measurement(reach=0.69, error=0.05, metric=0.25, metric_error=0.0125, losses=None, diagnostics={})
    """

    reach: float
    error: float
    metric: float
    metric_error: float
    losses: FloatArray | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Reach(Protocol):
    """Turns a readout into physics reach.

    Examples:
        >>> import rl_detector as rd
        >>> import math
        >>> import numpy as np
        >>> class Spread:
        ...     def measure(self, readout):
        ...         sigma = float(readout.signals.std())
        ...         error = (2 * len(readout.signals)) ** -0.5
        ...         return rd.Measurement(-math.log(sigma), error, sigma, sigma * error)
        >>> isinstance(Spread(), rd.Reach)
        True
        >>> Spread().measure(rd.Readout({}, np.array([[-0.5], [0.5]]))).metric
        0.5
    """

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one design; raises SimulationError for data from which it cannot be measured."""
        ...


@runtime_checkable
class SharedReach(Reach, Protocol):
    """A reach whose metric is the mean of per-event losses, as a reconstruction shared by designs needs it.

    The reach is ln(reference / metric), or reference - metric where it is not logarithmic.
    """

    @property
    def target(self) -> str:
        """What is reconstructed: a name in the truth of a readout."""
        ...

    @property
    def reference(self) -> float:
        """Metric at which the reach is 0."""
        ...

    @property
    def logarithmic(self) -> bool:
        """Whether the reach is ln(reference / metric)."""
        ...

    @property
    def needs_variance(self) -> bool:
        """Whether the losses need the variance of the prediction."""
        ...

    def weights(self, target: FloatArray) -> FloatArray:
        """Weights of squared residuals in the regression, [events], > 0."""
        ...

    def losses(self, predicted: FloatArray, variance: FloatArray | None, target: FloatArray) -> FloatArray:
        """Per-event losses, [events]; the metric is their mean."""
        ...


@dataclass(frozen=True)
class Features:
    """How a reconstruction shared by designs sees them.

    Attributes:
        design: design -> where it is, [coordinates], each of order 1; designs that respond alike are close.
        events: design and signals [events, channels] -> what a linear fit may use, [events, features], equally many for
            all designs. They are of order 1 for a typical event, and the constant 1 is among them.
    """

    design: Callable[[Design], FloatArray]
    events: Callable[[Design, FloatArray], FloatArray]


@runtime_checkable
class BatchReach(Reach, Protocol):
    """A reach that measures many readouts at once; each result equals that of `measure`."""

    def measure_batch(self, readouts: Sequence[Readout]) -> Sequence[Measurement]:
        """Reach of every design."""
        ...


@dataclass(frozen=True)
class Cost:
    """A cost of a design, for example money or mass.

    Attributes:
        name, unit: for people and the ledger.
        reference: the amount (in `unit`) that counts as 1 in the reward; a baseline's cost or a budget.
        amount: design -> amount in `unit`.

    Examples:
        >>> import rl_detector as rd
        >>> price = rd.Cost("price", "EUR", reference=1000.0, amount=lambda design: 50 * design["thickness"])
        >>> price.amount({"thickness": 4.0}) / price.reference
        0.2
    """

    name: str
    unit: str
    reference: float
    amount: Callable[[Design], float]


ROUNDING = 1e-9
"""Relative excess over a limit that is taken for rounding."""


@dataclass(frozen=True)
class Constraint:
    """An upper limit that a design must respect.

    Attributes:
        name, unit: for people and the ledger.
        limit: largest allowed amount, in `unit`, > 0.
        amount: design -> amount in `unit`.

    Examples:
        >>> import rl_detector as rd
        >>> length = rd.Constraint("length", "cm", limit=10.0, amount=lambda design: design["thickness"])
        >>> length.violation({"thickness": 8.0}), length.violation({"thickness": 12.5})
        (0.0, 2.5)
    """

    name: str
    unit: str
    limit: float
    amount: Callable[[Design], float]

    def violation(self, design: Design) -> float:
        """How far the design is beyond the limit, in `unit`; 0 when it is within (up to rounding)."""
        excess = self.amount(design) - self.limit
        return 0.0 if excess <= ROUNDING * self.limit else excess  # an evaluation refuses NaN


class Component(NamedTuple):
    """One part of a detector, drawn to scale: position and extent along the beam axis in cm."""

    label: str
    material: str
    start: float
    length: float


PENALTY_KNEE = 0.01
"""Relative violation at which the penalty turns from quadratic to linear."""


def penalty(relative_violation: float) -> float:
    """Steep smooth penalty h(x) of a relative violation x >= 0: x^2 / (2 k) up to the knee k, then x - k/2 (Huber).

    Examples:
        >>> [round(penalty(x), 4) for x in (0.0, 0.005, 0.01, 0.11)]
        [0.0, 0.0013, 0.005, 0.105]
    """
    if relative_violation < PENALTY_KNEE:
        return relative_violation**2 / (2 * PENALTY_KNEE)
    return relative_violation - PENALTY_KNEE / 2


def check_terms(costs: Sequence[Cost], constraints: Sequence[Constraint]) -> None:
    """Raise ConfigError unless references and limits are positive and finite and names are used once.

    Examples:
        >>> try:
        ...     check_terms([Cost("price", "EUR", 0.0, lambda design: 1.0)], [])
        ... except ConfigError as error:
        ...     str(error)
        "reference of cost 'price' must be positive and finite, got 0.0"
    """
    amounts = [("cost", c.name, "reference", c.reference) for c in costs]
    amounts += [("constraint", c.name, "limit", c.limit) for c in constraints]
    for kind, name, label, amount in amounts:
        if not 0 < amount < math.inf:
            raise ConfigError(f"{label} of {kind} {name!r} must be positive and finite, got {amount}")
    for terms in (costs, constraints):
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise ConfigError(f"costs and constraints need distinct names, got {names}")
