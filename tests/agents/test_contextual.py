"""One training for a family of problems: optimum as a function of the context, and contexts never trained on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from rl_detector.agent import Agent, Batch
from rl_detector.agents.contextual.memory import (
    LARGEST_OBSERVATION,
    ObservationScale,
    none_proposed,
    observation_rows,
    proposed,
)
from rl_detector.agents.contextual_policy_gradient import ContextualPolicyGradient
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import DesignSpace, Encoding, FloatArray

COORDINATES = tuple(Continuous(f"x{i}", -1, 1) for i in range(3))
SPACE = DesignSpace((*COORDINATES, Categorical("material", ("a", "b", "c"))))
HELD_OUT = np.linspace(0.05, 0.95, 10)


def optimum(s: float) -> FloatArray:
    """Linear, a sine and a parabola of the context s in [0, 1]."""
    return np.array([1.2 * s - 0.6, 0.6 * np.sin(3 * s), -0.4 + 0.8 * s**2])


def reward(actions: Encoding, s: float) -> FloatArray:
    """-|a - optimum(s)|^2 - 0.5 unless the material is b below s = 0.5 and c above."""
    good = 1 if s < 0.5 else 2
    distance: FloatArray = np.sum((np.clip(actions.continuous, -1, 1) - optimum(s)) ** 2, axis=-1)
    return -distance - 0.5 * (actions.discrete[:, 0] != good)


def observe(s: float) -> FloatArray:
    """The context and a constant entry, in units far from 1."""
    return np.array([1e4 * s, 5.0])


class Blind(ContextualPolicyGradient):
    """An agent without the context: every context looks equal to it."""

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        return super().ask(np.zeros(1), n)

    def recommend(self, observation: FloatArray) -> Encoding:
        return super().recommend(np.zeros(1))


def train(agent: Agent, contexts: FloatArray, seed: int, n: int = 32, noise: float = 0.1) -> None:
    rng = np.random.default_rng(seed)
    for s in contexts:
        actions = agent.ask(observe(s), n)
        agent.tell(Batch(actions, reward(actions, s) + noise * rng.standard_normal(n), np.full(n, noise)))


def regret(agent: Agent) -> FloatArray:
    """How far the recommendations are below the optimum 0, for each held-out context."""
    best = [agent.recommend(observe(s)) for s in HELD_OUT]
    pairs = zip(best, HELD_OUT, strict=True)
    return np.array([-reward(Encoding(b.continuous[None], b.discrete[None]), s)[0] for b, s in pairs])


@pytest.mark.parametrize("seed", [0, 1])
def test_contexts_between_those_of_the_training(seed: int) -> None:
    """60 batches of 32 at random contexts, none of them held out: mean regret below 0.1 (one wrong material next to the
    change at 0.5 is 0.05 of it) and median below 0.03; a blind agent's mean is above 0.3."""
    contexts = np.random.default_rng(100 + seed).uniform(size=60)
    agents: list[Agent] = [ContextualPolicyGradient(SPACE, seed), Blind(SPACE, seed)]
    for agent in agents:
        train(agent, contexts, seed)
    assert not np.isin(HELD_OUT, contexts).any()
    own, blind = (regret(agent) for agent in agents)
    assert own.mean() < 0.1 and np.median(own) < 0.03 and blind.mean() > 0.3


def test_a_context_for_each_design() -> None:
    """30 batches of 64 designs, each with its own context: regret below 0.06."""
    agent, rng = ContextualPolicyGradient(SPACE, 0), np.random.default_rng(0)
    for _ in range(30):
        contexts = rng.uniform(size=64)
        actions = agent.ask(np.stack([observe(s) for s in contexts]), 64)
        told = np.sort(rng.choice(64, 50, replace=False))  # the others failed
        rewards = np.concatenate([reward(actions.take([i]), contexts[i]) for i in told])
        agent.tell(Batch(actions.take(told), rewards + 0.1 * rng.standard_normal(50), np.full(50, 0.1)))
    assert regret(agent).mean() < 0.06


def test_proposals_follow_the_context() -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    train(agent, np.random.default_rng(0).uniform(size=40), 0)
    low, high = (agent.ask(observe(s), 200).continuous[:, 0].mean() for s in (0.1, 0.9))
    assert high - low > 0.5


def test_told_out_of_order_the_context_is_still_the_right_one() -> None:
    """Two asks before their tells, the later one told first and one design missing: the same memory."""
    agents = [ContextualPolicyGradient(SPACE, 0) for _ in range(2)]
    asked = [[agent.ask(observe(s), 6) for s in (0.2, 0.8)] for agent in agents]
    for i in (1, 0):
        actions = asked[0][i].take([0, 1, 2, 4, 5])
        agents[0].tell(Batch(actions, reward(actions, (0.2, 0.8)[i]), np.zeros(5)))
    memory = agents[0]._memory
    np.testing.assert_array_equal(memory.observations[:, 0], [8000.0] * 5 + [2000.0] * 5)
    assert len(agents[0]._pending.rewards) == 2


def test_designs_that_were_never_asked_count_for_the_latest_context() -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    agent.ask(observe(0.3), 4)
    foreign = Encoding(np.full((2, 3), 0.123), np.zeros((2, 1), dtype=np.int64))
    agent.tell(Batch(foreign, np.array([0.0, 1.0]), np.zeros(2)))
    np.testing.assert_array_equal(agent._memory.observations, [observe(0.3)] * 2)


def test_memory_and_pending_are_limited() -> None:
    agent = ContextualPolicyGradient(SPACE, 0, memory=50)
    for _ in range(110):
        agent.ask(observe(0.5), 40)
    assert len(agent._pending.rewards) == 4096
    train(agent, np.full(4, 0.5), 0)
    assert len(agent._memory.rewards) == 50


def test_revised_rewards_replace_those_remembered() -> None:
    agent = ContextualPolicyGradient(SPACE, 0, memory=12)
    first = agent.ask(observe(0.1), 8)
    agent.tell(Batch(first, np.arange(8.0), np.zeros(8)))
    second = agent.ask(observe(0.1), 8)
    agent.tell(Batch(second, np.zeros(8), np.zeros(8), revised=10 + np.arange(8.0)))
    np.testing.assert_array_equal(agent._memory.rewards, [14, 15, 16, 17, *np.zeros(8)])


def test_a_context_never_seen_is_at_the_edge() -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    train(agent, np.random.default_rng(1).uniform(size=20), 1)
    for far in (np.array([1e99, 5.0]), np.array([-1e9, -1e99])):
        assert SPACE.contains(SPACE.decode(agent.recommend(far)))
        assert np.isfinite(agent.ask(far, 3).continuous).all()


@pytest.mark.parametrize("bad", [np.array([np.nan, 1.0]), np.array([1e200, 1.0]), np.zeros(3), np.zeros((1, 1, 2))])
def test_bad_observations_are_refused(bad: FloatArray) -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    agent.ask(observe(0.5), 2)
    for call in (lambda: agent.ask(bad, 2), lambda: agent.recommend(bad)):
        with pytest.raises(ConfigError, match="expected"):
            call()


def test_tell_before_ask_is_refused() -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    actions = Encoding(np.zeros((1, 3)), np.zeros((1, 1), dtype=np.int64))
    with pytest.raises(ConfigError, match="before it was asked"):
        agent.tell(Batch(actions, np.zeros(1), np.zeros(1)))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e6])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_equal_rewards_change_nothing(value: float, n: int) -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    for s in (0.1, 0.7, 0.2):
        agent.tell(Batch(agent.ask(observe(s), n), np.full(n, value), np.zeros(n)))
    for s in (0.0, 0.5):
        np.testing.assert_array_equal(agent.recommend(observe(s)).continuous, 0)
    assert agent.metrics()["sigma"] == pytest.approx(0.2) and agent.metrics()["gradient_norm"] == 0


def test_single_survivors() -> None:
    """One design of each batch is left: nothing in its batch to compare with, nothing learned, nothing broken."""
    agent, rng = ContextualPolicyGradient(SPACE, 0), np.random.default_rng(0)
    for s in rng.uniform(size=10):
        actions = agent.ask(observe(s), 8).take([3])
        agent.tell(Batch(actions, reward(actions, s), np.zeros(1)))
    assert np.isfinite(list(agent.metrics().values())).all()


SPACES = {
    "one coordinate": DesignSpace(COORDINATES[:1]),
    "200 coordinates": DesignSpace(tuple(Continuous(f"x{i}", -1, 1) for i in range(200))),
    "200 choices": DesignSpace(tuple(Categorical(f"c{i}", ("a", "b", "c")) for i in range(200))),
    "constants": DesignSpace((Integer("fixed", 3, 3), Categorical("only", ("a",)))),
}


@pytest.mark.parametrize("name", SPACES)
def test_spaces_of_every_size(name: str) -> None:
    space, rng = SPACES[name], np.random.default_rng(0)
    agent = ContextualPolicyGradient(space, 0)
    for s in rng.uniform(size=6):
        actions = agent.ask(observe(s), 16)
        distance = np.sum((actions.continuous - s) ** 2, axis=1) + np.sum(actions.discrete != 1, axis=1)
        agent.tell(Batch(actions, -distance, np.zeros(16)))
    assert space.contains(space.decode(agent.recommend(observe(0.5))))
    assert np.isfinite(list(agent.metrics().values())).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_of_the_reward_does_not_matter(scale: float) -> None:
    results = []
    for factor in (1.0, scale):
        agent = ContextualPolicyGradient(SPACE, 0)
        for s in (0.1, 0.5, 0.9, 0.3):
            actions = agent.ask(observe(s), 16)
            agent.tell(Batch(actions, factor * reward(actions, s), np.zeros(16)))
        results.append(agent.recommend(observe(0.4)).continuous)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-6)


def test_sigma_keeps_its_bounds_and_the_mean_comes_back_from_the_edge() -> None:
    agent = ContextualPolicyGradient(DesignSpace(COORDINATES[:1]), 0, sigma_minimum=0.1, memory=32)
    for sign in (1, -1):
        for _ in range(60):
            actions = agent.ask(observe(0.5), 16)
            agent.tell(Batch(actions, sign * np.clip(actions.continuous[:, 0], -1, 1), np.zeros(16)))
            assert 0.1 - 1e-9 <= agent.metrics()["sigma"] <= 0.2 + 1e-9
        assert sign * agent.recommend(observe(0.5)).continuous[0] > 0.5  # back across half of the box and more


def test_resumed_between_ask_and_tell_in_changing_contexts() -> None:
    agent = ContextualPolicyGradient(SPACE, 0)
    train(agent, np.array([0.1, 0.9, 0.4]), 0)
    pending = agent.ask(observe(0.6), 8)
    buffer = io.BytesIO()
    torch.save(agent.state_dict(), buffer)
    buffer.seek(0)
    other = ContextualPolicyGradient(SPACE, 0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for one in (agent, other):
        one.tell(Batch(pending, reward(pending, 0.6), np.zeros(8)))
        train(one, np.array([0.2, 0.8]), 1)
    for s in (0.0, 0.5, 2.0):
        for a, b in zip(agent.recommend(observe(s)), other.recommend(observe(s)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_agent_that_was_never_asked_can_be_saved() -> None:
    other = ContextualPolicyGradient(SPACE, 0)
    other.load_state_dict(ContextualPolicyGradient(SPACE, 0).state_dict())
    assert other.ask(observe(0.5), 3).continuous.shape == (3, 3)


@pytest.mark.parametrize("setting", ["sigma", "sigma_minimum", "learning_rate", "hidden", "memory"])
def test_impossible_settings(setting: str) -> None:
    settings: dict[str, Any] = {setting: -1}
    with pytest.raises(ConfigError, match=f"{setting}=-1"):
        ContextualPolicyGradient(SPACE, 0, **settings)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ConfigError, match="device='nonsense'"):
        ContextualPolicyGradient(SPACE, 0, device="nonsense")


def test_scale_of_observations() -> None:
    rows = np.random.default_rng(0).normal([3.0, 1e6], [2.0, 1e3], (50, 2))
    scale = ObservationScale(3)
    scale.update(np.column_stack([rows, np.full(50, 0.1)]))
    np.testing.assert_allclose(scale.mean[:2], rows.mean(axis=0))
    scaled = scale(np.column_stack([rows, np.full(50, 0.1)]))
    np.testing.assert_allclose(
        scaled[:, :2], np.clip((rows - rows.mean(axis=0)) / rows.std(axis=0), -LARGEST_OBSERVATION, LARGEST_OBSERVATION)
    )
    np.testing.assert_array_equal(scaled[:, 2], 0)
    assert scale(np.array([[1e308, -1e308, 99.0]])).tolist() == [[LARGEST_OBSERVATION, -LARGEST_OBSERVATION, 0]]
    assert ObservationScale(2)(np.ones((1, 2))).tolist() == [[0, 0]]


def test_equal_proposals_are_found_once_each() -> None:
    space = none_proposed(0, 1, 1)
    choices = Encoding(np.zeros((4, 0)), np.array([[0], [1], [0], [0]]))
    pending = space.then(proposed(choices, np.arange(4.0)[:, None], np.zeros(4)), 10)
    wanted = Encoding(np.zeros((5, 0)), np.array([[0], [0], [0], [0], [1]]))
    assert pending.find(wanted).tolist() == [0, 2, 3, -1, 1]


def test_one_observation_or_one_for_each() -> None:
    assert observation_rows(np.array([1.0, 2.0]), 3).tolist() == [[1, 2]] * 3
    assert observation_rows(np.zeros(0), 2).shape == (2, 0)
    with pytest.raises(ConfigError, match="one observation or 3 of them"):
        observation_rows(np.zeros((2, 2)), 3)
