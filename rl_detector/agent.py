"""The protocol of agents, which propose designs, and the batch of results that they are told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rl_detector.space import DesignSpace, Encoding, FloatArray


class Batch(NamedTuple):
    """Evaluated proposals; failed evaluations are left out.

    Attributes:
        actions: the encodings exactly as `ask` gave them (not clipped), [designs, ...].
        rewards: [designs].
        errors: standard errors of the rewards, [designs].
        losses: per-event terms of each design for agents that learn from events, [designs] of [events]; None in place
            of a design whose measurement has none.
        revised: rewards of all designs told before, in the order told, where a judge that learns from every event has
            scored them anew; None: the old rewards stand.
        log_probabilities: ln pi(a) of each action under the policy that proposed it, [designs]. An asynchronous study
            keeps them for an agent that gives them (`Stochastic`). None: the present policy proposed all.

    Examples:
        >>> import rl_detector as rd
        >>> import numpy as np
        >>> actions = rd.Encoding(np.zeros((2, 3)), np.zeros((2, 0), dtype=np.int64))
        >>> batch = rd.Batch(actions, rewards=np.array([0.1, 0.3]), errors=np.array([0.05, 0.05]))
        >>> batch.losses is None, batch.rewards
        (True, array([0.1, 0.3]))
    """

    actions: Encoding
    rewards: FloatArray
    errors: FloatArray
    losses: Sequence[FloatArray | None] | None = None
    revised: FloatArray | None = None
    log_probabilities: FloatArray | None = None


class Agent(Protocol):
    """Proposes designs in the encoding of a space and learns from their rewards (larger is better).

    The constructor of an agent takes `(space: DesignSpace, seed: int, start: Design | None, **settings)`. The search
    begins at the design `start` (None: the centre of the space). Two agents with equal arguments that are told equal
    batches propose equal designs, also after `load_state_dict`.

    Examples:
        >>> import rl_detector as rd
        >>> from rl_detector.agents import make_agent
        >>> import numpy as np
        >>> space = rd.DesignSpace((rd.Continuous("x", 0, 1),))
        >>> agent = make_agent("random_search", space, seed=0, start={"x": 0.25})
        >>> actions = agent.ask(np.zeros(1), 4)
        >>> agent.tell(rd.Batch(actions, rewards=-np.abs(actions.continuous[:, 0]), errors=np.full(4, 0.1)))
        >>> actions.continuous.shape, space.contains(space.decode(agent.recommend(np.zeros(1))))
        ((4, 1), True)
    """

    space: DesignSpace

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n designs: continuous [n, c] (values beyond [-1, 1] will be clipped) and discrete [n, k]."""
        ...

    def tell(self, batch: Batch) -> None:
        """Learn from evaluated proposals; the batch may be empty.

        The proposals are those of the latest `ask`, or of any earlier one in an asynchronous study.
        """
        ...

    def recommend(self, observation: FloatArray) -> Encoding:
        """The best design that the agent knows, [c] and [k]; draws no random numbers."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Values to plot by name: at least `sigma`, the mean spread of the proposals in units of half the box."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, also the random generator: tensors and plain values only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict of an agent with the same constructor arguments."""
        ...


@runtime_checkable
class Stochastic(Protocol):
    """An agent that knows how likely its proposals are, so that it can correct for proposals of an earlier policy.

    Agents with a critic or a surrogate need not fulfil it: they learn from evaluations, whatever proposed them.
    """

    def log_probability(self, actions: Encoding) -> FloatArray:
        """ln pi(a) of each action under the present policy, [designs]; draws no random numbers."""
        ...


@runtime_checkable
class Contextual(Protocol):
    """An agent whose proposals and recommendations follow the observation, so that it can learn a family of problems.

    All others may ignore the observation. In changing contexts they would learn one design for the mean context.
    """

    contextual: bool


class Stopwatch:
    """Adds up the seconds of its `with` blocks, the time that an agent itself takes.

    Attributes:
        seconds: wall time so far.
    """

    def __init__(self) -> None:
        self.seconds = self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.monotonic() - self._begin
