"""Problems with a known best design: the best is the best, the start is the zero, the noise is what it says."""

from __future__ import annotations

import inspect
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.envs.oracles.fast import OracleSimulator
from rl_detector.envs.oracles.material_landscapes import TOY_BEST, mixed
from rl_detector.envs.oracles.problem import KINDS, oracle
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem

INSTANCES = [(kind, instance) for kind in KINDS for instance in ((0,) if kind == "mixed" else (0, 3))]


def simulator(problem: DesignProblem) -> OracleSimulator:
    assert isinstance(problem.simulator, OracleSimulator)
    return problem.simulator


def random_designs(problem: DesignProblem, number: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [problem.space.sample(rng) for _ in range(number)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract_of_a_problem(kind: str) -> None:
    problem = oracle(kind)
    check_problem(problem, events=3)
    check_simulator(problem.simulator, [problem.start or {}, simulator(problem).best()])


@pytest.mark.parametrize(("kind", "instance"), INSTANCES)
def test_the_start_is_0_and_the_best_is_1_and_nothing_found_beats_it(kind: str, instance: int) -> None:
    problem = oracle(kind, instance=instance)
    sim, best = simulator(problem), simulator(problem).best()
    problem.space.check(best)
    assert problem.start is not None
    assert sim.truth(problem.start) == 0
    assert sim.truth(best) == pytest.approx(1, abs=1e-12)
    assert sim.truths(random_designs(problem, 2000)).max() <= 1 + 1e-12
    rng = np.random.default_rng(2)
    near = [
        {n: v if isinstance(v, str) else np.clip(v + rng.normal(0, 0.01), 0, 1) for n, v in best.items()}
        for _ in range(500)
    ]
    assert sim.truths(near).max() <= 1 + 1e-9


@pytest.mark.parametrize("kind", ["binary", "layers", "mixed"])
def test_no_other_choice_of_one_material_is_better(kind: str) -> None:
    problem = oracle(kind)
    sim, best = simulator(problem), simulator(problem).best()
    for slot in problem.space.discrete:
        for name in slot.parameter.choices:  # type: ignore[union-attr]
            changed = {**best, slot.path: name}
            assert sim.truth(changed) <= sim.truth(best) + 1e-12
            assert sim.best_assignment(changed) == (changed == best)


def test_the_best_of_all_assignments_of_a_small_stack_of_layers() -> None:
    problem = oracle("layers", dimensions=8)
    sim = simulator(problem)
    grid = np.linspace(0, 1, 9)
    designs = [
        {**{f"x{i}": x for i, x in enumerate(xs)}, **{f"m{i}": m for i, m in enumerate(ms)}}
        for xs in product(grid, repeat=4)
        for ms in product("AB", repeat=4)
    ]
    gains = sim.truths(designs)
    assert 0.9 < gains.max() <= 1
    assert sim.best_assignment(designs[int(gains.argmax())])


def test_half_of_the_gap_of_layers_are_thicknesses() -> None:
    problem = oracle("layers")
    best, start = simulator(problem).best(), problem.start
    assert start is not None
    sim = simulator(problem)
    landscape: Any = sim.landscape
    materials = landscape.materials.best_value - landscape.materials.start_value
    assert materials == pytest.approx((landscape.best_value - landscape.start_value) / 2)
    assert sim.truth({**best, **{name: x for name, x in start.items() if name.startswith("x")}}) < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_the_stated_spread_and_falls_with_events(kind: str) -> None:
    problem = oracle(kind, noise=0.25)
    best = simulator(problem).best()
    evaluations = problem.evaluate_batch([best] * 400, 4, list(range(400)))
    measured = [e.measurement for e in evaluations if e.measurement is not None]
    reaches = np.array([m.reach for m in measured])
    assert measured[0].error == pytest.approx(0.125)
    assert reaches.std() == pytest.approx(0.125, rel=0.15)
    assert abs(reaches.mean() - 1) < 4 * 0.125 / 20


def test_designs_with_common_events_have_noise_of_their_own() -> None:
    problem = oracle("quadratic")
    sim = simulator(problem)
    designs = random_designs(problem, 2000)
    readouts = sim.simulate_batch(designs, 2, [7] * len(designs))
    noise = (np.array([r.signals[:, 0] for r in readouts]) - sim.truths(designs)[:, None]) / 0.3
    assert abs(noise.mean()) < 4 / np.sqrt(4000)
    assert noise.std() == pytest.approx(1, rel=0.05)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.1
    assert abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.1
    nearly = {**designs[0], "x0": designs[0]["x0"] + 1e-12}
    assert abs(sim.simulate(nearly, 1, 7).signals[0, 0] - readouts[0].signals[0, 0]) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_gain_is_the_same_to_the_last_bit_in_every_batch(kind: str) -> None:
    problem = oracle(kind, dimensions=200 if kind == "quadratic" else None)
    sim, designs = simulator(problem), random_designs(problem, 65)
    assert sim.truths(designs).tolist() == [sim.truth(design) for design in designs]


def test_noise_of_the_heteroscedastic_oracle_grows_beyond_the_best_design() -> None:
    problem = oracle("heteroscedastic")
    sim = simulator(problem)
    best = np.array(list(sim.best().values()))
    side = np.sign(best - 0.5)
    corners = [{f"x{i}": float(x) for i, x in enumerate(0.5 + sign * side / 2)} for sign in (-1, 1)]
    low, high = (sim.simulate(corner, 500, 0) for corner in corners)
    assert high.truth["spread"][0] / low.truth["spread"][0] == pytest.approx(np.exp(2.4))
    assert high.signals.std() / low.signals.std() == pytest.approx(np.exp(2.4), rel=0.15)
    assert sim.simulate(sim.best(), 1, 0).truth["spread"][0] == pytest.approx(0.3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mixed"])
def test_instances_differ(kind: str) -> None:
    designs = random_designs(oracle(kind), 5)
    first, second = (simulator(oracle(kind, instance=i)).truths(designs) for i in (0, 1))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cubic"}, "unknown kind of oracle 'cubic': known are quadratic, valley"),
        ({"kind": "mixed", "dimensions": 20}, "has 12 dimensions"),
        ({"kind": "mixed", "instance": 1}, "instance 0 only, got 1"),
        ({"kind": "valley", "dimensions": 1}, "at least 2 dimensions, got 1"),
        ({"kind": "binary", "dimensions": 40}, "1-16 choices, got 40"),
        ({"kind": "layers", "dimensions": 7}, "even number of dimensions, 2-32, got 7"),
        ({"dimensions": 0}, "at least 1 dimension, got 0"),
        ({"noise": 0.0}, "must be positive and finite, got 0"),
        ({"instance": -1}, "must be >= 0, got -1"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        oracle(**settings)


def test_the_defaults_of_yaml_and_python_are_the_same() -> None:
    settings: Any = OmegaConf.to_container(
        OmegaConf.create((files("rl_detector.conf") / "env/oracle.yaml").read_text())
    )
    assert settings.pop("name") == "oracle"
    assert settings == {name: p.default for name, p in inspect.signature(oracle).parameters.items()}


@pytest.mark.slow
def test_a_search_of_all_assignments_finds_the_best_toy_calorimeter() -> None:
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    toy, found = mixed(12, 0), []
    for assignment in product((0, 1), repeat=6):
        choices = np.array([assignment])
        for seed in range(3):
            result = minimize(
                lambda x, c=choices: -toy.value(x[None], c)[0],
                np.random.default_rng(seed).uniform(0.1, 0.9, 6),
                method="L-BFGS-B",
                bounds=[(0, 1)] * 6,
            )
            found.append((result.fun, assignment, result.x))
    value, assignment, x = min(found, key=lambda item: item[0])
    assert assignment == TOY_BEST[1]
    assert -value == pytest.approx(toy.best_value, abs=1e-5)
    np.testing.assert_allclose(x, TOY_BEST[0], atol=0.01)
