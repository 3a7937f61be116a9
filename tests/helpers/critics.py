"""Designs around a policy, and critics of them."""

from __future__ import annotations

import numpy as np

from rl_detector.agents.critic.choices import Slots
from rl_detector.agents.critic.components import KERNELS, Points
from rl_detector.agents.critic.model import COMPONENTS, Critic, Variances
from rl_detector.space import FloatArray

DENSE = {"linear": 0.4, "choices": 0.25, "bowl": 0.3, "quadratic": 0.1, "interaction": 0.15}

STRENGTHS = {**DENSE, "batch": 0.2}


def make_points(
    rng: np.random.Generator, n: int, c: int, choices: tuple[int, ...] = (), noise: FloatArray | None = None
) -> Points:
    """n designs around a policy of any covariance, in batches of 4."""
    root = rng.standard_normal((c, c))
    values, vectors = np.linalg.eigh(root @ root.T + 0.1 * np.eye(c)) if c else (np.zeros(0), root)
    scale = (vectors * np.sqrt(values)) @ vectors.T
    z = rng.standard_normal((n, c))
    discrete = np.array([rng.integers(0, m, n) for m in choices], dtype=np.int64).reshape(len(choices), n).T
    relative = np.ones(n) if noise is None else noise
    return Points(z @ scale.T, scale, z, Slots(choices).columns(discrete), relative, np.arange(n) // 4, len(choices))


def symmetric(rng: np.random.Generator, c: int) -> FloatArray:
    root = rng.standard_normal((c, c))
    return root + root.T


def fitted(points: Points, y: FloatArray, without: tuple[str, ...] = (), steps: int = 60) -> Critic:
    """The critic with strengths that the evidence has chosen."""
    names = tuple(name for name in COMPONENTS if name not in without)
    critic = Critic(Variances.initial(points.size, points.slots, points.w.shape[1], names))
    critic.fit(points, y, steps)
    return critic


def critic_of(strengths: dict[str, float], noise: float, misfit: float = 0.0) -> Critic:
    """The critic with given strengths."""
    return Critic(Variances(dict(strengths), noise, misfit), evidence=False)


def total(critic: Critic, components: tuple[str, ...], points: Points) -> float:
    """Prior variance of the rewards that these components explain."""
    v = critic.variances.components
    return float(sum(v[name] * np.diag(KERNELS[name](points, points)).mean() for name in components))
