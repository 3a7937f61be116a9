"""First probabilities of the sequential policy, which make the start design the likeliest one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rl_detector.encodings import Part, one_hot
from rl_detector.space import FloatArray, IntArray


def start_logits(chosen: IntArray, choices: Sequence[int], departure: float) -> FloatArray:
    """Logits [m, options] for which all other options share the probability `departure`."""
    own, logits = one_hot(chosen, choices), []
    for each in np.split(own, np.cumsum(choices)[:-1], axis=1) if choices else []:
        others = max(each.shape[1] - 1, 1)
        raw = np.where(each > 0, math.log(1 - departure), math.log(departure / others))
        logits.append(raw - raw.mean(axis=1, keepdims=True))
    return np.concatenate(logits, axis=1) if logits else own


def start_hazard(part: Part, count: int, departure: float) -> FloatArray:
    """Probabilities to stop before each component, [m]; about (1 - departure)^2 to end at `count`."""
    place = np.arange(part.maximum)
    early = departure / max(count - part.minimum, 1)
    return np.where(place < count, min(early, 0.5), np.where(place == count, 1 - departure, 0.5))
