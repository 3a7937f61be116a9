"""Building piece by piece: the environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.telescope import PLANE, planes, telescope
from rl_detector.checks.problems import check_env
from rl_detector.episodes.builder import ADD, REMOVE, SET, STOP
from rl_detector.episodes.builder_env import BuilderEnv, make_builder_env
from rl_detector.episodes.env import DesignEnv
from rl_detector.errors import CheckFailed, ConfigError, DesignError
from rl_detector.registry import load_factory, registered
from rl_detector.space import DesignSpace, Repeated


def build(env: BuilderEnv, *actions: tuple[Any, ...], seed: int = 0) -> list[tuple[Any, ...]]:
    """Steps of an episode; an action is (operation, z, kind)."""
    env.reset(seed=seed)
    return [env.step(native(env, *action)) for action in actions]


def native(env: BuilderEnv, operation: str, z: float = 5.0, kind: str = "thin", place: int = 0) -> dict[str, Any]:
    code = PLANE.encode({"z": z, "kind": kind})
    action = {"operation": env.operations.index(operation), "continuous": code.continuous, "discrete": code.discrete}
    if env.builder.edits is not None:
        action["index"] = place
    if env.builder.head_space is not None:
        head = env.builder.head_space.encode({"channels": 7, "gas": "air"})
        action |= {"head_continuous": head.continuous, "head_discrete": head.discrete}
    return action


@pytest.mark.parametrize("edits", [None, 3])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("shaping", [None, "charge", "reward"])
def test_the_contract_of_environments_holds(edits: int | None, head: bool, shaping: str | None) -> None:
    check_env(BuilderEnv(telescope(head), 20, edits, shaping))


@pytest.mark.parametrize("name", list(registered()))
def test_every_registered_problem_can_be_built_piece_by_piece(name: str) -> None:
    entry = registered()[name]
    problem = load_factory(entry.factory)()
    if sum(isinstance(parameter, Repeated) for parameter in problem.space.parameters) != 1:
        with pytest.raises(ConfigError, match="exactly one Repeated"):
            gym.make(entry.builder_id)
        return
    env = gym.make(entry.builder_id, events=50)
    assert isinstance(env.unwrapped, BuilderEnv)
    check_env(env)


class ForgetsItsMask(BuilderEnv):
    """Broken on purpose: it allows to stop when it does not."""

    def mask(self) -> dict[str, Any]:
        mask = super().mask()
        return {**mask, "operation": np.ones_like(mask["operation"])}


class ForgetsTheReward(BuilderEnv):
    """Broken on purpose: NaN before the end."""

    def _gain(self) -> float:
        return float("nan") if len(self.partial.components) == 2 else 0.0


@pytest.mark.parametrize(
    ("broken", "message"),
    [(ForgetsItsMask, "allowed by its mask to be carried out"), (ForgetsTheReward, "a finite reward")],
)
def test_the_check_of_environments_finds_broken_ones(broken: type[BuilderEnv], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_env(broken(telescope(minimum=3), 20))


def test_the_simulator_is_called_once_per_episode() -> None:
    env = BuilderEnv(telescope(), 20)
    steps = build(env, (ADD,), (ADD, 2.0, "thick"), (ADD,), (STOP,))
    assert [(reward == 0, done) for _, reward, done, *_ in steps] == [(True, False)] * 3 + [(False, True)]
    assert env.problem.simulator.calls == 1
    shaped = BuilderEnv(telescope(), 20, shaping="reward")
    build(shaped, (ADD,), (ADD,), (STOP,))
    assert shaped.problem.simulator.calls == 3


@pytest.mark.parametrize("shaping", ["charge", "reward", lambda design: np.pi * len(design["plane"]) ** 0.3])
@pytest.mark.parametrize("edits", [None, 4])
def test_shaping_sums_to_the_reward_without(shaping: Any, edits: int | None) -> None:
    actions = ((ADD, 3.0, "thick"), (ADD, 7.1), (ADD, 1.3), (STOP,))
    plain = build(BuilderEnv(telescope(), 20, edits), *actions, seed=3)
    shaped = build(BuilderEnv(telescope(), 20, edits, shaping), *actions, seed=3)
    assert sum(reward for _, reward, *_ in shaped) == pytest.approx(plain[-1][1], rel=1e-15, abs=1e-15)
    assert any(reward != 0 for _, reward, *_ in shaped[:-1])


def test_with_a_wrong_last_step_shaping_would_not_sum_to_the_reward() -> None:
    class PaysTwice(BuilderEnv):
        def _finished(self) -> Any:
            return self._evaluate().reward, True, {}

    actions = ((ADD, 3.0, "thick"), (STOP,))
    plain = build(BuilderEnv(telescope(), 20), *actions)
    wrong = build(PaysTwice(telescope(), 20, shaping="charge"), *actions)
    assert sum(reward for _, reward, *_ in wrong) != pytest.approx(plain[-1][1], rel=1e-3)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 5), head=st.booleans())
def test_k_steps_and_one_shot_give_the_same_reward(seed: int, count: int, head: bool) -> None:
    problem = replace(telescope(head), baselines={}, constraints=())
    others = tuple(problem.space.parameters[:-1])
    problem = replace(problem, space=DesignSpace((*others, Repeated("plane", PLANE, count, count))))
    one_shot, piecewise = DesignEnv(problem, 20), BuilderEnv(problem, 20)
    design = problem.space.sample(np.random.default_rng(seed))
    one_shot.reset(seed=seed)
    _, expected, *_, terms = one_shot.step(problem.space.to_action(problem.space.encode(design)))
    piecewise.reset(seed=seed)
    steps = []
    if head:
        code = piecewise.builder.head_space.encode({name: design[name] for name in ("channels", "gas")})
        steps.append({**native(piecewise, SET), "head_continuous": code.continuous, "head_discrete": code.discrete})
    steps += [native(piecewise, ADD, plane["z"], plane["kind"]) for plane in design["plane"]]
    rewards = [piecewise.step(step) for step in steps]
    assert rewards[-1][2], "the maximum ends the episode"
    assert sum(reward for _, reward, *_ in rewards) == pytest.approx(expected, rel=1e-12)
    assert rewards[-1][4]["reach"] == pytest.approx(terms["reach"], rel=1e-12)


def test_the_spectrometer_piece_by_piece_is_the_spectrometer() -> None:
    one_shot = gym.make("rl_detector/Spectrometer-v0", events=200)
    piecewise: Any = gym.make("rl_detector/SpectrometerBuilder-v0", events=200)
    problem = piecewise.unwrapped.problem
    design = problem.baselines["ends_and_middle"]
    one_shot.reset(seed=5)
    expected = one_shot.step(problem.space.to_action(problem.space.encode(design)))[1]
    piecewise.reset(seed=5)
    for station in design["station"]:
        code = problem.space.parameters[0].space.encode(station)
        step = piecewise.step({"operation": 1, "continuous": code.continuous, "discrete": code.discrete})
    assert step[2]
    assert step[1] == pytest.approx(expected, rel=1e-9)


def test_a_failed_simulation_truncates_without_reward() -> None:
    env = BuilderEnv(telescope(fails=True), 20, shaping="charge")
    *_, (_, reward, terminated, truncated, info) = build(env, (ADD,), (STOP,))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["failure"] == "overheated"


def test_what_is_not_allowed_is_replaced_and_named() -> None:
    env = BuilderEnv(telescope(minimum=2), 20)
    first, *_ = build(env, (STOP,))
    assert first[4]["replaced"] == STOP
    assert first[0]["mask"].tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(gym.error.ResetNeeded):
        BuilderEnv(telescope(), 20).step(native(env, ADD))


def test_the_observation_is_the_layout_so_far() -> None:
    env = BuilderEnv(telescope(), 20)
    observation, info = env.reset(seed=0)
    assert not observation["components"].any()
    assert info["action_mask"]["operation"].tolist() == [0, 1]
    observation, *_, info = env.step(native(env, ADD, 10.0, "thick"))
    np.testing.assert_allclose(observation["components"][0], [1.0, 0, 1, 0])
    np.testing.assert_allclose(observation["context"], [0.5, 5.0])
    assert info["action_mask"]["discrete"][0].tolist() == [1, 1, 0]
    assert env.action_masks().tolist() == [True, True, False, True, True]  # discrete, then operation


def test_masks_fit_the_sampling_of_gymnasium() -> None:
    env = BuilderEnv(telescope(), 20)
    _, info = env.reset(seed=0)
    env.action_space.seed(0)
    samples = [env.action_space.sample(mask=info["action_mask"]) for _ in range(50)]
    assert {int(sample["operation"]) for sample in samples} == {1}
    assert {int(sample["discrete"][0]) for sample in samples} == {0, 1}


def test_editing_begins_with_a_design_of_ones_own() -> None:
    env = BuilderEnv(telescope(), 20, edits=1)
    observation, _ = env.reset(seed=0, options={"design": {"plane": planes("thin", "thin", "thin")}})
    assert observation["mask"].sum() == 3
    _, _, terminated, _, info = env.step(native(env, REMOVE, place=1))
    assert terminated
    assert len(info["design"]["plane"]) == 2


def test_a_range_of_cost_weights_is_charged() -> None:
    env = BuilderEnv(telescope(), 20, cost_weight_range=(1.0, 3.0))
    observation, _ = env.reset(seed=1)
    env.step(native(env, ADD))
    _, reward, *_, info = env.step(native(env, STOP))
    assert reward == pytest.approx(info["reach"] - observation["context"][0] * 0.1)


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown shaping 'gain': known are charge, reward"):
        BuilderEnv(telescope(), 20, shaping="gain")
    with pytest.raises(DesignError, match="events per design"):
        BuilderEnv(telescope(), 0)
    env = BuilderEnv(telescope(), 20)
    env.reset(seed=0)
    with pytest.raises(DesignError, match="z: the action is NaN"):
        env.step({**native(env, ADD), "continuous": np.array([np.nan])})


def test_make_builder_env_passes_settings_on() -> None:
    env = make_builder_env("rl_detector.envs.spectrometer:spectrometer", 50, edits=3, stations=5)
    assert env.builder.repeated.maximum == 5
    assert env.builder.edits == 3
