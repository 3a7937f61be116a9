"""Proximal policy optimisation, the library Stable-Baselines3.

## Idea
A Gaussian policy proposes designs, one per episode.
Several passes over each batch of results improve it.
The ratio of new to old probability is clipped, so that no pass moves the policy too far.
A value function is the baseline; with one constant observation it is a constant.
Rewards are standardised first.

## Equations
    r_i = pi(a_i) / pi_old(a_i),    A_i = R_i - V
    maximise mean_i min( r_i A_i, clip(r_i, 1 - 0.2, 1 + 0.2) A_i )

## Source
Schulman et al., arXiv:1707.06347. Library: [Stable-Baselines3](https://stable-baselines3.readthedocs.io).

## When to use it
Use it as the peer that everybody in reinforcement learning knows.
`agent=ppo` has settings for one-step episodes, `agent=ppo_defaults` those of the library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger

from rl_detector.agents.peers.proposals import own_generators
from rl_detector.agents.peers.stable_baselines import Spaces, StableBaselines
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, FloatArray


class Ppo(StableBaselines):
    """PPO over the vectors of `BoxEncoding`, with a rollout of `n_steps` results per training.

    The settings are set by hand for one-step episodes. Those of the library (configuration `ppo_defaults`) suit long
    episodes: the first training comes after 2048 designs. The policy is a Gaussian centred on the start.

    Attributes:
        space: the designs that can be proposed.

    Args:
        learning_rate: step of Adam.
        n_steps: fewest results per training.
        batch_size: results per minibatch.
        n_epochs: passes over the results.
        log_std_init: initial logarithm of the spread in units of half the box.
        hidden: units in each of two hidden layers of policy and value; 0: none (the observation is a constant).
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        learning_rate: float = 0.01,
        n_steps: int = 32,
        batch_size: int = 32,
        n_epochs: int = 10,
        log_std_init: float = -1.0,
        hidden: int = 0,
    ) -> None:
        if not (learning_rate > 0 and n_steps >= 2 and batch_size >= 2 and n_epochs >= 1 and hidden >= 0):
            raise ConfigError(
                "ppo needs learning_rate > 0, n_steps >= 2, batch_size >= 2, n_epochs >= 1 and hidden >= 0, got "
                f"{learning_rate=}, {n_steps=}, {batch_size=}, {n_epochs=}, {hidden=}"
            )
        self._prepare(space, seed, start)
        self._n_steps = n_steps
        layers = {"net_arch": [hidden] * 2 if hidden else [], "log_std_init": log_std_init}
        with own_generators(self._rng):
            self._model = PPO(
                "MlpPolicy", Spaces(self._box.size), learning_rate, n_steps=batch_size, batch_size=batch_size,
                n_epochs=n_epochs, policy_kwargs=layers, device="cpu",
            )  # fmt: skip
        self._model.set_logger(Logger(None, []))
        with torch.no_grad():
            self._model.policy.action_net.bias.copy_(self._centre)  # type: ignore[operator]
        self._vectors = np.zeros((0, self._box.size), dtype=np.float32)
        self._rewards = np.zeros(0)

    def _sample(self, n: int) -> Any:
        actions, _, _ = self._model.policy(torch.ones(n, 1))
        return actions.numpy()

    def _mode(self) -> Any:
        return self._model.policy.get_distribution(torch.ones(1, 1)).mode()[0].numpy()

    def _learn(self, vectors: Any, rewards: FloatArray) -> None:
        self._vectors = np.concatenate([self._vectors, vectors])
        self._rewards = np.concatenate([self._rewards, rewards])
        if len(self._rewards) < self._n_steps:
            return
        self._model.rollout_buffer = self._rollout()
        self._model.train()
        self._updates += 1
        self._vectors, self._rewards = self._vectors[:0], self._rewards[:0]

    def _rollout(self) -> RolloutBuffer:
        """The waiting results as one-step episodes; the present policy proposed them and gives their probabilities."""
        model, ones = self._model, np.ones((1, 1), dtype=np.float32)
        buffer = RolloutBuffer(
            len(self._rewards), model.observation_space, model.action_space, "cpu", model.gae_lambda, model.gamma
        )
        with torch.no_grad():
            actions = torch.from_numpy(self._vectors)
            values, log_probs, _ = model.policy.evaluate_actions(torch.ones(len(actions), 1), actions)
        standardised = self._standardised(self._rewards)
        for vector, reward, value, log_prob in zip(self._vectors, standardised, values, log_probs, strict=True):
            buffer.add(ones, vector, np.array([reward]), np.ones(1), value, log_prob.reshape(1))
        buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1))
        return buffer

    def _parts(self) -> dict[str, Any]:
        return {"policy": self._model.policy, "optimiser": self._model.policy.optimizer}

    def _results(self) -> tuple[Any, ...]:
        return self._vectors, self._rewards

    def _restore(self, vectors: Any, rewards: Any) -> None:
        self._vectors, self._rewards = vectors, rewards
