"""What the policy gradient withstands: outliers, errors of every kind, and rewards that are revised."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from helpers.learning import NOTHING, Reward, assert_close, assert_sound, learn, reward, space_of
from rl_detector.agent import Batch
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.errors import SimulationError
from rl_detector.space import FloatArray


def test_lies_of_the_simulator_do_not_stop_the_search() -> None:
    """One reward in twenty is lower by 100 spreads; a scale that they set would hide all differences of the others."""
    agent, rng = PolicyGradient(space_of(6, 0), 0), np.random.default_rng(0)
    for _ in range(20):
        actions = agent.ask(NOTHING, 20)
        rewards = reward(actions) + 0.1 * rng.standard_normal(20) - 100 * (rng.random(20) < 0.05)
        agent.tell(Batch(actions, rewards, np.full(20, 0.1)))
    assert reward(agent.recommend(NOTHING)) > -0.15  # -0.54 at the start


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_errors_that_are_not_honest(factor: float) -> None:
    """Stated errors three times too small or too large: 90 % of the gap is closed on average; the policy, though it
    takes noise for lack of fit, does not narrow to its minimum of 0.002."""
    ends = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        agent = PolicyGradient(space_of(6, 0), seed, {f"x{i}": -0.2 for i in range(6)})
        for _ in range(40):
            actions = agent.ask(NOTHING, 20)
            agent.tell(Batch(actions, reward(actions) + 0.5 * rng.standard_normal(20), np.full(20, 0.5 * factor)))
        ends.append(reward(agent.recommend(NOTHING)))
        assert agent.metrics()["sigma"] > 0.005
    assert np.mean(ends) > -0.15


@pytest.mark.parametrize("size", [-1e9, -30.0, 30.0, 1e9])
def test_outliers(size: float) -> None:
    """One reward in 50 is far off, and all values stay finite. With outliers up to 10 the agent still learns."""
    for outlier in (size, math.copysign(10.0, size)):
        agent, rng = PolicyGradient(space_of(2, 1), 0), np.random.default_rng(4)
        for _ in range(12):
            actions = agent.ask(NOTHING, 16)
            rewards = reward(actions) + 0.1 * rng.standard_normal(16)
            rewards[rng.random(16) < 0.02] = outlier
            agent.tell(Batch(actions, rewards, np.full(16, 0.1)))
        assert_sound(agent)
    assert reward(agent.recommend(NOTHING)) > 0.3 * -0.68


ERRORS: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "zeros": lambda rng: np.zeros(16),
    "NaN": lambda rng: np.full(16, math.nan),
    "infinite": lambda rng: np.full(16, math.inf),
    "negative": lambda rng: np.full(16, -1.0),
    "some NaN": lambda rng: np.where(np.arange(16) % 2, 0.1, math.nan),
    "some zeros": lambda rng: np.where(np.arange(16) % 2, 0.1, 0.0),
    "varying": lambda rng: 0.1 * rng.lognormal(0, 1, 16),
    "wild": lambda rng: rng.lognormal(0, 6, 16),
}


@pytest.mark.parametrize("name", list(ERRORS))
def test_errors_of_every_kind(name: str) -> None:
    """Whatever is stated of a noise of 0.1, more than half of the gap is closed."""
    agent, rng = PolicyGradient(space_of(2, 1), 0), np.random.default_rng(5)
    for _ in range(10):
        actions = agent.ask(NOTHING, 16)
        agent.tell(Batch(actions, reward(actions) + 0.1 * rng.standard_normal(16), ERRORS[name](rng)))
    assert_sound(agent)
    assert reward(agent.recommend(NOTHING)) > 0.5 * -0.68


def test_errors_that_vary_are_worth_stating() -> None:
    """Half of the rewards have the noise 3: stated, the optimum is found more exactly, on average of 6 seeds."""
    regrets = {}
    for stated in (True, False):
        errors = np.tile([0.05, 3.0, 3.0, 0.05], 6)
        agents = [PolicyGradient(space_of(3, 0), seed) for seed in range(6)]
        for seed, agent in enumerate(agents):
            rng = np.random.default_rng(seed)
            for _ in range(6):
                actions = agent.ask(NOTHING, 24)
                rewards = reward(actions) + errors * rng.standard_normal(24)
                agent.tell(Batch(actions, rewards, errors if stated else np.full(24, 0.05)))
        regrets[stated] = -np.mean([reward(agent.recommend(NOTHING)) for agent in agents])
    assert regrets[True] < 0.5 * regrets[False]


@pytest.mark.parametrize(("coordinates", "choices"), [(1, 0), (3, 1)])
def test_pure_noise_for_100_updates(coordinates: int, choices: int) -> None:
    """Spreads stay within their bounds, and every choice keeps its share of the exploration."""
    agent = PolicyGradient(space_of(coordinates, choices), 0, sigma=0.4, sigma_minimum=0.05, exploration=0.3, memory=60)
    rng = np.random.default_rng(6)
    for _ in range(100):
        actions = agent.ask(NOTHING, 6)
        agent.tell(Batch(actions, rng.standard_normal(6), np.ones(6)))
        spread = np.sqrt(np.linalg.eigvalsh(agent._policy.scale @ agent._policy.scale.T))
        assert np.all((spread > 0.05 * (1 - 1e-9)) & (spread < 0.4 * (1 + 1e-9)))
        assert np.all(agent._policy.probabilities >= 0.1 * (1 - 1e-9))
        assert np.abs(agent.recommend(NOTHING).continuous).max() <= 1


def told(agent: PolicyGradient, f: Reward, batches: int, judge: Reward | None = None) -> None:
    """Noise-free rewards f; a judge judges all told before anew with every batch."""
    before: list[FloatArray] = []
    for _ in range(batches):
        actions = agent.ask(NOTHING, 16)
        revised = np.concatenate(before) if judge is not None and before else None
        agent.tell(Batch(actions, f(actions), np.zeros(16), revised=revised))
        before.append((judge or f)(actions))


def test_revised_rewards_are_used() -> None:
    """Every reward is wrong when first told, and only right when judged anew; the newest batch stays wrong."""
    wrong = lambda actions: -reward(actions)  # noqa: E731
    results = np.zeros((2, 5))
    for row, judge in enumerate((reward, None)):
        for seed in range(5):
            agent = PolicyGradient(space_of(2, 2), seed)
            told(agent, wrong, 12, judge)
            results[row, seed] = reward(agent.recommend(NOTHING))
    assert np.median(results[0]) > -0.4 and results[1].max() < -1.3


def test_one_revision_turns_the_search_around() -> None:
    """96 wrong rewards led to a corner; judged anew, they lead back."""
    agent = PolicyGradient(space_of(2, 0), 0)
    asked = learn(agent, lambda actions: -reward(actions), batches=6, n=16, noise=0)
    assert reward(agent.recommend(NOTHING)) < -1
    revised = np.concatenate([reward(actions) for actions in asked])
    for batch in range(5):
        actions = agent.ask(NOTHING, 16)
        agent.tell(Batch(actions, reward(actions), np.zeros(16), revised=None if batch else revised))
    assert reward(agent.recommend(NOTHING)) > -0.01


def test_revised_rewards_of_another_number_are_refused_and_change_nothing() -> None:
    agents = [PolicyGradient(space_of(2, 1), 0) for _ in range(2)]
    for agent in agents:
        learn(agent)
    actions, _ = (agent.ask(NOTHING, 4) for agent in agents)
    with pytest.raises(SimulationError, match="expected 72 finite revised rewards"):
        agents[0].tell(Batch(actions, np.zeros(4), np.zeros(4), revised=np.zeros(4)))
    assert_close(*(agent.recommend(NOTHING) for agent in agents))
    assert_close(*(agent.ask(NOTHING, 4) for agent in agents))
