"""The environments: what Gymnasium and Stable-Baselines3 ask of them, and what they promise themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rl_detector.registry  # noqa: F401 - registers the environments
from rl_detector.checks.problems import check_env
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.episodes.env import DesignEnv, VectorDesignEnv
from rl_detector.episodes.wrappers import BoxAction
from rl_detector.errors import DesignError, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import Constraint, Cost, Measurement, Readout

SPACES = {
    "coordinates": DesignSpace((Continuous("x", -1.0, 1.0, "m"),)),
    "choices": DesignSpace((Categorical("material", ("bad", "good", "best")),)),
    "mixed": DesignSpace((Continuous("x", -1.0, 1.0, "m"), Categorical("material", ("bad", "good", "best")))),
}


class Line:
    """Signals around x; it fails beyond `breaks_at`."""

    def __init__(self, breaks_at: float = 2.0) -> None:
        self.breaks_at = breaks_at

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        if design.get("x", 0.0) > self.breaks_at:
            raise SimulationError("overheated")
        return Readout({}, design.get("x", 0.0) + np.random.default_rng(seed).normal(0, 0.1, (events, 1)))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "line"}


class Mean:
    def measure(self, readout: Readout) -> Measurement:
        mean, error = float(readout.signals.mean()), float(readout.signals.std() / len(readout.signals) ** 0.5)
        return Measurement(mean, error, mean, error)


def make_line(space: str = "coordinates", breaks_at: float = 2.0) -> DesignProblem:
    return DesignProblem(
        name="line",
        space=SPACES[space],
        simulator=Line(breaks_at),
        reach=Mean(),
        costs=(Cost("mass", "kg", 2.0, lambda design: 1.0 + design.get("x", 0.0)),),
        constraints=(Constraint("length", "m", 0.5, lambda design: design.get("x", 0.0)),),
        cost_weight=0.5,
    )


@pytest.mark.parametrize("space", SPACES)
def test_gymnasium_accepts_every_kind_of_space(space: str) -> None:
    env = DesignEnv(make_line(space), 20)
    with pytest.warns(UserWarning, match="infinity"):  # a context has no bounds
        gymnasium_check_env(env, skip_render_check=True)
    check_env(env)


@pytest.mark.parametrize("space", SPACES)
def test_stable_baselines3_accepts_every_kind_of_space_in_one_box(space: str) -> None:
    sb3_check_env(BoxAction(DesignEnv(make_line(space), 20)))


def test_an_episode_is_one_step_with_all_its_terms() -> None:
    env = DesignEnv(make_line(), 50)
    observation, info = env.reset(seed=0)
    np.testing.assert_array_equal(observation, [0.5, 5.0])
    assert info == {}
    observation, reward, terminated, truncated, info = env.step(np.array([0.8]))
    np.testing.assert_array_equal(observation, [0.5, 5.0])
    assert (terminated, truncated) == (True, False)
    assert info["design"] == {"x": pytest.approx(0.8)}
    assert info["costs"] == {"mass": pytest.approx(1.8)}
    assert info["violations"] == {"length": pytest.approx(0.3)}
    assert reward == pytest.approx(info["reach"] - 0.5 * 0.9 - 5.0 * (0.6 - 0.005))
    assert info["reach_error"] > 0
    assert info["events"] == 50


def test_a_failed_simulation_truncates_without_reward() -> None:
    env = DesignEnv(make_line(breaks_at=0.0), 50)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.array([0.8]))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["failure"] == "overheated"
    assert "reach" not in info


def test_actions_beyond_the_box_are_clipped_and_nan_is_refused() -> None:
    env = DesignEnv(make_line(), 20)
    env.reset(seed=0)
    assert env.step(np.array([7.0]))[4]["design"] == {"x": 1.0}
    with pytest.raises(DesignError, match="x: the action is NaN"):
        env.step(np.array([np.nan]))


def test_seed_zero_is_a_seed() -> None:
    env = DesignEnv(make_line(), 20)

    def reward() -> float:
        env.reset(seed=0)
        return env.step(np.array([0.3]))[1]

    assert reward() == reward()
    env.reset()
    assert env.step(np.array([0.3]))[1] != reward()


def test_a_range_of_cost_weights_is_drawn_seen_and_charged() -> None:
    env = DesignEnv(make_line(), 50, cost_weight_range=(1.0, 3.0))
    weights = []
    for _ in range(20):
        observation, _ = env.reset()
        weights.append(observation[0])
        after, reward, *_, info = env.step(np.array([0.0]))
        assert after[0] == observation[0]
        assert reward == pytest.approx(info["reach"] - observation[0] * 0.5)
    assert 1 <= min(weights) < 1.7
    assert 2.3 < max(weights) <= 3


def test_gym_make_passes_settings_on() -> None:
    env: Any = gym.make("rl_detector/Calorimeter-v0", layers=2, events=100, cost_weight=0.5)
    env.reset(seed=0)
    *_, info = env.step(env.action_space.sample())
    assert len(info["design"]["layer"]) == 2
    assert info["events"] == 100
    assert env.unwrapped.problem.cost_weight == 0.5


def test_gym_make_vec_passes_settings_on() -> None:
    envs: Any = gym.make_vec("rl_detector/Calorimeter-v0", num_envs=8, layers=2, events=100, common_events=True)
    assert envs.num_envs == 8
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (8, 5)
    assert envs.observation_space.contains(observations)
    envs.action_space.seed(0)
    _, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert rewards.shape == (8,)
    assert terminated.all()
    assert not truncated.any()
    assert all(len(design["layer"]) == 2 for design in infos["final_info"]["design"])
    assert infos["final_info"]["events"].tolist() == [100] * 8


@pytest.mark.parametrize("layers", [1, 3])
def test_one_design_and_many_give_the_same(layers: int) -> None:
    """The first design of a vector has the same event seed as the only design of a single environment."""
    problem = calorimeter(layers=layers)
    single, vector = DesignEnv(problem, 60), VectorDesignEnv(problem, 3, 60)
    for seed in (0, 7):
        single.reset(seed=seed)
        vector.reset(seed=seed)
        actions = vector.action_space.sample()
        first = {name: part[0] for name, part in actions.items()}
        _, reward, terminated, _, info = single.step(first)
        _, rewards, done, _, infos = vector.step(actions)
        final = infos["final_info"]
        assert (reward, terminated) == (rewards[0], done[0])
        assert {name: final[name][0] for name in info} == info


def test_the_same_seed_and_actions_repeat_a_vector() -> None:
    vector = VectorDesignEnv(make_line(), 4, 20)
    actions = np.full((4, 1), 0.3)

    def rewards(seed: int) -> list[float]:
        vector.reset(seed=seed)
        return [*vector.step(actions)[1].tolist(), *vector.step(actions)[1].tolist()]

    assert rewards(0) == rewards(0) != rewards(1)
    assert len(set(rewards(0))) == 8


def test_common_events_are_common_within_a_step_only() -> None:
    vector = VectorDesignEnv(make_line(), 4, 20, common_events=True)
    vector.reset(seed=0)
    first, second = (vector.step(np.full((4, 1), 0.3))[1].tolist() for _ in range(2))
    assert len(set(first)) == len(set(second)) == 1
    assert first != second


def test_every_step_of_a_vector_ends_its_episodes_and_starts_the_next() -> None:
    """SAME_STEP: no step is wasted on a reset; the last observation of the old episode is in `final_obs`."""
    vector = VectorDesignEnv(make_line(), 3, 20, cost_weight_range=(1.0, 2.0))
    old, _ = vector.reset(seed=0)
    for _ in range(3):
        new, rewards, _, _, infos = vector.step(np.zeros((3, 1)))
        np.testing.assert_array_equal(infos["final_obs"], old)
        assert infos["_final_obs"].all()
        final = infos["final_info"]
        np.testing.assert_allclose(rewards, final["reach"] - old[:, 0] * 0.5)
        np.testing.assert_array_equal(final["reward"], rewards)
        assert (new != old)[:, 0].all()
        assert len(set(new[:, 0])) == 3
        old = new


def test_failures_of_a_vector_stay_apart() -> None:
    vector = VectorDesignEnv(make_line(breaks_at=0.5), 3, 20)
    vector.reset(seed=0)
    _, rewards, terminated, truncated, infos = vector.step(np.array([[0.0], [0.9], [0.1]]))
    assert truncated.tolist() == [False, True, False]
    assert terminated.tolist() == [True, False, True]
    assert rewards[1] == 0.0
    final = infos["final_info"]
    assert final["failure"].tolist() == [None, "overheated", None]
    assert final["_failure"].tolist() == [False, True, False]
    assert final["_reach"].tolist() == [True, False, True]


def test_a_list_of_seeds_is_accepted() -> None:
    vector = VectorDesignEnv(make_line(), 2, 20)

    def rewards(seeds: Any) -> list[float]:
        vector.reset(seed=seeds)
        result: list[float] = vector.step(np.zeros((2, 1)))[1].tolist()
        return result

    assert rewards([1, 2]) == rewards([1, 2]) != rewards([1, 3])
    assert rewards(np.int64(3)) == rewards(3)


def test_wrappers_of_gymnasium_count_episodes() -> None:
    env = gym.wrappers.RecordEpisodeStatistics(DesignEnv(replace(make_line(), cost_weight=0.0), 20))
    env.reset(seed=0)
    *_, info = env.step(np.array([0.1]))
    assert info["episode"]["l"] == 1
    vector = gym.wrappers.vector.RecordEpisodeStatistics(VectorDesignEnv(make_line(), 2, 20))
    vector.reset(seed=0)
    *_, infos = vector.step(np.zeros((2, 1)))
    assert infos["episode"]["l"].tolist() == [1, 1]
