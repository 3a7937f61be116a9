"""Policy gradient for one-shot detector design, in the formulation of J. Kieseler, with a critic of all evaluations.

The simulation is a black box without gradients; the policy that proposes designs has them:

(1) sample variations a_i = theta_i ~ pi(a | s, xi), here N(mu, Sigma) for numbers given the choices, and categoricals;
(2) evaluate each in the black box;
(3) the physics reach of each gives its advantage A_i, a constant without gradient;
(4) maximise sum_i A_i log pi(a_i | s, xi), approximately a maximum-likelihood fit of pi to the a_i with weights A_i.

With the advantages of a critic that is linear in compatible features (`critic.py`) the natural gradient of (4) is the
critic's own mean gradient g for mu and mean Hessian H for Sigma (Kakade 2001; Peters and Schaal 2008), without the
sampling noise of (4). The critic has learned from every evaluation so far, not from the newest batch alone: that is
what saves simulated events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.archive import Archive
from rl_detector.agents.choices import Slots
from rl_detector.agents.components import Points
from rl_detector.agents.critic import COMPONENTS, MISFIT_POWER, Critic, Taylor, Variances
from rl_detector.agents.threads import one_thread
from rl_detector.agents.trust_region import TrustRegion
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray

TRICKS = (
    *("antithetic", "posterior", "conditional", "sigma", "shape"),  # of the policy
    *("evidence", "errors", "bowl", "quadratic", "remainder", "landscape", "batch"),  # of the critic
)
"""What can be switched off with `without`, see PolicyGradient."""

BIAS = 1.5
"""Squared bias of the slope at the centre over the variance of what is not quadratic, that of a cubic
term: z^3 = He_3 + 3 z has the slope 3, and He_3 / sqrt(6) the variance 1."""

UPDATE_SHARE = 32
"""The critic is fitted anew when this fraction of what it holds is new: that bounds the agent's own time."""

Value = Callable[[FloatArray], FloatArray]


class PolicyGradient:
    """Natural actor-critic whose critic is fitted to all evaluations so far.

    Attributes:
        space: the designs that can be proposed.

    Args:
        sigma: initial and largest spread in units of half the box. Under noise the widest spread at which the critic
            still fits tells most about the optimum.
        sigma_minimum: the spread shrinks no further, so the search never stops.
        exploration: probability shared out among all choices of a slot, so that none dies.
        posterior_share: share of the proposals whose choices are the best of a draw from the critic's posterior
            (Thompson 1933); the others come from the categoricals.
        memory: evaluations that the critic is fitted to; 0: only the newest batch.
        without: tricks to do without, for ablations. antithetic: proposals come in pairs mu +- delta, whose difference
            is free of all even terms; posterior: Thompson choices; conditional: the mean of the numbers follows the
            choices; sigma: the spread with the most exact optimum; shape: full covariance from the Hessian; evidence:
            strengths of the critic's components follow the data; errors: weights from the stated errors of the
            rewards; bowl, quadratic, remainder, landscape, batch: components of the critic.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        sigma: float = 0.5,
        sigma_minimum: float = 0.002,
        exploration: float = 0.2,
        posterior_share: float = 0.5,
        memory: int = 2000,
        without: Sequence[str] = (),
    ) -> None:
        _check(sigma, sigma_minimum, exploration, posterior_share, memory, without)
        self.space = space
        self._tricks = frozenset(TRICKS) - frozenset(without)
        self._sigma, self._sigma_minimum = sigma, sigma_minimum
        self._exploration, self._share = exploration, posterior_share * ("posterior" in self._tricks)
        self._rng = np.random.default_rng(seed)
        self._slots = Slots(space.choices)
        width = len(space.continuous)
        first = space.encode(start) if start is not None else _centre(space)
        self._mean, self._choices = first.continuous.copy(), first.discrete.copy()
        self._scale = np.eye(width) * sigma
        self._logits = np.zeros(self._slots.width)
        columns = max(width + self._slots.width - len(space.discrete), 1)
        self._archive = Archive(width, len(space.discrete), memory)
        kept = tuple(name for name in COMPONENTS if name == "linear" or name in self._tricks)
        self._variances = Variances.initial(width, columns, kept)
        self._fit: _Fit | None = None
        self._new = 0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """(1) a_i ~ pi(a | s, xi): choices first, then numbers around the mean for these choices."""
        with one_thread():
            return self._proposals(n)

    def _proposals(self, n: int) -> Encoding:
        discrete = self._slots.sample(self._probabilities(), self._rng, n)
        if self._fit is not None and len(self.space.discrete):
            drawn = self._rng.permutation(n)[: round(self._share * n)]
            discrete[drawn] = self._posterior_choices(len(drawn), discrete[drawn])
        deviations = self._deviations(n) @ self._scale.T
        return Encoding(self._means(discrete) + deviations, discrete)

    def _deviations(self, n: int) -> FloatArray:
        """Standard normal numbers [n, c], in pairs e, -e."""
        width = len(self._mean)
        if "antithetic" not in self._tricks:
            return self._rng.standard_normal((n, width))
        half = self._rng.standard_normal(((n + 1) // 2, width))
        return np.stack([half, -half], axis=1).reshape(2 * len(half), width)[:n]

    def _probabilities(self) -> FloatArray:
        """pi of every choice of every slot in a row: softmax of the logits, mixed with equal probabilities."""
        return self._slots.softmax(self._logits) * (1 - self._exploration) + self._exploration * self._slots.equal

    def _means(self, discrete: IntArray) -> FloatArray:
        """Mean of the numbers for each row of choices [n, k], [n, c]."""
        if self._fit is None or "conditional" not in self._tricks:
            return np.broadcast_to(self._mean, (len(discrete), len(self._mean)))
        unique, inverse = np.unique(discrete, axis=0, return_inverse=True)
        means = np.array([self._fit.mean(self._slots.columns(row[None])[0]) for row in unique])
        result: FloatArray = means.reshape(len(unique), len(self._mean))[inverse.reshape(-1)]
        return result

    def _posterior_choices(self, n: int, starts: IntArray) -> IntArray:
        """Best choices of n draws from the critic's posterior, each found by single changes from a start."""
        if self._fit is None or not n:
            return starts
        draws = self._fit.critic.draw(self._rng, n, self._fit.w)
        found = [self._slots.ascend(self._fit.value(draw), row) for draw, row in zip(draws, starts, strict=True)]
        return np.array(found, dtype=np.int64).reshape(starts.shape)

    def tell(self, batch: Batch) -> None:
        """(3) and (4): fit the critic, one natural-gradient step of the policy; (2), the evaluation, came before."""
        rewards = finite_rewards(batch)
        if batch.revised is not None:
            self._archive.revise(batch.revised)
        if not len(rewards):
            return
        self._archive.append(batch.actions, rewards, batch.errors, self._mean, self._scale)
        self._new += len(rewards)
        if self._new >= max(len(self._archive) / UPDATE_SHARE, 2) and np.ptp(self._archive.rewards) > 0:
            with one_thread():
                self._update()
            self._new = 0

    def _update(self) -> None:
        """Fit the critic around the present policy, then move the policy to where the critic is largest."""
        points, y = self._points()
        critic = Critic(self._variances, "evidence" in self._tricks)
        critic.fit(points, y, steps=3 if len(y) <= 3 * self._new else 1)
        fit = _Fit(critic, self._mean, self._scale, self._slots.columns(self._choices[None])[0])
        if len(self._choices):
            self._choices = self._best_choices(fit)
            fit = _Fit(critic, self._mean, self._scale, self._slots.columns(self._choices[None])[0])
            self._update_logits(fit)
        self._mean = fit.mean(fit.w)
        if len(self._mean):
            self._update_scale(fit)
        self._fit = fit

    def _points(self) -> tuple[Points, FloatArray]:
        """The archive in whitened coordinates, and standardised rewards."""
        archive = self._archive
        z = np.ascontiguousarray(np.linalg.solve(self._scale, (archive.continuous - self._mean).T).T, dtype=np.float64)
        far = np.sqrt((z**2).mean(axis=1)) if z.shape[1] else np.zeros(len(z))
        z = z * np.minimum(1, 6 / np.maximum(far, 1e-9))[:, None]
        noise: FloatArray = np.ones(len(z))
        if "errors" in self._tricks:
            noise = archive.relative_variances()
        unit = self._sigma / 2
        x, scale = (archive.continuous - self._mean) / unit, self._scale / unit
        points = Points(
            x, scale, z, self._slots.columns(archive.discrete), noise, archive.batch, len(self.space.discrete)
        )
        return points, _standardised(archive.rewards, points, self._variances)

    def _best_choices(self, fit: _Fit) -> IntArray:
        """The critic's best choices, found by single changes from the present, the best evaluated and random ones."""
        best = np.argsort(-self._archive.rewards)[:5]
        strangers = np.random.default_rng(self._archive.told).integers(0, self.space.choices, (16, len(self._choices)))
        starts = np.concatenate([self._choices[None], self._archive.discrete[best], strangers])
        value = fit.value(fit.taylor)
        ends = np.unique([self._slots.ascend(value, row) for row in starts], axis=0)
        result: IntArray = ends[value(self._slots.columns(ends)).argmax()]
        return result

    def _update_logits(self, fit: _Fit) -> None:
        """Natural gradient of the logits: the advantage of every choice, the others at their best."""
        changed = self._slots.neighbours(self._choices)
        value = fit.value(fit.taylor)
        advantages = value(self._slots.columns(changed)) - value(fit.w[None])
        logits = self._logits + np.clip(0.5 * advantages, -1, 1)
        self._logits = np.maximum(logits - self._slots.largest(logits), -8)

    def _update_scale(self, fit: _Fit) -> None:
        """Reshape the covariance by the Hessian, and scale it to where one evaluation tells most."""
        hessian = fit.hessian
        rate = 1 - math.exp(-0.02 * self._new)
        mean_curvature = np.diag(hessian).mean()
        shape = hessian - np.eye(len(hessian)) * mean_curvature if "shape" in self._tricks else np.zeros_like(hessian)
        values, vectors = np.linalg.eigh(shape)
        stretched = self._scale @ (vectors * np.exp(rate * np.clip(values, -0.5, 0.5))) @ vectors.T
        common = rate * np.clip(math.log(self._best_bandwidth(fit)), -1, 1) if "sigma" in self._tricks else 0.0
        values, vectors = np.linalg.eigh(stretched @ stretched.T * math.exp(2 * common))
        spread = np.clip(np.sqrt(np.maximum(values, 0)), self._sigma_minimum, self._sigma)
        self._scale = (vectors * spread) @ vectors.T

    def _best_bandwidth(self, fit: _Fit) -> float:
        """Factor k by which sigma should change so that the optimum is found most exactly.

        The slope at the centre, seen over a width k, has the variance noise p / (N k^2) from N evaluations near by and
        p slopes, and the squared bias misfit k^4 from what is not quadratic, which no number of evaluations averages
        out. The sum is smallest at k = (p noise / (2 N misfit))^(1/6): the choice of a bandwidth in local regression
        (Fan and Gijbels 1996, section 3.2.3).
        """
        variances, points = fit.critic.variances, fit.critic.points
        misfit = BIAS * (variances.misfit + fit.critic.nonquadratic_variance(3 * self._new, fit.w))
        near = (1 / (1 + points.distances**MISFIT_POWER)).sum()
        return float((points.u.shape[1] * variances.noise / (2 * near * misfit)) ** (1 / 6))

    def recommend(self, observation: FloatArray) -> Encoding:
        """The mean of the numbers for the best choices, in the box."""
        return Encoding(np.clip(self._mean, -1, 1), self._choices.copy())

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the numbers, in units of half the box.
        entropy: of the choices, in nats.
        remembered: evaluations that the critic holds.
        noise, misfit: variances of the critic's noise and misfit, relative to that of the rewards.
        """
        sigma = float(np.sqrt((self._scale**2).sum(axis=1)).mean()) if len(self._mean) else 0.0
        entropy = self._slots.entropy(self._probabilities())
        variances = {"noise": self._variances.noise, "misfit": self._variances.misfit}
        return {"sigma": sigma, "entropy": entropy, "remembered": float(len(self._archive)), **variances}

    def state_dict(self) -> dict[str, Any]:
        """Policy, archive, strengths of the critic, the latest fit, and the random generator."""
        arrays = {"mean": self._mean, "scale": self._scale, "choices": self._choices, "logits": self._logits}
        return {
            **{name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
            "archive": self._archive.state_dict(),
            "variances": asdict(self._variances),
            "fit": None if self._fit is None else self._fit.state_dict(),
            "new": self._new,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for name in ("mean", "scale", "choices", "logits"):
            setattr(self, f"_{name}", state[name].numpy().copy())
        self._archive.load_state_dict(state["archive"])
        stored = state["variances"]
        components = {name: stored["components"][name] for name in COMPONENTS if name in stored["components"]}
        self._variances = Variances(components, stored["noise"], stored["misfit"])
        with one_thread():
            self._fit = None if state["fit"] is None else _Fit.restored(self._variances, state["fit"])
        self._new = state["new"]
        self._rng.bit_generator.state = state["rng"]


class _Fit:
    """The critic around the policy that it was fitted for.

    Attributes:
        critic: what was fitted.
        w: columns of the best choices, [m].
        taylor: the critic's gradient and Hessian there.
        hessian: its part in the numbers, [c, c].
    """

    def __init__(self, critic: Critic, mean: FloatArray, scale: FloatArray, w: FloatArray) -> None:
        self.critic, self.w = critic, w
        self._start, self._scale = mean, scale
        self.taylor = critic.taylor(w)
        self.hessian = self.taylor.hessian[: len(mean), : len(mean)]
        self._region = TrustRegion(self.hessian, max(1.0, math.sqrt(len(mean)) / 4)) if len(mean) else None
        self._damping = self._region.damping(self._slopes(self.taylor, w[None])[0]) if self._region else 0.0

    def state_dict(self) -> dict[str, Any]:
        """What the critic was fitted to, and around what."""
        arrays = {**self.critic.data(), "policy_mean": self._start, "policy_scale": self._scale, "choices": self.w}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    @staticmethod
    def restored(variances: Variances, state: Mapping[str, torch.Tensor]) -> _Fit:
        """The fit from its `state_dict`; the variances are those after the fit."""
        arrays = {name: tensor.numpy().copy() for name, tensor in state.items()}
        mean, scale, best = (arrays.pop(name) for name in ("policy_mean", "policy_scale", "choices"))
        return _Fit(Critic.refitted(variances, arrays), mean, scale, best)

    def _slopes(self, taylor: Taylor, w: FloatArray) -> FloatArray:
        """Gradient in the numbers at the old mean for choices w [n, m], [n, c]."""
        c = len(self._start)
        slopes: FloatArray = taylor.gradient[:c] + w @ taylor.hessian[c:, :c]
        return slopes

    def mean(self, w: FloatArray) -> FloatArray:
        """The new mean of the numbers for choices w [m]: the critic's maximum in the trust region, in the box, [c]."""
        if self._region is None:
            return self._start
        step = self._region.step(self._slopes(self.taylor, w[None])[0])
        result: FloatArray = np.clip(self._start + self._scale @ step, -1, 1)
        return result

    def value(self, taylor: Taylor) -> Value:
        """Value of choices w [n, m] with the best numbers for each: w -> [n]."""
        c = len(self._start)

        def best(w: FloatArray) -> FloatArray:
            pairs = ((w @ taylor.hessian[c:, c:]) * w).sum(axis=1) / 2
            values = w @ taylor.gradient[c:] + pairs + self.critic.smooth_at(w)
            if self._region is not None:
                values = values + self._region.gain(self._slopes(taylor, w), self._damping)
            result: FloatArray = values
            return result

        return best


def _check(
    sigma: float, minimum: float, exploration: float, share: float, memory: int, without: Sequence[str]
) -> None:
    sound = 0 < minimum <= sigma and 0 < exploration <= 1 and 0 <= share <= 1 and memory >= 0
    if not sound:
        raise ConfigError(
            "policy_gradient needs 0 < sigma_minimum <= sigma, 0 < exploration <= 1, 0 <= posterior_share <= 1 and "
            f"memory >= 0, got {minimum}, {sigma}, {exploration}, {share}, {memory}"
        )
    unknown = [trick for trick in without if trick not in TRICKS]
    if unknown:
        raise ConfigError(f"policy_gradient has no trick {unknown[0]!r} to do without: known are {', '.join(TRICKS)}")


def _centre(space: DesignSpace) -> Encoding:
    return Encoding(np.zeros(len(space.continuous)), np.zeros(len(space.discrete), dtype=np.int64))


def _standardised(rewards: FloatArray, points: Points, variances: Variances) -> FloatArray:
    """Rewards less their mean over their standard deviation, both weighted by nearness, not below -3, [designs].

    One very bad design says no more about where the best is than a bad one.
    """
    weights = 1 / (points.noise + np.minimum(points.distances**MISFIT_POWER, 1e6) * variances.misfit / variances.noise)
    mean = np.average(rewards, weights=weights)
    deviation = math.sqrt(np.average((rewards - mean) ** 2, weights=weights))
    result: FloatArray = np.maximum((rewards - mean) / (deviation + 1e-300), -3)
    return result
