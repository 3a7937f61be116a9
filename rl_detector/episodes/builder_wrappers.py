"""Views of BuilderEnv for other libraries: one vector of observations; one Box of actions, or one MultiDiscrete."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_detector.episodes.builder_env import BuilderEnv
from rl_detector.errors import ConfigError, DesignError, MissingDependency
from rl_detector.space import FloatArray, IntArray


def _builder_env(env: gym.Env[Any, Any], wrapper: str) -> BuilderEnv:
    if not isinstance(env.unwrapped, BuilderEnv):
        raise ConfigError(f"{wrapper} wraps a BuilderEnv, got {type(env.unwrapped).__name__}")
    return env.unwrapped


def _sizes(space: spaces.Space[Any]) -> list[int]:
    """Options of every choice of one entry of the action space; none of a Box."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return [int(size) for size in space.nvec] if isinstance(space, spaces.MultiDiscrete) else []


class BuilderBox(gym.ActionWrapper[Any, Any, Any]):
    """The actions of a BuilderEnv as one Box(-1, 1): coordinates, then one score per option of each choice.

    The allowed option with the largest score is taken, so no action is replaced. The observation
    is one vector. Use it with PPO, SAC and others of Stable-Baselines3.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.builder_env = _builder_env(env, "BuilderBox")
        super().__init__(gym.wrappers.FlattenObservation(env))
        self.entries = self.builder_env.entries
        size = sum(sum(_sizes(entry)) or int(np.prod(entry.shape or ())) for entry in self.entries.values())
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

    def action(self, action: FloatArray) -> dict[str, Any]:
        """The native action of a Box action, [size]."""
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.action_space.shape or np.isnan(values).any():
            raise DesignError(f"expected {self.action_space.shape} finite numbers, got {values}")
        result, masks, first = {}, self.builder_env.mask(), 0
        for name, entry in self.entries.items():
            sizes = _sizes(entry)
            width = sum(sizes) or int(np.prod(entry.shape or ()))
            part, first = values[first : first + width], first + width
            result[name] = _best(part, sizes, masks[name], entry) if sizes else part
        return result


def _best(scores: FloatArray, sizes: list[int], masks: Any, entry: spaces.Space[Any]) -> Any:
    """The allowed option with the largest score of every choice."""
    allowed = np.concatenate(masks if isinstance(masks, tuple) else (masks,)).astype(bool)
    parts = np.split(np.where(allowed, scores, -np.inf), np.cumsum(sizes)[:-1])
    chosen = np.array([part.argmax() for part in parts], dtype=np.int64)
    return int(chosen[0]) if isinstance(entry, spaces.Discrete) else chosen


class BuilderBins(gym.ActionWrapper[Any, Any, Any]):
    """The actions of a BuilderEnv as one MultiDiscrete with `action_masks()`: every number is one of equal bins.

    Use it with MaskablePPO, see `maskable_ppo`.

    Args:
        bins: per number; their centres are proposed.
    """

    def __init__(self, env: gym.Env[Any, Any], bins: int = 11) -> None:
        if bins < 2:
            raise ConfigError(f"a number needs at least 2 bins, got {bins}")
        self.builder_env = _builder_env(env, "BuilderBins")
        super().__init__(gym.wrappers.FlattenObservation(env))
        self.bins, self.entries = bins, self.builder_env.entries
        sizes: list[int] = []
        for entry in self.entries.values():
            sizes += _sizes(entry) or [bins] * int(np.prod(entry.shape or ()))
        self.action_space = spaces.MultiDiscrete(sizes)

    def action(self, action: IntArray) -> dict[str, Any]:
        """The native action of a MultiDiscrete action."""
        values, result, first = np.asarray(action, dtype=np.int64), {}, 0
        for name, entry in self.entries.items():
            width = len(_sizes(entry)) or int(np.prod(entry.shape or ()))
            part, first = values[first : first + width], first + width
            result[name] = self._native(part, entry)
        return result

    def _native(self, part: IntArray, entry: spaces.Space[Any]) -> Any:
        if isinstance(entry, spaces.Discrete):
            return int(part[0])
        return part if isinstance(entry, spaces.MultiDiscrete) else (2 * part + 1) / self.bins - 1

    def action_masks(self) -> NDArray[np.bool_]:
        """What is allowed now, [options of all choices and bins]."""
        flat: list[Any] = []
        for (_, entry), mask in zip(self.entries.items(), self.builder_env.mask().values(), strict=True):
            free = np.ones(self.bins * int(np.prod(entry.shape or ())), dtype=bool)
            flat.extend(mask if isinstance(mask, tuple) else (free if mask is None else mask,))
        return np.concatenate(flat).astype(bool)


def maskable_ppo(env: gym.Env[Any, Any], bins: int = 11, **settings: Any) -> Any:
    """MaskablePPO of sb3-contrib on a BuilderEnv; `settings` go to its constructor.

    Raises:
        MissingDependency: sb3-contrib is not installed.
    """
    try:
        from sb3_contrib import MaskablePPO
    except ModuleNotFoundError as error:
        raise MissingDependency("MaskablePPO needs sb3-contrib: pip install 'rl_detector[maskable]'") from error
    return MaskablePPO("MlpPolicy", BuilderBins(env, bins), **settings)
