"""Rewards, spaces and short trainings for tests of the policy gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rl_detector.agent import Batch
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.parameters import Categorical, Continuous
from rl_detector.space import DesignSpace, Encoding, FloatArray

NOTHING = np.zeros(0)

Reward = Callable[[Encoding], FloatArray]


def space_of(coordinates: int, choices: int, options: int = 3) -> DesignSpace:
    continuous = [Continuous(f"x{i}", -1, 1) for i in range(coordinates)]
    names = tuple(f"choice {i}" for i in range(options))
    return DesignSpace((*continuous, *(Categorical(f"c{j}", names) for j in range(choices))))


def reward(actions: Encoding) -> FloatArray:
    """0 at coordinates 0.3 and second choices, and less elsewhere."""
    distance: FloatArray = ((np.clip(actions.continuous, -1, 1) - 0.3) ** 2).sum(axis=-1)
    return -distance - 0.5 * (actions.discrete != 1).sum(axis=-1)


def learn(
    agent: PolicyGradient, f: Reward = reward, batches: int = 6, n: int = 12, noise: float = 0.1, seed: int = 10
) -> list[Encoding]:
    """What the agent proposed in some batches of rewards with noise of stated size."""
    rng, asked = np.random.default_rng(seed), []
    for _ in range(batches):
        actions = agent.ask(NOTHING, n)
        agent.tell(Batch(actions, f(actions) + noise * rng.standard_normal(n), np.full(n, noise)))
        asked.append(actions)
    return asked


def assert_sound(agent: PolicyGradient) -> None:
    """Proposals, recommendation and metrics are numbers; spreads are within their bounds."""
    actions, best = agent.ask(NOTHING, 7), agent.recommend(NOTHING)
    assert np.isfinite(actions.continuous).all() and np.isfinite(best.continuous).all()
    assert agent.space.contains(agent.space.decode(best))
    assert all(math.isfinite(value) for value in agent.metrics().values())
    spread = np.sqrt(np.linalg.eigvalsh(agent._policy.scale @ agent._policy.scale.T))
    assert np.all((spread > 0.002 * (1 - 1e-6)) & (spread < 0.5 * (1 + 1e-6)))


def assert_close(first: Encoding, second: Encoding, atol: float = 0.0) -> None:
    np.testing.assert_allclose(first.continuous, second.continuous, rtol=0, atol=atol)
    np.testing.assert_array_equal(first.discrete, second.discrete)
