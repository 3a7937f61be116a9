"""Tree-structured Parzen estimator, the library `optuna`.

## Idea
Split the designs so far into good ones and all others.
Estimate a density of each kind from kernels at the designs.
Draw candidates from the density of the good ones.
Propose the candidate that is likeliest to be good rather than bad.
Choices and coordinates have densities of one kind.

## Equations
    l(x) = density of the best designs,  g(x) = density of the others
    propose argmax over candidates of l(x) / g(x)

## Source
Bergstra et al., NIPS 2011; multivariate form: Falkner et al., arXiv:1807.01774. Library:
[Optuna](https://optuna.org), `pip install 'rl_detector[peers]'`.

## When to use it
Use it for small problems with several choices and few designs.
It proposes slowly once thousands of designs are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from rl_detector.agent import Batch
from rl_detector.agents.peers.history import History, spread
from rl_detector.agents.policies import start_encoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class Tpe:
    """Optuna's sampler over the encoding, with floats in [-1, 1] and categories.

    The start design comes first, then `startup` random designs, then those of the sampler. Designs of a batch count as
    bad while they are not evaluated (constant liar), so that a batch is diverse. Failed designs are forgotten.

    Optuna recommends the best single result, a lucky one under noise. Best effort: median of each coordinate and
    commonest option of each choice over the best `elite` share of all results (20 at most); `elite=0` is Optuna's way.

    Attributes:
        space: the designs that can be proposed.

    Args:
        startup: random designs before the sampler learns; 10 is Optuna's default.
        candidates: draws among which the most promising is proposed; 24 is Optuna's default.
        multivariate: one joint density (the best effort); False, Optuna's default, treats parameters separately.
        elite: share of the results behind the recommendation.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        startup: int = 10,
        candidates: int = 24,
        multivariate: bool = True,
        elite: float = 0.1,
    ) -> None:
        if not (startup >= 1 and candidates >= 1 and 0 <= elite <= 1):
            raise ConfigError(
                f"tpe needs startup >= 1, candidates >= 1, 0 <= elite <= 1; got {startup=}, {candidates=}, {elite=}"
            )
        self.space, self._elite = space, elite
        self._settings: dict[str, Any] = {
            "n_startup_trials": startup,
            "n_ei_candidates": candidates,
            "multivariate": multivariate,
        }
        self._start = start_encoding(space, start)
        self._history = History(space, seed)
        self._distributions = _distributions(space)
        self._sigma = 3**-0.5

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose the start first, then designs of the sampler."""
        with _silence():
            study = self._study()
            first = [self._params(self._start)] if self._history.asked == 0 else []
            for params in first[:n]:
                study.enqueue_trial(params)
            study.sampler = self._sampler(self._history.generator(n))
            trials = [study.ask(self._distributions).params for _ in range(n)]
        proposals = self._encoding(trials)
        self._sigma = spread(proposals.continuous) if n > 1 else self._sigma
        return proposals

    def _study(self) -> optuna.Study:
        """A study with all results as finished trials; the sampler of a batch knows nothing else."""
        study = optuna.create_study(study_name="tpe", direction="maximize")
        for row, reward in zip(self._history.actions.rows(), self._history.rewards, strict=True):
            params = self._params(row)
            study.add_trial(optuna.create_trial(value=float(reward), params=params, distributions=self._distributions))
        return study

    def _sampler(self, rng: np.random.Generator) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(seed=int(rng.integers(2**32)), constant_liar=True, **self._settings)

    def _params(self, row: Encoding) -> dict[str, float | int]:
        """Values by name, in the order of the parts of an encoding."""
        values = [*row.continuous.tolist(), *row.discrete.tolist()]
        return dict(zip(self._distributions, values, strict=True))

    def _encoding(self, trials: list[dict[str, Any]]) -> Encoding:
        width, names = len(self.space.continuous), list(self._distributions)
        values = np.array([[params[name] for name in names] for params in trials]).reshape(len(trials), len(names))
        return Encoding(values[:, :width].astype(np.float64), values[:, width:].astype(np.int64))

    def tell(self, batch: Batch) -> None:
        """Remember the results."""
        self._history.add(batch)

    def recommend(self, observation: FloatArray) -> Encoding:
        """Centre of the best results."""
        return self._history.elite(self._elite) if len(self._history) else self._start

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates of the latest batch of more than one.
        results: number of results so far.
        """
        return {"sigma": self._sigma, "results": float(len(self._history))}

    def state_dict(self) -> dict[str, Any]:
        """All results; the sampler has no other memory."""
        return {"history": self._history.state_dict(), "sigma": self._sigma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._history.load_state_dict(state["history"])
        self._sigma = state["sigma"]


def _distributions(space: DesignSpace) -> dict[str, BaseDistribution]:
    """Coordinates first, then choices by index."""
    coordinates: dict[str, BaseDistribution] = {one.path: FloatDistribution(-1.0, 1.0) for one in space.continuous}
    choices = zip(space.discrete, space.choices, strict=True)
    return {**coordinates, **{one.path: CategoricalDistribution(tuple(range(size))) for one, size in choices}}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Optuna from printing a line for every trial."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
