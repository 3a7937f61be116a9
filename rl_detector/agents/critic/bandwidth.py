"""How wide a policy should be, so that its critic finds the optimum most exactly."""

from __future__ import annotations

import math

from rl_detector.agents.critic.strengths import EVIDENCE_POINTS

BIAS = 1.5
"""Squared bias of the gradient at the centre over the variance of what is not quadratic, for a cubic term.

z^3 = He_3 + 3 z has the gradient 3, and He_3 / sqrt(6) the variance 1."""


WIDTH_OF_BELIEF = 0.25
"""Width of the policy over its first one above which all noise beyond the stated errors counts as lack of fit."""


def best_bandwidth(noise: float, misfit: float, lack: float, near: float, derivatives: float) -> float:
    """Factor k by which sigma should change so that the optimum is found most exactly.

    Seen over a width k, the gradient at the centre has the variance noise p / (N k^2), from N evaluations nearby and p
    derivatives. It has the squared bias misfit k^4 from what is not quadratic, which evaluations do not average out.
    The sum is smallest at k = (p noise / (2 N misfit))^(1/6). This is the choice of a bandwidth in local regression
    (Fan and Gijbels 1996, section 3.2.3). Lack of fit, of the variance l k^6 as for a cubic term, counts as misfit. It
    also scatters the gradient by p l k^4 / N, so that N misfit + p l replaces N misfit.

    Args:
        noise: variance of the critic's noise, lack of fit included.
        misfit: variance of what is known not to be quadratic.
        lack: variance of the lack of fit.
        near: number N of evaluations nearby.
        derivatives: number p; where they depend on choices, it counts those of all choices that are told apart.
    """
    biased = max(near * BIAS * (misfit + lack) + derivatives * lack, 1e-300)
    return float((derivatives * (noise - lack) / (2 * biased)) ** (1 / 6))


def lack_of_fit(noise: float, stated: float, evaluations: int, relative_width: float) -> float:
    """Variance of a critic's lack of fit: the noise of the fit, less two standard errors, beyond the stated errors.

    It is the residual less the pure error, as in the test for lack of fit (Box and Draper, Empirical Model-Building and
    Response Surfaces, 1987). That relies on honest errors. Stated errors that are too small would narrow a policy for
    ever. A true lack of fit falls with the policy's width. So a narrow policy believes what exceeds the stated errors
    only in proportion to its variance.

    Args:
        noise: variance of the noise of the fit.
        stated: variance of the stated errors.
        evaluations: number of those that the critic is fitted to.
        relative_width: variance of the policy over that of the first one.
    """
    if not math.isfinite(stated):
        return 0.0
    significant = noise * (1 - 2 * math.sqrt(2 / min(evaluations, EVIDENCE_POINTS)))
    lack = max(significant - stated, 0.0)
    return min(lack, stated) + max(lack - stated, 0.0) * min(1.0, relative_width / WIDTH_OF_BELIEF**2)


def unresolved(lack: float, stated: float, foresight: float) -> float:
    """The part of a lack of fit that more evaluations will not resolve; they do where predictions are right."""
    return min(lack, stated) + max(lack - stated, 0.0) * (1 - foresight)
