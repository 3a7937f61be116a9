"""Propose the next settings of a sweep: grid, random, or Bayesian optimisation by Optuna."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from rl_detector.errors import ConfigError, MissingDependency
from rl_detector.sweeps.file import Parameter, Sweep


class Outcome(Protocol):
    """A run that was proposed before."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Name -> value."""
        ...

    @property
    def value(self) -> float | None:
        """Value of the metric; None while the run goes on, or if it failed."""
        ...

    @property
    def failed(self) -> bool:
        """Whether there will be no value."""
        ...


@dataclass(frozen=True)
class Search:
    """Proposals of a sweep: run `number` is a function of the sweep, the seed, the number and, for bayes, the outcomes.

    Attributes:
        sweep: what is swept.
        seed: seed of the random numbers.
        runs: how many there will be; None: as many as the sweep file says, or the whole grid.
    """

    sweep: Sweep
    seed: int = 0
    runs: int | None = None

    def __post_init__(self) -> None:
        if self.sweep.method != "grid" and self.total_asked is None:
            raise ConfigError(
                f"a sweep of method {self.sweep.method} has no end: set run_cap in the file, or use --runs"
            )
        if self.sweep.method == "grid":
            _ = self.points
        if self.sweep.method == "bayes":
            for parameter in self.sweep.parameters:
                _distribution(parameter)

    @property
    def total_asked(self) -> int | None:
        """Runs asked for."""
        return self.sweep.runs if self.runs is None else self.runs

    @property
    def total(self) -> int:
        """Number of runs."""
        asked = self.total_asked
        if self.sweep.method != "grid":
            return asked or 0
        return len(self.points) if asked is None else min(asked, len(self.points))

    @cached_property
    def points(self) -> list[tuple[Any, ...]]:
        """All points of a grid; the last parameter of the file changes fastest."""
        return list(itertools.product(*(parameter.grid() for parameter in self.sweep.parameters)))

    def propose(self, number: int, before: Sequence[Outcome]) -> dict[str, Any]:
        """Parameters of a run.

        Args:
            number: of the run, from 0.
            before: all runs proposed so far.
        """
        parameters = self.sweep.parameters
        if self.sweep.method == "grid":
            return dict(zip((p.name for p in parameters), self.points[number], strict=True))
        sequence = np.random.SeedSequence(self.seed, spawn_key=(number,))
        if self.sweep.method == "random":
            rng = np.random.default_rng(sequence)
            return {parameter.name: parameter.sample(rng) for parameter in parameters}
        return self._bayes(int(sequence.generate_state(1)[0]), before)

    def _bayes(self, seed: int, before: Sequence[Outcome]) -> dict[str, Any]:
        """Optuna's tree-structured Parzen estimator; running trainings count as bad ones (constant liar)."""
        optuna = _optuna()
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, multivariate=True, constant_liar=True)
        study = optuna.create_study(direction="maximize" if self.sweep.maximize else "minimize", sampler=sampler)
        distributions = {parameter.name: _distribution(parameter) for parameter in self.sweep.parameters}
        for outcome in before:
            study.add_trial(_trial(outcome, self.sweep.parameters, distributions))
        asked = study.ask(distributions).params
        return {
            p.name: p.values[asked[p.name]] if p.values else p.rounded(asked[p.name]) for p in self.sweep.parameters
        }


def _trial(outcome: Outcome, parameters: Sequence[Parameter], distributions: Mapping[str, Any]) -> Any:
    optuna = _optuna()
    states = optuna.trial.TrialState
    params = {
        p.name: p.values.index(outcome.parameters[p.name]) if p.values else outcome.parameters[p.name]
        for p in parameters
    }
    if outcome.value is not None:
        return optuna.trial.create_trial(value=outcome.value, params=params, distributions=distributions)
    state = states.FAIL if outcome.failed else states.RUNNING
    return optuna.trial.create_trial(state=state, params=params, distributions=distributions)


def _distribution(parameter: Parameter) -> Any:
    """The parameter for Optuna; categories by their number."""
    kinds = _optuna().distributions
    numbers = parameter.numbers
    if parameter.values:
        return kinds.CategoricalDistribution(list(range(len(parameter.values))))
    if parameter.distribution == "normal":
        raise ConfigError(f"parameter {parameter.name}: a normal distribution has no bounds, which method bayes needs")
    if parameter.distribution == "int_uniform":
        return kinds.IntDistribution(numbers["min"], numbers["max"])
    return kinds.FloatDistribution(numbers["min"], numbers["max"], log=parameter.logarithmic)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency(
            "method bayes of a sweep needs Optuna: pip install 'rl_detector[peers]', or use method random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
