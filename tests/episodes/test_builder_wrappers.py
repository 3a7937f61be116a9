"""What other libraries learn by building piece by piece."""

from __future__ import annotations

import builtins
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from helpers.telescope import telescope
from rl_detector.episodes.builder_env import BuilderEnv
from rl_detector.episodes.builder_wrappers import BuilderBins, BuilderBox, maskable_ppo
from rl_detector.errors import ConfigError, DesignError, MissingDependency


@pytest.mark.parametrize("edits", [None, 3])
def test_one_box_is_accepted_by_stable_baselines3(edits: int | None) -> None:
    sb3_check_env(BuilderBox(BuilderEnv(telescope(head=True), 20, edits)))
    sb3_check_env(BuilderBins(BuilderEnv(telescope(head=True), 20, edits)))


def test_one_box_takes_the_best_of_what_is_allowed() -> None:
    env = BuilderBox(BuilderEnv(telescope(), 20))
    env.reset(seed=0)
    assert env.action_space == spaces.Box(-1.0, 1.0, (6,), np.float32)
    action = env.action(np.array([0.2, 0.1, 0.3, 0.9, 1.0, -1.0]))  # continuous, discrete, operation
    assert action["discrete"].tolist() == [1], "huge does not fit"
    assert action["operation"] == 1, "stopping is not allowed"
    with pytest.raises(DesignError, match="6"):
        env.action(np.full(6, np.nan))


def test_bins_are_the_centres_of_equal_parts() -> None:
    env = BuilderBins(BuilderEnv(telescope(), 20), bins=4)
    env.reset(seed=0)
    assert env.action_space.nvec.tolist() == [4, 3, 2]
    assert env.action(np.array([3, 1, 1]))["continuous"] == pytest.approx([0.75])
    assert env.action_masks().tolist() == [True] * 4 + [True, True, False] + [False, True]


def test_wrappers_refuse_what_they_cannot_wrap() -> None:
    for wrapper in (BuilderBox, BuilderBins):
        with pytest.raises(ConfigError, match=f"{wrapper.__name__} wraps a BuilderEnv, got CartPoleEnv"):
            wrapper(gym.make("CartPole-v1"))
    with pytest.raises(ConfigError, match="at least 2 bins"):
        BuilderBins(BuilderEnv(telescope(), 20), bins=1)


def mean_reward(model: Any, env: Any, masked: bool, episodes: int = 10) -> float:
    """Mean over episodes of the likeliest actions."""
    total = 0.0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        done = False
        while not done:
            masks = {"action_masks": env.action_masks()} if masked else {}
            action, _ = model.predict(observation, deterministic=True, **masks)
            observation, reward, done, _, info = env.step(action)
            assert "replaced" not in info
            total += float(reward)
    return total / episodes


SETTINGS: dict[str, Any] = {
    "n_steps": 128,
    "batch_size": 64,
    "n_epochs": 5,
    "gamma": 1.0,
    "learning_rate": 5e-3,
    "seed": 0,
}

SETTINGS |= {"device": "cpu", "policy_kwargs": {"net_arch": [16]}}


def test_ppo_learns_to_build() -> None:
    """The best is five thin planes in the middle: 5 - 0.5 * 0.5 = 4.75; one random plane is worth about 0."""
    env = BuilderBox(BuilderEnv(telescope(), 5))
    model = PPO("MlpPolicy", env, **SETTINGS).learn(2000)
    assert mean_reward(model, env, masked=False) > 3.0


def test_maskable_ppo_learns_to_build() -> None:
    model = maskable_ppo(BuilderEnv(telescope(), 5), bins=5, **SETTINGS).learn(2000)
    assert mean_reward(model, BuilderBins(BuilderEnv(telescope(), 5), bins=5), masked=True) > 3.0


def test_without_sb3_contrib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "sb3_contrib":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependency, match=r"pip install 'rl_detector\[maskable\]'"):
        maskable_ppo(BuilderEnv(telescope(), 5))
