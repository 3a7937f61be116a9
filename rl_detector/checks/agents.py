"""The contract test of agents, part of `rl_detector.checks`."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from rl_detector.agent import Agent, Batch
from rl_detector.errors import CheckFailed, DesignError, DetectorError
from rl_detector.space import DesignSpace, Encoding, FloatArray

MakeAgent: TypeAlias = Callable[[DesignSpace, int], Agent]


OBSERVATION = np.zeros(1)
"""Observation for agents under test; agents of one-shot problems may ignore it."""


def require(holds: bool, expected: str, got: object) -> None:
    """Raise CheckFailed unless the condition holds."""
    if not holds:
        raise CheckFailed(f"expected {expected}; got {got}")


def check_agent(make_agent: MakeAgent, space: DesignSpace, seed: int = 0) -> None:
    """An agent keeps its protocol: shapes, determinism, an exact checkpoint, and no NaN.

    Args:
        make_agent: (space, seed) -> a new agent, for example the agent's class.
        space: the designs that it is to propose.
        seed: of the agent; another one, seed + 1, must give other proposals.

    Raises:
        CheckFailed: what was expected, and what was got.
    """
    _check_proposals(make_agent(space, seed), space)
    _check_determinism(make_agent, space, seed)
    _check_checkpoint(make_agent, space, seed)
    _check_refusal(make_agent(space, seed))


def _check_proposals(agent: Agent, space: DesignSpace) -> None:
    expected = (len(space.continuous),), (len(space.discrete),)
    _tell_nothing(agent, _ask(agent, space, 3))
    for n in (1, 5):
        agent.tell(_batch(_ask(agent, space, n), np.arange(n, dtype=np.float64)))
    best = agent.recommend(OBSERVATION)
    shapes = best.continuous.shape, best.discrete.shape
    require(shapes == expected, f"a recommendation of shapes {expected}", shapes)
    _decode(space, best)
    metrics = dict(agent.metrics())
    sound = "sigma" in metrics and all(math.isfinite(value) for value in metrics.values())
    require(sound, "finite metrics with `sigma` among them", metrics)


def _tell_nothing(agent: Agent, actions: Encoding) -> None:
    try:
        agent.tell(_batch(actions, np.zeros(0)))
    except Exception as error:
        raise CheckFailed(f"expected tell() to accept an empty batch, got {type(error).__name__}: {error}") from error


def _ask(agent: Agent, space: DesignSpace, n: int) -> Encoding:
    """Proposals of the right shapes that can all be built."""
    actions = agent.ask(OBSERVATION, n)
    shapes, expected = tuple(part.shape for part in actions), ((n, len(space.continuous)), (n, len(space.discrete)))
    require(shapes == expected, f"ask({n}) to give shapes {expected}", shapes)
    for row in actions.rows():
        _decode(space, row)
    return actions


def _decode(space: DesignSpace, row: Encoding) -> None:
    try:
        space.decode(row)
    except DesignError as error:
        raise CheckFailed(f"expected designs that can be built, got {row}: {error}") from error


def _batch(actions: Encoding, rewards: FloatArray) -> Batch:
    return Batch(actions.take(np.arange(len(rewards))), rewards, np.full(len(rewards), 0.1))


def _rounds(agent: Agent, seed: int, rounds: int = 3, n: int = 8) -> list[Encoding]:
    """Proposals of some rounds with rewards that depend on them, and the recommendation at the end."""
    noise = np.random.default_rng(seed)
    history = []
    for _ in range(rounds):
        actions = agent.ask(OBSERVATION, n)
        history.append(Encoding(actions.continuous.copy(), actions.discrete.copy()))
        agent.tell(_batch(actions, noise.normal(size=n) - (np.clip(actions.continuous, -1, 1) ** 2).sum(axis=1)))
    return [*history, agent.recommend(OBSERVATION)]


def _check_determinism(make_agent: MakeAgent, space: DesignSpace, seed: int) -> None:
    first, second, third = (make_agent(space, number) for number in (seed, seed, seed + 1))
    history = _rounds(first, 0)
    require(_equal_histories(history, _rounds(second, 0)), "equal proposals for equal seeds", "different ones")
    first.recommend(OBSERVATION)
    same = _equal_histories(_rounds(first, 1, 1), _rounds(second, 1, 1))
    require(same, "a recommendation that draws no random numbers", "other proposals after it")
    require(not _equal_histories(history, _rounds(third, 0)), "other proposals with another seed", "the same")


def _check_checkpoint(make_agent: MakeAgent, space: DesignSpace, seed: int) -> None:
    """Check that an agent restored between ask and tell continues like an uninterrupted one."""
    agent, restored = make_agent(space, seed), make_agent(space, seed)
    _rounds(agent, 0)
    pending = agent.ask(OBSERVATION, 8)
    restored.load_state_dict(_through_file(agent.state_dict()))
    for one in (agent, restored):
        one.tell(_batch(pending, np.linspace(-9, -8, 8)))  # poor rewards, so that earlier designs remain the best
    same = _equal_histories(_rounds(agent, 1, 2), _rounds(restored, 1, 2))
    require(
        same, "equal proposals after load_state_dict(state_dict())", "different ones: is the random generator in it?"
    )


def _through_file(state: Any) -> Any:
    import torch

    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)
    except Exception as error:
        raise CheckFailed(f"expected a state_dict of tensors and plain values, got: {error}") from error


def _check_refusal(agent: Agent) -> None:
    for bad in (math.nan, math.inf):
        actions = agent.ask(OBSERVATION, 4)
        try:
            agent.tell(_batch(actions, np.array([0.0, 1.0, bad, 2.0])))
        except DetectorError:
            continue
        raise CheckFailed(f"expected tell() to refuse the reward {bad} with a DetectorError, got no error")


def _equal_histories(first: Sequence[Encoding], second: Sequence[Encoding]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))
