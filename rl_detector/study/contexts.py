"""One training for a family of problems: contexts that change from batch to batch, and who can learn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from rl_detector.agent import Agent, Contextual
from rl_detector.episodes.env import draw_context
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger
from rl_detector.space import Design
from rl_detector.study.study import Budget, Progress, Study, StudySettings

GRID = 5
"""Number of cost weights, evenly spread, for which designs are recommended after the training."""


@dataclass(frozen=True)
class Contexts:
    """The problems of a family: they differ in the price of cost, simulator and reach are the same.

    Attributes:
        cost_weight: smallest and largest cost weight; batches draw theirs uniformly in between.
    """

    cost_weight: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.cost_weight
        if not 0 <= low < high < math.inf:
            raise ConfigError(
                f"contexts.cost_weight must be [low, high] with 0 <= low < high, got {list(self.cost_weight)}"
            )

    @staticmethod
    def of(config: Mapping[str, Any]) -> Contexts | None:
        """The contexts of a configuration; None where every batch has the environment's own.

        Raises:
            ConfigError: they are no range, or of anything else than the cost weight.
        """
        settings = config.get("contexts") or {}
        if unknown := [name for name in settings if name != "cost_weight"]:
            raise ConfigError(
                f"unknown setting contexts.{unknown[0]}: only the cost_weight can change with every batch"
            )
        chosen = settings.get("cost_weight")
        if chosen is None:
            return None
        if len(chosen) != 2:
            raise ConfigError(f"contexts.cost_weight must be two numbers [low, high], got {list(chosen)}")
        return Contexts((float(chosen[0]), float(chosen[1])))

    def task(self, problem: DesignProblem, seed: int, batch: int) -> DesignProblem:
        """The problem that a batch of a study poses: a function of the study's seed and the number of the batch."""
        return draw_context(problem, self.cost_weight, np.random.default_rng(np.random.SeedSequence([seed, 1, batch])))

    def grid(self, count: int = GRID) -> list[float]:
        """Cost weights from the smallest to the largest."""
        return [float(weight) for weight in np.linspace(*self.cost_weight, count)]

    def check(self, problem: DesignProblem, agent: Agent) -> None:
        """Raise ConfigError unless problem and agent can be studied in these contexts."""
        low, high = self.cost_weight
        if not (isinstance(agent, Contextual) and agent.contextual):
            raise ConfigError(
                f"contexts.cost_weight needs an agent that follows the observation, agent=contextual_policy_gradient; "
                f"{type(agent).__name__} does not look at it and would learn one design for all prices"
            )
        if not problem.costs:
            raise ConfigError(f"contexts.cost_weight has no effect: {problem.name} has no costs")
        if not low <= problem.cost_weight <= high:
            raise ConfigError(
                f"the cost weight of {problem.name}, for which a design is recommended, must be among those of the "
                f"training, {low:g} to {high:g}, got {problem.cost_weight:g}: change env.cost_weight or "
                "contexts.cost_weight"
            )


class ContextualStudy(Study):
    """A study whose problem changes its cost weight with every batch, which the agent sees.

    Simulator and reach are those of one problem, so what is simulated does not depend on the contexts. The ledger has
    the rewards as told, in the context of the batch; `Contexts.task` gives it again from the seed and the number of the
    batch. The best design so far is the best at the problem's own cost weight, for which also a design is recommended.

    Args:
        contexts: see Contexts; the other arguments are those of Study.

    Raises:
        ConfigError: the agent or the problem cannot be used with contexts.
    """

    def __init__(
        self,
        problem: DesignProblem,
        agent: Agent,
        ledger: Ledger,
        budget: Budget,
        contexts: Contexts,
        **settings: Unpack[StudySettings],
    ) -> None:
        contexts.check(problem, agent)
        self.contexts = contexts
        super().__init__(problem, agent, ledger, budget, **settings)

    @property
    def task(self) -> DesignProblem:
        """The problem that the running batch poses."""
        return self.contexts.task(self.problem, self.seed, self.batch)

    def recommended_at(self, cost_weight: float) -> Design:
        """The agent's recommendation for a cost weight."""
        observation = self.problem.with_cost_weight(cost_weight).observation
        return self.problem.space.decode(self.agent.recommend(observation))

    def step(self, size: int) -> Progress:
        """A batch in its context, which the progress names."""
        context = {"cost_weight": self.task.cost_weight}
        return replace(super().step(size), context=context)

    def _rewarded(self, evaluation: Evaluation) -> Evaluation:
        measured = evaluation.measurement
        return evaluation if measured is None else self.task.with_measurement(evaluation, measured)

    def _own_reward(self, evaluation: Evaluation) -> float:
        if evaluation.measurement is None:
            return -math.inf
        return evaluation.measurement.reach - self.problem.charge(evaluation.costs, evaluation.violations)
