"""What is particular to each peer; what all agents promise is in test_agents.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import rl_detector
from rl_detector.agent import Agent, Batch
from rl_detector.agents import AGENTS, agent_class, make_agent
from rl_detector.agents.peers.proposals import own_generators
from rl_detector.agents.peers.rank_changes import uncertainty
from rl_detector.checks.agents import check_agent
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.settings import check_settings
from rl_detector.space import DesignSpace, Encoding, FloatArray

NOTHING = np.zeros(0)
COORDINATES = DesignSpace(tuple(Continuous(f"x{i}", -1, 1) for i in range(2)))
MIXED = DesignSpace((*COORDINATES.parameters, Categorical("c", ("a", "b", "c"))))
START = {"x0": -0.5, "x1": 0.5, "c": "c"}
RECIPES = [
    path
    for path in sorted((Path(rl_detector.__file__).parent / "conf" / "agent").glob("*.yaml"))
    if not path.stem.endswith("policy_gradient")
]


def quadratic(actions: Encoding) -> FloatArray:
    distance: FloatArray = np.sum((np.clip(actions.continuous, -1, 1) - 0.3) ** 2, axis=-1)
    return -distance - 0.5 * np.sum(actions.discrete != 1, axis=-1)


def tell(agent: Agent, actions: Encoding, rewards: FloatArray) -> None:
    agent.tell(Batch(actions, rewards, np.full(len(rewards), 0.1)))


def rounds(agent: Agent, batches: int, n: int, noise: float = 0.0) -> None:
    rng = np.random.default_rng(1)
    for _ in range(batches):
        actions = agent.ask(NOTHING, n)
        tell(agent, actions, quadratic(actions) + noise * rng.standard_normal(n))


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("cma_es", {"population_factor": 2.0}),
    ("cma_es", {"noise_handling": True}),
    ("tpe", {"multivariate": False, "elite": 0.0}),
    ("ppo", {"n_steps": 8, "batch_size": 4, "hidden": 8}),
    ("sac", {"ent_coef": "0.1", "learning_starts": 0, "hidden": 8}),
    ("nsga2", {"population": 8, "elite": 0.0}),
]


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_every_variant_keeps_the_contract_of_agents(name: str, settings: dict[str, Any]) -> None:
    check_agent(lambda space, seed: make_agent(name, space, seed, **settings), MIXED)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_builds_its_agent(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    name = settings.pop("name")
    checked = check_settings("agent", agent_class(name), settings)
    assert make_agent(name, MIXED, 0, START, **checked).ask(NOTHING, 2).continuous.shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cma_es", {"population_factor": 0.5}, "1 <= population_factor"),
        ("reinforce", {"variance": 0.0}, "variance"),
        ("tpe", {"elite": 2.0}, "elite <= 1"),
        ("ppo", {"n_steps": 1}, "n_steps >= 2"),
        ("sac", {"hidden": 0}, "hidden >= 1"),
        ("sac", {"ent_coef": "much"}, "ent_coef, got 'much'"),
        ("bayesian", {"restarts": 0}, "restarts >= 1"),
        ("bayesian", {"startup": 1}, "startup >= 2"),
        ("turbo", {"candidates": 1}, "candidates >= 2"),
        ("nsga2", {"population": 2}, "population >= 4"),
        ("l_gso", {"epsilon": 0.0}, "0 < epsilon <= 1"),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_agent(name, MIXED, 0, START, **settings)


@pytest.mark.parametrize(("name", "library"), [("tpe", "optuna"), ("nsga2", "pymoo"), ("turbo", "botorch")])
def test_a_missing_library_is_named_with_its_command(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == library or m == AGENTS[name].partition(":")[0]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "rl_detector.agents.surrogates.gaussian_process", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"{name} needs the library {library}.*pip install 'rl_detector\[peers\]'"):
        make_agent(name, MIXED, 0)


def test_global_generators_are_seeded_inside_and_put_back() -> None:
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with own_generators(np.random.default_rng(3)):
            drawn.append((np.random.random(), float(torch.rand(()))))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_reinforce_waits_for_25_results_and_then_takes_one_step_of_adam() -> None:
    """Adam's first step is the learning rate in the direction of the gradient, 2 x 0.02 in units of half the box."""
    agent = make_agent("reinforce", COORDINATES, 0, {"x0": 0.0, "x1": 0.0})
    assert agent.metrics()["sigma"] == pytest.approx(2 * 0.05**0.5)
    for told, moved in ((24, 0.0), (1, 0.04)):
        actions = agent.ask(NOTHING, told)
        tell(agent, actions, actions.continuous @ np.array([1.0, -1.0]))
        np.testing.assert_allclose(agent.recommend(NOTHING).continuous, [moved, -moved], rtol=1e-4)


def test_baseline_of_reinforce_moves_by_alpha() -> None:
    agent = make_agent("reinforce", COORDINATES, 0)
    for reward in (1.0, 3.0):
        tell(agent, agent.ask(NOTHING, 25), np.full(25, reward))
    assert agent.metrics()["baseline"] == pytest.approx(0.95 * 1.0 + 0.05 * 3.0)


def test_uncertainty_of_ranks() -> None:
    """Equal results change no rank: s < 0. Random ones change ranks as chance does: s > 0, as theta is below 1."""
    rng, again = np.random.default_rng(0), np.arange(5)
    first = rng.normal(size=50)
    assert uncertainty(first, first, again) < 0
    noisy = [uncertainty(first, rng.normal(size=50), again) for _ in range(20)]
    assert np.mean(noisy) > 10


@pytest.mark.parametrize(("noise", "repeats"), [(0.0, 1.0), (100.0, 8.0)])
def test_cma_es_repeats_designs_where_noise_hides_their_ranks(noise: float, repeats: float) -> None:
    agent = make_agent("cma_es", COORDINATES, 0, noise_handling=True)
    rounds(agent, 120, 8, noise)
    assert agent.metrics()["repeats"] == pytest.approx(repeats, rel=0.4)
    assert agent.metrics()["generations"] > 2


def test_cma_es_proposes_a_tenth_of_the_population_again() -> None:
    agent = make_agent("cma_es", COORDINATES, 0, noise_handling=True)
    first = agent.ask(NOTHING, 8)
    tell(agent, first, quadratic(first))
    assert agent.metrics()["generations"] == 0
    second = agent.ask(NOTHING, 8)
    np.testing.assert_array_equal(first.continuous[:2], second.continuous[:2])
    tell(agent, second, quadratic(second))
    assert agent.metrics()["generations"] == 1


def test_larger_populations_wait_for_more_batches() -> None:
    agent = make_agent("cma_es", COORDINATES, 0, population_factor=4.0)
    rounds(agent, 2, 8)
    assert agent.metrics()["generations"] == 0
    rounds(agent, 1, 8)
    assert agent.metrics()["generations"] == 1


@pytest.mark.parametrize("name", ["tpe", "bayesian", "turbo", "nsga2"])
def test_the_start_is_proposed_first(name: str) -> None:
    first = next(make_agent(name, MIXED, 0, START).ask(NOTHING, 5).rows())
    for part, expected in zip(first, MIXED.encode(START), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(("elite", "expected"), [(0.0, 0.9), (0.2, 0.85)])
def test_recommendation_is_the_best_or_the_centre_of_the_best(elite: float, expected: float) -> None:
    agent = make_agent("tpe", COORDINATES, 0, elite=elite)
    x = np.arange(10) / 10
    actions = Encoding(np.column_stack([x, x]), np.zeros((10, 0), dtype=np.int64))
    tell(agent, actions, np.where(x == 0.8, 0.75, x))  # 0.9 is the best, then 0.8 (0.75), 0.7
    assert agent.recommend(NOTHING).continuous[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["tpe", "bayesian"])
def test_revised_rewards_replace_those_told(name: str) -> None:
    agent = make_agent(name, COORDINATES, 0)
    actions = agent.ask(NOTHING, 8)
    tell(agent, actions.take(np.arange(7)), np.zeros(7))
    revised = np.where(np.arange(7) == 4, 5.0, 0.0)
    last = actions.take([7])
    agent.tell(Batch(last, np.zeros(1), np.zeros(1), revised=revised))
    np.testing.assert_allclose(agent.recommend(NOTHING).continuous, actions.continuous[4], atol=0.5)
    with pytest.raises(SimulationError, match="expected 8 revised rewards"):
        agent.tell(Batch(last, np.zeros(1), np.zeros(1), revised=revised))


def test_the_defaults_of_the_library_train_ppo_after_2048_designs() -> None:
    settings = yaml.safe_load(next(path for path in RECIPES if path.stem == "ppo_defaults").read_text())
    agent = make_agent(settings.pop("name"), COORDINATES, 0, **settings)
    rounds(agent, 2, 1023)
    assert agent.metrics()["updates"] == 0
    rounds(agent, 1, 2)
    assert agent.metrics()["updates"] == 1


def test_sac_forgets_nothing_in_a_checkpoint() -> None:
    agent = make_agent("sac", COORDINATES, 0, hidden=8)
    rounds(agent, 3, 20)
    vectors, rewards = agent.state_dict()["results"]
    assert vectors.shape == (60, 2) and rewards.shape == (60,)


def test_bayesian_finds_the_maximum_of_a_smooth_reward() -> None:
    agent = make_agent("bayesian", MIXED, 0, START, startup=12, raw_samples=32, restarts=1, samples=16)
    rounds(agent, 4, 8, noise=0.05)
    best = agent.recommend(NOTHING)
    assert best.discrete[0] == 1
    np.testing.assert_allclose(best.continuous, 0.3, atol=0.2)


def test_the_process_keeps_the_best_half_and_the_latest() -> None:
    agent: Any = make_agent("turbo", COORDINATES, 0, most_points=10)
    tell(agent, agent.ask(NOTHING, 30), -np.arange(30.0))
    assert agent._kept(0).tolist() == [0, 1, 2, 3, 4, 25, 26, 27, 28, 29]


def test_turbo_shrinks_without_success_and_begins_anew() -> None:
    agent = make_agent("turbo", COORDINATES, 0, startup=4, candidates=50)
    lengths = []
    for batch in range(12):
        actions = agent.ask(NOTHING, 4)
        tell(agent, actions, np.full(4, -float(batch)))
        lengths.append(agent.metrics()["length"])
    assert lengths[:4] == [0.8, 0.4, 0.2, 0.1]
    assert agent.metrics()["restarts"] == 1


def test_nsga2_completes_a_generation_by_results() -> None:
    agent = make_agent("nsga2", MIXED, 0, population=10)
    for batch, (generations, waiting) in enumerate([(0, 6), (1, 0), (1, 6)]):
        actions = agent.ask(NOTHING, 6)
        tell(agent, actions, quadratic(actions))
        assert (agent.metrics()["generations"], agent.metrics()["waiting"]) == (generations, waiting), batch


@pytest.mark.parametrize("observed", [True, False])
def test_l_gso_follows_the_slope_through_its_generator(observed: bool) -> None:
    """-ln(mean loss) - charge: loss exp(-x0) exponential, charge 2 x1, so the gradient is (1, -2)."""
    agent: Any = make_agent("l_gso", COORDINATES, 0, {"x0": 0.0, "x1": 0.0}, designs_per_update=64)
    rng = np.random.default_rng(0)
    actions = agent.ask(NOTHING, 64)
    losses = [rng.exponential(np.exp(-x), 500) for x in actions.continuous[:, 0]]
    rewards = -np.log([terms.mean() for terms in losses]) - 2 * actions.continuous[:, 1]
    agent.tell(Batch(actions, rewards, np.full(64, 0.05), losses if observed else None))
    slope = agent._psi.grad.numpy()
    assert slope[0] == pytest.approx(1.0, abs=0.6) and slope[1] == pytest.approx(-2.0, abs=0.6)
    np.testing.assert_allclose(agent.recommend(NOTHING).continuous, [0.1, -0.1], rtol=1e-3)
