"""How wide a policy should be, so that its critic finds the optimum most exactly."""

from __future__ import annotations

import math

from rl_detector.agents.critic.model import EVIDENCE_POINTS

BIAS = 1.5
"""Squared bias of the slope at the centre over the variance of what is not quadratic, that of a cubic
term: z^3 = He_3 + 3 z has the slope 3, and He_3 / sqrt(6) the variance 1."""


BELIEVED = 0.25
"""Width of the policy over its first one above which all that stated errors leave out is believed to be lack of fit."""


def best_bandwidth(noise: float, misfit: float, lack: float, near: float, slopes: float) -> float:
    """Factor k by which sigma should change so that the optimum is found most exactly.

    The slope at the centre, seen over a width k, has the variance noise p / (N k^2) from N evaluations near by and p
    slopes, and the squared bias misfit k^4 from what is not quadratic, which no number of evaluations averages out. The
    sum is smallest at k = (p noise / (2 N misfit))^(1/6): the choice of a bandwidth in local regression (Fan and
    Gijbels 1996, section 3.2.3). Lack of fit, of the variance l k^6 as of a cubic term, is misfit; it also scatters the
    slopes by p l k^4 / N, so that N misfit + p l stands for N misfit.

    Args:
        noise: variance of the critic's noise, of which `lack` is lack of fit.
        misfit: variance of what is known not to be quadratic.
        near, slopes: N and p; where slopes depend on choices, p counts those of all choices that are told apart.
    """
    biased = max(near * BIAS * (misfit + lack) + slopes * lack, 1e-300)
    return float((slopes * (noise - lack) / (2 * biased)) ** (1 / 6))


def lack_of_fit(noise: float, stated: float, evaluations: int, relative_width: float) -> float:
    """Variance of a critic's lack of fit: the noise of the fit beyond the stated errors, and two standard errors.

    Residual less pure error, as in the test for lack of fit (Box and Draper, Empirical Model-Building and Response
    Surfaces, 1987). That counts on honest errors: in a narrow policy, what is more than the stated ones is believed in
    proportion to its variance, as lack of fit falls with it; else errors too small would narrow it for ever.

    Args:
        noise, stated: variances of the noise of the fit, and of the stated errors.
        evaluations: that the critic is fitted to.
        relative_width: variance of the policy over that of the first one.
    """
    if not math.isfinite(stated):
        return 0.0
    significant = noise * (1 - 2 * math.sqrt(2 / min(evaluations, EVIDENCE_POINTS)))
    lack = max(significant - stated, 0.0)
    return min(lack, stated) + max(lack - stated, 0.0) * min(1.0, relative_width / BELIEVED**2)


def unresolved(lack: float, stated: float, trust: float) -> float:
    """Of a lack of fit, what more evaluations will not resolve: where predictions are right, they will."""
    return min(lack, stated) + max(lack - stated, 0.0) * (1 - trust)
