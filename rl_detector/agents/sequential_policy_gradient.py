"""Policy gradient that builds every design component by component.

## Idea
The policy decides whether to stop. If not, it picks choices and coordinates of the next component, given those before.
A critic that is linear in grad ln pi, fitted to the latest evaluations, gives the natural gradient.
That is a local search, and building has many local optima: a finer sensor here must be paid with fewer ones there.
Three things lead out of them: imagined designs, edits of the best design, and imitation of a clearly better one.
Designs that may be recommended are evaluated again, so that neither recommendation nor imitation follows luck.

## Equations
    pi(a | s, xi) = product_t pi(a_t | s_t, xi)

As for one-shot design: (1) sample designs, (2) evaluate them, (3) find the advantage of every step, (4) ascend

    sum_i sum_t A_it grad ln pi(a_it | s_it)

The critic is w . grad ln pi, and its weights w are the natural gradient. The divergence KL(pi before, pi after) bounds
the length of the step.

## Source
S. Kakade, NIPS 2001; J. Peters and S. Schaal, Neurocomputing 71 (2008) 1180 (episodic natural actor-critic). Components
that are chosen one after the other: Qasim, Owen, Serra, arXiv:2412.10237.

## When to use it
Use it where the space has one `Repeated` component, above all when its number is free.
It stays within limits that one-shot proposals often break.
For a fixed number of components with a few parameters use `policy_gradient`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.policies import start_encoding
from rl_detector.agents.sequential.compatible import CompatibleCritic, normal_scores
from rl_detector.agents.sequential.contenders import MOST_CONTENDERS, Contenders
from rl_detector.agents.sequential.edits import Editor
from rl_detector.agents.sequential.imagination import Imagination
from rl_detector.agents.sequential.policy import Parameters, SequentialPolicy
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.reproducible import one_thread
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray

GROUPS = {
    "mean": ("mean", "coupling"),
    "spread": ("log_sigma",),
    "choices": ("logits", "stop"),
    "network": ("token", "features", "shift", "last", "query", "key", "value"),
}
"""Group of the critic -> quantities of the policy."""

PROPOSALS_PER_CONTENDER = 8
"""Proposals of which one is a contender that is evaluated again."""

SIGMA_MINIMUM, SIGMA_MAXIMUM = 0.002, 1.0
"""Bounds of the spread of a coordinate, in units of half the box."""

LARGEST_DIVERGENCE = 1.0
"""Largest KL divergence of a step, of whole designs, in nats.

Below it the step is the natural gradient of standardised rewards. Its divergence is then at most half of the variance
that the critic explains.
"""

IMAGINED_SHARE = 0.5
"""Share of the proposals that are the best of the imagined designs."""

FEWEST_REWARDS = 8
"""Evaluations before designs are imagined."""

LARGEST_RELATIVE_VARIANCE = 30.0
"""Relative variance above which the critic ignores an evaluation."""

TYPICAL_SAMPLES = 32
"""Samples of the policy from which the typical log-probability is taken."""


class SequentialPolicyGradient:
    """Episodic natural actor-critic with an autoregressive policy.

    Attributes:
        space: the designs that can be proposed.

    Args:
        sigma: initial spread of the coordinates in units of half the box.
        departure: initial probability that a choice differs from the start's.
        exploration: probability shared out among all options of a choice, so that none dies.
        memory: latest evaluations that the critic is fitted to.
        hidden: units of the network.
        imagined: designs imagined for each proposal, half of them samples and half edits of contenders; 0: none.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        sigma: float = 0.2,
        departure: float = 0.2,
        exploration: float = 0.05,
        memory: int = 512,
        hidden: int = 16,
        imagined: int = 8,
    ) -> None:
        _check(sigma, departure, exploration, (memory, hidden, imagined))
        self.space, self._rng = space, np.random.default_rng(seed)
        self._start = start_encoding(space, start)
        network = np.random.default_rng((seed, 1))
        self.policy = SequentialPolicy(space, self._start, sigma, departure, hidden, exploration, network)
        self._critic = CompatibleCritic.initial(tuple(GROUPS))
        self._memory, self._imagined = memory, imagined
        self._imagination = Imagination(self.policy.sequences)
        self._editor, self._departure = Editor(self.policy.sequences), departure
        self._contenders = Contenders(len(space.continuous), len(space.discrete))
        self._actions = Encoding(np.zeros((0, len(space.continuous))), np.zeros((0, len(space.discrete)), np.int64))
        self._rewards, self._batch = np.zeros(0), np.zeros(0, dtype=np.int64)
        self._told, self._metrics = 0, {"kl": 0.0, "explained": 0.0, "followed": 0.0}

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """(1) n designs, built component by component; some are contenders."""
        with one_thread():
            actions = self._proposals(n)
            if not (some := n // PROPOSALS_PER_CONTENDER):
                return actions
            self._contenders.add(next(self.policy.build(1, None).rows()))
            chosen = self._contenders.promising(some)
        return Encoding(*(np.concatenate([a, b[: n - len(a)]]) for a, b in zip(chosen, actions, strict=True)))

    def _proposals(self, n: int) -> Encoding:
        """Samples of the policy, and the best imagined designs, each in its own draw from the posterior."""
        some = round(IMAGINED_SHARE * n)
        if not self._imagined or len(self._rewards) < FEWEST_REWARDS or np.ptp(self._rewards) == 0 or not some:
            return self.policy.build(n, self._rng)
        candidates = self._candidates(n)
        told, y = self._actions, normal_scores(self._rewards)
        draws = self._imagination.draws(told, y, self._batch, candidates, some, self._rng)
        chosen: list[int] = []
        for draw in draws:
            draw[chosen] = -np.inf
            chosen.append(int(draw.argmax()))
        free = self.policy.build(n - some, self._rng)
        return Encoding(*(np.concatenate(pair) for pair in zip(free, candidates.take(chosen), strict=True)))

    def _candidates(self, n: int) -> Encoding:
        """Imagined designs: samples of the policy, and edits of the contenders."""
        half = max(self._imagined * n // 2, 2)
        sampled = self.policy.build(half, self._rng)
        if not len(self._contenders):
            return sampled
        best = self._contenders.promising(MOST_CONTENDERS)
        edited = self._editor.edited(best.take(self._rng.integers(len(best.discrete), size=half)), self._rng)
        return Encoding(*(np.concatenate(pair) for pair in zip(sampled, edited, strict=True)))

    def tell(self, batch: Batch) -> None:
        """(3) and (4): fit the critic, one natural-gradient step; (2), the evaluation, came before."""
        rewards = finite_rewards(batch)
        if batch.revised is not None:
            self._revise(batch.revised)
        if not len(rewards):
            return
        with one_thread():
            self._remember(batch, rewards)
            if np.ptp(self._rewards) > 0:
                self._update(len(rewards))
        self._contenders.tell(batch, rewards)
        self._contenders.add(next(batch.actions.take([int(rewards.argmax())]).rows()))
        self._follow()

    def _follow(self) -> None:
        """Move the policy to the best contender where it is clearly better than the likeliest design."""
        best, mode = self._contenders.best(), next(self.policy.build(1, None).rows())
        place = self._contenders.find(*mode)
        if best is None or place is None or self._contenders.counts[place] < 1:
            return
        lower, upper = self._contenders.bounds(-1.0), self._contenders.bounds(1.0)
        if lower.max() > upper[place]:
            self.policy.imitate(best, self._departure)
            self._metrics["followed"] += 1

    def _revise(self, revised: FloatArray) -> None:
        if revised.shape != (self._told,) or not np.isfinite(revised).all():
            raise SimulationError(f"expected {self._told} finite revised rewards, got an array {revised.shape}")
        self._rewards = np.asarray(revised, dtype=np.float64)[self._told - len(self._rewards) :]

    def _remember(self, batch: Batch, rewards: FloatArray) -> None:
        n, keep = len(rewards), slice(-max(self._memory, len(rewards)), None)
        self._actions = Encoding(
            *(np.concatenate(both)[keep] for both in zip(self._actions, batch.actions, strict=True))
        )
        number = self._batch[-1] + 1 if len(self._batch) else 0
        self._rewards = np.concatenate([self._rewards, rewards])[keep]
        self._batch = np.concatenate([self._batch, np.full(n, number)])[keep]
        self._told += n

    def _update(self, newest: int) -> None:
        """Fit the critic to the evaluations near the present policy, and take a step."""
        noise = self._noise()
        near = np.flatnonzero(noise < LARGEST_RELATIVE_VARIANCE)
        if len(near) < 4 or np.ptp(self._rewards[near]) == 0:
            return
        recent = int((near >= len(noise) - newest).sum())
        gradients = self.policy.gradients(self._actions.take(near))
        steps = 3 if len(near) <= 2 * recent else 1
        w = self._natural_gradient(gradients, near, noise[near], steps)
        own = [(gradients[name] * w[name]).reshape(len(near), -1).sum(dim=1) for name in w]
        self._step(w, torch.stack(own).sum(dim=0).numpy())

    def _natural_gradient(self, gradients: Parameters, near: IntArray, noise: FloatArray, steps: int) -> Parameters:
        """Weights w of the critic, reward = w . grad ln pi, after steps of its strengths towards the evidence."""
        scales = {name: _scale(value) for name, value in gradients.items()}
        features = {name: (value * scales[name]).reshape(len(near), -1).numpy() for name, value in gradients.items()}
        kernels, sizes = _kernels(features, self._batch[near])
        alpha = self._critic.fit(kernels, normal_scores(self._rewards[near]), noise, steps)
        w: Parameters = {}
        for group, quantities in GROUPS.items():
            for name in (name for name in features if _quantity(name) in quantities):
                weight = self._critic.strengths[group] / sizes[group] * (alpha @ features[name])
                w[name] = torch.from_numpy(weight).reshape(gradients[name].shape[1:]) * scales[name]
        return w

    def _step(self, w: Parameters, advantages: FloatArray) -> None:
        """Take a step whose divergence E[(step . grad ln pi)^2] / 2, from the Fisher information, is bounded."""
        kl = 0.5 * float(np.mean(advantages**2))
        length = min(1.0, math.sqrt(LARGEST_DIVERGENCE / max(kl, 1e-12)))
        self.policy.move({name: length * value for name, value in w.items()}, SIGMA_MINIMUM, SIGMA_MAXIMUM)
        self._metrics |= {"kl": min(kl, LARGEST_DIVERGENCE), "explained": float(np.var(advantages))}

    def _noise(self) -> FloatArray:
        """Relative variances, [n]; designs that the present policy would hardly propose say little of its gradient."""
        samples = self.policy.build(TYPICAL_SAMPLES, np.random.default_rng(self._told))
        typical = np.median(self.policy.log_probability(samples))
        decisions = math.sqrt(len(self.space.continuous) + len(self.space.discrete))
        distance = np.maximum(typical - self.policy.log_probability(self._actions), 0) / decisions
        noise: FloatArray = np.exp(np.minimum(2 * distance, 12))
        return noise

    def recommend(self, observation: FloatArray) -> Encoding:
        """The contender with the largest lower bound; before one was evaluated, the likeliest design, or the start."""
        best = self._contenders.best()
        if best is not None:
            return best
        return next(self.policy.build(1, None).rows()) if self._told else self._start

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean spread of the coordinates (0 without coordinates).
        contenders: designs that may be recommended.
        kl: divergence of the latest step, in nats.
        explained: variance of its advantages, in units of the standardised rewards.
        noise: share of the rewards' variance that the critic takes for noise.
        followed: imitations so far.
        """
        sigmas = [value.exp().reshape(-1) for name, value in self.policy.parameters.items() if "log_sigma" in name]
        spread = torch.cat(sigmas)
        sigma = float(spread.mean()) if len(spread) else 0.0
        noise = self._critic.strengths["noise"]
        return {"sigma": sigma, "contenders": float(len(self._contenders)), "noise": noise, **self._metrics}

    def state_dict(self) -> dict[str, Any]:
        """Policy, critic, contenders, memory and random generator."""
        arrays = (*self._actions, self._rewards, self._batch)
        return {
            "policy": {name: value.clone() for name, value in self.policy.parameters.items()},
            "critic": dict(self._critic.strengths),
            "imagination": dict(self._imagination.critic.strengths),
            "contenders": self._contenders.state_dict(),
            "memory": [torch.from_numpy(array.copy()) for array in arrays],
            "told": self._told,
            "metrics": dict(self._metrics),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.policy.parameters = {name: value.clone() for name, value in state["policy"].items()}
        self._critic.strengths = dict(state["critic"])
        self._imagination.critic.strengths = dict(state["imagination"])
        self._contenders.load_state_dict(state["contenders"])
        continuous, discrete, *rest = (array.numpy().copy() for array in state["memory"])
        self._actions = Encoding(continuous, discrete)
        self._rewards, self._batch = rest
        self._told, self._metrics = state["told"], dict(state["metrics"])
        self._rng.bit_generator.state = state["rng"]


def _quantity(name: str) -> str:
    return name.rpartition(".")[2]


def _kernels(features: Mapping[str, FloatArray], batch: IntArray) -> tuple[dict[str, FloatArray], dict[str, float]]:
    """Fisher kernels of the groups, and the median diagonals by which they are divided."""
    kernels: dict[str, FloatArray] = {}
    sizes: dict[str, float] = {}
    for group, quantities in GROUPS.items():
        own = [value for name, value in features.items() if _quantity(name) in quantities and value.shape[1]]
        kernel = sum((value @ value.T for value in own), np.zeros(2 * [len(batch)]))
        sizes[group] = max(float(np.median(np.diag(kernel))), 1e-9)
        kernels[group] = kernel / sizes[group]
    kernels["batch"] = (batch[:, None] == batch).astype(np.float64)
    return kernels, sizes


def _scale(gradients: torch.Tensor) -> torch.Tensor:
    """One over the root mean square of every entry of grad ln pi, about the units of the natural gradient."""
    if not gradients.numel():
        return torch.ones(gradients.shape[1:], dtype=torch.float64)
    square = gradients.square().mean(dim=0)
    return 1 / (square + 1e-3 * square.max() + 1e-12).sqrt()


def _check(sigma: float, departure: float, exploration: float, sizes: tuple[int, int, int]) -> None:
    memory, hidden, imagined = sizes
    sound = SIGMA_MINIMUM <= sigma <= SIGMA_MAXIMUM and 0 < departure < 1 and 0 <= exploration < 1
    if not (sound and memory >= 2 and hidden >= 1 and imagined >= 0):
        raise ConfigError(
            f"sequential_policy_gradient needs {SIGMA_MINIMUM} <= sigma <= {SIGMA_MAXIMUM}, 0 < departure < 1, "
            "0 <= exploration < 1, memory >= 2, hidden >= 1 and imagined >= 0, got "
            f"{sigma=}, {departure=}, {exploration=}, {memory=}, {hidden=}, {imagined=}"
        )
