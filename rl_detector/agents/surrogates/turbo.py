"""TuRBO-1: Thompson sampling in a trust region, on the library `botorch`.

## Idea
A Gaussian process is used only in a box around the best design, the trust region.
Samples of its posterior over many points of the box choose the batch.
The box doubles after successes in a row and halves after failures.
When it has become too small, the search begins anew elsewhere.
That keeps Bayesian optimisation useful in many dimensions.

## Equations
    side_j = L * lambda_j / (product of all lambda)^(1/d),    lambda: length scales of the process
    x_k    = argmax over candidates of the posterior sample f_k
    L      <- 2 L after 3 successes in a row, L / 2 after failures; restart when L < 0.5^7

## Source
Eriksson et al. 2019, arXiv:1910.01739. Library: [BoTorch](https://botorch.org),
`pip install 'rl_detector[peers]'`.

## When to use it
Use it in place of `bayesian` with 20 and more parameters.
It has few defences against noise: give each design enough events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from botorch.generation.sampling import MaxPosteriorSampling
from scipy.stats import qmc  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.peers.proposals import own_generators
from rl_detector.agents.surrogates.gaussian_process import Surrogate, SurrogateAgent, features, fit, quiet
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

SMALLEST_SIDE, FIRST_SIDE, LARGEST_SIDE = 0.5**7, 0.8, 1.6
"""Sides of the trust region in units of the box (section 2 and appendix of the paper)."""


SUCCESSES_TO_DOUBLE = 3
"""Batches with an improvement in a row after which the region doubles."""


class Turbo(SurrogateAgent):
    """A box around the best design that doubles on success and halves on failure; length scales scale its sides.

    As in the paper, `candidates` points of the box each take 20 coordinates at random from a Sobol sequence, and the
    others from the centre. A batch of n designs is the maxima of n samples of the posterior over these points. When the
    box has become too small, the search begins anew and forgets. The process is BoTorch's default one.

    Best effort under noise: the posterior mean decides about centre and success (in the paper: about the centre only).
    A lucky result then neither holds the centre nor makes failures of all later batches. A candidate that changes a
    choice draws any option; the probability of a change shrinks with the box.

    Attributes:
        space: the designs that can be proposed.

    Args:
        startup: results before the process suggests designs, also after every new beginning.
        most_points: most results in the process: the best ones, and the latest.
        candidates: points of the box among which a batch is chosen.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        startup: int = 16,
        most_points: int = 300,
        candidates: int = 1000,
    ) -> None:
        if candidates < 2:
            raise ConfigError(f"turbo needs candidates >= 2, got {candidates=}")
        self._prepare(space, seed, start, startup, most_points)
        self._candidates = candidates
        self._first = self._successes = self._failures = self._restarts = 0
        self._length = FIRST_SIDE
        self._local: Surrogate | None = None

    def _results(self) -> int:
        return len(self._history) - self._first

    def _region(self) -> Surrogate:
        """The process of the results since the latest beginning."""
        if self._first == 0:
            return self._surrogate()
        if self._local is None:
            kept = self._kept(self._first)
            with quiet(), own_generators(np.random.default_rng(0)):
                self._local = fit(self.space, self._history.actions.take(kept), self._history.rewards[kept])
        return self._local

    def tell(self, batch: Batch) -> None:
        """Remember the results, and resize the region."""
        before = self._results()
        super().tell(batch)
        new = self._results() - before
        if new:
            self._local = None
        if new and before >= self._least:
            self._resize(new)

    def _resize(self, new: int) -> None:
        """Double or halve; success: the batch's best posterior mean exceeds all others by 1e-3 standard deviations."""
        means = self._region().means
        old = means[:-new]
        if len(old) == 0 or means[-new:].max() > old.max() + 1e-3:
            self._successes, self._failures = self._successes + 1, 0
        else:
            self._successes, self._failures = 0, self._failures + 1
        size = len(self.space.continuous) + len(self.space.discrete)
        if self._successes == SUCCESSES_TO_DOUBLE:
            self._length, self._successes = min(2 * self._length, LARGEST_SIDE), 0
        elif self._failures >= math.ceil(max(4 / new, size / new)):
            self._length, self._failures = self._length / 2, 0
        if self._length < SMALLEST_SIDE:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._first, self._length, self._local = len(self._history), FIRST_SIDE, None
        self._successes = self._failures = 0
        self._restarts += 1

    def _search(self, n: int, rng: np.random.Generator) -> Encoding:
        """Draw n Thompson samples."""
        surrogate = self._region()
        points = self._points(surrogate, max(self._candidates, n), rng)
        inputs = features(self.space, points)
        chosen = torch.zeros(0, inputs.shape[1], dtype=inputs.dtype)
        with torch.no_grad():
            chosen = MaxPosteriorSampling(surrogate.model, replacement=False)(inputs, num_samples=n)
        index = [int((inputs == row).all(dim=1).nonzero()[0, 0]) for row in chosen]
        return points.take(index)

    def _points(self, surrogate: Surrogate, count: int, rng: np.random.Generator) -> Encoding:
        """Designs of the trust region."""
        centre = next(surrogate.designs.take([int(surrogate.means.argmax())]).rows())
        width, choices = len(centre.continuous), len(centre.discrete)
        sides = self._length * _relative_scales(surrogate, width)  # the box of the encoding is 2 wide
        lower, upper = np.clip(centre.continuous - sides, -1, 1), np.clip(centre.continuous + sides, -1, 1)
        unit = qmc.Sobol(max(width, 1), scramble=True, seed=rng).random_base2((count - 1).bit_length())[:count, :width]
        share = min(1.0, 20 / (width + choices))
        change = rng.random((count, width + choices)) < share
        change[np.arange(count), rng.integers(width + choices, size=count)] = True  # each changes something
        change[:, width:] &= rng.random((count, choices)) < max(self._length, 1 / (width + choices))
        options = rng.integers(np.array(self.space.choices, dtype=np.int64), size=(count, choices))
        continuous = np.where(change[:, :width], lower + unit * (upper - lower), centre.continuous)
        return Encoding(continuous, np.where(change[:, width:], options, centre.discrete))

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates of the latest batch of more than one.
        results: number of results so far.
        length: side of the trust region before it is scaled, in units of the box.
        restarts: number of new beginnings.
        """
        return {**super().metrics(), "length": self._length, "restarts": float(self._restarts)}

    def state_dict(self) -> dict[str, Any]:
        """All results and the trust region; the process is fitted again."""
        region = [self._first, self._successes, self._failures, self._restarts]
        return {**super().state_dict(), "region": region, "length": self._length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        super().load_state_dict(state)
        self._first, self._successes, self._failures, self._restarts = state["region"]
        self._length, self._local = state["length"], None


def _relative_scales(surrogate: Surrogate, width: int) -> FloatArray:
    """Length scales of the coordinates over their geometric mean, lambda_i / (prod_j lambda_j)^(1/d), [c]."""
    scales = surrogate.model.covar_module.lengthscale.detach().numpy().reshape(-1)[:width]
    relative: FloatArray = np.exp(np.log(scales) - np.log(scales).mean()) if width else scales
    return relative
