"""What every agent promises; new agents are found by themselves."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl_detector.agent import Agent, Batch
from rl_detector.agents import AGENTS, agent_class, make_agent
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.errors import ConfigError, DesignError, DetectorError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, Repeated

NOTHING = np.zeros(0)
COORDINATES = DesignSpace(tuple(Continuous(f"x{i}", 0, 10, "cm") for i in range(3)))
CHOICES = DesignSpace(tuple(Categorical(f"c{j}", ("a", "b", "c")) for j in range(4)))
MIXED = DesignSpace((*COORDINATES.parameters, *CHOICES.parameters))
LAYER = DesignSpace((Continuous("thickness", 0.1, 5), Categorical("material", ("lead", "iron"))))
LAYERS = DesignSpace((Integer("channels", 1, 9), Repeated("layer", LAYER, 0, 3)))
SPACES = {"coordinates": COORDINATES, "choices": CHOICES, "mixed": MIXED, "layers": LAYERS}
STARTS: dict[str, Design] = {
    "coordinates": {"x0": 2.0, "x1": 7.5, "x2": 3.0},
    "choices": {f"c{j}": "c" for j in range(4)},
    "mixed": {"x0": 2.0, "x1": 7.5, "x2": 3.0, **{f"c{j}": "c" for j in range(4)}},
    "layers": {"channels": 3, "layer": [{"thickness": 1.0, "material": "iron"}]},
}

LIGHT: dict[str, dict[str, Any]] = {
    "bayesian": {"startup": 8, "raw_samples": 16, "restarts": 1, "iterations": 3, "samples": 8},
    "turbo": {"most_points": 50, "candidates": 100},
    "tpe": {"candidates": 12},
    "sac": {"hidden": 32, "gradient_steps": 1},
    "l_gso": {"training_steps": 50},
}
"""Settings that save time where an agent's own are slow; all others are tested with their defaults."""

SIZES = {"bayesian": 4}
"""Designs per batch of slow agents where the number does not matter; all others have 16."""

BATCHES = {"bayesian": (5, 8), "turbo": (8, 16)}
"""Batches, and designs per batch, within which slow agents have to improve; all others have 20 of 16."""

Make = Callable[[DesignSpace, int, Design | None], Agent]


@pytest.fixture(params=list(AGENTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(name: str, quick_fits: None) -> Make:
    return lambda space, seed, start: make_agent(name, space, seed, start, **LIGHT.get(name, {}))


@pytest.fixture(params=list(SPACES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reward(actions: Encoding) -> FloatArray:
    """A quadratic with its maximum 0 at x = 0.3, plus the share of choices that are not the second one, negative."""
    distance: FloatArray = np.sum((np.clip(actions.continuous, -1, 1) - 0.3) ** 2, axis=-1)
    return -distance - 0.5 * np.sum(actions.discrete != 1, axis=-1)


def step(agent: Agent, n: int, rng: np.random.Generator, noise: float = 0.1) -> Encoding:
    actions = agent.ask(NOTHING, n)
    agent.tell(Batch(actions, reward(actions) + noise * rng.standard_normal(n), np.full(n, noise)))
    return actions


def assert_same(first: Encoding, second: Encoding) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def saved(agent: Agent) -> Any:
    buffer = io.BytesIO()
    torch.save(agent.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def check_resume(make: Make, space: DesignSpace, start: Design, n: int = 9) -> None:
    """An agent saved between ask and tell, and one that went on meanwhile, propose bit-identical designs."""
    agent, rngs = make(space, 5, start), [np.random.default_rng(8) for _ in range(2)]
    for _ in range(3):
        step(agent, n, rngs[0])
    pending = agent.ask(NOTHING, n - 2)
    state = saved(agent)
    rngs[1].bit_generator.state = rngs[0].bit_generator.state
    resumed = make(space, 5, start)
    resumed.load_state_dict(state)
    for one, rng in zip((agent, resumed), rngs, strict=True):
        one.tell(Batch(pending, reward(pending), np.zeros(n - 2)))
        step(one, n, rng)
    for _ in range(2):
        assert_same(step(agent, n, rngs[0]), step(resumed, n, rngs[1]))
    assert_same(agent.recommend(NOTHING), resumed.recommend(NOTHING))
    assert agent.metrics() == resumed.metrics()


def test_resume_is_bit_identical(make: Make, name: str, kind: str) -> None:
    check_resume(make, SPACES[kind], STARTS[kind], SIZES.get(name, 9))


class Forgetful(PolicyGradient):
    """Broken on purpose: its random generator is not in the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rng": np.random.default_rng(0).bit_generator.state}


class Pickled(PolicyGradient):
    """Broken on purpose: an array in the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "array": np.zeros(3)}


@pytest.mark.parametrize("broken", [Forgetful, Pickled])
def test_the_check_of_resume_can_fail(broken: type[PolicyGradient]) -> None:
    with pytest.raises(Exception, match=r"not equal|[Ww]eights"):
        check_resume(lambda space, seed, start: broken(space, seed, start), MIXED, STARTS["mixed"])


def test_a_saved_state_does_not_change_when_the_agent_goes_on(make: Make) -> None:
    agent, rng = make(MIXED, 0, STARTS["mixed"]), np.random.default_rng(0)
    step(agent, 16, rng)
    state = agent.state_dict()
    expected = make(MIXED, 0, STARTS["mixed"])
    expected.load_state_dict(saved(agent))
    step(agent, 16, rng)
    late = make(MIXED, 0, STARTS["mixed"])
    late.load_state_dict(state)
    assert_same(late.ask(NOTHING, 5), expected.ask(NOTHING, 5))


def test_the_seed_decides(make: Make, name: str, kind: str) -> None:
    def proposals(seed: int) -> Encoding:
        agent, rng = make(SPACES[kind], seed, STARTS[kind]), np.random.default_rng(3)
        for _ in range(2):
            step(agent, SIZES.get(name, 16), rng)
        return agent.ask(NOTHING, SIZES.get(name, 16))

    first = proposals(1)
    assert_same(first, proposals(1))
    assert any((a != b).any() for a, b in zip(first, proposals(2), strict=True))


def test_global_random_state_files_and_output_are_left_alone(
    make: Make, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    torch_state = torch.get_rng_state()
    agent = make(SPACES[kind], 0, None)
    for _ in range(3):
        step(agent, SIZES.get(name, 16), np.random.default_rng(0))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_proposals_are_designs_and_shapes_are_kept(make: Make, name: str, kind: str) -> None:
    space, agent = SPACES[kind], make(SPACES[kind], 0, STARTS[kind])
    for n in (1, 3, 6, 2, 5) if name in SIZES else (1, 3, 16, 2, 40):
        actions = step(agent, n, np.random.default_rng(n))
        assert actions.continuous.shape == (n, len(space.continuous)) and actions.continuous.dtype == np.float64
        assert actions.discrete.shape == (n, len(space.discrete)) and actions.discrete.dtype == np.int64
        assert all(space.contains(space.decode(row)) for row in actions.rows())
        assert space.contains(space.decode(agent.recommend(NOTHING)))
        metrics = agent.metrics()
        assert 0 <= metrics["sigma"] < 2 and all(np.isfinite(value) for value in metrics.values())


def test_before_any_result_the_start_is_recommended(make: Make, kind: str) -> None:
    agent = make(SPACES[kind], 0, STARTS[kind])
    assert_same(agent.recommend(NOTHING), SPACES[kind].encode(STARTS[kind]))
    assert "sigma" in agent.metrics()


def test_recommend_draws_no_random_numbers(make: Make) -> None:
    agents = [make(MIXED, 0, None) for _ in range(2)]
    for _ in range(5):
        agents[0].recommend(NOTHING)
        agents[0].metrics()
    assert_same(*(agent.ask(NOTHING, 5) for agent in agents))


SLOW = ("bayesian", "l_gso", "sac", "tpe", "turbo")
"""Agents that are not tried in the spaces of which others are made."""


def searches() -> Iterator[tuple[str, str, float]]:
    """Agent, kind of space, and share of the simulations that do not fail."""
    for name in AGENTS:
        kinds = ("mixed", "layers") if name in SLOW else tuple(SPACES)
        yield from ((name, kind, 0.7 if kind == "layers" else 0.5) for kind in kinds)


@pytest.mark.parametrize(("name", "kind", "share"), list(searches()))
def test_improves_on_a_noisy_start(name: str, kind: str, share: float) -> None:
    """320 designs (40 or 128 of agents in BATCHES) with noise 0.1 close more than half of the gap; so do 1.4 times as
    many of which 30 % failed, in the space that has parameters of all sorts."""
    space, start, rng = SPACES[kind], STARTS[kind], np.random.default_rng(4)
    agent = make_agent(name, space, 0, start, **LIGHT.get(name, {}))
    batches, size = BATCHES.get(name, (20, 16))
    asked = size if share == 0.5 else round(size / share)
    for _ in range(batches):
        actions = agent.ask(NOTHING, asked)
        kept = np.arange(asked) if share == 0.5 else np.flatnonzero(rng.random(asked) < share)
        told = actions.take(kept)
        agent.tell(Batch(told, reward(told) + 0.1 * rng.standard_normal(len(kept)), np.full(len(kept), 0.1)))
    first, last = reward(space.encode(start)), reward(agent.recommend(NOTHING))
    assert last > 0.5 * first


def test_an_empty_batch_is_no_news(make: Make, name: str, kind: str) -> None:
    agents = [make(SPACES[kind], 0, STARTS[kind]) for _ in range(2)]
    for agent in agents:
        step(agent, 16, np.random.default_rng(0))
        actions = agent.ask(NOTHING, SIZES.get(name, 16))
        if agent is agents[0]:
            agent.tell(Batch(actions.take([]), np.zeros(0), np.zeros(0)))
    assert_same(*(agent.recommend(NOTHING) for agent in agents))
    assert_same(*(agent.ask(NOTHING, 4) for agent in agents))


def test_asking_for_nothing(make: Make, kind: str) -> None:
    agent = make(SPACES[kind], 0, None)
    assert [len(part) for part in agent.ask(NOTHING, 0)] == [0, 0]
    assert [len(part) for part in step(agent, 8, np.random.default_rng(0))] == [8, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rewards_that_are_no_numbers_are_refused_and_change_nothing(make: Make, bad: float) -> None:
    agents = [make(MIXED, 0, None) for _ in range(2)]
    actions, _ = (agent.ask(NOTHING, 8) for agent in agents)
    with pytest.raises(DetectorError, match="design 3 of the batch"):
        agents[0].tell(Batch(actions, np.array([0, 1, 2, bad, 4, 5, 6, 7]), np.zeros(8)))
    assert_same(*(agent.recommend(NOTHING) for agent in agents))
    assert_same(*(agent.ask(NOTHING, 4) for agent in agents))


def test_a_start_that_cannot_be_built(make: Make) -> None:
    with pytest.raises(DesignError, match="x0"):
        make(COORDINATES, 0, {"x0": -5, "x1": 1, "x2": 1})


def test_unknown_agents_and_settings_name_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown agent 'genetic': known are policy_gradient, "):
        make_agent("genetic", COORDINATES, 0)
    with pytest.raises(ConfigError, match=r"unknown setting 'sigmal' of policy_gradient: known are sigma, "):
        make_agent("policy_gradient", COORDINATES, 0, sigmal=1)
    with pytest.raises(ConfigError, match=r"unknown setting 'sigma' of random_search: known are none"):
        make_agent("random_search", COORDINATES, 0, sigma=1)
    with pytest.raises(ConfigError, match="0 < sigma <= 1"):
        make_agent("cma_es", COORDINATES, 0, sigma=-1)


def test_names_are_cheap() -> None:
    heavy = {"torch", "cma", "scipy", "stable_baselines3", "botorch", "optuna", "pymoo"}
    code = f"import sys, rl_detector.agents; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_libraries_that_draw_random_numbers_when_imported_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As jax does, which botorch imports."""

    def drawing(name: str) -> Any:
        np.random.default_rng(np.random.randint(9))  # noqa: NPY002
        return importlib.import_module(name)

    monkeypatch.setattr("rl_detector.agents.import_module", drawing)
    before = np.random.get_state()  # noqa: NPY002
    agent_class("nsga2")
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]  # noqa: NPY002
    assert np.random.get_state()[2] == before[2]  # type: ignore[index]  # noqa: NPY002


def test_random_search_begins_with_the_start_and_fills_the_box() -> None:
    """64 scrambled Sobol points put exactly 32 in each half of every axis; the start takes the place of the first."""
    agent = make_agent("random_search", MIXED, 0, STARTS["mixed"])
    actions = agent.ask(NOTHING, 64)
    assert_same(next(actions.rows()), MIXED.encode(STARTS["mixed"]))
    assert np.all(np.abs((actions.continuous > 0).sum(axis=0) - 32) <= 1)
    assert np.all(np.abs(np.array([np.bincount(c) for c in actions.discrete.T]) - 64 / 3) <= 3)


def test_random_search_does_not_depend_on_the_batch_size() -> None:
    one, two = (make_agent("random_search", MIXED, 0) for _ in range(2))
    parts = [two.ask(NOTHING, n) for n in (1, 5, 13, 3)]
    assert_same(one.ask(NOTHING, 22), Encoding(*(np.concatenate(p) for p in zip(*parts, strict=True))))


def test_cma_es_waits_for_three_quarters_of_a_population() -> None:
    agent = make_agent("cma_es", COORDINATES, 0)
    for told, generations, waiting in ((11, 0, 11), (5, 1, 0), (12, 2, 0), (0, 2, 0), (16, 3, 0)):
        actions = agent.ask(NOTHING, 16).take(np.arange(told))
        agent.tell(Batch(actions, reward(actions), np.zeros(told)))
        assert (agent.metrics()["generations"], agent.metrics()["waiting"]) == (generations, waiting)
