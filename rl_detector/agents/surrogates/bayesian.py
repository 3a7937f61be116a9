"""Bayesian optimisation with the noisy expected improvement, the library `botorch`.

## Idea
A Gaussian process predicts the reward of every design and how uncertain that is.
The acquisition function is the expected gain over the best design, whose own reward is uncertain, too.
The next design maximises it.
A batch is chosen design by design, each knowing those chosen before.
Choices are ones and zeros, and only true designs are considered.

## Equations
    f ~ GP(m, k),  R_i = f(x_i) + noise
    acquisition(x) = E[ max(0, f(x) - max_i f(x_i)) | R_1 ... R_n ],    maximised in its logarithmic form

## Source
Noisy expected improvement: Letham et al., arXiv:1706.07094. Logarithmic form qLogNEI: Ament et al., arXiv:2310.20708.
Library: [BoTorch](https://botorch.org), `pip install 'rl_detector[peers]'`.

## When to use it
Use it where one simulation takes minutes and some 300 designs are all you can pay.
A proposal costs 0.1 to 1 s, so it slows down quick simulators.
With many parameters or thousands of designs use `policy_gradient`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.sampling.normal import SobolQMCNormalSampler

from rl_detector.agents.surrogates.gaussian_process import Surrogate, SurrogateAgent, climb, features, values
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding


class Bayesian(SurrogateAgent):
    """qLogNEI under one Gaussian process, a batch chosen design by design, each knowing those chosen before.

    Coordinates lie in [0, 1], choices are one-hot. The acquisition function is maximised over true designs, never over
    fractions of options. Of `raw_samples` designs (half at random, half near the best) the best `restarts` climb over
    their coordinates. The winner then tries every other option of every choice and climbs again.

    One proposal takes 0.1 to 1 s. The time grows with the square of the number of results, which the settings cap.

    Attributes:
        space: the designs that can be proposed.

    Args:
        startup: results before the process suggests designs.
        most_points: most results in the process: the best ones, and the latest.
        raw_samples: designs from which the maximisation starts.
        restarts: how many of them climb.
        iterations: most iterations of a climb.
        samples: draws from the posterior for the expectation.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        startup: int = 16,
        most_points: int = 300,
        raw_samples: int = 128,
        restarts: int = 2,
        iterations: int = 20,
        samples: int = 64,
    ) -> None:
        if not (raw_samples >= restarts >= 1 and min(iterations, samples) >= 1):
            raise ConfigError(
                "bayesian needs raw_samples >= restarts >= 1, iterations >= 1 and samples >= 1, got "
                f"{raw_samples=}, {restarts=}, {iterations=}, {samples=}"
            )
        self._prepare(space, seed, start, startup, most_points)
        self._raw, self._restarts, self._iterations, self._samples = raw_samples, restarts, iterations, samples

    def _search(self, n: int, rng: np.random.Generator) -> Encoding:
        surrogate = self._surrogate()
        sampler = SobolQMCNormalSampler(torch.Size([self._samples]), seed=int(rng.integers(2**31)))
        acquisition = qLogNoisyExpectedImprovement(surrogate.model, surrogate.inputs, sampler)
        chosen: list[Encoding] = []
        for _ in range(n):
            chosen.append(self._maximum(acquisition, surrogate, rng))
            acquisition.set_X_pending(features(self.space, _stack(chosen)))
        return _stack(chosen)

    def _maximum(self, acquisition: Any, surrogate: Surrogate, rng: np.random.Generator) -> Encoding:
        """The best design that the maximisation finds."""
        raw = self._candidates(surrogate, rng)
        order = np.argsort(-values(acquisition, features(self.space, raw)), kind="stable")[: self._restarts]
        climbed, heights = climb(self.space, acquisition, raw.take(order), self._iterations)
        best = next(climbed.take([int(heights.argmax())]).rows())
        return self._other_choices(acquisition, best, heights.max()) if self.space.discrete else best

    def _candidates(self, surrogate: Surrogate, rng: np.random.Generator) -> Encoding:
        """Random designs, half of them near the five with the best posterior means."""
        near = self._raw // 2
        shape, choices = (self._raw, len(self.space.continuous)), np.array(self.space.choices, dtype=np.int64)
        continuous = rng.uniform(-1, 1, shape)
        discrete = rng.integers(choices, size=(self._raw, len(choices)))
        leaders = surrogate.designs.take(np.argsort(-surrogate.means, kind="stable")[:5])
        parents = leaders.take(rng.integers(len(leaders.continuous), size=near))
        continuous[:near] = parents.continuous + 0.1 * rng.standard_normal((near, shape[1]))
        kept = rng.random((near, len(choices))) > 1 / max(len(choices), 1)  # one choice changes on average
        discrete[:near] = np.where(kept, parents.discrete, discrete[:near])
        return Encoding(np.clip(continuous, -1, 1), discrete)

    def _other_choices(self, acquisition: Any, best: Encoding, value: float) -> Encoding:
        """The best design that differs in one choice at most, climbed again if it differs."""
        rows = [
            Encoding(best.continuous, np.where(np.arange(len(best.discrete)) == choice, option, best.discrete))
            for choice, size in enumerate(self.space.choices)
            for option in range(size)
            if option != best.discrete[choice]
        ]
        if not rows:
            return best
        neighbours = _stack(rows)
        heights = values(acquisition, features(self.space, neighbours))
        if heights.max() <= value:
            return best
        winner = neighbours.take([int(heights.argmax())])
        return next(climb(self.space, acquisition, winner, self._iterations)[0].rows())


def _stack(designs: list[Encoding]) -> Encoding:
    return Encoding(*(np.stack(parts) for parts in zip(*designs, strict=True)))
