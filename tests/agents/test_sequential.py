"""The agent that builds component by component: its policy, its critic, what it imagines, edits and recommends."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from rl_detector.agent import Batch
from rl_detector.agents import make_agent
from rl_detector.agents.sequential.compatible import CompatibleCritic, normal_scores
from rl_detector.agents.sequential.contenders import MOST_CONTENDERS, Contenders
from rl_detector.agents.sequential.edits import Editor
from rl_detector.agents.sequential.imagination import Imagination
from rl_detector.agents.sequential.policy import SequentialPolicy
from rl_detector.agents.sequential.sequences import Run, Sequences
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, Repeated

NOTHING = np.zeros(0)
PLANE = DesignSpace((Continuous("z", 0.0, 10.0, "cm"), Categorical("kind", ("thin", "thick", "huge"))))
HEAD = (Integer("channels", 1, 9), Categorical("gas", ("air", "helium")))
TELESCOPE = DesignSpace((*HEAD, Repeated("plane", PLANE, 1, 4)))
START: Design = {
    "channels": 4,
    "gas": "helium",
    "plane": [{"z": 1.0, "kind": "huge"}, {"z": 7.0, "kind": "thin"}],
}
LETTERS = DesignSpace((Repeated("letter", DesignSpace((Categorical("x", ("a", "b", "c")),)), 0, 2),))
FIXED = DesignSpace((Repeated("plane", PLANE, 3, 3),))


def policy_of(space: DesignSpace, start: Design | None = None, shaken: float = 0.0, seed: int = 0) -> SequentialPolicy:
    """A policy whose parameters, the network's last layer among them, are random where it is shaken."""
    rng = np.random.default_rng(seed)
    zero = Encoding(np.zeros(len(space.continuous)), np.zeros(len(space.discrete), dtype=np.int64))
    policy = SequentialPolicy(space, space.encode(start) if start else zero, 0.3, 0.2, 8, 0.05, rng)
    for name, value in policy.parameters.items():
        policy.parameters[name] = value + shaken * torch.from_numpy(rng.standard_normal(value.shape))
    return policy


def all_letters() -> Encoding:
    words = [list(word) for n in range(3) for word in itertools.product("abc", repeat=n)]
    rows = [LETTERS.encode({"letter": [{"x": letter} for letter in word]}) for word in words]
    return Encoding(np.stack([row.continuous for row in rows]), np.stack([row.discrete for row in rows]))


# ---------------------------------------------------------------- the policy


@pytest.mark.parametrize("shaken", [0.0, 1.0])
def test_the_probabilities_of_all_designs_sum_to_one(shaken: float) -> None:
    total = np.exp(policy_of(LETTERS, shaken=shaken).log_probability(all_letters())).sum()
    assert total == pytest.approx(1, abs=1e-12)


def test_without_the_stops_they_would_not() -> None:
    policy = policy_of(LETTERS, shaken=1.0)
    runs = policy.sequences.runs(all_letters())
    forgotten = [run._replace(stopped=torch.zeros_like(run.stopped)) for run in runs]
    assert float(policy.log_prob(policy.parameters, forgotten).exp().sum()) > 1.01


def test_samples_have_the_probabilities_that_it_says() -> None:
    """13 designs, 20,000 samples: chi^2 with 12 degrees of freedom exceeds 40 once in 15,000 times."""
    policy, n = policy_of(LETTERS, shaken=1.0), 20_000
    designs = all_letters()
    expected = n * np.exp(policy.log_probability(designs))
    found = policy.build(n, np.random.default_rng(1))
    rows = np.concatenate([designs.continuous, designs.discrete], axis=1)
    drawn = np.concatenate([found.continuous, found.discrete], axis=1)
    counts = np.array([(drawn == row).all(axis=1).sum() for row in rows])
    assert counts.sum() == n
    assert np.sum((counts - expected) ** 2 / expected) < 40


def test_coordinates_are_normal_around_the_mean_of_their_choices() -> None:
    policy = policy_of(DesignSpace((Continuous("x", 0, 1), Categorical("m", ("a", "b")))), shaken=0.0)
    policy.parameters["0.coupling"][0, 1] = 0.4
    actions = Encoding(np.array([[0.1], [0.1]]), np.array([[0], [1]]))
    probability = policy._log_probabilities(0, policy.parameters["0.logits"])[0].numpy()
    expected = [probability[0] + norm.logpdf(0.1, 0.0, 0.3), probability[1] + norm.logpdf(0.1, 0.4, 0.3)]
    np.testing.assert_allclose(policy.log_probability(actions), expected, rtol=1e-12)


def test_components_see_those_before_them_and_no_others() -> None:
    policy = policy_of(TELESCOPE, START, shaken=0.5)

    def means(second: float, last: float, gas: str) -> Any:
        planes = [{"z": z, "kind": "thin"} for z in (5.0, second, 3.0, last)]
        row = TELESCOPE.encode({"channels": 3, "gas": gas, "plane": planes})
        runs = policy.sequences.runs(Encoding(row.continuous[None], row.discrete[None]))
        return policy._all_heads(policy.parameters, runs)[1].mean[0, :, 0].numpy()

    base = means(2.0, 4.0, "air")
    np.testing.assert_array_equal(means(2.0, 9.0, "air"), base)
    changed = means(8.0, 4.0, "air") != base
    assert changed.tolist() == [False, False, True, True]
    assert (means(2.0, 4.0, "helium") != base).all()


def test_the_likeliest_design_is_the_start() -> None:
    design = next(policy_of(TELESCOPE, START).build(1, None).rows())
    code = TELESCOPE.encode(START)
    np.testing.assert_array_equal(design.continuous, code.continuous)
    np.testing.assert_array_equal(design.discrete, code.discrete)


def test_it_imitates_what_it_is_shown() -> None:
    policy = policy_of(TELESCOPE, START, shaken=0.3)
    shown = {"channels": 8, "gas": "air", "plane": [{"z": z, "kind": "thick"} for z in (2.0, 9.0, 4.0)]}
    code = TELESCOPE.encode(shown)
    policy.imitate(code, 0.2)
    found = next(policy.build(1, None).rows())
    np.testing.assert_allclose(found.continuous, code.continuous, atol=1e-9)
    np.testing.assert_array_equal(found.discrete, code.discrete)


@pytest.mark.parametrize("space", [TELESCOPE, LETTERS, FIXED])
def test_gradients_of_many_are_those_of_each(space: DesignSpace) -> None:
    policy = policy_of(space, shaken=0.3)
    actions = policy.build(5, np.random.default_rng(0))
    many = policy.gradients(actions, chunk=2)
    for index in range(5):
        parameters = {name: value.clone().requires_grad_() for name, value in policy.parameters.items()}
        runs = policy.sequences.runs(actions.take([index]))
        policy.log_prob(parameters, runs).sum().backward()
        for name, value in parameters.items():
            expected = torch.zeros_like(value) if value.grad is None else value.grad
            torch.testing.assert_close(many[name][index], expected, atol=1e-10, rtol=1e-8)


def test_the_mean_of_grad_log_pi_is_zero() -> None:
    policy = policy_of(LETTERS, shaken=0.5)
    for name, value in policy.gradients(policy.build(4000, np.random.default_rng(0))).items():
        rows = value.reshape(len(value), -1).numpy()
        error = rows.std(axis=0) / math.sqrt(len(rows))
        assert (np.abs(rows.mean(axis=0)) <= 5 * error + 1e-12).all(), name


# ---------------------------------------------------------------- the critic


def test_the_critic_finds_the_natural_gradient() -> None:
    """Rewards that are linear in grad ln pi: the weights come back, within four standard errors of least squares."""
    rng = np.random.default_rng(0)
    features, w = rng.standard_normal((200, 5)), np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    y = features @ w + 0.5 * rng.standard_normal(200)
    critic = CompatibleCritic.initial(("mean",))
    alpha = critic.fit({"mean": features @ features.T / 5}, y, np.ones(200), steps=10)
    found = critic.strengths["mean"] / 5 * alpha @ features
    np.testing.assert_allclose(found, w, atol=4 * 0.5 / math.sqrt(200))
    assert critic.strengths["noise"] == pytest.approx(0.25, rel=0.3)


def test_rewards_of_noise_alone_give_hardly_any_step() -> None:
    rng = np.random.default_rng(1)
    features, y = rng.standard_normal((100, 150)), rng.standard_normal(100)
    critic = CompatibleCritic.initial(("mean",))
    kernel = features @ features.T / 150
    alpha = critic.fit({"mean": kernel}, y, np.ones(100), steps=20)
    assert np.var(critic.strengths["mean"] * kernel @ alpha) < 0.2 < critic.strengths["noise"]


def test_normal_scores_keep_the_order_and_share_ties() -> None:
    scores = normal_scores(np.array([-1e9, 0.0, 1.0, 1.0, 2.0]))
    assert (np.diff(scores) >= 0).all() and scores[2] == scores[3] and scores[1] < scores[2] < scores[4]
    assert scores.std() == pytest.approx(1)
    assert not normal_scores(np.ones(4)).any()


def test_imagination_knows_the_sums_of_what_it_has_seen() -> None:
    """reward = -|number of thin planes - 2|: of new designs those with two thin planes are the best in most draws."""
    sequences, rng = Sequences(FIXED), np.random.default_rng(0)

    def sampled(n: int) -> tuple[Encoding, FloatArray]:
        rows = Encoding(rng.uniform(-1, 1, (n, 3)), rng.integers(0, 3, (n, 3)))
        return rows, -np.abs((rows.discrete == 0).sum(axis=1) - 2.0)

    (told, rewards), (new, values) = sampled(60), sampled(40)
    imagination = Imagination(sequences)
    for _ in range(5):
        draws = imagination.draws(told, normal_scores(rewards), np.zeros(60, dtype=np.int64), new, 50, rng)
    assert np.mean(values[draws.argmax(axis=1)] == 0) > 0.8


# ---------------------------------------------------------------- contenders and edits


def encoded(*values: float) -> Encoding:
    return Encoding(np.array(values)[:, None], np.zeros((len(values), 0), dtype=np.int64))


def test_contenders_are_compared_by_all_their_evaluations() -> None:
    contenders = Contenders(1, 0)
    assert contenders.best() is None
    for row in encoded(0.1, 0.2).rows():
        contenders.add(row)
    contenders.add(next(encoded(0.1).rows()))
    assert len(contenders) == 2 and contenders.best() is None
    rewards = np.array([3.0, 1.0, 1.0, 1.0, 1.0])
    contenders.tell(Batch(encoded(0.1, 0.2, 0.2, 0.2, 0.2), rewards, np.full(5, 2.0)), rewards)
    best = contenders.best()
    assert best is not None and best.continuous == [0.1], "3 - 2 > 1 - 2 / 2"
    more = np.array([-2.0])
    contenders.tell(Batch(encoded(0.1), more, np.full(1, 2.0)), more)
    best = contenders.best()
    assert best is not None and best.continuous == [0.2], "0.5 - 2 / sqrt(2) < 1 - 2 / 2"


def test_those_that_may_be_the_best_are_evaluated_again() -> None:
    contenders = Contenders(1, 0)
    for value in range(30):
        contenders.add(next(encoded(value / 30).rows()))
    rewards = np.arange(30.0)
    contenders.tell(Batch(encoded(*(rewards / 30)), rewards, np.ones(30)), rewards)
    assert len(contenders) == MOST_CONTENDERS
    np.testing.assert_allclose(contenders.promising(2).continuous[:, 0], [29 / 30, 28 / 30])


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(["telescope", "letters", "fixed"]))
def test_edits_can_be_built(seed: int, kind: str) -> None:
    space = {"telescope": TELESCOPE, "letters": LETTERS, "fixed": FIXED}[kind]
    rng = np.random.default_rng(seed)
    designs = [space.sample(rng) for _ in range(6)]
    rows = [space.encode(design) for design in designs]
    given_rows = Encoding(np.stack([r.continuous for r in rows]), np.stack([r.discrete for r in rows]))
    before = [part.copy() for part in given_rows]
    for row in Editor(Sequences(space)).edited(given_rows, rng).rows():
        again = space.encode(space.decode(row))
        np.testing.assert_allclose(again.continuous, row.continuous, atol=0.5)  # whole numbers go to their centres
        np.testing.assert_array_equal(again.discrete, row.discrete)
    for old, now in zip(before, given_rows, strict=True):
        np.testing.assert_array_equal(old, now)


def test_edits_add_remove_swap_and_move() -> None:
    code, rng = TELESCOPE.encode(START), np.random.default_rng(0)
    many = Encoding(np.tile(code.continuous, (400, 1)), np.tile(code.discrete, (400, 1)))
    found = [TELESCOPE.decode(row) for row in Editor(Sequences(TELESCOPE)).edited(many, rng).rows()]
    counts = {len(design["plane"]) for design in found}
    assert {1, 2, 3} <= counts
    assert {design["gas"] for design in found} == {"air", "helium"}
    same = [design["plane"] for design in found if len(design["plane"]) == 2]
    assert any(plane[0]["kind"] != "huge" for plane in same) and any(plane[1]["z"] != 7.0 for plane in same)


# ---------------------------------------------------------------- the agent


def value(design: Design) -> float:
    """Best with three planes, of which one is thick: 1. One change from two thin planes gains nothing."""
    thick = sum(plane["kind"] == "thick" for plane in design["plane"])
    return (
        -abs(len(design["plane"]) - 3.0) * 0.4
        - (1.5 * abs(thick - 1) if thick else 1.0)
        - 0.02 * sum((plane["z"] - 4) ** 2 for plane in design["plane"])
        + 1.0
    )


def test_it_builds_what_is_best() -> None:
    agent = make_agent("sequential_policy_gradient", TELESCOPE, 0, START)
    noise = np.random.default_rng(0)
    for _ in range(15):
        actions = agent.ask(NOTHING, 32)
        rewards = np.array([value(TELESCOPE.decode(row)) for row in actions.rows()])
        agent.tell(Batch(actions, rewards + 0.1 * noise.standard_normal(32), np.full(32, 0.1)))
    best = TELESCOPE.decode(agent.recommend(NOTHING))
    assert len(best["plane"]) == 3
    assert value(best) > 0.8 > value(START)


def test_revised_rewards_replace_those_told() -> None:
    agent: Any = make_agent("sequential_policy_gradient", TELESCOPE, 0, START, memory=16)
    for number in range(3):
        actions = agent.ask(NOTHING, 8)
        revised = None if number < 2 else np.arange(16.0)
        agent.tell(Batch(actions, np.full(8, 50.0), np.ones(8), revised=revised))
    np.testing.assert_array_equal(agent._rewards, [*range(8, 16), *[50.0] * 8])
    with pytest.raises(SimulationError, match="expected 24 finite revised rewards"):
        agent.tell(Batch(agent.ask(NOTHING, 8), np.ones(8), np.ones(8), revised=np.ones(3)))


@pytest.mark.parametrize(
    "setting", [{"sigma": 0}, {"departure": 1.0}, {"exploration": 1.0}, {"memory": 1}, {"hidden": 0}, {"imagined": -1}]
)
def test_impossible_settings_are_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"sequential_policy_gradient needs .* got .*{next(iter(setting))}="):
        make_agent("sequential_policy_gradient", TELESCOPE, 0, None, **setting)


def test_runs_of_absent_components_are_zeros() -> None:
    code = TELESCOPE.encode(START)
    head, planes = Sequences(TELESCOPE).runs(Encoding(code.continuous[None] + 0.5, code.discrete[None]))
    assert isinstance(planes, Run)
    assert head.exists.tolist() == [[1.0]]
    assert planes.exists.shape == (1, 4)
    assert not planes.coordinates[0, int(planes.exists.sum()) :].any()
