"""Policies of one-shot design: a Gaussian for the continuous part, categoricals for the discrete part.

Independent coordinates here, correlated ones in `covariances`, policies that depend on the observation in
`conditioned`. Everything is in encoded units (the box is [-1, 1]) and float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray

NaturalGradient = tuple[tuple[nn.Parameter, torch.Tensor], ...]


class GaussianPolicy(nn.Module):
    """pi(a | xi) = N(a; mu, L L^T) prod_j Cat(a_j; softmax(logits_j)) over encodings; a family says what L is.

    xi = (mu [c], log_sigma [c], logits [k, m], and what the family adds) with m the largest number of choices; logits
    of choices that do not exist are never used. It does not depend on the observation; `ConditionedPolicy` does.
    """

    exists: torch.Tensor

    def __init__(self, mu: FloatArray, sigma: float, choices: Sequence[int], device: str = "cpu") -> None:
        super().__init__()
        centre = torch.as_tensor(np.array(mu), dtype=torch.float64, device=device)
        self.mu = nn.Parameter(centre)
        self.log_sigma = nn.Parameter(torch.full_like(centre, math.log(sigma)))
        exists = choices_that_exist(choices, device)
        self.register_buffer("exists", exists, persistent=False)
        self.logits = nn.Parameter(torch.zeros(exists.shape, dtype=torch.float64, device=device))

    @property
    def log_probabilities(self) -> torch.Tensor:
        """Logarithm of the probability of every choice [k, m]; -inf where there is none."""
        return log_softmax(self.logits, self.exists)

    def scale_tril(self) -> torch.Tensor:
        """The lower triangular L [c, c] with positive diagonal; the covariance is L L^T."""
        raise NotImplementedError

    def covariance(self) -> torch.Tensor:
        """Covariance of the continuous part, [c, c]."""
        scale = self.scale_tril()
        covariance: torch.Tensor = scale @ scale.mT
        return covariance

    def whiten(self, steps: torch.Tensor) -> torch.Tensor:
        """L^-1 x for rows x of [..., c]."""
        whitened: torch.Tensor = torch.linalg.solve_triangular(self.scale_tril(), steps.mT, upper=False).mT
        return whitened

    def log_volume(self) -> torch.Tensor:
        """log det L."""
        return self.scale_tril().diagonal().log().sum()

    def log_prob(self, actions: Encoding) -> torch.Tensor:
        """log pi(a | xi) of a batch of encodings as they were sampled, not clipped to the box, [designs]."""
        a = torch.as_tensor(actions.continuous, dtype=torch.float64, device=self.mu.device)
        norm = self.log_volume() + 0.5 * len(self.mu) * math.log(2 * math.pi)
        gaussian = -0.5 * self.whiten(a - self.mu).square().sum(dim=-1) - norm
        return gaussian + choice_log_prob(self.log_probabilities, actions.discrete)

    def gaussian_entropy(self) -> torch.Tensor:
        """Differential entropy of the continuous part in nats: log det L + c log(2 pi e) / 2."""
        return self.log_volume() + 0.5 * len(self.mu) * math.log(2 * math.pi * math.e)

    def categorical_entropy(self) -> torch.Tensor:
        """Entropy of the discrete part in nats: -sum_jm p_jm log p_jm, between 0 and sum_j log choices_j."""
        log_p = self.log_probabilities
        return -(log_p.exp() * log_p.masked_fill(~self.exists, 0.0)).sum()

    def entropy(self) -> torch.Tensor:
        """Entropy of the policy in nats."""
        return self.gaussian_entropy() + self.categorical_entropy()

    def spread_parameters(self) -> tuple[nn.Parameter, ...]:
        """The parameters behind L, in the order of `spread_information`."""
        return (self.log_sigma,)

    def spread_information(self) -> torch.Tensor:
        """Fisher information [p, p] of the flattened spread parameters; with mu it has no mixed terms."""
        raise NotImplementedError

    @torch.no_grad()
    def natural_gradient(self) -> NaturalGradient:
        """Each parameter with F^-1 times its `grad` (absent: 0), for the exact Fisher information F of the family.

        F = (L L^T)^-1 for mu. For logits it is diag(p) - p p^T, and the gradients g of one categorical sum to 0, so
        that (diag(p) - p p^T) (g / p) = g.
        """
        p = self.log_probabilities.exp().masked_fill(~self.exists, 1.0)
        mean = self.covariance() @ gradient(self.mu)
        return (self.mu, mean), (self.logits, gradient(self.logits) / p), *self._natural_spread()

    def _natural_spread(self) -> NaturalGradient:
        parameters, information = self.spread_parameters(), self.spread_information()
        flat = torch.cat([gradient(parameter).reshape(-1) for parameter in parameters])
        tiny = 1e-12 * information.diagonal().amax() if len(flat) else 0.0  # directions of no information: gradient 0
        natural = torch.linalg.solve(information + tiny * torch.eye(len(flat)).to(information), flat)
        parts = natural.split([parameter.numel() for parameter in parameters])
        return tuple((p, part.reshape(p.shape)) for p, part in zip(parameters, parts, strict=True))

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, n: int) -> Encoding:
        """n independent actions; the random numbers come from `rng`, whose state belongs in the checkpoint."""
        z = torch.as_tensor(rng.standard_normal((n, len(self.mu))), device=self.mu.device)
        continuous = (self.mu + self._stretch(z)).cpu().numpy()
        return Encoding(continuous, choose(self.log_probabilities.exp().cpu().numpy(), rng, n))

    def _stretch(self, z: torch.Tensor) -> torch.Tensor:
        """L z for rows z."""
        return z @ self.scale_tril().mT

    @torch.no_grad()
    def mode(self) -> Encoding:
        """The most likely design: the mean, clipped to the box, and the likeliest choices, [c] and [k]."""
        discrete = self.log_probabilities.argmax(dim=-1).cpu().numpy()
        return Encoding(np.clip(self.mu.cpu().numpy(), -1, 1), discrete)


class Policy(GaussianPolicy):
    """Independent coordinates: L = diag(sigma)."""

    def scale_tril(self) -> torch.Tensor:
        """diag(sigma)."""
        return torch.diag(self.log_sigma.exp())

    def whiten(self, steps: torch.Tensor) -> torch.Tensor:
        """x / sigma."""
        return steps * torch.exp(-self.log_sigma)

    def log_volume(self) -> torch.Tensor:
        """sum_i log sigma_i."""
        return self.log_sigma.sum()

    @torch.no_grad()
    def fisher_information(self) -> NaturalGradient:
        """Each parameter with the diagonal I of its Fisher information; gradient / I is the natural gradient.

        I = 1 / sigma^2 for mu, 2 for log_sigma and p for logits, see `natural_gradient`.
        """
        p = self.log_probabilities.exp().masked_fill(~self.exists, 1.0)
        log_sigma = self.log_sigma.detach()
        return (self.mu, torch.exp(-2 * log_sigma)), (self.log_sigma, torch.full_like(log_sigma, 2.0)), (self.logits, p)

    def spread_information(self) -> torch.Tensor:
        """2 for every log sigma."""
        return torch.diag(torch.full_like(self.log_sigma.detach(), 2.0))

    def _natural_spread(self) -> NaturalGradient:
        return ((self.log_sigma, gradient(self.log_sigma) / 2),)

    def _stretch(self, z: torch.Tensor) -> torch.Tensor:
        return z * self.log_sigma.exp()


def start_policy(space: DesignSpace, start: Design | None, sigma: float, device: str = "cpu") -> Policy:
    """Centred on the start design (None: the centre of the box), whose choices are e^0.2 times likelier than others.

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


def kl_divergence(first: GaussianPolicy, second: GaussianPolicy) -> torch.Tensor:
    """KL(first || second) in nats, of policies over the same encoding; the families may differ.

    (tr(C2^-1 C1) + |mu1 - mu2|^2_{C2^-1} - c) / 2 + log det L2 - log det L1 + sum p1 log(p1 / p2).

    Raises:
        ConfigError: the policies have different numbers of coordinates or choices.
    """
    if first.mu.shape != second.mu.shape or not torch.equal(first.exists, second.exists):
        raise ConfigError(
            f"a KL divergence needs policies over one space, got {tuple(first.mu.shape)} and {tuple(second.mu.shape)} "
            f"coordinates, {first.exists.sum(dim=-1).tolist()} and {second.exists.sum(dim=-1).tolist()} choices"
        )
    ratio, distance = second.whiten(first.scale_tril().mT), second.whiten((first.mu - second.mu)[None])
    gaussian = 0.5 * (ratio.square().sum() + distance.square().sum() - len(first.mu))
    log_p = first.log_probabilities
    relative = (log_p - second.log_probabilities).masked_fill(~first.exists, 0.0)
    return gaussian + second.log_volume() - first.log_volume() + (log_p.exp() * relative).sum()


def choices_that_exist(choices: Sequence[int], device: str) -> torch.Tensor:
    """Which choices there are, [slots, largest number of choices]."""
    sizes = torch.as_tensor(np.array(choices, dtype=np.int64), device=device)
    return torch.arange(max(choices, default=1), device=device) < sizes[:, None]


def log_softmax(logits: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [..., k, m] of the choices that exist, -inf for the others."""
    logits = logits.masked_fill(~exists, -math.inf)
    return logits - logits.logsumexp(dim=-1, keepdim=True)  # torch's own wakes all threads even for a tiny tensor


def choice_log_prob(log_probabilities: torch.Tensor, discrete: IntArray) -> torch.Tensor:
    """Log-probability of choices [n, k] under log-probabilities [k, m] or [n, k, m], [n]."""
    index = torch.as_tensor(discrete, dtype=torch.int64, device=log_probabilities.device)[..., None]
    table = log_probabilities.expand(*index.shape[:-1], log_probabilities.shape[-1])
    return table.gather(-1, index).squeeze(-1).sum(dim=-1)


def choose(probabilities: FloatArray, rng: np.random.Generator, n: int) -> IntArray:
    """n draws [n, k] from categoricals [k, m] or [n, k, m]: how many cumulative probabilities a uniform one reaches."""
    uniform = rng.random((n, probabilities.shape[-2], 1))
    drawn: IntArray = (uniform >= probabilities.cumsum(axis=-1)[..., :-1]).sum(axis=-1, dtype=np.int64)
    last: IntArray = (probabilities > 0).sum(axis=-1, dtype=np.int64) - 1
    return np.minimum(drawn, last)  # rounding may leave the cumulative sum just below 1


def gradient(parameter: nn.Parameter) -> torch.Tensor:
    """The gradient of a parameter, zeros where there is none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
