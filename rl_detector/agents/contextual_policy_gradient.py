"""Policy gradient for a family of problems: one training serves every context (price of cost, beam, ...).

## Idea
A small network sees the context and gives means, spreads and choice probabilities.
Every batch may have another context, and designs of all contexts are remembered.
The baseline V(s) is fitted to other batches only, so that no reward judges itself.
The step is a natural gradient, averaged over the contexts remembered.
So learning in one context disturbs the others least.

## Equations
(1) Sample a_i ~ pi(a | s_i, xi) for the context s_i.

(2) The black box gives the rewards R_i.

(3) The advantage is what a design gains over its context and over the others of its batch:

    A_i = R_i - V(s_i) - mean of the others of its batch

(4) Ascend over the designs remembered, with truncated importance weights:

    sum_i rho_i A_i log pi(a_i | s_i, xi),    rho_i = min(1, pi now(a_i) / pi then(a_i))

The step solves F d = gradient by conjugate gradients, F the Hessian of the KL divergence.

## Source
Natural gradient: S. Amari, Neural Computation 10 (1998) 251. Conjugate gradients on the KL divergence: Schulman et al.,
arXiv:1502.05477, appendix C. Truncated weights: Espeholt et al., arXiv:1802.01561.

## When to use it
Use it to get a design for every price, beam or condition from one training: `contexts.cost_weight=[0,2]`.
For one problem only, `policy_gradient` needs fewer events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import cross_fitted, finite_rewards, leave_one_out, normalised
from rl_detector.agents.contextual.memory import (
    ObservationScale,
    Proposed,
    from_state,
    none_proposed,
    observation_rows,
    proposed,
)
from rl_detector.agents.contextual.policy import ConditionedPolicy, Proposals, conjugate_gradient, fisher_product, flat
from rl_detector.agents.policies import start_policy
from rl_detector.errors import ConfigError
from rl_detector.reproducible import one_thread
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

EXPLORATION = 0.1
"""Probability shared out among all choices of a slot."""

SIGMA_RATE = 0.2
"""Step of log sigma over the step of mu."""

LARGEST_KL = 0.5
"""Largest KL divergence of one step in nats, mean over the contexts remembered."""

PENDING = 4096
"""Number of proposals that are remembered until they are told, more than an asynchronous study has in flight."""


class ContextualPolicyGradient:
    """Natural-gradient ascent on E[R] over policies that depend on the context, with reuse of recent designs.

    Contexts may change from one `ask` to the next, or be given for each proposal ([n, context]). A number of the
    context that never changes is ignored; with one context only it is a policy gradient like any other.

    Attributes:
        space: the designs that can be proposed.
        policy: pi(a | s); None until the first `ask` tells how many numbers a context has.
        contextual: says that proposals follow the observation, see rl_detector.agent.Contextual.

    Args:
        sigma: initial spread in units of half the box, also the largest.
        sigma_minimum: the spread shrinks no further.
        learning_rate: natural-gradient step of mu (in sigma) and of the choice probabilities (in p).
        hidden: hidden units of the network.
        memory: number of latest designs that the gradient and the baseline are made of.
        device: where torch computes; the network is small, the CPU is usually fastest.
    """

    contextual = True

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        sigma: float = 0.2,
        sigma_minimum: float = 0.02,
        learning_rate: float = 0.3,
        hidden: int = 16,
        memory: int = 512,
        device: str = "cpu",
    ) -> None:
        if not (0 < sigma_minimum <= sigma <= 1 and learning_rate > 0 and hidden >= 0 and memory >= 2):
            raise ConfigError(
                "contextual_policy_gradient needs 0 < sigma_minimum <= sigma <= 1, learning_rate > 0, hidden >= 0 and "
                f"memory >= 2, got {sigma_minimum=}, {sigma=}, {learning_rate=}, {hidden=}, {memory=}"
            )
        self.space = space
        self._start = start_policy(space, start, sigma, device)
        self.policy: ConditionedPolicy | None = None
        self._seed, self._hidden, self._sigma_bounds = seed, hidden, (sigma_minimum, sigma)
        self._learning_rate, self._memory_size = learning_rate, memory
        self._rng = np.random.default_rng(seed)
        self._batch, self._metrics = 0, {"gradient_norm": 0.0, "step_kl": 0.0, "reused": 0.0}

    def _build(self, size: int) -> ConditionedPolicy:
        """The network for contexts of this size, and empty memories."""
        rng = np.random.default_rng([self._seed, 1])
        self.policy = ConditionedPolicy(self._start, size, self._hidden, rng, self._sigma_bounds, EXPLORATION)
        self._scale = ObservationScale(size)
        self._pending = none_proposed(len(self.space.continuous), len(self.space.discrete), size)
        self._memory, self._latest = self._pending, np.zeros(size)
        return self.policy

    def _network(self, size: int) -> ConditionedPolicy:
        policy = self.policy or self._build(size)
        if size != len(self._latest):
            raise ConfigError(f"expected contexts of {len(self._latest)} numbers as before, got one of {size}")
        return policy

    def _inputs(self, observations: FloatArray) -> torch.Tensor:
        return torch.as_tensor(self._scale(observations), device=self._start.mu.device)

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """(1) a_i ~ pi(a | s_i, xi); the context of each proposal is remembered until it is told.

        Raises:
            ConfigError: the observation is not finite, or has another size than before.
        """
        rows = observation_rows(observation, n)
        policy = self._network(rows.shape[1])
        if not n:
            return policy.sample(self._inputs(rows), self._rng)
        self._scale.update(rows if np.ndim(observation) == 2 else rows[:1])
        self._latest = rows[-1]
        inputs = self._inputs(rows)
        with one_thread(), torch.no_grad():
            actions = policy.sample(inputs, self._rng)
            log_prob = policy(inputs).log_prob(actions).cpu().numpy()
        self._pending = self._pending.then(proposed(actions, rows, log_prob), max(PENDING, n))
        return actions

    def tell(self, batch: Batch) -> None:
        """(3) and (4): one natural-gradient step.

        Raises:
            ConfigError: nothing was asked before.
        """
        rewards = finite_rewards(batch)
        if not len(rewards):
            return
        if self.policy is None:
            raise ConfigError("contextual_policy_gradient was told results before it was asked for proposals")
        with one_thread():
            self._remember(batch, rewards)
            self._ascend(self.policy)

    def _remember(self, batch: Batch, rewards: FloatArray) -> None:
        if batch.revised is not None and len(self._memory.rewards):
            latest = np.asarray(batch.revised, dtype=np.float64)[-len(self._memory.rewards) :]
            self._memory = self._memory._replace(rewards=latest.copy())
        told = self._told(batch.actions)
        number = np.full(len(rewards), self._batch, dtype=np.int64)
        self._memory = self._memory.then(told._replace(rewards=rewards.copy(), batch=number), self._memory_size)
        self._batch += 1

    def _told(self, actions: Encoding) -> Proposed:
        """What was proposed as these actions; actions that never were count as proposed now for the latest context."""
        places = self._pending.find(actions)
        known = places >= 0
        told = self._as_proposed_now(actions)
        for mine, remembered in zip(told, self._pending, strict=True):
            mine[known] = remembered[places[known]]
        self._pending = self._pending.rows(np.setdiff1d(np.arange(len(self._pending.rewards)), places))
        return told

    @torch.no_grad()
    def _as_proposed_now(self, actions: Encoding) -> Proposed:
        rows = observation_rows(self._latest, len(actions.continuous))
        policy = self._network(rows.shape[1])
        log_prob = policy(self._inputs(rows)).log_prob(actions).cpu().numpy()
        return proposed(actions.take(np.arange(len(rows))), rows, log_prob)

    def _ascend(self, policy: ConditionedPolicy) -> None:
        inputs, memory = self._inputs(self._memory.observations), self._memory
        advantages = torch.as_tensor(_advantages(memory, inputs.cpu().numpy()), device=inputs.device)
        xi = policy(inputs, SIGMA_RATE)
        log_prob = xi.log_prob(memory.actions)
        then = torch.as_tensor(memory.log_prob, device=inputs.device)
        rho = torch.exp((log_prob.detach() - then).clamp(max=0.0))
        objective = (rho * advantages * log_prob).sum() / rho.sum() - xi.excess.mean()
        gradient = flat(torch.autograd.grad(objective, list(policy.parameters())))
        product = fisher_product(policy, inputs)
        step = conjugate_gradient(product, gradient)
        curvature = float(step @ product(step))
        length = min(self._learning_rate, math.sqrt(2 * LARGEST_KL / max(curvature, 1e-300)))
        moved = flat(policy.parameters()).detach() + length * step
        torch.nn.utils.vector_to_parameters(moved, policy.parameters())
        kl, reused = 0.5 * length**2 * curvature, float(rho.mean())
        self._metrics = {"gradient_norm": float(gradient.norm()), "step_kl": kl, "reused": reused}

    def recommend(self, observation: FloatArray) -> Encoding:
        """The mode of the policy for this context: mu(s) and the likeliest choices.

        Raises:
            ConfigError: the observation is not finite, or has another size than before.
        """
        rows = observation_rows(observation, 1)
        if self.policy is None:
            return self._start.mode()
        with one_thread():
            best = self._network(rows.shape[1]).mode(self._inputs(rows))
        return Encoding(best.continuous[0], best.discrete[0])

    @torch.no_grad()
    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean of the sigma_i for the latest context, in units of half the box (0 without continuous parameters).
        choice_probability: probability of the likeliest choice there, mean over the slots (1 without choices).
        gradient_norm: Euclidean norm of the latest gradient of (4).
        step_kl: KL divergence of the latest step in nats, second order, mean over the contexts remembered.
        reused: mean weight rho of the designs remembered at the latest step.
        """
        spread, probability = self._start.log_sigma.exp(), self._start.log_probabilities.exp()
        if self.policy is not None:
            xi: Proposals = self.policy(self._inputs(self._latest[None]))
            spread, probability = xi.log_sigma[0].exp(), xi.log_probabilities[0].exp()
        return {
            "sigma": float(spread.mean()) if len(spread) else 0.0,
            "choice_probability": float(probability.amax(dim=-1).mean()) if len(probability) else 1.0,
            **self._metrics,
        }

    def state_dict(self) -> dict[str, Any]:
        """xi, the random generator, the scale of the contexts, the memories and the latest metrics."""
        state = {"rng": self._rng.bit_generator.state, "batch": self._batch, "metrics": dict(self._metrics)}
        if self.policy is None:
            return {**state, "policy": None}
        weights = {name: value.detach().cpu().clone() for name, value in self.policy.state_dict().items()}
        memories = {"pending": self._pending.state(), "memory": self._memory.state()}
        latest = torch.from_numpy(self._latest.copy())
        return {**state, "policy": weights, "scale": self._scale.state_dict(), "latest": latest, **memories}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._rng.bit_generator.state = state["rng"]
        self._batch, self._metrics = state["batch"], dict(state["metrics"])
        if state["policy"] is None:
            self.policy = None
            return
        self._build(len(state["latest"])).load_state_dict(state["policy"])
        self._scale.load_state_dict(state["scale"])
        self._pending, self._memory = from_state(state["pending"]), from_state(state["memory"])
        self._latest = state["latest"].numpy().copy()


def _advantages(memory: Proposed, inputs: FloatArray) -> FloatArray:
    """(3), in units of the root mean square of each batch, [designs]; differences of rounding count as none."""
    rewards = memory.rewards - memory.rewards[0]
    features = np.column_stack([np.ones(len(inputs)), inputs, inputs**2])
    residuals = rewards - cross_fitted(features, rewards, memory.batch)
    result = np.zeros(len(inputs))
    for number in np.unique(memory.batch):
        own = memory.batch == number
        differences = leave_one_out(residuals[own])
        rounding = 1e-12 * np.abs(memory.rewards).max()
        result[own] = normalised(np.where(np.abs(differences) > rounding, differences, 0.0))
    return result
