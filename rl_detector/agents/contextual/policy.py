"""Policies that depend on the observation, so that one training serves a family of problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rl_detector.agents.policies import Policy, choice_log_prob, choose, log_softmax
from rl_detector.space import Encoding, FloatArray

Product = Callable[[torch.Tensor], torch.Tensor]


class Proposals(NamedTuple):
    """xi(s) of a batch of observations.

    Attributes:
        mu, log_sigma: [observations, c].
        log_probabilities: [observations, k, m], -inf where there is no choice.
        excess: how far the network has left the bounds, half the squared natural distance, [observations]; 0 inside.
    """

    mu: torch.Tensor
    log_sigma: torch.Tensor
    log_probabilities: torch.Tensor
    excess: torch.Tensor

    def log_prob(self, actions: Encoding) -> torch.Tensor:
        """log pi(a_i | s_i) of encodings as they were sampled, [observations]."""
        a = torch.as_tensor(actions.continuous, dtype=torch.float64, device=self.mu.device)
        z = (a - self.mu) * torch.exp(-self.log_sigma)
        gaussian = (-0.5 * z.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        return gaussian + choice_log_prob(self.log_probabilities, actions.discrete)

    def kl_divergence(self, other: Proposals) -> torch.Tensor:
        """KL(self || other) in nats, [observations]."""
        ratio = torch.exp(2 * (self.log_sigma - other.log_sigma))
        distance = ((self.mu - other.mu) * torch.exp(-other.log_sigma)).square()
        gaussian = (0.5 * (ratio + distance - 1) + other.log_sigma - self.log_sigma).sum(dim=-1)
        exists = torch.isfinite(self.log_probabilities)
        relative = self.log_probabilities.masked_fill(~exists, 0.0) - other.log_probabilities.masked_fill(~exists, 0.0)
        return gaussian + (self.log_probabilities.exp() * relative).sum(dim=(-2, -1))

    def detach(self) -> Proposals:
        """A copy without gradient."""
        return Proposals(*(part.detach() for part in self))


class ConditionedPolicy(nn.Module):
    """pi(a | s) = N(mu(s), diag(sigma(s)^2)) x categoricals(logits(s)), all from one network of one hidden layer.

    The last layer sees the hidden units (tanh) and the observation itself. It starts at 0, so that the policy starts as
    the free one for every observation. Its outputs count in units of that policy: mu in its sigma.

    mu stays in [-1, 1] and sigma within `sigma_bounds`. Bounds of the logits leave a probability of about
    exploration / options to every option. Beyond a bound the value is that of the bound, but the gradient goes on.
    `Proposals.excess` measures how far the network is beyond. An objective that subtracts it brings the network back.

    Args:
        start: the free policy that is the start for every observation.
        inputs: size of an observation (0: the policy is free).
        hidden: hidden units.
        rng: generator of the first weights.
        sigma_bounds: smallest and largest sigma.
        exploration: probability shared out among all options of a choice.
    """

    offset: torch.Tensor
    exists: torch.Tensor
    logit_bound: torch.Tensor
    unit: torch.Tensor

    def __init__(
        self,
        start: Policy,
        inputs: int,
        hidden: int,
        rng: np.random.Generator,
        sigma_bounds: tuple[float, float] = (1e-3, 1.0),
        exploration: float = 0.01,
    ) -> None:
        super().__init__()
        device, self._bounds = start.mu.device, (math.log(sigma_bounds[0]), math.log(sigma_bounds[1]))
        parts = (start.mu, start.log_sigma, start.logits.reshape(-1))
        self._sizes = [part.numel() for part in parts]
        self.register_buffer("offset", torch.cat([part.detach() for part in parts]), persistent=False)
        self.register_buffer("unit", start.log_sigma.detach().exp(), persistent=False)
        self.register_buffer("exists", start.exists, persistent=False)
        self.register_buffer("logit_bound", _logit_bound(start.exists, exploration), persistent=False)
        first = rng.standard_normal((hidden, inputs)) / math.sqrt(max(inputs, 1))
        self.first = nn.Parameter(torch.as_tensor(first, device=device))
        self.shift = nn.Parameter(torch.as_tensor(rng.uniform(-1, 1, hidden), device=device))
        zeros = torch.zeros(len(self.offset), hidden + inputs + 1, dtype=torch.float64, device=device)
        self.last = nn.Parameter(zeros)

    def forward(self, observations: torch.Tensor, sigma_rate: float = 1.0) -> Proposals:
        """xi(s) of observations [n, inputs]; `sigma_rate` scales the gradient by log sigma (not its value)."""
        hidden = torch.tanh(observations @ self.first.mT + self.shift)
        features = torch.cat([hidden, observations, hidden.new_ones(len(hidden), 1)], dim=1)
        steps, offsets = torch.split(features @ self.last.mT, self._sizes, dim=1), torch.split(self.offset, self._sizes)
        mu, mu_excess = _bounded(offsets[0] + self.unit * steps[0], -1.0, 1.0)
        log_sigma, sigma_excess = _bounded(offsets[1] + _slow(steps[1], sigma_rate), *self._bounds)
        logits = (offsets[2] + steps[2]).reshape(len(observations), *self.exists.shape)
        logits, logit_excess = _bounded(_centred(logits, self.exists), -self.logit_bound, self.logit_bound)
        log_p = log_softmax(logits, self.exists)
        excess = (mu_excess * torch.exp(-log_sigma.detach())).square().sum(dim=1)
        excess = excess + 2 * sigma_excess.square().sum(dim=1)
        excess = excess + (log_p.detach().exp() * logit_excess.square()).sum(dim=(1, 2))
        return Proposals(mu, log_sigma, log_p, 0.5 * excess)

    @torch.no_grad()
    def sample(self, observations: torch.Tensor, rng: np.random.Generator) -> Encoding:
        """Draw one action for each observation with `rng`."""
        xi = self(observations)
        z = rng.standard_normal(tuple(xi.mu.shape))
        mu, sigma, p = (x.cpu().numpy() for x in (xi.mu, xi.log_sigma.exp(), xi.log_probabilities.exp()))
        return Encoding(mu + sigma * z, choose(p, rng, len(observations)))

    @torch.no_grad()
    def mode(self, observations: torch.Tensor) -> Encoding:
        """The most likely design of each observation, [n, c] and [n, k]."""
        xi = self(observations)
        mu: FloatArray = xi.mu.clamp(-1, 1).cpu().numpy()
        return Encoding(mu, xi.log_probabilities.argmax(dim=-1).cpu().numpy())


def fisher_product(policy: ConditionedPolicy, inputs: torch.Tensor, damping: float = 1e-3) -> Product:
    """The map v -> F v + damping v; F, the Fisher information, is the Hessian of the mean KL divergence."""
    xi, parameters = policy(inputs), list(policy.parameters())
    kl = xi.detach().kl_divergence(xi).mean()
    slope = flat(torch.autograd.grad(kl, parameters, create_graph=True))

    def product(vector: torch.Tensor) -> torch.Tensor:
        curved = torch.autograd.grad(slope @ vector, parameters, retain_graph=True)
        return flat(curved) + damping * vector

    return product


def conjugate_gradient(
    product: Product, target: torch.Tensor, steps: int = 20, tolerance: float = 1e-6
) -> torch.Tensor:
    """x with product(x) = target for a symmetric positive product (Hestenes & Stiefel 1952), from 0."""
    x, residual = torch.zeros_like(target), target.clone()
    direction, square = residual.clone(), float(residual @ residual)
    goal = tolerance**2 * square
    for _ in range(steps):
        if square <= goal:
            break
        curved = product(direction)
        length = square / float(direction @ curved)
        x, residual = x + length * direction, residual - length * curved
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return x


def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """All elements of some tensors in one row."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _bounded(
    raw: torch.Tensor, low: float | torch.Tensor, high: float | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The value clipped to the bounds, with the gradient of the raw value, and the difference raw - clipped."""
    excess = raw - raw.detach().clamp(*_tensors(raw, low, high))
    return raw - excess.detach(), excess


def _tensors(like: torch.Tensor, *values: float | torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values)


def _slow(steps: torch.Tensor, rate: float) -> torch.Tensor:
    """Keep the values, and multiply their gradient by `rate`."""
    return rate * steps + (1 - rate) * steps.detach()


def _centred(logits: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """Logits with the mean 0 over the options that exist."""
    number = exists.sum(dim=-1, keepdim=True)
    mean = logits.masked_fill(~exists, 0.0).sum(dim=-1, keepdim=True) / number
    return (logits - mean).masked_fill(~exists, 0.0)


def _logit_bound(exists: torch.Tensor, exploration: float) -> torch.Tensor:
    """B [k, 1] for which the least probability 1 / (1 + (m - 1) e^2B) of m options is exploration / m; 1 for m = 1."""
    m = exists.sum(dim=-1, keepdim=True).to(torch.float64)
    bound = 0.5 * torch.log((m / exploration - 1) / (m - 1).clamp(min=1))
    return torch.where(m > 1, bound.clamp(max=50), torch.ones_like(bound))
