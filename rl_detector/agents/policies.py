"""The policy of one-shot design: independent Gaussians for the continuous part, categoricals for the discrete part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rl_detector.space import Encoding, FloatArray, IntArray


class Policy(nn.Module):
    """pi(a | xi) = prod_i N(a_i; mu_i, sigma_i) prod_j Cat(a_j; softmax(logits_j)) over encodings.

    Every episode of a one-shot problem begins with the same observation, so the policy does not depend on it:
    xi = (mu [c], log_sigma [c], logits [k, m]) with m the largest number of choices; logits of choices that do not
    exist are never used. Everything is in encoded units (the box is [-1, 1]) and float64.
    """

    exists: torch.Tensor

    def __init__(self, mu: FloatArray, sigma: float, choices: Sequence[int], device: str = "cpu") -> None:
        super().__init__()
        centre = torch.as_tensor(np.array(mu), dtype=torch.float64, device=device)
        sizes = torch.as_tensor(np.array(choices, dtype=np.int64), device=device)
        self.mu = nn.Parameter(centre)
        self.log_sigma = nn.Parameter(torch.full_like(centre, math.log(sigma)))
        exists = torch.arange(max(choices, default=1), device=device) < sizes[:, None]
        self.register_buffer("exists", exists, persistent=False)
        self.logits = nn.Parameter(torch.zeros(exists.shape, dtype=torch.float64, device=device))

    @property
    def log_probabilities(self) -> torch.Tensor:
        """Logarithm of the probability of every choice [k, m]; -inf where there is none."""
        logits = self.logits.masked_fill(~self.exists, -math.inf)
        return logits - logits.logsumexp(dim=-1, keepdim=True)  # log_softmax wakes all threads even for a tiny tensor

    def log_prob(self, actions: Encoding) -> torch.Tensor:
        """log pi(a | xi) of a batch of encodings as they were sampled, not clipped to the box, [designs]."""
        a = torch.as_tensor(actions.continuous, dtype=torch.float64, device=self.mu.device)
        z = (a - self.mu) * torch.exp(-self.log_sigma)
        gaussian = (-0.5 * z**2 - self.log_sigma - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        index = torch.as_tensor(actions.discrete, dtype=torch.int64, device=self.mu.device)
        slot = torch.arange(index.shape[-1], device=self.mu.device)
        return gaussian + self.log_probabilities[slot, index].sum(dim=-1)

    def gaussian_entropy(self) -> torch.Tensor:
        """Differential entropy of the continuous part in nats: sum_i log sigma_i + log(2 pi e) / 2."""
        return (self.log_sigma + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def categorical_entropy(self) -> torch.Tensor:
        """Entropy of the discrete part in nats: -sum_jm p_jm log p_jm, between 0 and sum_j log choices_j."""
        log_p = self.log_probabilities
        return -(log_p.exp() * log_p.masked_fill(~self.exists, 0.0)).sum()

    def entropy(self) -> torch.Tensor:
        """Entropy of the policy in nats."""
        return self.gaussian_entropy() + self.categorical_entropy()

    @torch.no_grad()
    def fisher_information(self) -> tuple[tuple[nn.Parameter, torch.Tensor], ...]:
        """Each parameter with the diagonal I of its Fisher information; gradient / I is the natural gradient.

        I = 1 / sigma^2 for mu, 2 for log_sigma and p for logits. (For logits the information is diag(p) - p p^T, and
        the gradients g of one categorical sum to 0, so that (diag(p) - p p^T) (g / p) = g: exact as well.)
        """
        p = self.log_probabilities.exp().masked_fill(~self.exists, 1.0)
        log_sigma = self.log_sigma.detach()
        return (self.mu, torch.exp(-2 * log_sigma)), (self.log_sigma, torch.full_like(log_sigma, 2.0)), (self.logits, p)

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, n: int) -> Encoding:
        """n independent actions; the random numbers come from `rng`, whose state belongs in the checkpoint."""
        mu, sigma = self.mu.cpu().numpy(), self.log_sigma.exp().cpu().numpy()
        continuous = mu + sigma * rng.standard_normal((n, len(mu)))
        return Encoding(continuous, _choose(self.log_probabilities.exp().cpu().numpy(), rng, n))

    @torch.no_grad()
    def mode(self) -> Encoding:
        """The most likely design: the mean, clipped to the box, and the likeliest choices, [c] and [k]."""
        discrete = self.log_probabilities.argmax(dim=-1).cpu().numpy()
        return Encoding(np.clip(self.mu.cpu().numpy(), -1, 1), discrete)


def _choose(probabilities: FloatArray, rng: np.random.Generator, n: int) -> IntArray:
    """n draws [n, k] from categoricals [k, m]: the number of cumulative probabilities that a uniform one reaches."""
    uniform = rng.random((n, len(probabilities), 1))
    drawn: IntArray = (uniform >= probabilities.cumsum(axis=-1)[:, :-1]).sum(axis=-1, dtype=np.int64)
    last: IntArray = (probabilities > 0).sum(axis=-1, dtype=np.int64) - 1
    return np.minimum(drawn, last)  # rounding may leave the cumulative sum just below 1
