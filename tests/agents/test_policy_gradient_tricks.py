"""What each trick of the policy gradient is good for: searches with it and without it."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.learning import NOTHING, assert_close, assert_sound, learn, reward, space_of
from rl_detector.agent import Batch
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.strengths import LEAST_MISFIT
from rl_detector.agents.one_shot.settings import TRICKS
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.errors import ConfigError
from rl_detector.space import Encoding, FloatArray


def test_an_unknown_trick_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=rf"no trick 'magic' to do without: known are {', '.join(TRICKS)}"):
        PolicyGradient(space_of(1, 0), 0, without=["sigma", "magic"])


RARELY_NEEDED = ("caution", "box", "lack_of_fit", "reach", "confirmed")
"""Tricks that change nothing where two choices are soon known and the best coordinates lie inside of the box."""


def tilted(actions: Encoding) -> FloatArray:
    """1 is the best, -1.18 the start."""
    value: FloatArray = reward(actions) + np.sin(5 * np.clip(actions.continuous[..., 0], -1, 1))
    return value


def searched(*without: str) -> PolicyGradient:
    """An agent without some tricks after eight batches of a tilted reward."""
    agent, rng = PolicyGradient(space_of(2, 2), 0, without=without), np.random.default_rng(1)
    errors = np.tile([0.01, 0.03], 12)
    for _ in range(8):
        actions = agent.ask(NOTHING, 24)
        agent.tell(Batch(actions, tilted(actions) + errors * rng.standard_normal(24), errors))
    assert_sound(agent)
    assert agent.recommend(NOTHING).discrete.tolist() == [1, 1]
    return agent


@pytest.fixture(scope="module")
def with_all() -> FloatArray:
    """What an agent with all tricks proposes after its search."""
    agent = searched()
    assert tilted(agent.recommend(NOTHING)) > 0.9
    return agent.ask(NOTHING, 8).continuous


@pytest.mark.parametrize("trick", [*TRICKS, "all"])
def test_every_trick_can_be_done_without(trick: str, with_all: FloatArray) -> None:
    """It still learns, and proposes other designs than with it; without any of them it may be far less exact."""
    agent = searched(*(TRICKS if trick == "all" else [trick]))
    assert tilted(agent.recommend(NOTHING)) > (-0.7 if trick == "all" else 0.9)
    assert trick in RARELY_NEEDED or np.abs(with_all - agent.ask(NOTHING, 8).continuous).max() > 1e-9


def test_own_choices_are_among_those_evaluated() -> None:
    """64 assignments, 24 evaluations: with caution none is taken on the word of the critic."""
    taken: dict[str, int] = {"caution": 0, "": 0}
    for without in taken:
        for seed in range(5):
            agent = PolicyGradient(space_of(2, 6, 2), seed, without=[without] if without else [])
            asked = learn(agent, batches=2, n=12, noise=1.0)
            seen = {tuple(row) for actions in asked for row in actions.discrete.tolist()}
            taken[without] += tuple(agent.recommend(NOTHING).discrete.tolist()) not in seen
    assert taken[""] == 0 and taken["caution"] > 0


@pytest.mark.parametrize("without", [[], ["confirmed"]])
def test_choices_that_the_critic_around_them_does_not_want_are_not_taken(
    without: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for the best choices errs: with first choices, evaluated before, the critic promises 1 less."""
    agent = PolicyGradient(space_of(2, 2), 0, without=[*without, "incumbent"])
    learn(agent)
    policy = agent.recommend(NOTHING)
    assert policy.discrete.tolist() == [1, 1]
    monkeypatch.setattr(agent, "_best_choices", lambda fit: np.array([0, 0]))
    learn(agent, batches=1)
    assert agent.recommend(NOTHING).discrete.tolist() == ([0, 0] if without else [1, 1])
    assert without or np.abs(agent.recommend(NOTHING).continuous - policy.continuous).max() < 0.2
    assert_sound(agent)


@pytest.mark.parametrize("seed", range(4))
def test_choices_of_which_less_is_known_are_taken_where_more_is_expected(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Second choices are better by 0.4 in 2 of 64 evaluations with errors of 0.5: by lower bounds they are worse."""
    start, rng = {"x0": 0.0, "x1": 0.0, "c0": "choice 0"}, np.random.default_rng(seed)
    agent = PolicyGradient(space_of(2, 1, 2), seed, start)
    monkeypatch.setattr(agent, "_best_choices", lambda fit: agent._policy.own)
    actions = Encoding(rng.normal(0, 0.3, (64, 2)), np.repeat([[0], [1]], [62, 2], axis=0))
    rewards = 0.5 * rng.standard_normal(64)
    rewards[62:] += rewards[:62].mean() + 0.4 - rewards[62:].mean()
    agent.tell(Batch(actions, rewards, np.full(64, 0.5)))
    assert agent._policy.own.tolist() == [0]
    monkeypatch.setattr(agent, "_best_choices", lambda fit: np.array([1]))
    agent._update()
    assert agent._policy.own.tolist() == [1]


@pytest.mark.parametrize(("kink", "narrows"), [(0.0, False), (2.0, True)])
def test_scatter_beyond_the_stated_errors_narrows_the_policy(kink: float, narrows: bool) -> None:
    """A bowl with cliffs: what a smooth critic takes for noise is its own misfit, which stated errors give away."""
    spreads = []
    for without in ([], ["lack_of_fit"]):
        agent, rng = PolicyGradient(space_of(6, 0), 0, without=without), np.random.default_rng(0)
        for _ in range(15):
            actions = agent.ask(NOTHING, 20)
            cliffs = (np.abs(np.clip(actions.continuous, -1, 1) * 20).astype(int) % 2).mean(axis=1)
            agent.tell(
                Batch(actions, reward(actions) - kink * cliffs + 0.1 * rng.standard_normal(20), np.full(20, 0.1))
            )
        spreads.append(agent.metrics()["sigma"])
    assert (spreads[0] < 0.8 * spreads[1]) is narrows


def rugged(actions: Encoding) -> FloatArray:
    """A bowl plus a random value for each assignment of 12 choices: no model finds more than the bowl."""
    codes = actions.discrete @ 3 ** np.arange(12)
    return -(np.clip(actions.continuous, -1, 1) ** 2).sum(axis=-1) - np.abs(np.sin(codes * 12.9898) * 3)


def test_what_no_model_explains_is_searched_around_the_best_evaluated() -> None:
    """The start has -0.2 and stated errors are small: a policy without incumbent leaves it for what is worse."""
    ends = np.zeros((2, 3))
    start = {"x0": 0.0, "x1": 0.0, **{f"c{j}": "choice 0" for j in range(12)}}
    for row, without in enumerate(([], ["incumbent"])):
        for seed in range(3):
            agent = PolicyGradient(space_of(2, 12), seed, start, without=without)
            learn(agent, lambda actions: rugged(actions) - 0.2, batches=10, n=20, noise=0.05)
            ends[row, seed] = rugged(agent.recommend(NOTHING))
    assert ends[0].min() > -0.2 and np.median(ends[1]) < -0.3


def test_what_is_recommended_where_no_model_fits_was_tried() -> None:
    """Evaluated, or the centre of proposals: elsewhere, where nothing was evaluated, the critic may say anything."""
    agent, tried = PolicyGradient(space_of(2, 12), 0), []
    for batch in range(12):
        tried.append((np.clip(agent._policy.mean, -1, 1).tolist(), agent._policy.own.tolist()))
        (actions,) = learn(agent, rugged, batches=1, n=20, noise=0.05, seed=batch)
        tried += zip(np.clip(actions.continuous, -1, 1).tolist(), actions.discrete.tolist(), strict=True)
        continuous, discrete = agent.recommend(NOTHING)
        assert batch < 4 or (continuous.tolist(), discrete.tolist()) in tried


def test_a_restored_agent_recommends_and_foresees_the_same() -> None:
    """Also before it is told anything: its incumbent, foresight, and the scale of the rewards that it predicts."""
    start = {"x0": 0.2, "x1": 0.1, **{f"c{j}": "choice 1" for j in range(12)}}
    agent, restored = PolicyGradient(space_of(2, 12), 0, start), PolicyGradient(space_of(2, 12), 1)
    learn(agent, rugged, batches=5, n=20, noise=0.05)
    restored.load_state_dict(agent.state_dict())
    for _ in range(2):
        np.testing.assert_array_equal(agent.recommend(NOTHING).continuous, restored.recommend(NOTHING).continuous)
        np.testing.assert_array_equal(agent._experience.foresight.sums, restored._experience.foresight.sums)
        assert agent.metrics() == restored.metrics()
        for one in (agent, restored):
            learn(one, rugged, batches=1, n=20, noise=0.05)


WANTED = np.random.default_rng(0).uniform(-0.7, 0.7, (8, 2, 2))


def stack(actions: Encoding) -> FloatArray:
    """Eight layers, whose best thicknesses depend on the own of two materials and on that of the layer before."""
    own = actions.discrete
    before = np.concatenate([np.zeros_like(own[..., :1]), own[..., :-1]], axis=-1)
    step = np.clip(actions.continuous, -1, 1) - WANTED[np.arange(8), own, before]
    value: FloatArray = -(step**2).sum(axis=-1) - 0.1 * own.sum(axis=-1)
    return value


def test_thicknesses_that_depend_on_materials_are_found_relevant() -> None:
    """300 evaluations with a noise of 0.1, the best design has 0: three seeds of each; a restored agent goes on."""
    ends = np.zeros((2, 3))
    for row, without in enumerate((["relevance"], [])):
        for seed in range(3):
            agent = PolicyGradient(space_of(8, 8, 2), seed, without=without)
            learn(agent, stack, batches=15, n=20, noise=0.1)
            ends[row, seed] = stack(agent.recommend(NOTHING))
            assert (agent.metrics()["relevant"] > 3) == (not without)
    assert np.median(ends[1]) > np.median(ends[0])
    restored = PolicyGradient(space_of(8, 8, 2), 9)
    restored.load_state_dict(agent.state_dict())
    for one in (agent, restored):
        learn(one, stack, batches=1, n=20, noise=0.1)
    assert agent.metrics() == restored.metrics()
    assert_close(agent.ask(NOTHING, 20), restored.ask(NOTHING, 20))


@pytest.mark.parametrize(
    ("choices", "without", "believed"),
    [(8, [], False), (8, ["far"], True), (8, ["trust"], True), (0, [], True)],
)
def test_with_full_foresight_the_critic_believes_no_misfit(choices: int, without: list[str], believed: bool) -> None:
    """Far designs then count as much as near ones, where there are choices."""
    agent = PolicyGradient(space_of(8, choices, 2), 0, without=without)
    f = stack if choices else lambda actions: -(np.clip(actions.continuous, -1, 1) ** 2).sum(axis=-1)
    learn(agent, f, batches=20, n=20, noise=0.05)
    assert agent._experience.foresight.value == 1
    assert (agent._experience.variances.misfit > LEAST_MISFIT) == believed


def test_foresight_from_few_evaluations_does_not_complete_the_critic() -> None:
    """60 evaluations are fewer than the 64 weights of 8 coordinates times 8 choices of two, 80 are more."""
    agent = PolicyGradient(space_of(8, 8, 2), 0)
    for batches, complete in ((3, False), (1, True)):
        learn(agent, stack, batches=batches, n=20, noise=0.05)
        agent._experience.foresight.sums[:] = 1, 1, 1, 100
        assert agent._experience.foresight.value == 1
        assert agent._fitted(Critic(agent._experience.variances), steps=1).critic.complete == complete


def test_the_narrower_the_policy_the_fewer_choices_change() -> None:
    """Cliffs narrow the policy: then its proposals keep more of its own choices."""
    turnovers, changed = [], []
    for without in (["trust"], ["trust", "turnover"]):
        agent, rng = PolicyGradient(space_of(6, 8), 0, without=without), np.random.default_rng(0)
        for _ in range(15):
            actions = agent.ask(NOTHING, 20)
            cliffs = (np.abs(np.clip(actions.continuous, -1, 1) * 20).astype(int) % 2).mean(axis=1)
            agent.tell(Batch(actions, reward(actions) - 2 * cliffs + 0.1 * rng.standard_normal(20), np.full(20, 0.1)))
        own = agent.recommend(NOTHING).discrete
        changed.append((agent.ask(NOTHING, 400).discrete != own).mean())
        turnovers.append(agent.metrics()["turnover"])
    assert turnovers[1] == 1 and turnovers[0] < 0.7 and changed[0] < 0.8 * changed[1]


def two_phases(actions: Encoding) -> FloatArray:
    """1.6 with second choices everywhere, 1 with none of them, least between: a valley of twelve choices."""
    share = (actions.discrete == 1).mean(axis=-1)
    value: FloatArray = (2 * share - 1) ** 2 + 0.6 * share
    return value


def test_choices_that_differ_everywhere_are_found() -> None:
    """From none of the second choices, every change of up to ten loses."""
    start, found = {f"c{j}": "choice 0" for j in range(12)}, []
    for without in ([], ["restarts"]):
        ends = []
        for seed in range(5):
            agent = PolicyGradient(space_of(0, 12, 2), seed, start, without=without)
            agent._policy.logits = np.tile([0.0, -8.0], 12)
            learn(agent, two_phases, batches=12, n=12, noise=0.05)
            ends.append(two_phases(agent.recommend(NOTHING)))
        found.append((np.array(ends) > 1.5).sum())
    assert found[0] >= 4 and found[1] == 0


def test_lack_of_fit_that_evaluations_resolve_does_not_narrow_the_policy() -> None:
    """Choices whose worth the critic has to learn look like cliffs at first; its predictions show that they are not."""
    spreads = []
    for without in ([], ["trust"]):
        agent, rng = PolicyGradient(space_of(2, 12), 0, without=without), np.random.default_rng(0)
        couplings = np.random.default_rng(1).standard_normal((12, 12))
        for _ in range(8):
            actions = agent.ask(NOTHING, 20)
            signs = np.sign(actions.discrete - 0.5)
            rewards = reward(actions) + ((signs @ couplings) * signs).sum(axis=1) + 0.1 * rng.standard_normal(20)
            agent.tell(Batch(actions, rewards, np.full(20, 0.1)))
        spreads.append(agent.metrics()["sigma"])
    assert spreads[0] > 1.1 * spreads[1]


def one_sided(actions: Encoding) -> FloatArray:
    """A slope that ends where the coordinates add up to 0.8, beyond which all falls steeply, with choices beside it."""
    x = np.clip(actions.continuous, -1, 1)
    excess = np.maximum(x.sum(axis=-1) - 0.8, 0)
    value: FloatArray = 0.3 * x.sum(axis=-1) - 0.2 * (x**2).sum(axis=-1) - 2 * excess**2
    return value - 0.1 * (actions.discrete != 1).sum(axis=-1)


def wavy(actions: Encoding) -> FloatArray:
    """Coordinates with ripples, and one choice that matters: no coordinate depends on a choice."""
    ripples = 0.3 * np.sin(6 * np.clip(actions.continuous, -1, 1)).sum(axis=-1)
    first = Encoding(actions.continuous, actions.discrete[..., :1])
    return reward(first) + np.asarray(ripples, dtype=np.float64)


def test_choices_that_coordinates_do_not_depend_on_do_not_widen_the_policy() -> None:
    """Three seeds each, of one choice and of eight of which seven do nothing."""
    widths = np.zeros((2, 3))
    for row, choices in enumerate((1, 8)):
        for seed in range(3):
            agent = PolicyGradient(space_of(2, choices), seed)
            learn(agent, wavy, batches=12, n=20)
            widths[row, seed] = agent.metrics()["sigma"]
    assert widths[1].mean() < 1.35 * widths[0].mean()


def test_what_the_fit_may_hide_narrows_the_policy() -> None:
    """A remainder explains the steep side to within the noise, yet the optimum of a smooth function is far from it."""
    ends, spreads = np.zeros((2, 4)), np.zeros((2, 4))
    for row, without in enumerate(([], ["hidden"])):
        for seed in range(4):
            agent = PolicyGradient(space_of(4, 4, 2), seed, without=without)
            learn(agent, one_sided, batches=25, n=20, noise=0.2)
            ends[row, seed], spreads[row, seed] = one_sided(agent.recommend(NOTHING)), agent.metrics()["sigma"]
    assert np.median(ends[0]) > np.median(ends[1]) + 0.01
    assert np.median(spreads[0]) < 0.9 * np.median(spreads[1])


def test_steps_in_the_box_do_not_drift_along_its_faces() -> None:
    """x0 wants out of the box, and a ridge ties x1 to it: its best place is on the face. Clipped steps overshoot."""

    def f(actions: Encoding) -> FloatArray:
        x = np.clip(actions.continuous, -1, 1)
        value: FloatArray = 0.5 * x[..., 0] - 8 * (x[..., 1] - x[..., 0] + 1) ** 2  # best at (1, 0)
        return value

    gaps = np.zeros((2, 5))
    for row, without in enumerate(([], ["box"])):
        for seed in range(5):
            agent = PolicyGradient(space_of(2, 0), seed, without=without)
            learn(agent, f, batches=20, n=16, noise=0.1)
            gaps[row, seed] = 0.5 - f(agent.recommend(NOTHING))
    assert np.median(gaps[0]) < 0.01 and np.median(gaps[1]) > 3 * np.median(gaps[0])


def test_the_best_of_choices_coupled_to_coordinates_is_found() -> None:
    """Where the best coordinate depends on two choices together, the coupled kernel is needed to know what each pair of
    choices is worth: 3 coordinates, 4 binary choices, 2^4 assignments."""
    best = np.random.default_rng(5).uniform(-0.8, 0.8, (3, 2, 2))

    def f(actions: Encoding) -> FloatArray:
        x, c = np.clip(actions.continuous, -1, 1), actions.discrete
        wanted = np.stack([best[i, c[..., i], c[..., i + 1]] for i in range(3)], axis=-1)
        value: FloatArray = -((x - wanted) ** 2).sum(axis=-1) - 0.15 * (c != [1, 0, 1, 1]).sum(axis=-1)
        return value

    losses = np.zeros((2, 5))
    for row, without in enumerate(([], ["coupled"])):
        for seed in range(5):
            agent = PolicyGradient(space_of(3, 4, 2), seed, without=without)
            learn(agent, f, batches=8, n=20, noise=0.1)
            losses[row, seed] = -f(agent.recommend(NOTHING))
    assert np.median(losses[0]) < 0.05 and losses[0].mean() < losses[1].mean()


def test_coordinates_follow_their_choice() -> None:
    """Two options with the best coordinates -0.15 and 0.15: proposals of each are around its own, except without it."""
    best = np.array([-0.15, 0.15])
    f = lambda actions: -((np.clip(actions.continuous[:, 0], -1, 1) - best[actions.discrete[:, 0]]) ** 2)  # noqa: E731
    apart = []
    for without in ([], ["conditional"]):
        agent = PolicyGradient(space_of(1, 1, 2), 0, without=without)
        learn(agent, f, batches=10, n=16, noise=0.1)
        actions = agent.ask(NOTHING, 2000)
        means = [actions.continuous[actions.discrete[:, 0] == i, 0].mean() for i in range(2)]
        apart.append(means[1] - means[0])
    assert apart[0] == pytest.approx(0.3, abs=0.1) and abs(apart[1]) < 0.1
