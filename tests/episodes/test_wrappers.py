"""Adapters: one Box of actions, and Stable-Baselines3 on top of the vector environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

from rl_detector.checks.problems import check_env
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.episodes.env import DesignEnv, VectorDesignEnv
from rl_detector.episodes.wrappers import BoxAction, SB3VecEnv
from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import Measurement, Readout


class Hill:
    """Signals around -(x - 0.5)^2 - 0.5 (material is not good); it fails for y > 0.9."""

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        if design["y"] > 0.9:
            raise SimulationError("overheated")
        height = -((design["x"] - 0.5) ** 2) - 0.5 * (design["material"] != "good")
        return Readout({}, height + np.random.default_rng(seed).normal(0, 0.1, (events, 1)))

    def describe(self) -> dict[str, str]:
        return {"simulator": "hill"}


class Mean:
    def measure(self, readout: Readout) -> Measurement:
        mean = float(readout.signals.mean())
        return Measurement(mean, 0.1, mean, 0.1)


def hill() -> DesignProblem:
    parameters = (Continuous("x", -1.0, 1.0), Categorical("material", ("bad", "good")), Continuous("y", -1.0, 1.0))
    return DesignProblem("hill", DesignSpace(parameters), Hill(), Mean())


def vector(n: int = 8) -> SB3VecEnv:
    return SB3VecEnv(VectorDesignEnv(hill(), n, 10))


def test_box_action_takes_numbers_as_they_are_and_the_best_score() -> None:
    env = BoxAction(DesignEnv(hill(), 10))
    assert env.action_space == spaces.Box(-1.0, 1.0, (4,), np.float32)
    env.reset(seed=0)
    for action, design in (
        ([0.25, -0.5, 0.1, 0.2], {"x": 0.25, "y": -0.5, "material": "good"}),
        ([-1.0, 0.5, -0.1, -0.2], {"x": -1.0, "y": 0.5, "material": "bad"}),
    ):
        assert env.step(np.array(action, dtype=np.float32))[4]["design"] == design


def test_box_action_gives_the_rewards_of_the_native_action() -> None:
    native, boxed = DesignEnv(hill(), 10), BoxAction(DesignEnv(hill(), 10))
    native.reset(seed=3)
    boxed.reset(seed=3)
    design = native.problem.space.encode({"x": 0.25, "y": -0.5, "material": "good"})
    reward = native.step(native.problem.space.to_action(design))[1]
    assert boxed.step(boxed.box.from_encoding(design))[1] == reward


def test_box_action_of_the_calorimeter() -> None:
    env = BoxAction(DesignEnv(calorimeter(layers=2), 50))
    assert env.action_space.shape == (12,)
    check_env(env)


def test_box_action_refuses_what_it_cannot_wrap() -> None:
    with pytest.raises(ConfigError, match="BoxAction wraps a DesignEnv, got CartPoleEnv"):
        BoxAction(gym.make("CartPole-v1"))


def test_box_action_refuses_nan() -> None:
    env = BoxAction(DesignEnv(hill(), 10))
    env.reset(seed=0)
    with pytest.raises(DesignError, match="NaN"):
        env.step(np.array([np.nan, 0, 0, 0]))


def test_a_step_of_the_adapter() -> None:
    envs = vector(3)
    envs.seed(0)
    observations = envs.reset()
    assert observations.shape == (3, 2)
    assert observations.dtype == np.float32
    actions = np.array([[0.5, 0.0, -1, 1], [0.5, 1.0, -1, 1], [0.5, 0.0, 1, -1]])
    observations, rewards, dones, infos = envs.step(actions)
    assert dones.all()
    assert rewards == pytest.approx([0.0, 0.0, -0.5], abs=0.15)
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True, False]
    assert infos[1]["failure"] == "overheated"
    assert "failure" not in infos[0]
    assert infos[0]["design"] == {"x": 0.5, "y": 0.0, "material": "good"}
    np.testing.assert_array_equal(infos[0]["terminal_observation"], observations[0])


def test_the_adapter_is_seeded() -> None:
    def rewards(seed: int) -> Any:
        envs = vector(4)
        envs.seed(seed)
        envs.reset()
        return envs.step(np.zeros((4, 4)))[1].tolist()

    assert rewards(0) == rewards(0) != rewards(1)


def test_attributes_and_methods_of_the_adapter() -> None:
    envs = vector(3)
    assert envs.get_attr("events") == [10, 10, 10]
    assert envs.get_attr("events", [0, 2]) == [10, 10]
    envs.set_attr("events", 20)
    assert envs.env.events == 20
    assert envs.env_is_wrapped(BoxAction) == [False] * 3
    assert len(envs.env_method("reset", seed=0)) == 3
    envs.close()


@pytest.mark.parametrize(
    ("algorithm", "settings", "steps"),
    [
        (PPO, {"n_steps": 16, "batch_size": 64, "learning_rate": 3e-3}, 2560),
        (A2C, {"n_steps": 8, "learning_rate": 3e-3}, 2560),
        (SAC, {"learning_starts": 64, "gradient_steps": 4, "learning_rate": 3e-3}, 640),
    ],
)
def test_stable_baselines3_learns_saves_and_loads(
    algorithm: Any, settings: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    """An untrained policy gets about -0.8 on average; the best possible is 0."""
    network = {"policy_kwargs": {"net_arch": [16, 16]}, "device": "cpu", "seed": 0}
    model = algorithm("MlpPolicy", vector(8), gamma=0.0, **settings, **network)
    model.learn(steps)
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", env=vector(4), device="cpu")
    reward, _ = evaluate_policy(loaded, VecMonitor(vector(4)), n_eval_episodes=20)
    assert reward > -0.3
    best = [policy.predict(np.zeros(2, dtype=np.float32), deterministic=True)[0] for policy in (model, loaded)]
    np.testing.assert_array_equal(*best)


def test_stable_baselines3_learns_on_the_calorimeter() -> None:
    envs = SB3VecEnv(VectorDesignEnv(calorimeter(), 8, 50))
    PPO("MlpPolicy", envs, n_steps=8, batch_size=32, n_epochs=1, device="cpu", seed=0).learn(64)
