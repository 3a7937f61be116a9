"""Views of the environments for other libraries: one Box of actions, and Stable-Baselines3's vector interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from rl_detector.encodings import BoxEncoding
from rl_detector.episodes.env import DesignEnv, VectorDesignEnv
from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray


def _design_space(env: gym.Env[Any, Any]) -> BoxEncoding:
    if not isinstance(env.unwrapped, DesignEnv):
        raise ConfigError(f"BoxAction wraps a DesignEnv, got {type(env.unwrapped).__name__}")
    return BoxEncoding(env.unwrapped.problem.space)


class BoxAction(gym.ActionWrapper[Any, Any, Any]):
    """Any native action space as one Box(-1, 1): continuous coordinates, then one score per option of each choice.

    The option with the largest score is taken. Use it for PPO, SAC, CMA-ES and others that need a single Box.
    """

    def __init__(self, env: gym.Env[FloatArray, Any]) -> None:
        super().__init__(env)
        self.box = _design_space(env)
        self.action_space = spaces.Box(-1.0, 1.0, (self.box.size,), np.float32)

    def action(self, action: FloatArray) -> Any:
        """The native action of a Box action, [size]."""
        encoding = self.box.to_encoding(np.asarray(action, dtype=np.float64))
        return self.box.space.to_action(encoding)


class SB3VecEnv(VecEnv):
    """A VectorDesignEnv as a Stable-Baselines3 VecEnv with one Box of actions and float32 observations.

    Failed simulations appear as `TimeLimit.truncated` with their reason in `info["failure"]`.
    """

    def __init__(self, env: VectorDesignEnv) -> None:
        self.env = env
        self.box = BoxEncoding(env.problems[0].space)
        observation = spaces.Box(-np.inf, np.inf, env.single_observation_space.shape, np.float32)
        super().__init__(env.num_envs, observation, spaces.Box(-1.0, 1.0, (self.box.size,), np.float32))
        self._next_seed: int | None = None

    def reset(self) -> Any:
        """Start all episodes."""
        observations, _ = self.env.reset(seed=self._next_seed)
        self._next_seed = None
        return observations.astype(np.float32)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed of the next reset."""
        self._next_seed = seed
        return [seed] * self.num_envs

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = np.asarray(actions, dtype=np.float64)

    def step_wait(self) -> Any:
        """Measure all designs in one call of the simulator."""
        native = self.box.space.to_action(self.box.to_encoding(self._actions))
        observations, rewards, terminated, truncated, infos = self.env.step(native)
        return observations.astype(np.float32), rewards, terminated | truncated, self._infos(infos, truncated)

    def _infos(self, infos: dict[str, Any], truncated: Any) -> list[dict[str, Any]]:
        final, result = infos["final_info"], []
        for index in range(self.num_envs):
            info = {name: final[name][index] for name in final if name[0] != "_" and final[f"_{name}"][index]}
            info["terminal_observation"] = infos["final_obs"][index].astype(np.float32)
            info["TimeLimit.truncated"] = bool(truncated[index])
            result.append(info)
        return result

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once per index."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment (shared by all)."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the vector environment once; its result stands for every index."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No environment inside is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
