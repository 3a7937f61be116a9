"""Plain REINFORCE with a moving-average baseline, as in learning to simulate.

## Idea
A Gaussian of fixed variance proposes coordinates, a softmax proposes choices.
Designs with more reward than the baseline become more likely, others less.
The baseline is a moving average of earlier rewards.
Adam follows the gradient that one batch gives.
Each result is used once.

## Equations
    theta <- Adam( mean_i rho_i (R_i - b) grad log pi(a_i | theta) )
    b     <- (1 - alpha) b + alpha mean_i R_i

In an asynchronous study an earlier policy may have proposed a design. Its weight is

    rho_i = min(truncation, pi now(a_i) / pi then(a_i)),

and 1 when the present policy proposed it. Without truncation the gradient is unbiased for any baseline that does not
know R_i. Its variance then grows exponentially with the squared distance of the policies. With truncation it is biased:
designs whose probability has grown by more than the factor `truncation` count too little. They count as if they were
drawn from a policy between the two, proportional to min(truncation pi then, pi now).

## Source
R. J. Williams, Machine Learning 8 (1992) 229. Baseline and use for simulators: Ruiz, Schulter, Chandraker,
arXiv:1810.02513; as a peer in Shirobokov et al., arXiv:2002.04632. Truncated weights: Ionides, J. Comput. Graph. Stat.
17 (2008) 295, and V-trace, Espeholt et al., arXiv:1802.01561, eq. 1.

## When to use it
Use it to learn how policy gradients work: it reads from top to bottom in one file.
Use it as a reference for improvements.
It needs many more events than `policy_gradient`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.peers.proposals import start_vector
from rl_detector.agents.policies import Policy
from rl_detector.encodings import BoxEncoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class Reinforce:
    """theta <- Adam(mean_i rho_i (R_i - b) grad log pi(a_i | theta)), b <- (1 - alpha) b + alpha mean(R).

    Variance and learning rate are those of parameters scaled to [0, 1], as in the papers. Encodings are x = 2 u - 1, so
    the policy has the spread 2 sqrt(variance), by default 0.447, and Adam the step 2 learning_rate. That is equivalent,
    since Adam's step does not depend on the scale of the gradient. Choices are drawn from a softmax and follow this
    gradient, too. The first update takes its own mean as b.

    The published learning rate 0.02 suits small problems; 0.005 was better with 60 and more parameters.

    Attributes:
        space: the designs that can be proposed.
        policy: pi(a | theta), centred on the start design.

    Args:
        variance: of every continuous parameter in the unit box, fixed.
        learning_rate: of Adam, for the mean in the unit box.
        choice_learning_rate: of Adam, for the logits of options, which have their own scale.
        alpha: share of the newest batch in the baseline.
        designs_per_update: fewest results per update.
        truncation: largest rho_i, at least 1; V-trace has 1, inf is unbiased.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        variance: float = 0.05,
        learning_rate: float = 0.02,
        choice_learning_rate: float = 0.1,
        alpha: float = 0.05,
        designs_per_update: int = 25,
        truncation: float = 1.0,
    ) -> None:
        positive = min(variance, learning_rate, choice_learning_rate) > 0
        if not (positive and 0 < alpha <= 1 and designs_per_update >= 2 and truncation >= 1):
            raise ConfigError(
                "reinforce needs variance, learning_rate and choice_learning_rate > 0, 0 < alpha <= 1, "
                f"designs_per_update >= 2 and truncation >= 1, got {variance=}, {learning_rate=}, "
                f"{choice_learning_rate=}, {alpha=}, {designs_per_update=}, {truncation=}"
            )
        self.space, self._alpha, self._needed, self._truncation = space, alpha, designs_per_update, truncation
        self._rng = np.random.default_rng(seed)
        self._box = BoxEncoding(space)
        self.policy = _policy(self._box, start, 2 * math.sqrt(variance))
        groups = [
            {"params": [self.policy.mu], "lr": 2 * learning_rate},
            {"params": [self.policy.logits], "lr": choice_learning_rate},
        ]
        self._optimiser = torch.optim.Adam(groups, maximize=True, foreach=False)
        self._baseline: float | None = None
        self._waiting: list[_Result] = []
        self._updates, self._weight = 0, 1.0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n samples of the policy."""
        return self.policy.sample(self._rng, n)

    def tell(self, batch: Batch) -> None:
        """Update the policy, or wait for more results."""
        rewards = finite_rewards(batch)
        then = self.log_probability(batch.actions) if batch.log_probabilities is None else batch.log_probabilities
        self._waiting.extend(map(_Result, batch.actions.rows(), rewards.tolist(), then.tolist()))
        if len(self._waiting) >= self._needed:
            self._update(*_stacked(self._waiting))
            self._waiting = []

    def _update(self, actions: Encoding, rewards: FloatArray, then: FloatArray) -> None:
        baseline = float(rewards.mean()) if self._baseline is None else self._baseline
        log_prob = self.policy.log_prob(actions)
        rho = importance_ratios(log_prob.detach().numpy(), then, self._truncation)
        weights = torch.from_numpy(rho * (rewards - baseline))
        self._optimiser.zero_grad()
        (weights * log_prob).mean().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        with torch.no_grad():
            self.policy.mu.clamp_(-1, 1)  # beyond the box all designs are equal, so no gradient would bring it back
        self._baseline = (1 - self._alpha) * baseline + self._alpha * float(rewards.mean())
        self._updates, self._weight = self._updates + 1, float(rho.mean())

    @torch.no_grad()
    def log_probability(self, actions: Encoding) -> FloatArray:
        """ln pi(a) of each action under the present policy, [designs]."""
        return np.asarray(self.policy.log_prob(actions).numpy(), dtype=np.float64)

    def recommend(self, observation: FloatArray) -> Encoding:
        """The mean and the likeliest options."""
        return self.policy.mode()

    @torch.no_grad()
    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: the fixed spread in units of half the box (0 without continuous parameters).
        choice_probability: probability of the likeliest option, mean over the choices (1 without choices).
        baseline: the moving average of the rewards, absent before the first update.
        updates, waiting: updates so far, and results that wait for the next one.
        weight: mean rho of the latest update; 1 when the policy of that time proposed all designs.
        """
        sigma, probability = self.policy.log_sigma.exp(), self.policy.log_probabilities.exp()
        metrics = {
            "sigma": float(sigma.mean()) if len(sigma) else 0.0,
            "choice_probability": float(probability.amax(dim=-1).mean()) if len(probability) else 1.0,
            "updates": float(self._updates),
            "waiting": float(len(self._waiting)),
            "weight": self._weight,
        }
        return metrics if self._baseline is None else {**metrics, "baseline": self._baseline}

    def state_dict(self) -> dict[str, Any]:
        """Policy, Adam's moments, baseline, random generator, and the results that wait."""
        nothing = (self.ask(np.zeros(0), 0), np.zeros(0), np.zeros(0))
        actions, rewards, then = _stacked(self._waiting) if self._waiting else nothing
        return {
            "policy": {name: value.detach().clone() for name, value in self.policy.state_dict().items()},
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "rng": self._rng.bit_generator.state,
            "baseline": self._baseline,
            "updates": self._updates,
            "weight": self._weight,
            "waiting": [torch.from_numpy(part.copy()) for part in (*actions, rewards, then)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self._rng.bit_generator.state = state["rng"]
        self._baseline, self._updates, self._weight = state["baseline"], state["updates"], state["weight"]
        continuous, discrete, rewards, then = (part.numpy().copy() for part in state["waiting"])
        rows = Encoding(continuous, discrete).rows()
        self._waiting = list(map(_Result, rows, rewards.tolist(), then.tolist()))


def _policy(box: BoxEncoding, start: Design | None, sigma: float) -> Policy:
    """A policy around the start, whose options are a little likelier than others; its spread is not learned."""
    vector, width = start_vector(box, start), len(box.space.continuous)
    policy = Policy(vector[:width], sigma, box.space.choices)
    policy.log_sigma.requires_grad_(False)
    with torch.no_grad():
        policy.logits[policy.exists] = torch.from_numpy(vector[width:])
    return policy


class _Result(NamedTuple):
    """An evaluated proposal that waits for the next update, with ln pi(a) at the time of its proposal."""

    action: Encoding
    reward: float
    log_probability: float


def _stacked(results: list[_Result]) -> tuple[Encoding, FloatArray, FloatArray]:
    actions = Encoding(*(np.stack(parts) for parts in zip(*(result.action for result in results), strict=True)))
    rewards = np.array([result.reward for result in results])
    return actions, rewards, np.array([result.log_probability for result in results])


def importance_ratios(now: FloatArray, then: FloatArray, truncation: float) -> FloatArray:
    """rho_i = min(truncation, pi now(a_i) / pi then(a_i)) from log-probabilities, [designs]."""
    with np.errstate(over="ignore"):
        return np.minimum(np.exp(now - then), truncation)
