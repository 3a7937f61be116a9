"""NSGA-II, a genetic algorithm with elitism, the library `pymoo`.

## Idea
Keep a population of designs.
Pairs of good ones are crossed, and the offspring mutate.
Parents and offspring compete, and the best survive.
With one objective its ranking by fronts is a ranking by reward.
Coordinates and choices have their own operators.

## Equations
    offspring  = mutate(cross(tournament(parents), tournament(parents)))
    survivors  = best `population` of parents and offspring

Coordinates cross by simulated binary crossover and mutate by polynomials; choices cross uniformly.

## Source
Deb et al., IEEE Transactions on Evolutionary Computation 6 (2002) 182. Library: [pymoo](https://pymoo.org),
`pip install 'rl_detector[peers]'`.

## When to use it
Use it as a peer that many studies know.
Under noise an elitist keeps lucky designs, so give each design enough events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament  # type: ignore[import-untyped]
from pymoo.core.mixed import MixedVariableDuplicateElimination, MixedVariableMating, MixedVariableSampling  # type: ignore[import-untyped]
from pymoo.core.population import Population  # type: ignore[import-untyped]
from pymoo.core.problem import Problem  # type: ignore[import-untyped]
from pymoo.core.termination import NoTermination  # type: ignore[import-untyped]
from pymoo.core.variable import Choice, Real  # type: ignore[import-untyped]
from pymoo.operators.crossover.sbx import SBX  # type: ignore[import-untyped]
from pymoo.operators.crossover.ux import UX  # type: ignore[import-untyped]
from pymoo.operators.mutation.pm import PM  # type: ignore[import-untyped]
from pymoo.operators.mutation.rm import ChoiceRandomMutation  # type: ignore[import-untyped]
from pymoo.operators.selection.tournament import TournamentSelection  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.peers.history import History, spread
from rl_detector.agents.policies import start_encoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class Nsga2:
    """NSGA-II with the reward as its only objective; its ranking is then plain elitism over parents and offspring.

    Coordinates cross by simulated binary crossover and mutate by polynomials with the library's settings for NSGA-II.
    Choices cross uniformly and mutate at random. The start design is one of the first population. A generation is
    complete when a population of results has come. Where a batch needs more, the parents get more offspring.

    A lucky result survives in an elitist population for ever. Best effort for the recommendation: median of each
    coordinate and commonest option of each choice over the best `elite` share of all results (20 at most); 0: the best
    single result. Best effort for small budgets: a population of 20 instead of the library's 100.

    Attributes:
        space: the designs that can be proposed.

    Args:
        population: number of survivors, and results per generation.
        elite: share of the results behind the recommendation.
    """

    def __init__(
        self, space: DesignSpace, seed: int, start: Design | None = None, *, population: int = 20, elite: float = 0.1
    ) -> None:
        if not (population >= 4 and 0 <= elite <= 1):
            raise ConfigError(f"nsga2 needs population >= 4 and 0 <= elite <= 1, got {population=}, {elite=}")
        self.space, self._seed, self._size, self._elite = space, seed, population, elite
        self._start = start_encoding(space, start)
        self._restart()

    def _restart(self) -> None:
        self._history = History(self.space, self._seed)
        self._calls: list[int] = []  # in order: n of each ask, and -1 - results of each tell
        self._algorithm = _algorithm(self.space, self._size, self._seed)
        self._queue: list[Any] = [_values(self._start)]
        self._waiting: list[tuple[Any, float]] = []
        self._generations, self._sigma = 0, 3**-0.5

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose the next n of the population, the start first, or of the offspring."""
        self._calls.append(n)
        while len(self._queue) < n:
            self._queue.extend(self._algorithm.infill().get("X"))
        chosen, self._queue = self._queue[:n], self._queue[n:]
        width, choices = len(self.space.continuous), len(self.space.discrete)
        continuous = [[float(x[f"x{i}"]) for i in range(width)] for x in chosen]
        discrete = [[int(x[f"c{j}"]) for j in range(choices)] for x in chosen]
        coordinates = np.array(continuous, dtype=np.float64).reshape(n, width)
        proposals = Encoding(coordinates, np.array(discrete, dtype=np.int64).reshape(n, choices))
        self._sigma = spread(proposals.continuous) if n > 1 else self._sigma
        return proposals

    def tell(self, batch: Batch) -> None:
        """Complete a generation, or wait for more results; revised rewards are ignored, for survivors keep theirs."""
        self._history.add(batch._replace(revised=None))
        self._learn(len(batch.rewards))

    def _learn(self, results: int) -> None:
        """Take in the newest results of the history; the library minimises."""
        self._calls.append(-1 - results)
        told = range(len(self._history) - results, len(self._history))
        rows = [next(self._history.actions.take([index]).rows()) for index in told]
        self._waiting += [(_values(row), -float(self._history.rewards[i])) for row, i in zip(rows, told, strict=True)]
        if len(self._waiting) < self._size:
            return
        designs, losses = zip(*self._waiting, strict=True)
        self._algorithm.advance(Population.new(X=list(designs), F=np.array(losses)[:, None]))
        self._waiting, self._queue = [], []
        self._generations += 1

    def recommend(self, observation: FloatArray) -> Encoding:
        """Centre of the best results."""
        return self._history.elite(self._elite) if len(self._history) else self._start

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates of the latest batch of more than one.
        generations, waiting: generations so far, and results that wait for the next one.
        """
        waiting = float(len(self._waiting))
        return {"sigma": self._sigma, "generations": float(self._generations), "waiting": waiting}

    def state_dict(self) -> dict[str, Any]:
        """All calls and results in order; they are replayed, as the state of the library is not plain values."""
        return {"calls": list(self._calls), "history": self._history.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, by replaying all calls."""
        self._restart()
        whole = History(self.space, self._seed)
        whole.load_state_dict(state["history"])
        for call in state["calls"]:
            if call >= 0:
                self.ask(np.zeros(0), call)
                continue
            told = np.arange(len(self._history), len(self._history) - 1 - call)
            self._history.add(Batch(whole.actions.take(told), whole.rewards[told], whole.errors[told]))
            self._learn(len(told))


def _algorithm(space: DesignSpace, size: int, seed: int) -> NSGA2:
    distinct = MixedVariableDuplicateElimination()
    mating = MixedVariableMating(
        selection=TournamentSelection(func_comp=binary_tournament),
        crossover={Real: SBX(eta=15, prob=0.9), Choice: UX()},
        mutation={Real: PM(eta=20), Choice: ChoiceRandomMutation()},
        eliminate_duplicates=distinct,
    )
    algorithm = NSGA2(size, MixedVariableSampling(), mating=mating, eliminate_duplicates=distinct)
    coordinates = {f"x{i}": Real(bounds=(-1.0, 1.0)) for i in range(len(space.continuous))}
    choices = {f"c{j}": Choice(options=list(range(size))) for j, size in enumerate(space.choices)}
    algorithm.setup(Problem(vars={**coordinates, **choices}, n_obj=1), seed=seed, termination=NoTermination())
    return algorithm


def _values(row: Encoding) -> dict[str, float | int]:
    """A design by the names of the library's variables."""
    coordinates = {f"x{i}": x for i, x in enumerate(row.continuous.tolist())}
    return {**coordinates, **{f"c{j}": c for j, c in enumerate(row.discrete.tolist())}}
