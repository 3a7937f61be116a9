"""A conditional generator of an observable in a neighbourhood of designs, and the gradient of the reward through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rl_detector.space import FloatArray

NOISE_DIMENSIONS = 4
"""Dimensions of the generator's noise z."""


MINIBATCH = 256
"""Events per training step."""


LEARNING_RATE = 0.01
"""Step of Adam in the generator's training."""


@dataclass(frozen=True)
class Neighbourhood:
    """Results around a design.

    Attributes:
        offsets: (psi' - psi) / epsilon of each event, [events, size].
        observables: y of each event, [events].
        charges: slope of the reward that does not come from y, per epsilon, [size].
        logarithmic: whether the reward is -ln(mean y) + charges, or mean y.
        epsilon: half-size of the box.
    """

    offsets: torch.Tensor
    observables: torch.Tensor
    charges: FloatArray
    logarithmic: bool
    epsilon: float

    @staticmethod
    def of(
        results: Sequence[tuple[FloatArray, float, FloatArray | None]], psi: FloatArray, epsilon: float
    ) -> Neighbourhood:
        """Build it from (vector, reward, losses of events); losses count only if all designs have them."""
        offsets = (np.array([vector for vector, _, _ in results]) - psi) / epsilon
        rewards = np.array([reward for _, reward, _ in results])
        losses = [terms for _, _, terms in results if terms is not None]
        if len(losses) < len(results):
            return _neighbourhood(offsets, rewards, np.zeros(len(psi)), False, epsilon)
        rest = rewards + np.log([terms.mean() for terms in losses])
        charges = np.linalg.lstsq(_ridge(offsets), np.pad(rest - rest.mean(), (0, len(psi))), rcond=None)[0]
        events = np.repeat(offsets, [len(terms) for terms in losses], axis=0)
        return _neighbourhood(events, np.concatenate(losses), charges, True, epsilon)


def _neighbourhood(
    offsets: FloatArray, observables: FloatArray, charges: FloatArray, logarithmic: bool, epsilon: float
) -> Neighbourhood:
    as_tensor = torch.tensor(offsets, dtype=torch.float32), torch.tensor(observables, dtype=torch.float32)
    return Neighbourhood(*as_tensor, charges, logarithmic, epsilon)


def _ridge(offsets: FloatArray) -> FloatArray:
    """Centred offsets, and rows below them that keep the slopes of badly measured directions small."""
    return np.concatenate([offsets - offsets.mean(axis=0), 0.1 * np.eye(offsets.shape[1])])


def gradient(near: Neighbourhood, steps: int, hidden: int) -> FloatArray:
    """Slope of the mean reward at psi through a trained generator, [size]; draws torch's global random numbers."""
    y = near.observables
    mean, scale = y.mean(), y.std() if len(y) > 1 and y.std() > 0 else torch.tensor(1.0)
    generator = _trained(near.offsets, (y - mean) / scale, steps, hidden)
    x = torch.zeros(near.offsets.shape[1], requires_grad=True)
    z = torch.randn(4 * MINIBATCH, NOISE_DIMENSIONS)
    expected = mean + scale * generator(torch.cat([x.expand(len(z), -1), z], dim=1)).mean()
    objective = -torch.log(expected.clamp_min(1e-3 * float(mean))) if near.logarithmic else expected
    (slope,) = torch.autograd.grad(objective, x)
    total: FloatArray = (slope.numpy().astype(np.float64) + near.charges) / near.epsilon
    return total


def _trained(x: torch.Tensor, y: torch.Tensor, steps: int, hidden: int) -> nn.Module:
    """A generator fitted by the energy score |y - g| + |y - g'| - |g - g'| (Gneiting, Raftery 2007, eq. 20, doubled).

    g and g' come from two z. The expectation is least when the generator has the distribution of y at every x.
    """
    generator = nn.Sequential(
        nn.Linear(x.shape[1] + NOISE_DIMENSIONS, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, 1),
    )
    optimiser = torch.optim.AdamW(generator.parameters(), lr=LEARNING_RATE, weight_decay=0.1, foreach=False)
    for _ in range(steps):
        batch = torch.randint(len(y), (min(MINIBATCH, len(y)),))
        first, second = (_generate(generator, x[batch]) for _ in range(2))
        score = (y[batch] - first).abs() + (y[batch] - second).abs() - (first - second).abs()
        optimiser.zero_grad()
        score.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return generator


def _generate(generator: nn.Module, x: torch.Tensor) -> torch.Tensor:
    values: torch.Tensor = generator(torch.cat([x, torch.randn(len(x), NOISE_DIMENSIONS)], dim=1))[:, 0]
    return values
