"""A design problem as an episode of many steps: it is built component by component, or edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_detector.episodes.builder import Action, Builder, Mask, MayFit, PartialDesign
from rl_detector.episodes.env import SEED_LIMIT, CostRange, context_space, draw_context, evaluation_info
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.registry import load_factory
from rl_detector.space import Design, DesignSpace, Encoding

Potential = Callable[[Design], float]


SHAPINGS = ("charge", "reward")


class BuilderEnv(gym.Env[Any, Any]):
    """One component per step.

    ## Description
    An episode adds components to a problem's one Repeated, beginning with none, or edits a finished design. The design
    is simulated once, at the end.

    ## Action space
    Dict with these entries; an operation ignores the entries that it does not need.
    operation: Discrete, an index into `operations`. These are stop and add; when editing also move, remove and swap;
    and set where the space has parameters outside the Repeated (the first step of building).
    index: Discrete(maximum), only when editing. The component is added before it, or moved, removed or swapped there;
    an index beyond the last component means the last.
    continuous: Box(-1, 1), and discrete: MultiDiscrete. Coordinates and choices of the component.
    head_continuous, head_discrete: coordinates and choices of the parameters outside the Repeated.
    `info["action_mask"]` fits `action_space.sample(mask=...)`; `action_masks()` is one flat array for sb3-contrib.
    An operation that is not allowed is replaced by the first allowed one, and named in `info["replaced"]`.

    ## Observation space
    Dict with these entries.
    components: [maximum, features], coordinates in [-1, 1] and choices as zeros and ones, padded with zeros.
    mask: [maximum], 1 for rows of components.
    remaining: share that is left of every limit, every cost (of its reference) and the steps; negative beyond.
    context: as in DesignEnv.
    head: parameters outside the Repeated, where there are any.

    ## Reward
    reach - cost_weight * cost - penalties at the end, 0 before. With shaping every step earns the gain in a potential
    Phi of the design so far, and the last step earns the rest. The sum over an episode is the reward without shaping
    (Ng, Harada, Russell 1999, with discount 1 and Phi = 0 at both ends).
    shaping="charge": Phi is minus the cost and penalties of the design so far.
    shaping="reward": Phi is its reward on the events of the episode, once it can be built; one simulation per step.
    A function design -> Phi must accept unfinished designs.

    ## Episode end
    Terminated by stop, at the maximum, when nothing more fits, or after the last edit. A simulation that fails
    truncates the episode instead, with reward 0 in that step and its reason in `info["failure"]`.

    ## Arguments
    problem: with exactly one Repeated. events: simulated events per design. edits: most edits of an episode; None:
    build from nothing. shaping: see Reward. cost_weight_range: as in DesignEnv. may_fit: (partial design, component)
    -> whether it may be added, instead of the limits of the problem. `reset(options={"design": ...})` begins editing
    with this design, else with the first baseline.

    ## Version history
    v0: first version.

    ## Examples
    >>> import rl_detector as rd
    >>> import gymnasium as gym
    >>> env = gym.make("rl_detector/SpectrometerBuilder-v0", events=100)
    >>> observation, info = env.reset(seed=0)
    >>> _ = env.action_space.seed(0)
    >>> env.unwrapped.operations
    ('stop', 'add')
    >>> action = env.action_space.sample(mask=info["action_mask"])
    >>> observation, reward, terminated, truncated, info = env.step(action)
    >>> reward, terminated, int(observation["mask"].sum())
    (0.0, False, 1)
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(
        self,
        problem: DesignProblem,
        events: int = 400,
        edits: int | None = None,
        shaping: str | Potential | None = None,
        cost_weight_range: CostRange | None = None,
        may_fit: MayFit | None = None,
    ) -> None:
        if isinstance(shaping, str) and shaping not in SHAPINGS:
            raise ConfigError(f"unknown shaping {shaping!r}: known are {', '.join(SHAPINGS)}, a function, or None")
        problem.check_events(events)
        self.problem, self.events, self.shaping = problem, events, shaping
        self.cost_weight_range = cost_weight_range
        self.builder = Builder(problem, edits, may_fit)
        actions = _action_space(self.builder)
        self.action_space, self.entries = actions, actions.spaces
        self.observation_space = _observation_space(self.builder)
        self.partial = PartialDesign(stopped=True)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations, in order."""
        return self.builder.operations

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; the event seed of its design is drawn here."""
        super().reset(seed=seed)
        self.problem = draw_context(self.problem, self.cost_weight_range, self.np_random)
        self.builder.problem = self.problem
        self.partial = self.builder.begin((options or {}).get("design"))
        self._event_seed = int(self.np_random.integers(SEED_LIMIT))
        self._paid = self._phi = 0.0
        return self._observation(), {"action_mask": self.mask()}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one decision."""
        if self.builder.done(self.partial):
            raise gym.error.ResetNeeded("the design is finished: call reset() to begin another")
        given = self.decode(action)
        legal = [name for name, allowed in self.builder.legal(self.partial).items() if allowed]
        carried_out = given if given.operation in legal else given._replace(operation=legal[0])
        self.partial = self.builder.apply(self.partial, carried_out)
        replaced = {} if carried_out is given else {"replaced": given.operation}
        if self.builder.done(self.partial):
            reward, terminated, info = self._finished()
            return self._observation(), reward, terminated, not terminated, {**self._masks(), **replaced, **info}
        return self._observation(), self._gain(), False, False, {**self._masks(), **replaced}

    def decode(self, action: Mapping[str, Any]) -> Action:
        """The action of the action space as a decision."""
        component = _encoding(action, "", self.builder.repeated.space)
        space = self.builder.head_space
        head = _encoding(action, "head_", space) if space is not None else component
        return Action(self.operations[int(action["operation"])], int(action.get("index", 0)), component, head)

    def _finished(self) -> tuple[float, bool, dict[str, Any]]:
        """Reward of the last step, whether the design was measured, and its terms."""
        evaluation = self._evaluate()
        if evaluation.reward is None:
            return 0.0, False, evaluation_info(evaluation)
        return evaluation.reward - self._paid, True, evaluation_info(evaluation)

    def _evaluate(self) -> Evaluation:
        return self.problem.evaluate(self.builder.design(self.partial), self.events, self._event_seed)

    def _gain(self) -> float:
        """Phi after the step minus Phi before it; the sum is kept, so that the last step pays the rest."""
        if self.shaping is None:
            return 0.0
        phi = self._potential()
        gain, self._phi = phi - self._phi, phi
        self._paid += gain
        return gain

    def _potential(self) -> float:
        if callable(self.shaping):
            return float(self.shaping(self.builder.design(self.partial)))
        if self.shaping == "charge":
            return -self.builder.charge(self.partial)
        if not self.builder.complete(self.partial):
            return self._phi
        reward = self._evaluate().reward
        return self._phi if reward is None else reward

    def _observation(self) -> dict[str, Any]:
        builder, partial = self.builder, self.partial
        present = np.arange(builder.repeated.maximum) < len(partial.components)
        observation = {
            "components": builder.table(partial),
            "mask": present.astype(np.int8),
            "remaining": builder.remaining(partial),
            "context": self.problem.observation,
        }
        return observation if builder.head_space is None else {**observation, "head": builder.head(partial)}

    def _masks(self) -> dict[str, Any]:
        return {"action_mask": self.mask()}

    def mask(self) -> dict[str, Any]:
        """What is allowed, in the form that `action_space.sample(mask=...)` takes; None: everything."""
        legal = list(self.builder.legal(self.partial).values())
        masks: dict[str, Any] = dict.fromkeys(self.entries)
        masks["operation"] = np.array(legal, dtype=np.int8)
        if "index" in masks:
            masks["index"] = self._index_mask()
        if "discrete" in masks:
            masks["discrete"] = tuple(self.builder.choice_masks(self.partial))
        if "head_discrete" in masks and self.builder.head_space is not None:
            masks["head_discrete"] = tuple(np.ones(size, dtype=np.int8) for size in self.builder.head_space.choices)
        return masks

    def _index_mask(self) -> Mask:
        """Existing components, and the place behind the last one."""
        places = np.arange(self.builder.repeated.maximum)
        return (places <= len(self.partial.components)).astype(np.int8)

    def action_masks(self) -> NDArray[np.bool_]:
        """The masks of all discrete entries in the order of the action space, [options]."""
        flat: list[Any] = []
        for mask in self.mask().values():
            flat.extend(mask if isinstance(mask, tuple) else () if mask is None else (mask,))
        return np.concatenate(flat).astype(bool)


def _action_space(builder: Builder) -> spaces.Dict:
    parts: dict[str, spaces.Space[Any]] = {"operation": spaces.Discrete(len(builder.operations))}
    if builder.edits is not None:
        parts["index"] = spaces.Discrete(builder.repeated.maximum)
    parts |= _native("", builder.repeated.space)
    if builder.head_space is not None:
        parts |= _native("head_", builder.head_space)
    return spaces.Dict(parts)


def _native(prefix: str, space: DesignSpace) -> dict[str, spaces.Space[Any]]:
    parts: dict[str, spaces.Space[Any]] = {}
    if space.continuous:
        parts[f"{prefix}continuous"] = spaces.Box(-1.0, 1.0, (len(space.continuous),), np.float64)
    if space.discrete:
        parts[f"{prefix}discrete"] = spaces.MultiDiscrete(list(space.choices))
    return parts


def _encoding(action: Mapping[str, Any], prefix: str, space: DesignSpace) -> Encoding:
    continuous = np.asarray(action.get(f"{prefix}continuous", np.zeros(len(space.continuous))), dtype=np.float64)
    discrete = np.asarray(action.get(f"{prefix}discrete", np.zeros(len(space.discrete))), dtype=np.int64)
    return Encoding(continuous, discrete)


def _observation_space(builder: Builder) -> spaces.Dict:
    rows, features = builder.table(PartialDesign(head={})).shape
    parts: dict[str, spaces.Space[Any]] = {
        "components": spaces.Box(-1.0, 1.0, (rows, features), np.float64),
        "mask": spaces.MultiBinary(rows),
        "remaining": spaces.Box(-np.inf, np.inf, (len(builder.budgets),), np.float64),
        "context": context_space(builder.problem),
    }
    if builder.head_space is not None:
        size = len(builder.head_space.continuous) + sum(builder.head_space.choices)
        parts["head"] = spaces.Box(-1.0, 1.0, (size,), np.float64)
    return spaces.Dict(parts)


def make_builder_env(
    factory: str,
    events: int = 400,
    edits: int | None = None,
    shaping: str | Potential | None = None,
    cost_weight_range: CostRange | None = None,
    **settings: Any,
) -> BuilderEnv:
    """Entry point of gym.make for "rl_detector/NameBuilder-v0": `settings` go to the problem factory."""
    return BuilderEnv(load_factory(factory)(**settings), events, edits, shaping, cost_weight_range)
