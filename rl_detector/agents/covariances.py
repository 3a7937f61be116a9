"""Policies whose coordinates are correlated: any covariance, or a diagonal plus a few common directions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rl_detector.agents.policies import GaussianPolicy, NaturalGradient, gradient
from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray


class FullPolicy(GaussianPolicy):
    """Any covariance: L = diag(sigma) B with B unit lower triangular, whose part below the diagonal is `lower`.

    sigma_i is the spread of coordinate i given those before it. Steps are measured in the coordinates T of
    L (1 + T), T lower triangular, the triangular form of those of xNES (Glasmachers et al. 2010, sec. 3): there the
    Fisher information is diagonal, 2 for T_ii and 1 for the others, whatever L is.
    """

    def __init__(self, mu: FloatArray, sigma: float, choices: Sequence[int], device: str = "cpu") -> None:
        super().__init__(mu, sigma, choices, device)
        self.lower = nn.Parameter(torch.zeros((len(self.mu), len(self.mu)), dtype=torch.float64, device=device))

    def _unit(self) -> torch.Tensor:
        """B [c, c]."""
        return self.lower.tril(-1) + torch.eye(len(self.mu)).to(self.lower)

    def scale_tril(self) -> torch.Tensor:
        """diag(sigma) B."""
        return self.log_sigma.exp()[:, None] * self._unit()

    def log_volume(self) -> torch.Tensor:
        """sum_i log sigma_i."""
        return self.log_sigma.sum()

    def spread_parameters(self) -> tuple[nn.Parameter, ...]:
        """log sigma and the lower triangle (its unused elements have no information)."""
        return self.log_sigma, self.lower

    @torch.no_grad()
    def spread_information(self) -> torch.Tensor:
        """By T = B^-1 (dB + diag(d log sigma) B): of size (c + c^2)^2, for few coordinates."""
        unit, c = self._unit(), len(self.mu)
        inverse = torch.linalg.solve_triangular(unit, torch.eye(c).to(unit), upper=False)
        by_sigma = torch.einsum("ki,il->kli", inverse, unit).reshape(c * c, c)
        below = torch.ones(c, c).tril(-1).to(unit)
        by_lower = torch.einsum("ki,lj,ij->klij", inverse, torch.eye(c).to(unit), below).reshape(c * c, c * c)
        steps = torch.cat([by_sigma, by_lower], dim=1)
        return steps.T @ ((1 + torch.eye(c).to(unit)).reshape(-1, 1) * steps)

    def _natural_spread(self) -> NaturalGradient:
        """dJ / dT = tril(B^T g_B) + diag(g_sigma - sum_j g_B B); over the information; back to B and log sigma."""
        unit, g = self._unit(), gradient(self.lower).tril(-1)
        step = (unit.T @ g).tril(-1)
        diagonal = ((unit.T @ g).diagonal() + gradient(self.log_sigma) - (g * unit).sum(dim=1)) / 2
        step = step + torch.diag(diagonal)
        return (self.log_sigma, diagonal), (self.lower, (unit @ step - diagonal[:, None] * unit).tril(-1))


class LowRankPolicy(GaussianPolicy):
    """A diagonal and `rank` common directions: covariance diag(sigma^2) + U U^T.

    U [c, rank] starts as cosines along the coordinates, with 9 % of the variance, because the gradient at U = 0 is 0;
    every coordinate has the spread `sigma` at the start. U and U Q for orthogonal Q are the same policy.
    """

    def __init__(
        self, mu: FloatArray, sigma: float, choices: Sequence[int], device: str = "cpu", rank: int = 2
    ) -> None:
        super().__init__(mu, sigma, choices, device)
        if rank < 1:
            raise ConfigError(f"a low-rank policy needs rank >= 1, got {rank}")
        c, directions = len(self.mu), min(rank, len(self.mu))
        cosines = np.cos(np.pi * (np.arange(c)[:, None] + 0.5) * np.arange(directions) / max(c, 1))
        u = 0.3 * sigma * cosines / math.sqrt(max(directions, 1))
        self.directions = nn.Parameter(torch.as_tensor(u, dtype=torch.float64, device=device))
        with torch.no_grad():
            self.log_sigma.copy_(0.5 * torch.log(sigma**2 - self.directions.square().sum(dim=1)))

    def covariance(self) -> torch.Tensor:
        """diag(sigma^2) + U U^T."""
        return torch.diag(torch.exp(2 * self.log_sigma)) + self.directions @ self.directions.mT

    def scale_tril(self) -> torch.Tensor:
        """Cholesky factor of the covariance."""
        factor: torch.Tensor = torch.linalg.cholesky(self.covariance())
        return factor

    def spread_parameters(self) -> tuple[nn.Parameter, ...]:
        """log sigma and U."""
        return self.log_sigma, self.directions

    @torch.no_grad()
    def spread_information(self) -> torch.Tensor:
        """tr(W dC W dC') / 2, W = C^-1 of the covariance C; dC = 2 sigma_i^2 e_i e_i^T and e_i u_k^T + u_k e_i^T."""
        w, u, n = torch.linalg.inv(self.covariance()), self.directions, self.directions.numel()
        variance, wu = torch.exp(2 * self.log_sigma), w @ u
        sigmas = 2 * variance[:, None] * variance * w.square()
        mixed = (2 * variance[:, None, None] * w[:, :, None] * wu[:, None, :]).reshape(len(w), n)
        both = torch.einsum("il,jk->ikjl", wu, wu) + torch.einsum("ij,kl->ikjl", w, u.T @ wu)
        return torch.cat([torch.cat([sigmas, mixed], dim=1), torch.cat([mixed.T, both.reshape(n, n)], dim=1)])
