"""Gaussian processes over designs with the library `botorch`, and the common base of agents around them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from botorch.acquisition.analytic import PosteriorMean
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.generation.gen import gen_candidates_scipy
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood  # type: ignore[import-untyped]
from linear_operator.utils.warnings import NumericalWarning  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.peers.history import History, spread
from rl_detector.agents.peers.proposals import own_generators
from rl_detector.agents.peers.random_search import RandomSearch
from rl_detector.agents.policies import start_encoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

FIT_ITERATIONS = 50
"""Most iterations of L-BFGS on the hyperparameters."""


CLIMB_ITERATIONS = 20
"""Most iterations of L-BFGS on a design, unless a setting says otherwise."""


def features(space: DesignSpace, designs: Encoding) -> torch.Tensor:
    """Inputs of a process, [designs, features] in [0, 1]: coordinates, then one-hot choices."""
    parts = [(np.clip(designs.continuous, -1, 1) + 1) / 2]
    for column, size in zip(designs.discrete.T, space.choices, strict=True):
        parts.append((column[:, None] == np.arange(size)).astype(np.float64))
    return torch.from_numpy(np.concatenate(parts, axis=1))


class Surrogate(NamedTuple):
    """A fitted process.

    Attributes:
        model: of the standardised reward.
        inputs: features of the results to which it was fitted, [results, features].
        designs: encodings of these results.
        means: posterior means at the inputs, standardised, [results].
        scale: standard deviation of the rewards, their unit.
    """

    model: SingleTaskGP
    inputs: torch.Tensor
    designs: Encoding
    means: FloatArray
    scale: float


def fit(space: DesignSpace, designs: Encoding, rewards: FloatArray) -> Surrogate:
    """The library's default process (squared exponential, one length scale per feature, priors of arXiv:2402.02229).

    Its noise is fitted, not taken from the standard errors of the rewards. These are estimates. They include neither
    the noise that designs share with their events, nor that of a judge that is still learning.
    """
    scale = float(rewards.std()) or 1.0
    inputs, targets = features(space, designs), torch.from_numpy((rewards - rewards.mean()) / scale)[:, None]
    model = SingleTaskGP(inputs, targets, outcome_transform=None)
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    try:
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": FIT_ITERATIONS}})
    except ModelFittingError:
        model.eval()  # keeps the hyperparameters at which the fit gave up; a poor model only proposes poor designs
    with torch.no_grad():
        means = model.posterior(inputs).mean[:, 0].numpy()
    return Surrogate(model, inputs, designs, means, scale)


def climb(
    space: DesignSpace, acquisition: Any, designs: Encoding, iterations: int = CLIMB_ITERATIONS
) -> tuple[Encoding, FloatArray]:
    """Local maxima of an acquisition function over the coordinates of designs [b, c], [b, k], and its values [b]."""
    width, points = len(space.continuous), features(space, designs)
    if width == 0:
        return designs, values(acquisition, points)
    fixed = {index: points[:, index] for index in range(width, points.shape[1])}
    options = {"maxiter": iterations}
    best, value = gen_candidates_scipy(
        points[:, None], acquisition, 0.0, 1.0, options=options, fixed_features=fixed or None
    )
    continuous = 2 * best[:, 0, :width].detach().numpy() - 1
    return Encoding(np.clip(continuous, -1, 1), designs.discrete), value.detach().numpy()


def values(acquisition: Any, points: torch.Tensor) -> FloatArray:
    """An acquisition function at points [designs, features], [designs]."""
    with torch.no_grad():
        result: FloatArray = acquisition(points[:, None]).numpy()
    return result


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the libraries' warnings on iterations, jitter and scaling of data, which need no action here."""
    with warnings.catch_warnings(record=True) as remarks:  # the libraries undo a filter
        warnings.simplefilter("always")
        yield
    for remark in remarks:
        if not issubclass(remark.category, (BotorchWarning, NumericalWarning)):
            warnings.warn_explicit(remark.message, remark.category, remark.filename, remark.lineno)


class SurrogateAgent:
    """An agent that fits a Gaussian process to its results before every batch.

    The first `startup` results come from the start design and Sobol points. The recommendation is the evaluated design
    with the largest posterior mean, after a climb over its coordinates.
    """

    space: DesignSpace

    def _prepare(self, space: DesignSpace, seed: int, start: Design | None, startup: int, most_points: int) -> None:
        if not (startup >= 2 and most_points >= 10):
            raise ConfigError(
                f"a Gaussian process needs startup >= 2 and most_points >= 10, got {startup=}, {most_points=}"
            )
        self.space, self._least, self._most = space, startup, most_points
        self._start = start_encoding(space, start)
        self._history = History(space, seed)
        self._startup = RandomSearch(space, seed, start)
        self._sigma = 3**-0.5
        self._latest: Surrogate | None = None

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose start-up designs first, then those that the process suggests."""
        rng = self._history.generator(n)
        if self._results() < self._least:
            return self._startup.ask(observation, n)
        if n == 0:
            return self._history.actions.take([])
        with quiet(), own_generators(rng):
            proposals = self._search(n, rng)
        self._sigma = spread(proposals.continuous) if n > 1 else self._sigma
        return proposals

    def _results(self) -> int:
        """Number of results on which the search builds."""
        return len(self._history)

    def _search(self, n: int, rng: np.random.Generator) -> Encoding:
        """n designs suggested by the process."""
        raise NotImplementedError

    def tell(self, batch: Batch) -> None:
        """Remember the results."""
        self._history.add(batch)
        self._latest = None

    def _surrogate(self) -> Surrogate:
        """The process of all results; fitted once, and equal whenever it is fitted again."""
        if self._latest is None:
            kept = self._kept(0)
            with quiet(), own_generators(np.random.default_rng(0)):
                self._latest = fit(self.space, self._history.actions.take(kept), self._history.rewards[kept])
        return self._latest

    def _kept(self, first: int) -> Any:
        """Positions of at most `most_points` results from `first` on, in order: the best ones, and the latest."""
        rewards = self._history.rewards[first:]
        if len(rewards) <= self._most:
            return first + np.arange(len(rewards))
        order = np.argsort(-rewards, kind="stable")[: self._most // 2]
        rest = np.setdiff1d(np.arange(len(rewards)), order)[-(self._most - len(order)) :]
        return first + np.sort(np.concatenate([order, rest]))

    def recommend(self, observation: FloatArray) -> Encoding:
        """The maximum of the posterior mean; the start before there are results."""
        if len(self._history) < 2:
            return self._history.elite(0) if len(self._history) else self._start
        surrogate = self._surrogate()
        best = surrogate.designs.take([int(surrogate.means.argmax())])
        with quiet():
            found, value = climb(self.space, PosteriorMean(surrogate.model), best)
        return next((found if value[0] >= surrogate.means.max() else best).rows())

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates of the latest batch of more than one.
        results: number of results so far.
        """
        return {"sigma": self._sigma, "results": float(len(self._history))}

    def state_dict(self) -> dict[str, Any]:
        """All results; the process is fitted again."""
        parts = {"history": self._history.state_dict(), "startup": self._startup.state_dict()}
        return {**parts, "sigma": self._sigma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._history.load_state_dict(state["history"])
        self._startup.load_state_dict(state["startup"])
        self._sigma, self._latest = state["sigma"], None
