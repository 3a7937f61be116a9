"""Reach of the spectrometer: the momentum resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.spectrometer.fast import MINIMUM_HITS
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

UNMEASURED_ERROR = 1 / 3
"""Relative error of a track that is not measured, and the largest of one that is. Beyond it not even the sign of the
charge is known to three standard deviations."""


@dataclass(frozen=True)
class MomentumReach:
    """reach = ln(reference / metric), metric = mean relative momentum error over all tracks of the spectrum.

    With kappa = q / p the loss of a track is sqrt(pi / 2) |kappa_fit - kappa| / |kappa|, at most `UNMEASURED_ERROR`.
    For normal errors the mean of |error| is sqrt(2 / pi) sigma: the metric is sigma_p / p averaged over the spectrum.
    A track outside the acceptance or with fewer than three hits has the loss `UNMEASURED_ERROR`: no design gains by
    losing a track, and the expected metric is a smooth function of the positions.
    The standard error is that of a mean; where no track is measured, that of one track more.

    Attributes:
        reference: metric of the baseline design, so that its reach is 0.
    """

    reference: float

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `SpectrometerSimulator`."""
        kappa, (fitted, error, hits) = readout.truth["kappa"], readout.signals.T
        known = hits >= MINIMUM_HITS
        relative = (fitted - kappa) / kappa
        scaled = np.minimum(math.sqrt(math.pi / 2) * np.abs(relative), UNMEASURED_ERROR)
        losses = np.where(known, scaled, UNMEASURED_ERROR)
        metric, events = float(losses.mean()), len(losses)
        varied = float(losses.std(ddof=1)) / math.sqrt(events)
        spread = varied if np.ptp(losses) > 0 else UNMEASURED_ERROR / events
        return Measurement(
            reach=math.log(self.reference / metric),
            error=spread / metric,
            metric=metric,
            metric_error=spread,
            losses=losses,
            diagnostics={
                "measured": float(known.mean()),
                **_of_measured(losses[known], (fitted - kappa)[known], error[known]),
            },
        )


def _of_measured(losses: FloatArray, residuals: FloatArray, errors: FloatArray) -> dict[str, float]:
    """Mean loss of the measured tracks, and rms of residual over error, 1 for a right fit; nothing without tracks."""
    if not len(losses):
        return {}
    return {"resolution": float(losses.mean()), "pull": float(np.sqrt(np.mean((residuals / errors) ** 2)))}
