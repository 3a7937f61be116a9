"""What the one-shot policy gradient learns from evaluations: its memory, and the critic that is fitted to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from rl_detector.agents.critic.archive import Archive
from rl_detector.agents.critic.bandwidth import best_bandwidth, lack_of_fit, unresolved
from rl_detector.agents.critic.foresight import Foresight
from rl_detector.agents.critic.improvement import Improvement
from rl_detector.agents.critic.kernels import KERNELS, MISFIT_POWER, Points
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.critic.relevance import Relevance
from rl_detector.agents.critic.rewards import Unit, unit_of
from rl_detector.agents.critic.strengths import Variances
from rl_detector.agents.one_shot.policy import OneShotPolicy
from rl_detector.space import DesignSpace, Encoding, FloatArray


class Experience:
    """Evaluations, the strengths of the critic's kernels, and how well the critic foresaw rewards.

    Attributes:
        archive: the evaluations.
        variances: strengths of the critic's kernels.
        foresight: of the critic.
        unit: of the standardised rewards.
        stated: mean squared stated error of the standardised rewards; infinite where no errors are stated.

    Args:
        space: of the designs.
        memory: evaluations that are remembered; 0: only the newest batch.
        tricks: names of the tricks that are used.
    """

    def __init__(self, space: DesignSpace, memory: int, tricks: frozenset[str]) -> None:
        self._tricks = tricks
        self.archive = Archive(len(space.continuous), len(space.discrete), memory)
        self.variances = _first_variances(space, tricks)
        self.foresight, self.unit, self.stated = Foresight(), Unit(), math.inf

    @property
    def confidence(self) -> float:
        """Foresight of the critic, from 0 to 1; 0 without the trick."""
        return self.foresight.value if "trust" in self._tricks else 0.0

    def score(self, fit: Improvement, policy: OneShotPolicy, actions: Encoding, rewards: FloatArray) -> None:
        """Compare the critic's predictions for new designs with their rewards."""
        predicted = fit.expected(actions.continuous, policy.choices.columns(actions.discrete))
        error = self.stated if math.isfinite(self.stated) else 0.0
        self.foresight.score(predicted, self.unit.standardised(rewards), error)

    def fitted(self, critic: Critic, policy: OneShotPolicy, steps: int) -> Improvement:
        """The critic fitted around a policy, after steps of its strengths towards the evidence."""
        points, y = self._points(policy)
        critic.largest_batch, critic.predictive = self.stated, self.foresight.value > 0
        dependences = len(policy.mean) * (policy.choices.width - len(policy.own))
        critic.complete = "far" in self._tricks and self.confidence == 1 and 0 < dependences < len(self.archive)
        critic.fit(points, y, steps=steps)
        return self.improvement(critic, policy)

    def _points(self, policy: OneShotPolicy) -> tuple[Points, FloatArray]:
        """The evaluations as a policy sees them, and their standardised rewards."""
        errors, unit = "errors" in self._tricks, policy.sigma / 2
        points = self.archive.points(policy.mean, policy.scale, unit, policy.choices, errors)
        self.unit = unit_of(self.archive.rewards, points, self.variances)
        self.stated = self.archive.pure_error() / self.unit.deviation**2
        return points, self.unit.standardised(self.archive.rewards)

    def improvement(self, critic: Critic, policy: OneShotPolicy) -> Improvement:
        """A fitted critic around a policy."""
        reach = self.confidence if "reach" in self._tricks else 0.0
        return Improvement(critic, policy.mean, policy.scale, policy.columns, "box" in self._tricks, reach)

    def promised(self, fit: Improvement) -> float:
        """The critic's reward for the policy's choices at their best coordinates."""
        expected = fit.expected(fit.mean(fit.w)[None], fit.w[None])[0]
        return self.unit.mean + self.unit.deviation * float(expected)

    def lack(self, fit: Improvement) -> float:
        """Variance of the critic's lack of fit."""
        if "lack_of_fit" not in self._tricks:
            return 0.0
        width = fit.critic.points.relative_width
        return lack_of_fit(self.variances.noise, self.stated, len(self.archive), width)

    def incumbent(self, fit: Improvement, deviations: float = 0.0) -> tuple[Encoding, float]:
        """The evaluated design with the largest value, its lack of fit included, and that value.

        Values lie `deviations` standard deviations below their mean.
        """
        known = fit.critic.known_values(self.lack(fit), deviations)
        best = int(known.argmax())
        return Encoding(self.archive.continuous[best].copy(), self.archive.discrete[best].copy()), float(known[best])

    def best_bandwidth(self, fit: Improvement, newest: int) -> float:
        """Factor by which the policy's spread should change, by the `newest` designs."""
        critic, variances = fit.critic, self.variances
        lack = unresolved(self.lack(fit), self.stated, self.confidence)
        nonquadratic = critic.nonquadratic_variance(newest, fit.w)
        if "hidden" in self._tricks:
            nonquadratic = max(nonquadratic, critic.hidden_variance())
        near = float((1 / (1 + critic.points.distances**MISFIT_POWER)).sum())
        derivatives = critic.points.size + critic.dependences
        return best_bandwidth(variances.noise, variances.misfit + nonquadratic, lack, near, derivatives)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "archive": self.archive.state_dict(),
            "variances": {name: deepcopy(getattr(self.variances, name)) for name in ("kernels", "noise", "misfit")},
            "relevance": torch.from_numpy(self.variances.relevance.variances.copy()),
            "foresight": torch.from_numpy(self.foresight.sums.copy()),
            "stated": self.stated,
            "unit": list(self.unit),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.archive.load_state_dict(state["archive"])
        relevance, stored = self.variances.relevance, state["variances"]
        relevance.variances = state["relevance"].numpy().copy()
        kernels = {name: stored["kernels"][name] for name in KERNELS if name in stored["kernels"]}
        self.variances = Variances(kernels, stored["noise"], stored["misfit"], relevance)
        self.foresight.sums[:] = state["foresight"].numpy()
        self.stated, self.unit = state["stated"], Unit(*state["unit"])


def _first_variances(space: DesignSpace, tricks: frozenset[str]) -> Variances:
    """First guesses of the strengths of the kernels that are not switched off."""
    size, choices, options = len(space.continuous), len(space.discrete), sum(space.choices)
    kept = tuple(name for name in KERNELS if name in ("linear", "choices") or name in tricks)
    variances = Variances.initial(size, choices, options, kept)
    if "misfit" not in tricks:
        variances.misfit = 0.0
    if "relevance" in tricks and size and choices:
        variances.relevance = Relevance(size, np.array(space.choices), "coupled" in variances.kernels)
    return variances
