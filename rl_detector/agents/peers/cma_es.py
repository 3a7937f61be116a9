"""CMA-ES, evolution with a learned covariance, the library `cma`, over the one-box encoding of a space.

## Idea
One normal distribution proposes designs.
The better half of a generation pulls its mean, more the better they rank.
Their deviations build up its covariance, and the length of the mean's path sets its spread.
Only ranks count, so outliers and the scale of rewards do no harm.
Every option of a choice has a score, and the largest wins.

## Equations
    x_i   ~ m + sigma N(0, C)
    m     <- sum_i w_i x_(i),                                    (i): rank by reward
    C     <- (1 - c_1 - c_mu) C + c_1 p_c p_c^T + c_mu sum_i w_i y_(i) y_(i)^T
    sigma <- sigma exp( (c_s / d_s) (|p_s| / E|N(0, 1)| - 1) )

## Source
N. Hansen, arXiv:1604.00772. Noise handling: Hansen et al., IEEE Transactions on Evolutionary Computation 13 (2009) 180.
Library: [cma](https://github.com/CMA-ES/pycma).

## When to use it
Use it as the strongest peer without a model, on problems without choices and with up to 100 parameters.
Where noise is large, set `population_factor=4`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cma  # type: ignore[import-untyped]
import numpy as np
import torch
from cma.sigma_adaptation import CMAAdaptSigmaCSA  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.peers.proposals import Proposals, start_vector
from rl_detector.agents.peers.rank_changes import uncertainty
from rl_detector.encodings import BoxEncoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

MOST_REPEATS = 8.0
"""Most evaluations per vector, t_max; where more are needed, the spread grows instead."""


REPEATS_FACTOR = 1.5
"""alpha_t, by which the number of evaluations grows or shrinks (Hansen et al. 2009, table 1)."""


class CmaEs:
    """One multivariate normal distribution over the vectors of `BoxEncoding`, with a covariance learned from ranks.

    The first `ask(n)` fixes the population size: n, or the default 4 + 3 ln(size) of the library where that is more,
    times `population_factor`. Results complete a generation, not calls. They wait until three quarters of a population
    have come, so that neither failed designs nor small batches starve an update. The recommendation is the mean of the
    distribution, which averages over noise. The spread never falls below 1e-3, so the search goes on.

    With `noise_handling` (Hansen et al. 2009, IEEE TEC 13, 180) a tenth of every population, two vectors at least, is
    proposed again before the update. If their ranks change by more than chance allows, every vector of the next
    generations is proposed 1.5 times as often, 8 times at most; then the spread grows. Else it is proposed less often.
    All results of a vector are averaged. Where a batch has room left, it gets new samples of the generation.

    Attributes:
        space: the designs that can be proposed.

    Args:
        sigma: initial spread of every coordinate in units of half the box.
        population_factor: factor of the population size; larger populations average over noise, 4 suits large noise.
        noise_handling: measure the noise by repetitions and adapt to it.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        sigma: float = 0.3,
        population_factor: float = 1.0,
        noise_handling: bool = False,
    ) -> None:
        if not (0 < sigma <= 1 and 1 <= population_factor <= 1000):
            raise ConfigError(
                f"cma_es needs 0 < sigma <= 1 and 1 <= population_factor <= 1000, got {sigma=}, {population_factor=}"
            )
        self.space, self._seed, self._sigma = space, seed, sigma
        self._factor, self._noise_handling = population_factor, noise_handling
        self._box = BoxEncoding(space)
        self._centre = start_vector(self._box, start)
        self._restart()

    def _restart(self) -> None:
        self._strategy: cma.CMAEvolutionStrategy | None = None
        self._asked_since_update = False
        self._history: list[int | torch.Tensor] = []
        self._results: dict[bytes, list[float]] = {}  # vector -> its rewards in this generation
        self._queue: list[FloatArray] = []  # repetitions to propose next
        self._again: list[bytes] = []  # vectors whose second results the update waits for
        self._firsts: dict[bytes, int] = {}  # of those, how many results came first
        self._repeats, self._noise = 1.0, 0.0
        self._proposals = Proposals(self._box)

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n vectors: repetitions that are due, then samples of the distribution."""
        if n > 0 and self._strategy is None:
            self._strategy = _strategy(self._centre, self._sigma, n, self._factor, self._seed)
        while len(self._queue) < n and self._strategy is not None:
            fresh = self._strategy.ask(number=math.ceil((n - len(self._queue)) / round(self._repeats)))
            self._queue.extend(np.array(vector) for vector in fresh for _ in range(round(self._repeats)))
        vectors, self._queue = self._queue[:n], self._queue[n:]
        self._history.append(n)
        self._asked_since_update = n > 0 or self._asked_since_update
        return self._proposals.encode(np.array(vectors).reshape(n, self._box.size))

    def tell(self, batch: Batch) -> None:
        """Complete a generation, or wait for more results."""
        rewards = finite_rewards(batch)
        if len(rewards):
            self._learn(np.column_stack([self._proposals.vectors(batch.actions), rewards]))

    def _learn(self, results: FloatArray) -> None:
        """Take in results, rows of [vector, reward]."""
        self._history.append(torch.from_numpy(results))
        for row in results:
            self._results.setdefault(row[:-1].tobytes(), []).append(float(row[-1]))
        if self._strategy is None or not self._asked_since_update:
            return
        if self._again:
            self._adapt()
            self._update(self._strategy)
        elif len(self._results) >= 0.75 * self._strategy.popsize:
            self._finish(self._strategy)

    def _finish(self, strategy: cma.CMAEvolutionStrategy) -> None:
        """Update with a complete population, or propose some of it again first."""
        if not self._noise_handling:
            self._update(strategy)
            return
        self._again = list(self._results)[: max(2, round(0.1 * len(self._results)))]
        self._firsts = {key: len(self._results[key]) for key in self._again}
        vectors = [np.frombuffer(key, dtype=np.float64) for key in self._again]
        self._queue = [vector for vector in vectors for _ in range(round(self._repeats))]
        self._asked_since_update = False

    def _adapt(self) -> None:
        """Evaluate vectors more often where ranks change by more than chance allows, else less often."""
        first = np.array([-np.mean(rs[: self._firsts.get(key, len(rs))]) for key, rs in self._results.items()])
        second = np.array([-np.mean(rs[self._firsts.get(key, 0) :] or rs) for key, rs in self._results.items()])
        keys = list(self._results)
        again = [keys.index(key) for key in self._again if len(self._results[key]) > self._firsts[key]]
        if not again:  # every repetition failed
            return
        self._noise = uncertainty(first, second, np.array(again, dtype=np.int64))
        if self._noise > 0 and self._repeats >= MOST_REPEATS and self._strategy is not None:
            self._strategy.sigma *= 1 + 2 / (self._box.size + 10)  # alpha_sigma
        factor = REPEATS_FACTOR if self._noise > 0 else 1 / REPEATS_FACTOR
        self._repeats = min(max(self._repeats * factor, 1.0), MOST_REPEATS)

    def _update(self, strategy: cma.CMAEvolutionStrategy) -> None:
        """Complete a generation of the library, which minimises."""
        vectors = [np.frombuffer(key, dtype=np.float64).copy() for key in self._results]
        strategy.tell(vectors, [-float(np.mean(rewards)) for rewards in self._results.values()])
        self._results, self._queue, self._again, self._firsts = {}, [], [], {}
        self._asked_since_update = False

    def recommend(self, observation: FloatArray) -> Encoding:
        """The mean of the distribution, in the box."""
        mean = self._centre if self._strategy is None else np.asarray(self._strategy.result.xfavorite)
        continuous, discrete = self._box.to_encoding(mean)
        return Encoding(np.clip(continuous, -1, 1), discrete)

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation over the coordinates of the vectors, scores of choices included.
        axis_ratio: longest / shortest principal axis of the distribution.
        generations: updates so far.
        waiting: vectors with results that wait for the next update.
        repeats, noise: evaluations per vector, and uncertainty s of ranks (> 0: too noisy), with `noise_handling`.
        """
        es, metrics = self._strategy, {"sigma": self._sigma, "axis_ratio": 1.0, "generations": 0.0}
        if es is not None:
            ratio = float(es.D.max() / es.D.min())
            metrics = {"sigma": float(np.mean(es.stds)), "axis_ratio": ratio, "generations": float(es.countiter)}
        if self._noise_handling:
            metrics.update(repeats=self._repeats, noise=self._noise)
        return {**metrics, "waiting": float(len(self._results))}

    def state_dict(self) -> dict[str, Any]:
        """All calls and results in order; they are replayed, as the state of the library is not plain values."""
        return {"history": [item if isinstance(item, int) else item.clone() for item in self._history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, by replaying all calls."""
        self._restart()
        for item in state["history"]:
            if isinstance(item, int):
                self.ask(np.zeros(0), item)
            else:
                self._learn(item.numpy().copy())


def _strategy(centre: FloatArray, sigma: float, n: int, factor: float, seed: int) -> cma.CMAEvolutionStrategy:
    """The library's strategy, silent, without files, and without numpy's global random numbers."""
    rng = np.random.default_rng(seed)
    options = {
        "popsize": round(factor * max(n, 4 + int(3 * math.log(len(centre))))),
        "bounds": [-1, 1],
        "AdaptSigma": CMAAdaptSigmaCSA,  # beyond 300 coordinates the default needs asks of whole populations
        "randn": lambda *shape: rng.standard_normal(shape),
        "seed": math.nan,
        "verbose": -9,
        "verb_log": 0,
        "minstd": 1e-3,
    }
    return cma.CMAEvolutionStrategy(centre, sigma, options)
