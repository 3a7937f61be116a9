"""Policies of one-shot design: a Gaussian for the continuous part, categoricals for the discrete part.

Policies that depend on the observation are in `contextual.policy`. All values are float64 and in encoded units, where
the box is [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray


class Policy(nn.Module):
    """pi(a | xi) = N(a; mu, diag(sigma^2)) prod_j Cat(a_j; softmax(logits_j)) over encodings.

    xi = (mu [c], log_sigma [c], logits [k, m]), where m is the largest number of options of a choice. Logits of options
    that do not exist are never used. The policy does not depend on the observation; `ConditionedPolicy` does.
    """

    exists: torch.Tensor

    def __init__(self, mu: FloatArray, sigma: float, choices: Sequence[int], device: str = "cpu") -> None:
        super().__init__()
        centre = torch.as_tensor(np.array(mu), dtype=torch.float64, device=device)
        self.mu = nn.Parameter(centre)
        self.log_sigma = nn.Parameter(torch.full_like(centre, math.log(sigma)))
        exists = options_that_exist(choices, device)
        self.register_buffer("exists", exists, persistent=False)
        self.logits = nn.Parameter(torch.zeros(exists.shape, dtype=torch.float64, device=device))

    @property
    def log_probabilities(self) -> torch.Tensor:
        """Logarithm of the probability of every option, [k, m]; -inf where there is none."""
        return log_softmax(self.logits, self.exists)

    def log_prob(self, actions: Encoding) -> torch.Tensor:
        """log pi(a | xi) of a batch of encodings as they were sampled, not clipped to the box, [designs]."""
        a = torch.as_tensor(actions.continuous, dtype=torch.float64, device=self.mu.device)
        z = (a - self.mu) * torch.exp(-self.log_sigma)
        norm = self.log_sigma.sum() + 0.5 * len(self.mu) * math.log(2 * math.pi)
        return -0.5 * z.square().sum(dim=-1) - norm + choice_log_prob(self.log_probabilities, actions.discrete)

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, n: int) -> Encoding:
        """Draw n independent actions with `rng`, whose state belongs in the checkpoint."""
        z = torch.as_tensor(rng.standard_normal((n, len(self.mu))), device=self.mu.device)
        continuous = (self.mu + z * self.log_sigma.exp()).cpu().numpy()
        return Encoding(continuous, choose(self.log_probabilities.exp().cpu().numpy(), rng, n))

    @torch.no_grad()
    def mode(self) -> Encoding:
        """The most likely design: the mean, clipped to the box, and the likeliest options, [c] and [k]."""
        discrete = self.log_probabilities.argmax(dim=-1).cpu().numpy()
        return Encoding(np.clip(self.mu.cpu().numpy(), -1, 1), discrete)


def start_policy(space: DesignSpace, start: Design | None, sigma: float, device: str = "cpu") -> Policy:
    """A policy around the start design (None: the centre of the box); its options are e^0.2 times likelier than others.

    Raises:
        DesignError: the start cannot be built.
        ConfigError: torch has no such device.
    """
    centre = np.zeros(len(space.continuous)) if start is None else space.encode(start).continuous
    try:
        policy = Policy(centre, sigma, space.choices, device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"torch cannot use device={device!r}: {str(error).splitlines()[0]}") from error
    if start is not None:
        discrete = space.encode(start).discrete
        with torch.no_grad():
            policy.logits[np.arange(len(discrete)), discrete] = 0.2
    return policy


def options_that_exist(choices: Sequence[int], device: str) -> torch.Tensor:
    """Whether a choice has an option, [choices, largest number of options]."""
    sizes = torch.as_tensor(np.array(choices, dtype=np.int64), device=device)
    return torch.arange(max(choices, default=1), device=device) < sizes[:, None]


def log_softmax(logits: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [..., k, m] of the options that exist, -inf for the others."""
    logits = logits.masked_fill(~exists, -math.inf)
    return logits - logits.logsumexp(dim=-1, keepdim=True)  # torch's own starts all threads, even for a tiny tensor


def choice_log_prob(log_probabilities: torch.Tensor, discrete: IntArray) -> torch.Tensor:
    """Log-probability of choices [n, k] under log-probabilities [k, m] or [n, k, m], [n]."""
    index = torch.as_tensor(discrete, dtype=torch.int64, device=log_probabilities.device)[..., None]
    table = log_probabilities.expand(*index.shape[:-1], log_probabilities.shape[-1])
    return table.gather(-1, index).squeeze(-1).sum(dim=-1)


def choose(probabilities: FloatArray, rng: np.random.Generator, n: int) -> IntArray:
    """Draw n rows of choices [n, k] from categoricals [k, m] or [n, k, m], by inverting their cumulative sums."""
    uniform = rng.random((n, probabilities.shape[-2], 1))
    drawn: IntArray = (uniform >= probabilities.cumsum(axis=-1)[..., :-1]).sum(axis=-1, dtype=np.int64)
    last: IntArray = (probabilities > 0).sum(axis=-1, dtype=np.int64) - 1
    return np.minimum(drawn, last)  # rounding may leave the cumulative sum just below 1


def start_encoding(space: DesignSpace, start: Design | None) -> Encoding:
    """Encode the start design (None: the centre of the space and first options)."""
    if start is None:
        return Encoding(np.zeros(len(space.continuous)), np.zeros(len(space.discrete), dtype=np.int64))
    return space.encode(start)
