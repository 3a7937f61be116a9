"""A design problem seen by reinforcement learning: one-shot environments, single and vectorised."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.registry import load_factory
from rl_detector.space import FloatArray

SEED_LIMIT = 2**63 - 1
"""Event seeds lie in [0, SEED_LIMIT): what SQLite can store."""


CostRange = tuple[float, float]


class DesignEnv(gym.Env[Any, Any]):
    """One design per episode.

    ## Description
    The agent proposes a complete design, the simulator measures it, the episode ends.

    ## Action space
    The native space of the problem's DesignSpace: Box(-1, 1, (c,)), or Dict(continuous=Box, discrete=MultiDiscrete)
    when there are choices. Wrap in BoxAction for algorithms that need one Box.

    ## Observation space
    Box of the problem's context: cost weight, penalty weight, and its conditions such as beam energies.

    ## Reward
    reach - cost_weight * cost - penalties; its terms are in `info`.

    ## Episode end
    Terminated after one step. A simulation that fails truncates the episode instead, with reward 0 and its reason in
    `info["failure"]`: leave such steps out of the learning.

    ## Arguments
    problem: the design problem. events: simulated events per design. cost_weight_range: when given, every reset draws
    a cost weight from it, so that one policy can learn to serve many prices.

    ## Version history
    v0: first version.

    ## Examples
    >>> import rl_detector as rd
    >>> import gymnasium as gym
    >>> env = gym.make("rl_detector/Oracle-v0", kind="quadratic", dimensions=2, events=100)
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(np.zeros(2))
    >>> terminated, truncated, sorted(info["design"])
    (True, False, ['x0', 'x1'])
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(self, problem: DesignProblem, events: int = 400, cost_weight_range: CostRange | None = None) -> None:
        self.problem = problem
        self.events = events
        self.cost_weight_range = cost_weight_range
        self.action_space = problem.space.gym_space
        self.observation_space = context_space(problem)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode: the observation is the context of the task."""
        super().reset(seed=seed)
        self.problem = draw_context(self.problem, self.cost_weight_range, self.np_random)
        return self.problem.observation, {}

    def step(self, action: Any) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Measure the proposed design."""
        design = self.problem.space.decode(self.problem.space.from_action(action))
        evaluation = self.problem.evaluate(design, self.events, int(self.np_random.integers(SEED_LIMIT)))
        failed = evaluation.reward is None
        reward = 0.0 if evaluation.reward is None else evaluation.reward
        return self.problem.observation, reward, not failed, failed, evaluation_info(evaluation)


class VectorDesignEnv(VectorEnv[Any, Any, Any]):
    """N designs per step, measured in one call of the simulator, with SAME_STEP autoreset.

    Arguments as for DesignEnv, and:
    num_envs: number N of designs.
    common_events: whether all designs of a step share their event seed. Such common random numbers sharpen comparisons
    within a step.

    Examples:
        >>> import rl_detector as rd
        >>> import gymnasium as gym
        >>> mode = "vector_entry_point"
        >>> envs = gym.make_vec("rl_detector/Oracle-v0", num_envs=3, vectorization_mode=mode, dimensions=2, events=100)
        >>> observations, info = envs.reset(seed=0)
        >>> envs.step(np.zeros((3, 2)))[1].shape
        (3,)
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        problem: DesignProblem,
        num_envs: int = 1,
        events: int = 400,
        cost_weight_range: CostRange | None = None,
        common_events: bool = False,
    ) -> None:
        self.problems = [problem] * num_envs
        self.num_envs = num_envs
        self.events = events
        self.cost_weight_range = cost_weight_range
        self.common_events = common_events
        self.single_action_space = problem.space.gym_space
        self.single_observation_space = context_space(problem)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start N episodes; a list of seeds (None: left out) is folded into one generator."""
        seeds = [seed] if seed is None or isinstance(seed, (int, np.integer)) else seed
        given = [int(number) for number in seeds if number is not None]
        if given:
            self._np_random = np.random.default_rng(given)
        return self._new_context(), {}

    def step(self, actions: Any) -> tuple[FloatArray, FloatArray, Any, Any, dict[str, Any]]:
        """Measure N designs; the returned observations belong to the next episodes."""
        space = self.problems[0].space
        designs = [space.decode(row) for row in space.from_action(actions).rows()]
        draws = 1 if self.common_events else self.num_envs
        seeds = self.np_random.integers(SEED_LIMIT, size=draws).tolist() * (self.num_envs // draws)
        evaluations = self.problems[0].evaluate_batch(designs, self.events, seeds)
        rewards, failed = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        for index, (problem, evaluation) in enumerate(zip(self.problems, evaluations, strict=True)):
            failed[index] = evaluation.failed
            rewards[index] = _reward(problem, evaluation)
        final = {"final_obs": self._observations(), "final_info": _stack_infos(evaluations, rewards)}
        infos = {**final, "_final_obs": np.ones(self.num_envs, bool), "_final_info": np.ones(self.num_envs, bool)}
        return self._new_context(), rewards, ~failed, failed, infos

    def _new_context(self) -> FloatArray:
        self.problems = [draw_context(p, self.cost_weight_range, self.np_random) for p in self.problems]
        return self._observations()

    def _observations(self) -> FloatArray:
        return np.stack([problem.observation for problem in self.problems])


def context_space(problem: DesignProblem) -> spaces.Box:
    """Observation space of the context: unbounded, one number per entry."""
    return spaces.Box(-np.inf, np.inf, problem.observation.shape, np.float64)


def draw_context(
    problem: DesignProblem, cost_weight_range: CostRange | None, rng: np.random.Generator
) -> DesignProblem:
    """The problem with a cost weight drawn uniformly from the range, or unchanged without a range."""
    if cost_weight_range is None:
        return problem
    return problem.with_cost_weight(float(rng.uniform(*cost_weight_range)))


def evaluation_info(evaluation: Evaluation) -> dict[str, Any]:
    """The terms of an evaluation, apart from each other."""
    info: dict[str, Any] = {
        "design": dict(evaluation.design),
        "events": evaluation.events,
        "costs": dict(evaluation.costs),
        "violations": dict(evaluation.violations),
    }
    if evaluation.measurement is None:
        return {**info, "failure": evaluation.failure}
    measured = evaluation.measurement
    terms = {"reach": measured.reach, "reach_error": measured.error, "metric": measured.metric}
    return {**info, **terms, "metric_error": measured.metric_error, "diagnostics": dict(measured.diagnostics)}


def _reward(problem: DesignProblem, evaluation: Evaluation) -> float:
    """The reward under this problem's weights (they may differ within a step); 0 for a failed evaluation."""
    if evaluation.measurement is None:
        return 0.0
    return evaluation.measurement.reach - problem.charge(evaluation.costs, evaluation.violations)


def _stack_infos(evaluations: list[Evaluation], rewards: FloatArray) -> dict[str, Any]:
    """Gymnasium's form of vectorised infos: name -> array over environments, `_name` -> where it is set."""
    infos = [evaluation_info(evaluation) for evaluation in evaluations]
    result: dict[str, Any] = {}
    for name in sorted({name for info in infos for name in info}):
        present = np.array([name in info for info in infos])
        number = all(isinstance(info.get(name, 0.0), (int, float)) for info in infos)
        values = np.zeros(len(infos)) if number else np.full(len(infos), None, dtype=object)
        for index in np.flatnonzero(present):
            values[index] = infos[index][name]
        result[name], result[f"_{name}"] = values, present
    return {**result, "reward": rewards, "_reward": np.ones(len(infos), bool)}


def make_env(factory: str, events: int = 400, cost_weight_range: CostRange | None = None, **settings: Any) -> DesignEnv:
    """Entry point of gym.make for registered problems: `settings` go to the problem factory."""
    return DesignEnv(load_factory(factory)(**settings), events, cost_weight_range)


def make_vector_env(
    factory: str,
    num_envs: int = 1,
    events: int = 400,
    cost_weight_range: CostRange | None = None,
    common_events: bool = False,
    **settings: Any,
) -> VectorDesignEnv:
    """Entry point of gym.make_vec for registered problems."""
    return VectorDesignEnv(load_factory(factory)(**settings), num_envs, events, cost_weight_range, common_events)
