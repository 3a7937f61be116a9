"""CMA-ES (Hansen 2016, arXiv:1604.00772), the library `cma`, over the one-box encoding of a space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cma  # type: ignore[import-untyped]
import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.box import BoxEncoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class CmaEs:
    """One multivariate normal distribution over the vectors of `BoxEncoding`, with a covariance learned from ranks.

    The first `ask(n)` fixes the population size: n, or the default 4 + 3 ln(size) of the library where that is more.
    A generation is completed by results, not by calls: they wait until three quarters of a population have come, so
    that neither failed designs nor small batches starve an update. The recommendation is the mean of the distribution,
    which averages over noise as no single proposal does; its spread never falls below 1e-3, so the search goes on.

    Attributes:
        space: the designs that can be proposed.

    Args:
        sigma: initial spread of every coordinate in units of half the box.
    """

    def __init__(self, space: DesignSpace, seed: int, start: Design | None = None, *, sigma: float = 0.3) -> None:
        if not 0 < sigma <= 1:
            raise ConfigError(f"cma_es needs 0 < sigma <= 1, got {sigma=}")
        self.space, self._seed, self._sigma = space, seed, sigma
        self._box = BoxEncoding(space)
        self._centre = _centre(self._box, start)
        self._restart()

    def _restart(self) -> None:
        self._strategy: cma.CMAEvolutionStrategy | None = None
        self._asked_since_update = False
        self._history: list[int | torch.Tensor] = []
        self._waiting: list[FloatArray] = []
        self._proposed: dict[bytes, list[FloatArray]] = {}

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """n samples of the distribution."""
        if n > 0 and self._strategy is None:
            self._strategy = _strategy(self._centre, self._sigma, n, self._seed)
        samples = self._strategy.ask(number=n) if n > 0 and self._strategy else []
        proposals = self._box.to_encoding(np.array(samples).reshape(n, self._box.size))
        self._proposed = {}
        for row, vector in zip(proposals.rows(), samples, strict=True):
            self._proposed.setdefault(_key(row), []).append(np.array(vector))
        self._history.append(n)
        self._asked_since_update = n > 0 or self._asked_since_update
        return proposals

    def tell(self, batch: Batch) -> None:
        """Complete a generation, or wait for more results."""
        rewards = finite_rewards(batch)
        if len(rewards):
            vectors = [self._sampled(row) for row in batch.actions.rows()]
            self._learn(np.column_stack([vectors, rewards]))

    def _sampled(self, action: Encoding) -> FloatArray:
        """The vector behind a proposal: many vectors have the same choices (a design never proposed: its own)."""
        vectors = self._proposed.get(_key(action), [])
        return vectors.pop(0) if vectors else self._box.from_encoding(action)

    def _learn(self, results: FloatArray) -> None:
        """Take in results, rows of [vector, reward]; the library minimises."""
        self._history.append(torch.from_numpy(results))
        self._waiting.extend(results)
        enough = self._strategy is not None and len(self._waiting) >= 0.75 * self._strategy.popsize
        if self._strategy is not None and enough and self._asked_since_update:
            self._strategy.tell([row[:-1] for row in self._waiting], [-row[-1] for row in self._waiting])
            self._waiting, self._asked_since_update = [], False

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
        waiting: results that wait for the next update.
        """
        es, waiting = self._strategy, float(len(self._waiting))
        if es is None:
            return {"sigma": self._sigma, "axis_ratio": 1.0, "generations": 0.0, "waiting": waiting}
        ratio = float(es.D.max() / es.D.min())
        sigma = float(np.mean(es.stds))
        return {"sigma": sigma, "axis_ratio": ratio, "generations": float(es.countiter), "waiting": waiting}

    def state_dict(self) -> dict[str, Any]:
        """All that was asked and told, in order; the state of the library is not plain values, so it is replayed."""
        return {"history": [item if isinstance(item, int) else item.clone() for item in self._history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, by asking and learning all of it again."""
        self._restart()
        for item in state["history"]:
            if isinstance(item, int):
                self.ask(np.zeros(0), item)
            else:
                self._learn(item.numpy().copy())


def _centre(box: BoxEncoding, start: Design | None) -> FloatArray:
    """The vector of the start, with its choices ahead by 0.2 only, so that the others are tried at once."""
    if start is None:
        return np.zeros(box.size)
    vector = box.from_encoding(box.space.encode(start))
    vector[len(box.space.continuous) :] *= 0.2
    return vector


def _strategy(centre: FloatArray, sigma: float, n: int, seed: int) -> cma.CMAEvolutionStrategy:
    """The library with random numbers of its own (never numpy's global ones), silent and without files."""
    rng = np.random.default_rng(seed)
    options = {
        "popsize": max(n, 4 + int(3 * math.log(len(centre)))),
        "bounds": [-1, 1],
        "randn": lambda *shape: rng.standard_normal(shape),
        "seed": math.nan,
        "verbose": -9,
        "verb_log": 0,
        "minstd": 1e-3,
    }
    return cma.CMAEvolutionStrategy(centre, sigma, options)


def _key(action: Encoding) -> bytes:
    return action.continuous.tobytes() + action.discrete.tobytes()
