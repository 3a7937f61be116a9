"""What proposes designs: the protocol that every agent fulfils, and the batch of results that it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rl_detector.space import DesignSpace, Encoding, FloatArray


class Batch(NamedTuple):
    """Evaluated proposals; failed evaluations are left out.

    Attributes:
        actions: the encodings exactly as `ask` gave them (not clipped), [designs, ...].
        rewards: [designs].
        errors: standard errors of the rewards, [designs].
        losses: per-event terms of each design, [designs] of [events], where the measurement has them (else None in its
            place); for agents that learn from events.
        revised: rewards of all designs told before, in the order told, where a judge that learns from every event has
            judged them anew; None: they stand as they were told.
    """

    actions: Encoding
    rewards: FloatArray
    errors: FloatArray
    losses: Sequence[FloatArray | None] | None = None
    revised: FloatArray | None = None


class Agent(Protocol):
    """Proposes designs in the encoding of a space and learns from their rewards (larger is better).

    The constructor of an agent takes `(space: DesignSpace, seed: int, start: Design | None, **settings)`; `start` is
    the design at which the search begins (None: the centre of the space). Two agents with the same arguments that are
    told the same batches propose the same designs, also after `load_state_dict`.
    """

    space: DesignSpace

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n designs: continuous [n, c] (values beyond [-1, 1] will be clipped) and discrete [n, k]."""
        ...

    def tell(self, batch: Batch) -> None:
        """Learn from evaluated proposals of the latest `ask`; the batch may be empty."""
        ...

    def recommend(self, observation: FloatArray) -> Encoding:
        """The best design that the agent knows of, [c] and [k], from what it was told; draws no random numbers."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Numbers worth plotting: at least `sigma`, the mean spread of the proposals in units of half the box."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, random generator included: tensors and plain values only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict of an agent with the same constructor arguments."""
        ...
