"""The common base of the agents of Stable-Baselines3.

Networks, buffers and `train()` are the library's. Asking and telling replace its loop over an environment. An episode
is one design: the observation is a constant, every step ends an episode, and no discount matters.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.peers.history import spread
from rl_detector.agents.peers.proposals import Proposals, own_generators, start_vector
from rl_detector.agents.policies import start_encoding
from rl_detector.encodings import BoxEncoding
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray


class Spaces(gym.Env[Any, Any]):
    """An environment that has only the spaces of a one-shot problem, all that the library needs."""

    def __init__(self, size: int) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)


class StableBaselines:
    """Asks and tells in place of the library's loop, standardises rewards, and keeps the checkpoint."""

    space: DesignSpace

    def _prepare(self, space: DesignSpace, seed: int, start: Design | None) -> None:
        self.space = space
        self._box = BoxEncoding(space)
        self._start = start_encoding(space, start)
        self._rng = np.random.default_rng(seed)
        self._proposals = Proposals(self._box)
        self._moments = RunningMeanStd(shape=())
        self._centre = torch.as_tensor(start_vector(self._box, start), dtype=torch.float32)
        self._told = self._updates = 0
        self._sigma = 1.0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n samples of the policy."""
        with own_generators(self._rng), torch.no_grad():
            vectors = self._sample(n) if n > 0 else np.zeros((0, self._box.size))
        self._sigma = spread(np.clip(vectors, -1, 1)) if n > 1 else self._sigma
        return self._proposals.encode(vectors.astype(np.float64))

    def tell(self, batch: Batch) -> None:
        """Train, or wait for more results."""
        rewards = finite_rewards(batch)
        if not len(rewards):
            return
        vectors = self._proposals.vectors(batch.actions)
        self._moments.update(rewards)
        self._told += len(rewards)
        with own_generators(self._rng):
            self._learn(vectors.astype(np.float32), rewards)

    def _standardised(self, rewards: FloatArray) -> FloatArray:
        """(R - mean) / standard deviation of all results so far; networks need rewards of about 1."""
        standardised: FloatArray = (rewards - self._moments.mean) / np.sqrt(self._moments.var + 1e-8)
        return standardised

    def recommend(self, observation: FloatArray) -> Encoding:
        """The deterministic action of the policy, in the box; the start before anything was told."""
        if self._told == 0:
            return self._start
        with torch.no_grad():
            continuous, discrete = self._box.to_encoding(self._mode().astype(np.float64))
        return Encoding(np.clip(continuous, -1, 1), discrete)

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates of the latest batch of more than one, within the box.
        updates: trainings so far.
        """
        return {"sigma": self._sigma, "updates": float(self._updates)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, results that are kept, random generator and the latest proposals."""
        moments = [float(self._moments.mean), float(self._moments.var), float(self._moments.count)]
        return {
            "parts": {name: copy.deepcopy(part.state_dict()) for name, part in self._parts().items()},
            "rng": self._rng.bit_generator.state,
            "proposals": self._proposals.remaining(),
            "moments": moments,
            "counts": [self._told, self._updates],
            "sigma": self._sigma,
            "results": [torch.from_numpy(array.copy()) for array in self._results()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for name, part in self._parts().items():
            part.load_state_dict(copy.deepcopy(state["parts"][name]))
        self._rng.bit_generator.state = state["rng"]
        self._proposals.encode(state["proposals"].numpy())
        mean, var, self._moments.count = state["moments"]
        self._moments.mean, self._moments.var = np.array(mean), np.array(var)
        (self._told, self._updates), self._sigma = state["counts"], state["sigma"]
        self._restore(*(array.numpy().copy() for array in state["results"]))

    def _sample(self, n: int) -> Any:
        raise NotImplementedError

    def _mode(self) -> Any:
        raise NotImplementedError

    def _learn(self, vectors: Any, rewards: FloatArray) -> None:
        raise NotImplementedError

    def _parts(self) -> dict[str, Any]:
        raise NotImplementedError

    def _results(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _restore(self, vectors: Any, rewards: Any) -> None:
        raise NotImplementedError
