"""The agents by name; only the chosen one is imported."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from typing import Any

import numpy as np

from rl_detector.agent import Agent
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace

AGENTS: dict[str, str] = {
    "policy_gradient": "rl_detector.agents.policy_gradient:PolicyGradient",
    "random_search": "rl_detector.agents.peers.random_search:RandomSearch",
    "cma_es": "rl_detector.agents.peers.cma_es:CmaEs",
    "reinforce": "rl_detector.agents.peers.reinforce:Reinforce",
    "tpe": "rl_detector.agents.peers.tpe:Tpe",
    "ppo": "rl_detector.agents.peers.ppo:Ppo",
    "sac": "rl_detector.agents.peers.sac:Sac",
    "bayesian": "rl_detector.agents.surrogates.bayesian:Bayesian",
    "turbo": "rl_detector.agents.surrogates.turbo:Turbo",
    "nsga2": "rl_detector.agents.peers.nsga2:Nsga2",
    "l_gso": "rl_detector.agents.surrogates.l_gso:LGso",
    "contextual_policy_gradient": "rl_detector.agents.contextual_policy_gradient:ContextualPolicyGradient",
    "sequential_policy_gradient": "rl_detector.agents.sequential_policy_gradient:SequentialPolicyGradient",
}
"""Name of every agent -> "module:Class"."""


def agent_class(name: str) -> Any:
    """The class of an agent.

    Raises:
        ConfigError: there is no such agent, or the library behind it is not installed.
    """
    if name not in AGENTS:
        raise ConfigError(f"unknown agent {name!r}: known are {', '.join(AGENTS)}")
    module, _, cls = AGENTS[name].partition(":")
    state = np.random.get_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # libraries warn about each other
            return getattr(import_module(module), cls)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _PEERS:
            raise
        raise ConfigError(
            f"the agent {name} needs the library {library}, which is not installed: pip install 'rl_detector[peers]'"
        ) from error
    finally:
        np.random.set_state(state)  # noqa: NPY002 (some libraries draw random numbers when they are imported)


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


_PEERS = ("botorch", "gpytorch", "linear_operator", "optuna", "pymoo")
"""Libraries of the optional extra `peers`."""

_COMMON = ("space", "seed", "start")
