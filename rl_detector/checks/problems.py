"""Contract tests of design spaces, problems, simulators and environments; each raises CheckFailed."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from rl_detector.checks.agents import check_agent, require
from rl_detector.episodes.env import SEED_LIMIT
from rl_detector.errors import CheckFailed
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import BatchSimulator, Readout, Simulator

__all__ = ["check_agent", "check_env", "check_problem", "check_simulator", "check_space"]


STEP_LIMIT = 1000
"""Steps within which an episode must end."""


TERMS = {"reach", "reach_error", "metric", "metric_error", "costs", "violations", "design", "events"}
"""Terms that the `info` of a finished episode must hold."""


def check_space(space: DesignSpace, designs: int = 20, seed: int = 0) -> None:
    """Random designs can be built, lie in the native action space, and survive encoding and decoding.

    Examples:
        >>> import rl_detector as rd
        >>> check_space(rd.DesignSpace((rd.Continuous("x", 0, 1),)))
    """
    rng = np.random.default_rng(seed)
    for _ in range(designs):
        design = space.sample(rng)
        require(space.contains(design), "sampled designs that can be built", design)
        code = space.encode(design)
        inside = np.abs(code.continuous).max(initial=0) <= 1 and space.gym_space.contains(space.to_action(code))
        require(bool(inside), "encodings within the action space", code)
        again = space.encode(space.decode(code))
        same = np.allclose(code.continuous, again.continuous, atol=1e-9) and np.array_equal(
            code.discrete, again.discrete
        )
        require(same, f"a design that encodes to {code} after decoding and encoding", again)


def check_problem(problem: DesignProblem, events: int = 100, designs: int = 4, seed: int = 0) -> None:
    """A problem is a pure function of (design, events, seed) with finite terms, on its baselines and random designs.

    Args:
        problem: what to check.
        events: simulated events per evaluation; each design is evaluated four times.
        designs: number of random designs besides the baselines.
        seed: of the random designs and event seeds.

    Raises:
        CheckFailed: what was expected, and what was got.

    Examples:
        >>> import rl_detector as rd
        >>> import gymnasium as gym
        >>> check_problem(gym.make("rl_detector/Oracle-v0", dimensions=2).unwrapped.problem)
    """
    check_space(problem.space, seed=seed)
    rng = np.random.default_rng(seed)
    for name, baseline in problem.baselines.items():
        require(problem.space.contains(baseline), f"baseline {name} within the space", dict(baseline))
    samples = [*problem.baselines.values(), *(problem.space.sample(rng) for _ in range(designs))]
    seeds: list[int] = rng.integers(SEED_LIMIT, size=len(samples)).tolist()
    single = [_evaluate(problem, design, events, number) for design, number in zip(samples, seeds, strict=True)]
    for evaluation in single:
        _check_terms(problem, evaluation)
    _check_repeats(problem, single)
    _check_order(single, problem.evaluate_batch(samples, events, seeds), "")
    _check_order(single[::-1], problem.evaluate_batch(samples[::-1], events, seeds[::-1]), " in reverse order")


def _evaluate(problem: DesignProblem, design: Design, events: int, seed: int) -> Evaluation:
    given = copy.deepcopy(design)
    evaluation = problem.evaluate(given, events, seed)
    require(given == design, f"the design to stay as it was, {design}", given)
    require(not evaluation.failed, f"a measurement of {dict(design)}", f"the failure {evaluation.failure!r}")
    return evaluation


def _check_terms(problem: DesignProblem, evaluation: Evaluation) -> None:
    """Terms are finite, violations not negative, the error bar positive, and reward = reach - charge."""
    for name, value in _terms(evaluation).items():
        require(math.isfinite(value), f"a finite {name} of {dict(evaluation.design)}", value)
    for name, value in evaluation.violations.items():
        require(value >= 0, f"a violation of {name} >= 0 (0 within the limit)", value)
    terms = _terms(evaluation)
    for name in ("error", "metric_error"):
        require(terms[name] > 0, f"{name} > 0: a reach from finitely many events has an error bar", terms[name])
    reward = terms["reach"] - problem.charge(evaluation.costs, evaluation.violations)
    require(math.isclose(terms["reward"], reward, abs_tol=1e-9), f"the reward reach - charge = {reward}", terms)


def _check_repeats(problem: DesignProblem, evaluations: Sequence[Evaluation]) -> None:
    """Equal seeds give equal terms; another seed gives another reach for some design, and the same costs for all."""
    others = []
    for first in evaluations:
        again = _evaluate(problem, first.design, first.events, first.seed)
        same = _terms(first) == _terms(again)
        require(same, f"equal results for equal design, events and seed {first.seed}: {_terms(first)}", _terms(again))
        other = _evaluate(problem, first.design, first.events, first.seed ^ 1)
        costs = {**first.costs, **first.violations}
        other_costs = {**other.costs, **other.violations}
        require(costs == other_costs, f"costs and violations that do not depend on the seed, {costs}", other_costs)
        others.append(_terms(other)["reach"])
    differ = any(_terms(first)["reach"] != reach for first, reach in zip(evaluations, others, strict=True))
    require(differ, "another reach with another seed", f"the same for all of {len(others)} designs, {others}")


def _check_order(single: Sequence[Evaluation], batch: Sequence[Evaluation], order: str) -> None:
    """A batch gives what single evaluations give, bit for bit."""
    for one, many in zip(single, batch, strict=True):
        require(not many.failed, f"a measurement in a batch{order}", f"the failure {many.failure!r}")
        same = _terms(one) == _terms(many)
        require(same, f"in a batch{order} the terms of a single evaluation, {_terms(one)}", _terms(many))


def _terms(evaluation: Evaluation) -> dict[str, float]:
    """The terms of an evaluation by name."""
    measured = evaluation.measurement
    terms = {**evaluation.costs, **evaluation.violations}
    if measured is None or evaluation.reward is None:
        return terms
    numbers = {name: getattr(measured, name) for name in ("reach", "error", "metric", "metric_error")}
    return {**terms, **numbers, "reward": evaluation.reward}


def check_simulator(simulator: Simulator, designs: Sequence[Design], events: int = 20, seed: int = 0) -> None:
    """A simulator is deterministic, uses its seed, is finite and complete, leaves designs alone, and says what it is.

    Args:
        simulator: the simulator to check, with or without its own workers.
        designs: at least two that it must be able to simulate.
        events: per design; each design is simulated four times.
        seed: of the event seeds.

    Raises:
        CheckFailed: what was expected, and what was got.
    """
    facts = dict(simulator.describe())
    require("simulator" in facts, "describe() to give at least the name under 'simulator'", facts)
    seeds: list[int] = np.random.default_rng(seed).integers(SEED_LIMIT, size=len(designs)).tolist()
    single = [_simulate(simulator, design, events, number) for design, number in zip(designs, seeds, strict=True)]
    differ = False
    for design, number, first in zip(designs, seeds, single, strict=True):
        same = _equal_readouts(first, _simulate(simulator, design, events, number))
        require(same, f"equal events for equal design and seed {number}", "different ones")
        differ |= not _equal_readouts(first, _simulate(simulator, design, events, number ^ 1))
    require(differ, "other events with another seed", "the same for all designs")
    if isinstance(simulator, BatchSimulator):
        for order in (slice(None), slice(None, None, -1)):
            batch = simulator.simulate_batch(designs[order], events, seeds[order])
            same = all(_equal_readouts(one, many) for one, many in zip(single[order], batch, strict=True))
            require(same, "in a batch, in any order, the events of single simulations", "different ones")


def _simulate(simulator: Simulator, design: Design, events: int, seed: int) -> Readout:
    given = copy.deepcopy(design)
    try:
        readout = simulator.simulate(given, events, seed)
    except Exception as error:
        raise CheckFailed(f"expected a readout of {dict(design)}, got {type(error).__name__}: {error}") from error
    require(given == design, f"the design to stay as it was, {design}", given)
    require(isinstance(readout, Readout), "a Readout", type(readout).__name__)
    require(np.ndim(readout.signals) == 2, "signals of shape [events, channels]", np.shape(readout.signals))
    for name, values in {"signals": readout.signals, **readout.truth}.items():
        require(len(values) == events, f"{events} events of {name}", len(values))
        require(bool(np.isfinite(values).all()), f"finite {name}", "NaN or infinity")
    return readout


def _equal_readouts(first: Any, second: Any) -> bool:
    if not (isinstance(first, Readout) and isinstance(second, Readout)):
        return False
    pairs = ((first.truth[name], second.truth[name]) for name in first.truth.keys() & second.truth.keys())
    same_truth = first.truth.keys() == second.truth.keys() and all(np.array_equal(*pair) for pair in pairs)
    return same_truth and np.array_equal(first.signals, second.signals)


def check_env(env: gym.Env[Any, Any], seed: int = 0) -> None:
    """An environment passes Gymnasium's own check, is a function of seed and actions, and ends with all its terms.

    Gymnasium compares one step for one seed; this repeats whole episodes, and demands that another seed matters.

    Raises:
        CheckFailed: what was expected, and what was got.
    """
    try:
        _check_gymnasium(env)
    except (AssertionError, TypeError, ValueError, gym.error.Error) as error:
        raise CheckFailed(f"expected Gymnasium's check_env to pass, got: {error}") from error
    env.action_space.seed(seed)
    actions: list[Any] = []
    first = _episode(env, actions, seed)
    require(first == (again := _episode(env, actions, seed)), f"equal steps for equal seed and actions, {first}", again)
    rewards = [step[1] for step in first]
    require(
        rewards != [step[1] for step in _episode(env, actions, seed + 1)], "other rewards with another seed", rewards
    )
    if "action_mask" in env.reset(seed=seed)[1]:
        _check_masks(env, seed)


def _check_masks(env: gym.Env[Any, Any], seed: int, episodes: int = 5) -> None:
    """Check that an action which the masks allow is carried out, not replaced."""
    for number in range(episodes):
        _, info = env.reset(seed=seed + number)
        ended = False
        while not ended:
            mask = info["action_mask"]
            _, _, terminated, truncated, info = env.step(env.action_space.sample(mask=mask))
            require("replaced" not in info, f"what is allowed by its mask to be carried out, {mask}", info)
            ended = terminated or truncated


def _check_gymnasium(env: gym.Env[Any, Any]) -> None:
    """Run Gymnasium's check; wrappers and unbounded observations are allowed, as a context has no bounds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(Box observation space|different from the unwrapped version)")
        gymnasium_check_env(env, skip_render_check=True)


def _episode(env: gym.Env[Any, Any], actions: list[Any], seed: int) -> list[tuple[Any, ...]]:
    """Steps (observation, reward, terminated, truncated) of one episode; actions that are missing are sampled."""
    observation, _ = env.reset(seed=seed)
    steps: list[tuple[Any, ...]] = [(_plain(observation), 0.0, False, False)]
    while not any(steps[-1][2:]):
        require(len(steps) <= STEP_LIMIT, f"an episode of at most {STEP_LIMIT} steps", "no end")
        if len(actions) < len(steps):
            actions.append(env.action_space.sample())
        observation, reward, terminated, truncated, info = env.step(actions[len(steps) - 1])
        require(math.isfinite(reward), "a finite reward in every step", reward)
        steps.append((_plain(observation), float(reward), terminated, truncated))
    _check_end(steps[-1], info)
    return steps


def _check_end(step: tuple[Any, ...], info: Mapping[str, Any]) -> None:
    """A finished design is terminated and has its terms; a failed simulation is truncated with its reason."""
    _, reward, terminated, truncated = step
    require(math.isfinite(reward), "a finite reward", reward)
    require(terminated != truncated, "an episode either terminated or truncated", f"{terminated=}, {truncated=}")
    if truncated:
        require("failure" in info and reward == 0, "reward 0 and a reason in info['failure'] when truncated", info)
        return
    require(info.keys() >= TERMS, f"the terms {', '.join(sorted(TERMS))} in the last info", sorted(info))


def _plain(value: Any) -> Any:
    """Observations in a form that == compares."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else np.asarray(value).tolist()
