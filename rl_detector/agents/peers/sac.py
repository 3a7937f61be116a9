"""Soft actor-critic, the library Stable-Baselines3.

## Idea
A critic network learns the reward of a design from all results so far.
The policy, a squashed Gaussian, climbs the critic.
A bonus for entropy keeps it exploring.
Results are used again and again from a replay buffer.
Rewards are standardised first.

## Equations
One step is one episode, so that nothing is discounted:

    Q  <- minimise mean_i ( Q(a_i) - R_i )^2
    pi <- maximise E[ min(Q1, Q2)(a) - alpha log pi(a) ]

The entropy coefficient alpha is learned, unless `ent_coef` is a number.

## Source
Haarnoja et al., arXiv:1812.05905. Library: [Stable-Baselines3](https://stable-baselines3.readthedocs.io).

## When to use it
Use it as a peer that learns off-policy.
`agent=sac` has settings for one-step episodes, `agent=sac_defaults` those of the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from rl_detector.agents.peers.proposals import own_generators
from rl_detector.agents.peers.stable_baselines import Spaces, StableBaselines
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, FloatArray

MOST_DESIGNS = 100_000
"""Size of the replay buffer; beyond it the oldest results are forgotten."""


class Sac(StableBaselines):
    """SAC over the vectors of `BoxEncoding`: a critic of the reward of a design, learned from all results.

    The settings are set by hand for few and noisy one-step episodes; those of the library are the configuration
    `sac_defaults`. The policy is a squashed Gaussian that starts at the start design, after `learning_starts` random
    designs.

    Attributes:
        space: the designs that can be proposed.

    Args:
        learning_rate: step of Adam, for actor, critics and entropy coefficient.
        learning_starts: designs drawn uniformly before the policy takes over.
        batch_size: results per gradient step.
        gradient_steps: gradient steps per result.
        ent_coef: entropy coefficient in standard deviations of the reward; auto_X: learned, X to begin with.
        hidden: units in each of two hidden layers.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        learning_rate: float = 3e-3,
        learning_starts: int = 32,
        batch_size: int = 64,
        gradient_steps: int = 2,
        ent_coef: str = "auto_0.1",
        hidden: int = 64,
    ) -> None:
        if not (learning_rate > 0 and learning_starts >= 0 and min(batch_size, gradient_steps, hidden) >= 1):
            raise ConfigError(
                "sac needs learning_rate > 0, learning_starts >= 0, batch_size, gradient_steps and hidden >= 1, got "
                f"{learning_rate=}, {learning_starts=}, {batch_size=}, {gradient_steps=}, {hidden=}"
            )
        self._prepare(space, seed, start)
        self._starts, self._batch_size, self._steps = learning_starts, batch_size, gradient_steps
        try:
            with own_generators(self._rng):
                self._model = SAC(
                    "MlpPolicy", Spaces(self._box.size), learning_rate, buffer_size=MOST_DESIGNS, ent_coef=ent_coef,
                    policy_kwargs={"net_arch": [hidden, hidden]}, device="cpu",
                )  # fmt: skip
        except (ValueError, AssertionError) as error:
            raise ConfigError(f"sac needs a number, auto or auto_NUMBER as ent_coef, got {ent_coef!r}") from error
        self._model.set_logger(Logger(None, []))
        with torch.no_grad():
            self._model.actor.mu.bias.copy_(torch.atanh(self._centre.clamp(-0.95, 0.95)))  # type: ignore[operator]

    def _sample(self, n: int) -> Any:
        if self._told < self._starts:
            return (2 * torch.rand(n, self._box.size) - 1).numpy()
        return self._model.actor(torch.ones(n, 1)).numpy()

    def _mode(self) -> Any:
        return self._model.actor(torch.ones(1, 1), deterministic=True)[0].numpy()

    def _learn(self, vectors: Any, rewards: FloatArray) -> None:
        """Store raw rewards, and train on rewards standardised with the latest moments."""
        buffer, one = self._buffer, np.ones((1, 1), dtype=np.float32)
        for vector, reward in zip(np.clip(vectors, -1, 1), rewards, strict=True):
            buffer.add(one, one, vector[None], np.array([reward]), np.ones(1), [{}])
        if self._told < max(self._starts, 2):
            return
        raw = buffer.rewards
        buffer.rewards = self._standardised(raw).astype(np.float32)
        self._model.train(self._steps * len(rewards), self._batch_size)
        buffer.rewards = raw
        self._updates += 1

    @property
    def _buffer(self) -> Any:
        return self._model.replay_buffer

    def _parts(self) -> dict[str, Any]:
        model = self._model
        parts = {"policy": model.policy, "actor": model.actor.optimizer, "critic": model.critic.optimizer}
        if model.ent_coef_optimizer is None:
            return parts
        return {**parts, "entropy": model.ent_coef_optimizer, "ent_coef": _Value(model.log_ent_coef)}

    def _results(self) -> tuple[Any, ...]:
        size = self._buffer.size()
        return self._buffer.actions[:size, 0], self._buffer.rewards[:size, 0].astype(np.float64)

    def _restore(self, vectors: Any, rewards: Any) -> None:
        self._buffer.reset()
        one = np.ones((1, 1), dtype=np.float32)
        for vector, reward in zip(vectors, rewards, strict=True):
            self._buffer.add(one, one, vector[None], np.array([reward]), np.ones(1), [{}])
        self._buffer.pos = self._told % MOST_DESIGNS


class _Value:
    """A single tensor with the state interface of a module."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self._tensor.detach().clone()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            self._tensor.copy_(state["value"])
