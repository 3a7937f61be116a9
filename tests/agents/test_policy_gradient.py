"""The policy gradient: its proposals, settings and state, in spaces of every kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from helpers.learning import NOTHING, assert_close, assert_sound, learn, reward, space_of
from rl_detector.agent import Batch
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import DesignSpace


@pytest.mark.parametrize("n", [6, 7])
def test_proposals_come_in_pairs_around_the_mean(n: int) -> None:
    agent = PolicyGradient(space_of(3, 0), 0)
    learn(agent)
    mean, x = agent.recommend(NOTHING).continuous, agent.ask(NOTHING, n).continuous
    np.testing.assert_allclose((x[0:6:2] + x[1:6:2]) / 2, np.tile(mean, (3, 1)), atol=1e-12)
    assert np.all(np.abs(x - mean).max(axis=1) > 1e-6)
    single = PolicyGradient(space_of(3, 0), 0, without=["antithetic"]).ask(NOTHING, n).continuous
    assert np.abs(single[0:6:2] + single[1:6:2]).min() > 1e-6


def test_spread_of_the_first_proposals() -> None:
    """Around the start, which is the first; every standard deviation within 5 standard errors sigma / sqrt(2 n)."""
    agent = PolicyGradient(space_of(3, 0), 0, {"x0": 0.25, "x1": -0.75, "x2": 0.0}, sigma=0.3)
    x = agent.ask(NOTHING, 2002).continuous
    assert x[0].tolist() == [0.25, -0.75, 0]
    x = x[2:]
    np.testing.assert_allclose(x.mean(axis=0), [0.25, -0.75, 0], atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 0.3, atol=5 * 0.3 / math.sqrt(2000))


def test_the_start_is_recommended_first_and_every_choice_is_tried() -> None:
    space = space_of(2, 4)
    start = {"x0": 0.25, "x1": -0.75, **{f"c{j}": "choice 2" for j in range(4)}}
    agent = PolicyGradient(space, 0, start)
    assert space.decode(agent.recommend(NOTHING)) == start
    discrete = agent.ask(NOTHING, 64).discrete
    assert all(len(set(column)) == 3 for column in discrete.T.tolist())
    assert space.decode(PolicyGradient(space, 0).recommend(NOTHING))["x0"] == 0


def test_metrics_of_a_fresh_agent() -> None:
    metrics = PolicyGradient(space_of(2, 3), 0, sigma=0.1).metrics()
    assert metrics["sigma"] == pytest.approx(0.1)
    assert metrics["entropy"] == pytest.approx(3 * math.log(3))
    assert metrics["remembered"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        *({"sigma": value} for value in (0, -1, math.nan, 0.001)),
        *({"sigma_minimum": value} for value in (0, -1, 0.6)),
        *({"exploration": value} for value in (0, -0.1, 1.1)),
        *({"posterior_share": value} for value in (-0.1, 1.1)),
        {"memory": -1},
    ],
)
def test_impossible_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"policy_gradient needs .*{next(iter(settings))}.*got"):
        PolicyGradient(space_of(1, 0), 0, **settings)  # type: ignore[arg-type]


def test_the_state_of_another_version_is_refused_at_once() -> None:
    agent = PolicyGradient(space_of(2, 2), 0)
    learn(agent, reward, batches=2, n=20, noise=0.1)
    with pytest.raises(ValueError, match="broadcast"):
        agent.load_state_dict(
            {**agent.state_dict(), "experience": {**agent.state_dict()["experience"], "foresight": torch.zeros(3)}}
        )


@pytest.mark.parametrize("settings", [{}, {"memory": 200}, {"memory": 0}])
def test_the_memory_is_bounded(settings: dict[str, Any]) -> None:
    """Some more evaluations than fit, in batches of 300."""
    agent, most = PolicyGradient(space_of(3, 1), 0, **settings), max(settings.get("memory", 2000), 300)
    learn(agent, batches=most // 300 + 1, n=300)
    assert agent.metrics()["remembered"] == most
    tensors = [
        t
        for part in (agent.state_dict()["experience"]["archive"], agent.state_dict()["fit"])
        for t in part.values()
        if isinstance(t, torch.Tensor)
    ]
    assert max(len(tensor) for tensor in tensors) <= most
    assert_sound(agent)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e6, 1e300])
def test_equal_rewards_change_nothing(value: float) -> None:
    """Also where their mean is rounded: three times 0.1 / 3 is not 0.1."""
    agent = PolicyGradient(space_of(2, 2), 0)
    for n in (1, 3, 8, 16, 16):
        agent.tell(Batch(agent.ask(NOTHING, n), np.full(n, value), np.zeros(n)))
    assert_close(agent.recommend(NOTHING), PolicyGradient(space_of(2, 2), 0).recommend(NOTHING))
    assert agent.metrics()["sigma"] == pytest.approx(0.5)
    assert agent.metrics()["entropy"] == pytest.approx(2 * math.log(3))


@pytest.mark.parametrize("choices", [0, 2])
def test_empty_batches_and_single_survivors(choices: int) -> None:
    """Of every batch at most one design is told; 60 of them suffice to go half way."""
    agent, rng = PolicyGradient(space_of(2, choices), 0), np.random.default_rng(0)
    for i in range(120):
        actions = agent.ask(NOTHING, 5).take([i % 5] if i % 2 else [])
        agent.tell(Batch(actions, reward(actions) + 0.1 * rng.standard_normal(i % 2), np.full(i % 2, 0.1)))
    assert_sound(agent)
    assert agent.metrics()["remembered"] == 60
    assert reward(agent.recommend(NOTHING)) > 0.5 * (-0.18 - 0.5 * choices)


SPACES = {
    "one constant": DesignSpace((Integer("i", 3, 3),)),
    "constants": DesignSpace((Integer("i", 3, 3), Categorical("m", ("lead",)))),
    "some constants": DesignSpace((Integer("i", 3, 3), Continuous("x", 0, 1), Categorical("m", ("lead", "iron")))),
    "one coordinate": space_of(1, 0),
    "one choice": space_of(0, 1),
    "no choice": space_of(0, 3, 1),
    "200 coordinates": space_of(200, 0),
    "20 coordinates, 20 choices": space_of(20, 20, 2),
}


@pytest.mark.parametrize("name", list(SPACES))
@pytest.mark.parametrize("n", [1, 2, 8])
def test_spaces_at_the_edge(name: str, n: int) -> None:
    agent = PolicyGradient(SPACES[name], 0)
    learn(agent, batches=5, n=n)
    assert_sound(agent)


@pytest.mark.parametrize("scale", [1e-12, 2.0**-40, 3.0, 2.0**40, 1e12])
@pytest.mark.parametrize("shift", [0.0, -100.0])
def test_the_unit_of_the_reward_does_not_matter(scale: float, shift: float) -> None:
    """Proposals from rewards a R + b are those from R, to the rounding of b."""
    proposals = []
    for a, b in ((1.0, 0.0), (scale, shift * scale)):
        agent = PolicyGradient(space_of(2, 2), 0)
        f = lambda actions, a=a, b=b: a * reward(actions) + b  # noqa: E731
        proposals.append(learn(agent, f, noise=0.1 * a)[-1])
    assert_close(*proposals, atol=0.0 if not shift and math.log2(scale) % 1 == 0 else 1e-9)
