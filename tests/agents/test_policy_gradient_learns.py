"""What the policy gradient must be able to learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.learning import NOTHING, learn, reward, space_of
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.space import Encoding, FloatArray


def test_rewards_that_differ_after_equal_ones_are_learned_from() -> None:
    agent = PolicyGradient(space_of(2, 0), 0)
    learn(agent, lambda actions: np.full(len(actions.continuous), 0.1), noise=0, batches=3)
    learn(agent, noise=0, batches=6)
    assert reward(agent.recommend(NOTHING)) > -0.01


def test_no_choice_dies() -> None:
    """After the best is certain, each of three choices keeps at least a third of the exploration, less the proposals
    of the posterior and the choices that do not change; frequencies in 3000 proposals, within 5 standard errors."""
    agent = PolicyGradient(space_of(1, 2), 0, exploration=0.3, posterior_share=0.5)
    learn(agent, lambda actions: 3 * reward(actions), batches=12, n=16)
    assert np.all(agent._policy.probabilities >= 0.1 * (1 - 1e-9))
    assert agent.recommend(NOTHING).discrete.tolist() == [1, 1]
    discrete = agent.ask(NOTHING, 3000).discrete
    frequencies = np.array([np.bincount(column, minlength=3) for column in discrete.T]) / 3000
    least = 0.05 * agent.metrics()["turnover"]
    assert frequencies.min() > least - 5 * math.sqrt(least / 3000)
    assert frequencies[:, 1].min() > 0.6


def test_spread_shrinks_where_the_optimum_is_exact() -> None:
    """Without noise, where the reward is no quadratic; with a large noise a wide spread tells more."""
    f = lambda actions: -np.abs(np.clip(actions.continuous, -1, 1) - 0.3).sum(axis=-1)  # noqa: E731
    spreads = []
    for noise in (0.0, 2.0):
        agent = PolicyGradient(space_of(2, 0), 0)
        learn(agent, f, batches=16, n=16, noise=noise)
        spreads.append(agent.metrics()["sigma"])
    assert spreads[0] < 0.1 < 0.3 < spreads[1]


@pytest.mark.parametrize("seed", range(3))
def test_choices_are_scored_with_the_coordinates_that_suit_them(seed: int) -> None:
    """At the coordinates of the start the other choice is worse by 0.08, but with its own it is better by 0.08."""
    best, value = np.array([-0.2, 0.2]), np.array([0.0, 0.08])

    def f(actions: Encoding) -> FloatArray:
        step = np.clip(actions.continuous[..., 0], -1, 1) - best[actions.discrete[..., 0]]
        result: FloatArray = value[actions.discrete[..., 0]] - step**2
        return result

    agent = PolicyGradient(space_of(1, 1, 2), seed, {"x0": -0.2, "c0": "choice 0"}, sigma=0.3)
    learn(agent, f, batches=12, n=16, noise=0.03)
    assert agent.recommend(NOTHING).discrete.tolist() == [1]
    assert f(agent.recommend(NOTHING)) > 0.07


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_the_identity(seed: int) -> None:
    """12 choices of 4 options; the reward counts those equal to the target, and all must be found (chance: 4^-12)."""
    target = np.random.default_rng(seed).integers(4, size=12)
    agent = PolicyGradient(space_of(0, 12, 4), seed)
    learn(agent, lambda actions: (actions.discrete == target).sum(axis=1).astype(float), batches=8, n=32, noise=0)
    np.testing.assert_array_equal(agent.recommend(NOTHING).discrete, target)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_coordinates_and_choices_under_noise(seed: int) -> None:
    """Noise 0.5, reward 1 at the optimum and -3.56 at the start: 95 % of the gap after 12 batches of 32 designs."""
    target, weight, value = np.array([0.5, -0.3]), np.array([1.0, 4.0]), np.array([0.0, 1.0, -2.0])

    def f(actions: Encoding) -> FloatArray:
        quadratic: FloatArray = -((actions.continuous - target) ** 2) @ weight
        return quadratic + value[actions.discrete[..., 0]]

    agent = PolicyGradient(space_of(2, 1), seed, {"x0": -0.5, "x1": 0.5, "c0": "choice 0"})
    learn(agent, f, batches=12, n=32, noise=0.5)
    best = agent.recommend(NOTHING)
    assert best.discrete.tolist() == [1]
    assert f(best) > 1 - 0.05 * 4.56


@pytest.mark.parametrize("seed", [0, 1])
def test_an_exact_quadratic_is_solved_like_one(seed: int) -> None:
    """5 coordinates, correlated with a condition of 100, no noise: a regret below 0.001 after 192 designs."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    hessian, best = (vectors * np.geomspace(0.1, 10, 5)) @ vectors.T, rng.uniform(-0.5, 0.5, 5)

    def regret(actions: Encoding) -> FloatArray:
        step = np.clip(actions.continuous, -1, 1) - best
        result: FloatArray = ((step @ hessian) * step).sum(axis=-1)
        return result

    agent = PolicyGradient(space_of(5, 0), seed)
    learn(agent, lambda actions: -regret(actions), batches=24, n=8, noise=0)
    assert regret(agent.recommend(NOTHING)) < 1e-3


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_optimum_at_the_wall_is_reached_and_not_left(sign: int) -> None:
    agent = PolicyGradient(space_of(2, 0), 0)
    f = lambda actions: sign * np.clip(actions.continuous, -1, 1).sum(axis=-1)  # noqa: E731
    for _ in range(15):
        learn(agent, f, batches=1, n=16)
        assert np.abs(agent.recommend(NOTHING).continuous).max() <= 1
    assert np.abs(agent.recommend(NOTHING).continuous - sign).max() < 0.05
