"""One training for a family of problems: contexts that change from batch to batch, and who can learn from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from rl_detector.agent import Agent, Contextual
from rl_detector.conf.schema import ContextsConfig
from rl_detector.episodes.env import draw_context
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.records.ledger import Ledger
from rl_detector.space import Design
from rl_detector.study.batches import BatchLoop
from rl_detector.study.loop import Parts, StudySettings
from rl_detector.study.progress import Budget
from rl_detector.study.scoring import Scoring

RECOMMENDED_COST_WEIGHTS = 5
"""Number of evenly spread cost weights for which designs are recommended after the training."""


@dataclass(frozen=True)
class Contexts:
    """A family of problems: they differ in the cost weight, simulator and reach are common.

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
    def of(config: ContextsConfig) -> Contexts | None:
        """The contexts of a configuration; None where every batch has the environment's own.

        Raises:
            ConfigError: they are no range.
        """
        chosen = config.cost_weight
        if chosen is None:
            return None
        if len(chosen) != 2:
            raise ConfigError(f"contexts.cost_weight must be two numbers [low, high], got {list(chosen)}")
        return Contexts((float(chosen[0]), float(chosen[1])))

    def task(self, problem: DesignProblem, seed: int, batch: int) -> DesignProblem:
        """The problem that a batch poses, a function of the study's seed and the number of the batch."""
        return draw_context(problem, self.cost_weight, np.random.default_rng(np.random.SeedSequence([seed, 1, batch])))

    def grid(self, count: int = RECOMMENDED_COST_WEIGHTS) -> list[float]:
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


def refuse_with_contexts(asynchronous: bool, judge: object) -> None:
    """Raise ConfigError if a study in contexts is asynchronous or has a judge."""
    if asynchronous:
        raise ConfigError(
            "contexts.cost_weight changes with every batch, and an asynchronous study has none: use asynchronous=false"
        )
    if judge is not None:
        raise ConfigError("contexts.cost_weight needs judge=none: a shared judge knows one price of cost only")


class InContext(Scoring):
    """Scores each design once, at the cost weight that its batch has.

    The ledger has the rewards as told; `Contexts.task` gives the cost weight again from seed and batch. The best design
    is the best at the problem's own cost weight.

    Args:
        problem: of the study.
        contexts: of the batches.
        seed: of the study.
    """

    name = "reach in contexts"

    def __init__(self, problem: DesignProblem, contexts: Contexts, seed: int) -> None:
        super().__init__(problem)
        self._contexts, self._seed = contexts, seed

    def task(self, batch: int) -> DesignProblem:
        """The problem at the cost weight of a batch."""
        return self._contexts.task(self.problem, self._seed, batch)

    def context(self, batch: int) -> dict[str, float]:
        """The cost weight of a batch."""
        return {"cost_weight": self.task(batch).cost_weight}

    def rewarded(self, evaluation: Evaluation, batch: int) -> Evaluation:
        """A new evaluation with the reward that it has in its batch."""
        measured = evaluation.measurement
        return evaluation if measured is None else self.task(batch).with_measurement(evaluation, measured)

    def own_reward(self, evaluation: Evaluation) -> float:
        """The reward at the problem's own cost weight."""
        if evaluation.measurement is None:
            return -math.inf
        return evaluation.measurement.reach - self.problem.charge(evaluation.costs, evaluation.violations)


class ContextualStudy(BatchLoop):
    """A study whose problem changes its cost weight with every batch, which the agent sees.

    Simulator and reach are those of one problem, so what is simulated does not depend on the contexts. A design is
    recommended for the problem's own cost weight, and for any other.

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
        parts = Parts(problem, agent, ledger, budget, **settings)
        super().__init__(parts, InContext(problem, contexts, parts.seed))

    def recommended_at(self, cost_weight: float) -> Design:
        """The agent's recommendation for a cost weight."""
        observation = self.problem.with_cost_weight(cost_weight).observation
        return self.problem.space.decode(self.agent.recommend(observation))
