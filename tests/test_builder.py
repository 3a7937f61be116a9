"""Building piece by piece: the rules, the environment, and what other libraries learn on it."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from rl_detector.checks.problems import check_env
from rl_detector.encodings import one_hot, only_repeated, parts_of
from rl_detector.episodes.builder import ADD, MOVE, REMOVE, SET, STOP, SWAP, Action, Builder, Layout
from rl_detector.episodes.builder_env import BuilderEnv, make_builder_env
from rl_detector.episodes.builder_wrappers import BuilderBins, BuilderBox, maskable_ppo
from rl_detector.episodes.env import DesignEnv
from rl_detector.errors import CheckFailed, ConfigError, DesignError, MissingDependency, SimulationError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.problem import DesignProblem
from rl_detector.registry import load_factory, registered
from rl_detector.space import Design, DesignSpace, Encoding, Repeated
from rl_detector.terms import Constraint, Cost, Measurement, Readout

PLANE = DesignSpace((Continuous("z", 0.0, 10.0, "cm"), Categorical("kind", ("thin", "thick", "huge"))))
WEIGHTS = {"thin": 1.0, "thick": 3.0, "huge": 100.0}


class Counting:
    """Signals around the number of thin planes less their distance from z = 5 cm; counts its calls, fails on demand."""

    def __init__(self, fails: bool = False) -> None:
        self.calls, self.fails = 0, fails

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        self.calls += 1
        if self.fails:
            raise SimulationError("overheated")
        planes = design["plane"]
        value = sum((plane["kind"] == "thin") - abs(plane["z"] - 5) / 5 for plane in planes)
        return Readout({}, value + np.random.default_rng(seed).normal(0, 0.01, (events, 1)))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "counting"}


class Mean:
    def measure(self, readout: Readout) -> Measurement:
        mean = float(readout.signals.mean())
        return Measurement(mean, 0.1, mean, 0.1)


def mass(design: Design) -> float:
    return sum(WEIGHTS[plane["kind"]] for plane in design["plane"])


def last(design: Design) -> float:
    """Not defined without planes, as many terms are not."""
    return float(max(plane["z"] for plane in design["plane"]))


def planes(*kinds: str, z: float = 5.0) -> list[dict[str, Any]]:
    return [{"z": z, "kind": kind} for kind in kinds]


def telescope(head: bool = False, minimum: int = 1, maximum: int = 5, fails: bool = False) -> DesignProblem:
    others = (Integer("channels", 1, 9), Categorical("gas", ("air", "helium"))) if head else ()
    values = {"channels": 3, "gas": "helium"} if head else {}
    return DesignProblem(
        name="telescope",
        space=DesignSpace((*others, Repeated("plane", PLANE, minimum, maximum))),
        simulator=Counting(fails),
        reach=Mean(),
        costs=(Cost("mass", "kg", 10.0, mass),),
        constraints=(Constraint("load", "kg", 8.0, mass), Constraint("length", "cm", 20.0, last)),
        baselines={"start": {**values, "plane": planes(*("thin", "thick", "thin", "thin", "thin")[: max(minimum, 2)])}},
        cost_weight=0.5,
    )


def act(builder: Builder, operation: str, place: int = 0, z: float = 5.0, kind: str = "thin") -> Action:
    head = Encoding(np.zeros(0), np.zeros(0, dtype=np.int64))
    if builder.head_space is not None:
        head = builder.head_space.encode({"channels": 7, "gas": "air"})
    return Action(operation, place, PLANE.encode({"z": z, "kind": kind}), head)


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


# ---------------------------------------------------------------- the space in pieces


def test_parts_hold_every_slot_once() -> None:
    inner = DesignSpace((Continuous("x", 0, 1), Repeated("strip", DesignSpace((Categorical("a", ("p", "q")),)), 0, 2)))
    space = DesignSpace((Integer("channels", 1, 9), Repeated("layer", inner, 1, 3), Repeated("fixed", PLANE, 2, 2)))
    head, layer, fixed = parts_of(space)
    assert (head.name, layer.name, fixed.name) == ("", "layer", "fixed")
    assert (layer.numbers, layer.choices, layer.minimum, layer.maximum) == (2, (2, 2), 1, 3)  # x and strip.count
    assert fixed.count is None
    counts = [part.count for part in (head, layer, fixed) if part.count is not None]
    numbers = [place for part in (head, layer, fixed) for place in part.continuous.ravel().tolist()]
    assert sorted(numbers + counts) == list(range(len(space.continuous)))
    choices = [place for part in (head, layer, fixed) for place in part.discrete.ravel().tolist()]
    assert sorted(choices) == list(range(len(space.discrete)))


def test_one_hot_of_no_choices_is_empty() -> None:
    assert one_hot(np.zeros((3, 0), dtype=np.int64), ()).shape == (3, 0)
    np.testing.assert_array_equal(one_hot(np.array([[1, 0]]), (2, 3)), [[0, 1, 1, 0, 0]])


def test_a_space_without_or_with_two_repeated_is_refused() -> None:
    with pytest.raises(ConfigError, match="exactly one Repeated component, got none"):
        only_repeated(PLANE)
    twice = DesignSpace((Repeated("a", PLANE, 1, 2), Repeated("b", PLANE, 1, 2)))
    with pytest.raises(ConfigError, match="got a, b"):
        only_repeated(twice)


# ---------------------------------------------------------------- the rules


def test_what_no_longer_fits_is_masked() -> None:
    """The limit is 8 kg: huge never fits, thick not on top of 6 kg, nothing on top of 8 kg."""
    builder = Builder(telescope())
    layout = builder.begin()
    assert builder.legal(layout) == {STOP: False, ADD: True}
    assert builder.choice_masks(layout)[0].tolist() == [1, 1, 0]
    heavy = replace(layout, components=tuple(planes("thick", "thick")))
    assert builder.choice_masks(heavy)[0].tolist() == [1, 0, 0]
    full = replace(layout, components=tuple(planes("thick", "thick", "thin", "thin")))
    assert builder.legal(full) == {STOP: True, ADD: False}
    assert builder.done(full)


def test_below_the_minimum_components_can_be_added_whatever_they_break() -> None:
    builder = Builder(telescope(minimum=4))
    broken = Layout(tuple(planes("thick", "thick", "thick")), {})
    assert builder.legal(broken) == {STOP: False, ADD: True}
    assert builder.choice_masks(broken)[0].tolist() == [1, 1, 1]


def test_a_rule_of_ones_own_replaces_the_limits() -> None:
    builder = Builder(telescope(), may_fit=lambda partial, component: component["kind"] == "huge")
    assert builder.choice_masks(builder.begin())[0].tolist() == [0, 0, 1]
    nothing = Builder(telescope(), may_fit=lambda partial, component: False)
    assert nothing.done(Layout(tuple(planes("thin")), {}))


def test_too_many_kinds_of_components_are_not_masked() -> None:
    wide = DesignSpace(tuple(Categorical(f"c{j}", tuple("abcdef")) for j in range(4)))
    problem = replace(
        telescope(), space=DesignSpace((Repeated("plane", wide, 0, 2),)), baselines={}, costs=(), constraints=()
    )
    limit = Constraint("none", "", 1.0, lambda design: 2.0 * len(design["plane"]))
    builder = Builder(replace(problem, constraints=(limit,)))
    assert builder.legal(builder.begin())[ADD]


def test_what_is_left_of_the_budgets() -> None:
    builder = Builder(telescope())
    assert builder.budgets == ("load", "length", "mass", "steps")
    np.testing.assert_allclose(builder.remaining(builder.begin()), [1, 1, 1, 1])
    two = Layout(tuple(planes("thin", "thick", z=10.0)), {})
    np.testing.assert_allclose(builder.remaining(two), [1 - 4 / 8, 1 - 10 / 20, 1 - 4 / 10, 1 - 2 / 5])


def test_editing_adds_moves_removes_and_swaps() -> None:
    builder = Builder(telescope(), edits=4)
    layout = builder.begin()
    assert builder.operations == (STOP, ADD, MOVE, REMOVE, SWAP)
    assert list(layout.components) == planes("thin", "thick")
    layout = builder.apply(layout, act(builder, ADD, 1, z=2.0, kind="huge"))
    assert [(c["z"], c["kind"]) for c in layout.components] == [(5, "thin"), (2, "huge"), (5, "thick")]
    layout = builder.apply(layout, act(builder, MOVE, 2, z=9.0, kind="thin"))
    assert layout.components[2] == {"z": pytest.approx(9.0), "kind": "thick"}
    layout = builder.apply(layout, act(builder, SWAP, 0, z=0.0, kind="thick"))
    assert layout.components[0] == {"z": pytest.approx(5.0), "kind": "thick"}
    assert not builder.done(layout)
    layout = builder.apply(layout, act(builder, REMOVE, 99))
    assert [c["kind"] for c in layout.components] == ["thick", "huge"]
    assert builder.done(layout)


def test_editing_stays_between_minimum_and_maximum() -> None:
    builder = Builder(telescope(minimum=2, maximum=3), edits=9)
    layout = builder.begin()
    assert not builder.legal(layout)[REMOVE]
    layout = builder.apply(layout, act(builder, ADD, 99))
    assert not builder.legal(layout)[ADD]
    with pytest.raises(DesignError, match="'add' is not allowed here: allowed are stop, move, remove, swap"):
        builder.apply(layout, act(builder, ADD))


def test_parameters_outside_come_first() -> None:
    builder = Builder(telescope(head=True))
    layout = builder.begin()
    assert builder.legal(layout) == {STOP: False, ADD: False, SET: True}
    assert builder.design(layout)["gas"] == "helium"  # of the baseline, until it is chosen
    layout = builder.apply(layout, act(builder, SET))
    assert builder.design(layout) == {"channels": 7, "gas": "air", "plane": []}
    assert builder.legal(layout) == {STOP: False, ADD: True, SET: False}


def test_bad_beginnings_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 edit"):
        Builder(telescope(), edits=0)
    with pytest.raises(DesignError, match="building begins with nothing"):
        Builder(telescope()).begin({"plane": planes("thin")})
    with pytest.raises(DesignError, match="telescope needs a design"):
        Builder(replace(telescope(), baselines={}), edits=2).begin()
    with pytest.raises(DesignError, match=r"plane\[0\]\.z"):
        Builder(telescope(), edits=2).begin({"plane": planes("thin", z=-1.0)})


# ---------------------------------------------------------------- the environment


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
        return float("nan") if len(self.layout.components) == 2 else 0.0


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


@settings(max_examples=30, deadline=None)
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


# ---------------------------------------------------------------- other libraries


@pytest.fixture
def one_thread() -> None:
    torch.set_num_threads(1)


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


def test_ppo_learns_to_build(one_thread: None) -> None:
    """The best is five thin planes in the middle: 5 - 0.5 * 0.5 = 4.75; one random plane is worth about 0."""
    env = BuilderBox(BuilderEnv(telescope(), 5))
    model = PPO("MlpPolicy", env, **SETTINGS).learn(2000)
    assert mean_reward(model, env, masked=False) > 3.0


def test_maskable_ppo_learns_to_build(one_thread: None) -> None:
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


def test_make_builder_env_passes_settings_on() -> None:
    env = make_builder_env("rl_detector.envs.spectrometer:spectrometer", 50, edits=3, stations=5)
    assert env.builder.repeated.maximum == 5
    assert env.builder.edits == 3
