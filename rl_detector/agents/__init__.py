"""The agents by name; only the chosen one is imported."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from rl_detector.agent import Agent
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace

AGENTS: dict[str, str] = {
    "policy_gradient": "rl_detector.agents.policy_gradient:PolicyGradient",
    "random_search": "rl_detector.agents.random_search:RandomSearch",
    "cma_es": "rl_detector.agents.cma_es:CmaEs",
}
"""Name of every agent -> "module:Class"."""


def agent_class(name: str) -> Any:
    """The class of an agent.

    Raises:
        ConfigError: there is no such agent.
    """
    if name not in AGENTS:
        raise ConfigError(f"unknown agent {name!r}: known are {', '.join(AGENTS)}")
    module, _, cls = AGENTS[name].partition(":")
    return getattr(import_module(module), cls)


def make_agent(name: str, space: DesignSpace, seed: int, start: Design | None = None, **settings: Any) -> Agent:
    """The agent of this name.

    Raises:
        ConfigError: there is no such agent or setting, or a setting has an impossible value.
        DesignError: `start` cannot be built.
    """
    constructor = agent_class(name)
    known = [setting for setting in inspect.signature(constructor).parameters if setting not in _COMMON]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r} of {name}: known are {', '.join(known) or 'none'}")
    agent: Agent = constructor(space, seed, start, **settings)
    return agent


_COMMON = ("space", "seed", "start")
