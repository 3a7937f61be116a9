"""The best width of a policy, against the sum of variance and bias that it minimises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_detector.agents.critic.bandwidth import BIAS, WIDTH_OF_BELIEF, best_bandwidth, lack_of_fit, unresolved


@pytest.mark.parametrize("lack", [0.0, 0.05])
def test_the_error_of_the_gradient_is_smallest_there(lack: float) -> None:
    """noise p / (N k^2) + p l k^4 / N + (misfit + l) k^4, up to the factor of the bias, on a fine grid of k."""
    noise, misfit, near, derivatives = 0.4, 0.02, 70.0, 6
    k = np.linspace(0.2, 3, 280_001)
    scatter = derivatives * ((noise - lack) / k**2 + lack * k**4) / near
    found = best_bandwidth(noise, misfit, lack, near, derivatives)
    assert found == pytest.approx(k[(scatter + BIAS * (misfit + lack) * k**4).argmin()], abs=1e-4)


def test_lack_of_fit_is_what_stated_errors_leave_out() -> None:
    significant = 1 - 2 * math.sqrt(2 / 200)
    assert lack_of_fit(0.5, math.inf, 200, 1.0) == 0
    assert lack_of_fit(0.5, 0.5, 200, 1.0) == 0
    assert lack_of_fit(0.5, 0.1, 200, 1.0) == pytest.approx(0.5 * significant - 0.1)
    narrow = lack_of_fit(0.5, 0.1, 200, WIDTH_OF_BELIEF**2 / 4)
    assert narrow == pytest.approx(0.1 + (0.5 * significant - 0.2) / 4)


def test_foresight_leaves_no_more_than_the_stated_errors_unresolved() -> None:
    assert unresolved(0.5, 0.1, 0.0) == 0.5
    assert unresolved(0.5, 0.1, 0.75) == pytest.approx(0.2)
    assert unresolved(0.5, 0.1, 1.0) == pytest.approx(0.1)
    assert unresolved(0.05, 0.1, 1.0) == 0.05
