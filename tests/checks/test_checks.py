"""The contract tests pass for what is sound, and each of them fails for something broken on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rl_detector.agent import Batch
from rl_detector.agents import AGENTS, agent_class
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.peers.random_search import RandomSearch
from rl_detector.checks.agents import check_agent
from rl_detector.checks.problems import check_env, check_problem, check_simulator, check_space
from rl_detector.episodes.env import DesignEnv
from rl_detector.episodes.wrappers import BoxAction
from rl_detector.errors import CheckFailed, SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.registry import load_factory, registered
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray
from rl_detector.terms import Constraint, Cost, Measurement, Readout

REGISTERED = registered()
SPACE = DesignSpace((Continuous("x", -1.0, 1.0, "m"), Categorical("material", ("bad", "good"))))
DESIGNS = [{"x": 0.5, "material": "good"}, {"x": -0.5, "material": "bad"}]


CASES = [pytest.param(name, marks=pytest.mark.slow) if name == "bayesian" else name for name in AGENTS]
"""Every agent; those that take a minute are for `make physics`."""


@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_environment_keeps_its_contract(name: str) -> None:
    problem = load_factory(REGISTERED[name].factory)()
    check_problem(problem, events=100)
    check_simulator(problem.simulator, list(problem.baselines.values()))
    check_env(gym.make(REGISTERED[name].id, events=100))


@cache
def space_of(name: str) -> DesignSpace:
    """Of a registered environment, which some take seconds to build."""
    return load_factory(REGISTERED[name].factory)().space


@pytest.mark.parametrize("agent", CASES)
@pytest.mark.parametrize("name", REGISTERED)
def test_every_agent_keeps_its_contract_on_every_registered_environment(
    agent: str, name: str, light: dict[str, dict[str, Any]]
) -> None:
    make = partial(agent_class(agent), **light.get(agent, {}))
    check_agent(make, space_of(name))


@dataclass
class Sound:
    """Signals scatter around -x^2; the broken ones below change one thing each."""

    calls: list[int] = field(default_factory=list)

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        self.calls.append(seed)
        rng = np.random.default_rng(seed)
        return Readout({"energy": rng.uniform(1, 2, events)}, rng.normal(-(design["x"] ** 2), 1.0, (events, 1)))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "sound"}


class InBatches(Sound):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        return [self.simulate(design, events, seed) for design, seed in zip(designs, seeds, strict=True)]


class Random(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        return super().simulate(design, events, seed + len(self.calls))


class Seedless(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        return super().simulate(design, events, 0)


class Neighbours(InBatches):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        readouts = super().simulate_batch(designs, events, seeds)
        return [Readout(r.truth, r.signals + 1e-15 * i) for i, r in enumerate(readouts)]


class BatchOrder(InBatches):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        return super().simulate_batch(designs, events, sorted(seeds))


class BatchFails(InBatches):
    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Any]:
        return [*super().simulate_batch(designs[1:], events, seeds[1:]), SimulationError("no")][::-1]


class NotANumber(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        readout = super().simulate(design, events, seed)
        return Readout(readout.truth, np.where(readout.signals > 1, math.nan, readout.signals))


class Meddler(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        design["x"] = 0.0  # type: ignore[index]
        return super().simulate(design, events, seed)


class TooFew(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        return super().simulate(design, events - 1, seed)


class Flat(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        readout = super().simulate(design, events, seed)
        return Readout(readout.truth, readout.signals[:, 0])


class Raises(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        raise RuntimeError("out of memory")


class Wordless(Sound):
    def simulate(self, design: Design, events: int, seed: int) -> Any:
        return None


class Nameless(Sound):
    def describe(self) -> Mapping[str, str]:
        return {}


BROKEN_SIMULATORS: dict[type[Sound], str] = {
    Random: "equal (events|results) for equal design",
    Seedless: "with another seed",
    Neighbours: "in a batch",
    BatchOrder: "in a batch",
    NotANumber: "NaN",
    Meddler: "design to stay as it was",
    TooFew: "events of",
    Raises: "RuntimeError: out of memory",
}
"""Broken for check_simulator and, but for the Meddler who gets copies there, for check_problem alike."""


@pytest.mark.parametrize("simulator", [Sound(), InBatches()])
def test_sound_simulators_pass(simulator: Sound) -> None:
    check_simulator(simulator, DESIGNS)
    check_problem(make_problem(simulator))


@pytest.mark.parametrize(("broken", "message"), BROKEN_SIMULATORS.items())
def test_check_simulator_can_fail(broken: type[Sound], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_simulator(broken(), DESIGNS)


def test_a_problem_shields_designs_from_its_simulator() -> None:
    check_problem(make_problem(Meddler()))


@pytest.mark.parametrize(("broken", "message"), [pair for pair in BROKEN_SIMULATORS.items() if pair[0] is not Meddler])
def test_check_problem_can_fail_by_its_simulator(broken: type[Sound], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_problem(make_problem(broken()))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (BatchFails, "in a batch"),
        (Flat, r"shape \[events, channels\]"),
        (Wordless, "a Readout; got NoneType"),
        (Nameless, "describe"),
    ],
)
def test_check_simulator_can_fail_by_what_a_problem_tolerates(broken: type[Sound], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_simulator(broken(), DESIGNS)


class MeanSignal:
    """The mean of the signals and its standard error."""

    def measure(self, readout: Readout) -> Measurement:
        mean, error = float(readout.signals.mean()), float(readout.signals.std() / math.sqrt(len(readout.signals)))
        return Measurement(mean, error, mean, error)


class Certain(MeanSignal):
    def measure(self, readout: Readout) -> Measurement:
        return replace(super().measure(readout), error=0.0)


class Unstable(MeanSignal):
    """A reach in batches that depends on the neighbours."""

    def measure_batch(self, readouts: Sequence[Readout]) -> list[Measurement]:
        return [
            replace(self.measure(readout), diagnostics={}, reach=readout.signals.mean() + 1e-9 * len(readouts))
            for readout in readouts
        ]


def make_problem(simulator: Sound | None = None, **changes: Any) -> DesignProblem:
    settings: dict[str, Any] = {
        "name": "line",
        "space": SPACE,
        "simulator": simulator or Sound(),
        "reach": MeanSignal(),
        "costs": (Cost("mass", "kg", 2.0, lambda design: 1 + design["x"]),),
        "constraints": (Constraint("length", "m", 0.1, lambda design: design["x"]),),
        "baselines": {"left": {"x": -0.5, "material": "bad"}},
        "cost_weight": 0.1,
    }
    return DesignProblem(**{**settings, **changes})


class Negative(Constraint):
    def violation(self, design: Design) -> float:
        return self.amount(design) - self.limit


def noisy_cost() -> Callable[[Design], float]:
    rng = np.random.default_rng(0)
    return lambda design: float(rng.uniform())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reach": Certain()}, "error > 0"),
        ({"reach": Unstable()}, "in a batch"),
        ({"constraints": (Negative("length", "m", 0.1, lambda design: design["x"]),)}, "violation of length >= 0"),
        ({"costs": (Cost("mass", "kg", 2.0, noisy_cost()),)}, "equal results"),
        ({"costs": (Cost("mass", "kg", 2.0, lambda design: math.inf),)}, "mass must be finite"),
    ],
)
def test_check_problem_can_fail_by_its_terms(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_problem(make_problem(**changes))


class SeededCost(Sound):
    """A cost that remembers the seed of the latest simulation."""

    def cost(self, design: Design) -> float:
        return float(self.calls[-1] % 2)


def test_check_problem_can_fail_by_costs_that_depend_on_the_seed() -> None:
    simulator = SeededCost()
    with pytest.raises(CheckFailed, match="do not depend on the seed"):
        check_problem(make_problem(simulator, costs=(Cost("mass", "kg", 1.0, simulator.cost),)))


def test_check_problem_can_fail_by_a_wrong_reward() -> None:
    class Generous(DesignProblem):
        def charge(self, costs: Mapping[str, float], violations: Mapping[str, float]) -> float:
            charges.append(super().charge(costs, violations))
            return charges[-1] + len(charges)

    charges: list[float] = []
    sound = make_problem()
    generous = Generous(sound.name, sound.space, sound.simulator, sound.reach, baselines=sound.baselines)
    with pytest.raises(CheckFailed, match="reach - charge"):
        check_problem(generous)


def test_check_problem_can_fail_by_a_baseline() -> None:
    problem = make_problem()
    object.__setattr__(problem, "baselines", {"outside": {"x": 7.0, "material": "good"}})
    with pytest.raises(CheckFailed, match="baseline outside within the space"):
        check_problem(problem)


class Beyond(Continuous):
    def encode(self, value: float) -> float:
        return 3.0


class Outside(Continuous):
    def decode(self, coordinate: float) -> float:
        return self.high + 1


class Shifted(Continuous):
    def encode(self, value: float) -> float:
        return super().encode(value) / 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [(Beyond, "within the action space"), (Outside, "can be built"), (Shifted, "after decoding and encoding")],
)
def test_check_space_can_fail(broken: type[Continuous], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_space(DesignSpace((broken("x", -1.0, 1.0),)))


def test_sound_environments_pass() -> None:
    check_env(DesignEnv(make_problem(), 50))
    check_env(BoxAction(DesignEnv(make_problem(), 50)))


class Constant(DesignEnv):
    def step(self, action: Any) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        self.np_random.bit_generator.state = np.random.PCG64(0).state
        return super().step(action)


class Ends(DesignEnv):
    """Ends as told in the episodes that check_env itself plays."""

    end: tuple[bool, bool] = (True, True)
    terms: Mapping[str, Any] | None = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[FloatArray, dict[str, Any]]:
        self.watched = seed == 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if not self.watched:
            return observation, reward, terminated, truncated, info
        return observation, reward, *self.end, info if self.terms is None else dict(self.terms)


class Forgetful(Ends):
    """Part of its reward does not come from its generator."""

    rng = np.random.default_rng(0)
    end = (True, False)

    def step(self, action: Any) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward + self.watched * float(self.rng.normal()), terminated, truncated, info


class Narrow(DesignEnv):
    def reset(self, **settings: Any) -> tuple[FloatArray, dict[str, Any]]:
        observation, info = super().reset(**settings)
        return observation[:1], info


def ending(end: tuple[bool, bool], terms: Mapping[str, Any] | None = None) -> type[Ends]:
    return type("Ending", (Ends,), {"end": end, "terms": terms})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgetful, "equal steps for equal seed"),
        (Constant, "other rewards with another seed"),
        (Narrow, "Gymnasium's check_env"),
        (ending((True, True)), "terminated or truncated"),
        (ending((False, True)), "reward 0 and a reason"),
        (ending((True, False), {}), "the terms costs, design"),
        (ending((False, False)), "at most 1000 steps"),
    ],
)
def test_check_env_can_fail(broken: type[DesignEnv], message: str) -> None:
    env: gym.Env[Any, Any] = broken(make_problem(), 20)
    with pytest.raises(CheckFailed, match=message):
        check_env(env)


class Searcher:
    """A random search of a few lines, sound; the broken ones below change one thing each."""

    def __init__(self, space: DesignSpace, seed: int) -> None:
        self.space, self.rng, self.best = space, np.random.default_rng(seed), 0.0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        choices = self.rng.integers(self.space.choices, size=(n, len(self.space.choices)))
        return Encoding(self.rng.uniform(-1, 1, (n, len(self.space.continuous))) + self.best, choices)

    def tell(self, batch: Batch) -> None:
        self.best = max([self.best, *finite_rewards(batch).tolist()])

    def recommend(self, observation: FloatArray) -> Encoding:
        return Encoding(np.zeros(len(self.space.continuous)), np.zeros(len(self.space.choices), dtype=np.int64))

    def metrics(self) -> Mapping[str, float]:
        return {"sigma": 0.5}

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.best = state["best"]


class WithoutGenerator(Searcher):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]


class WithoutBest(Searcher):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class Pickled(Searcher):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "space": self.space}


class Credulous(Searcher):
    def tell(self, batch: Batch) -> None:
        self.best = max([self.best, *batch.rewards.tolist()])


class Impatient(Searcher):
    def tell(self, batch: Batch) -> None:
        self.best = max(self.best, float(finite_rewards(batch)[0]))


class Unseeded(Searcher):
    def __init__(self, space: DesignSpace, seed: int) -> None:
        super().__init__(space, int(np.random.default_rng().integers(2**32)))


class SeedBlind(Searcher):
    def __init__(self, space: DesignSpace, seed: int) -> None:
        super().__init__(space, 0)


class RollsDice(Searcher):
    def recommend(self, observation: FloatArray) -> Encoding:
        self.rng.uniform()
        return super().recommend(observation)


class OneShort(Searcher):
    def ask(self, observation: FloatArray, n: int) -> Encoding:
        return super().ask(observation, n).take(range(max(n - 1, 1)))


class NoSuchChoice(Searcher):
    def ask(self, observation: FloatArray, n: int) -> Encoding:
        actions = super().ask(observation, n)
        return Encoding(actions.continuous, actions.discrete + 7)


class Diverged(Searcher):
    def ask(self, observation: FloatArray, n: int) -> Encoding:
        actions = super().ask(observation, n)
        return Encoding(actions.continuous * math.nan, actions.discrete)


class Batched(Searcher):
    def recommend(self, observation: FloatArray) -> Encoding:
        return Encoding(*(part[None] for part in super().recommend(observation)))


class Silent(Searcher):
    def metrics(self) -> Mapping[str, float]:
        return {}


@pytest.mark.parametrize("agent", [Searcher, RandomSearch])
def test_sound_agents_pass(agent: Callable[..., Any]) -> None:
    check_agent(agent, SPACE)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (WithoutGenerator, "is the random generator in it"),
        (WithoutBest, "after load_state_dict"),
        (Pickled, "tensors and plain values"),
        (Credulous, "refuse the reward nan"),
        (Unseeded, "equal proposals for equal seeds"),
        (SeedBlind, "other proposals with another seed"),
        (RollsDice, "draws no random numbers"),
        (OneShort, r"ask\(3\) to give shapes"),
        (NoSuchChoice, "designs that can be built"),
        (Diverged, "designs that can be built"),
        (Batched, "a recommendation of shapes"),
        (Silent, "sigma"),
        (Impatient, "an empty batch"),
    ],
)
def test_check_agent_can_fail(broken: Callable[..., Any], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_agent(broken, SPACE)
