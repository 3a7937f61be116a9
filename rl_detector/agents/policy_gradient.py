"""Policy gradient for one-shot detector design, in the formulation of J. Kieseler, with a critic of all evaluations.

## Idea
The simulation is a black box without gradients; the policy that proposes designs has them.
A Gaussian proposes numbers, given the choices that categoricals propose.
A critic, a Bayesian linear model, predicts the reward of a design from all evaluations so far.
Its mean gradient and Hessian move the policy, without the sampling noise of a single batch.
That is what saves simulated events.

## Equations
(1) Sample variations a_i = theta_i ~ pi(a | s, xi), here N(mu, Sigma) for numbers given the choices, and categoricals.

(2) Evaluate each in the black box.

(3) The physics reach of each gives its advantage A_i, a constant without gradient.

(4) Maximise the advantage-weighted log-likelihood, a fit of pi to the a_i with weights A_i:

    xi <- argmax_xi sum_i A_i log pi(a_i | s, xi)

With the advantages of a critic that is linear in compatible features (`critic.py`), the natural gradient of (4) is

    for mu:     g = mean gradient of the critic under pi
    for Sigma:  H = mean Hessian of the critic under pi

H gives Sigma its shape. Its size goes to where one evaluation tells most about the optimum.

## Source
Natural gradient: S. Kakade, NIPS 2001. Natural actor-critic and compatible features: J. Peters and S. Schaal,
Neurocomputing 71 (2008) 1180. Draws from the posterior: W. R. Thompson, Biometrika 25 (1933) 285.

## When to use it
Use it first: it is the default, and one set of defaults serves all registered detectors.
It gains most where noise is large and where choices depend on numbers.
With a few parameters and little noise, `bayesian` may need fewer designs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.critic.archive import Archive
from rl_detector.agents.critic.bandwidth import best_bandwidth, lack_of_fit, unresolved
from rl_detector.agents.critic.choices import MANY_SLOTS, Slots
from rl_detector.agents.critic.components import Points
from rl_detector.agents.critic.foresight import Trust
from rl_detector.agents.critic.improvement import CAUTION, Improvement
from rl_detector.agents.critic.model import COMPONENTS, MISFIT_POWER, Critic, Variances
from rl_detector.agents.critic.relevance import Relevance
from rl_detector.errors import ConfigError
from rl_detector.reproducible import one_thread
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray

TRICKS = (
    *("antithetic", "posterior", "conditional", "caution", "box", "sigma", "lack_of_fit", "hidden", "shape"),
    *("restarts", "relevance", "reach", "confirmed", "trust", "incumbent", "turnover", "far"),
    *("evidence", "errors", "misfit", "bowl", "quadratic", "interaction", "coupled", "remainder", "landscape", "batch"),
)
"""What can be switched off with `without`, see PolicyGradient."""

RESTARTS = 2
"""Random choices from which the best ones of a draw from the posterior are sought besides; none with many slots."""

WINSORISINGS = 10
"""Rounds in which the scale of the rewards forgets very bad ones."""

CANDIDATES = 64
"""Evaluated choices whose lower confidence bounds are compared, those worth most."""

UPDATE_SHARE = 32
"""The critic is fitted anew when this fraction of what it holds is new: that bounds the agent's own time."""


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
            choices; caution: the policy's own choices are those evaluated with the best lower confidence bound; box:
            steps are the best in the box, not clipped to it; sigma: the spread with the most exact optimum;
            lack_of_fit: it also narrows where rewards scatter more about the critic than their stated errors; hidden:
            and where only the remainder explains them; shape: full covariance from the Hessian; restarts: Thompson
            choices are sought far from the policy's own, too; relevance: numbers with the choices that they depend on
            get strengths of their own in the critic; reach: the more the critic is trusted, the farther away are
            numbers for other choices sought; far: where it is trusted in full, and more was evaluated than there are
            numbers times choices, designs count as much far from the policy as near it; confirmed: choices change only
            where the critic, fitted anew around them, promises no less than before; trust: lack of fit that more
            evaluations resolve, because the critic predicts new ones well, does not narrow the policy; incumbent: the
            start is the first design evaluated; where the critic does not fit, the best evaluated design competes with
            its promises, both for the recommendation and, unless the critic is trusted, for the centre of the policy;
            and where it lacks more than the errors of the rewards, only what was tried is recommended; turnover: the
            narrower the policy, the fewer of its choices change in a proposal, of Thompson choices where the critic is
            not trusted; evidence: strengths of the critic's components follow the data; errors: weights from the stated
            errors of the rewards; misfit: evaluations far from the policy count less, as much as the critic lacks
            there; bowl, quadratic, interaction, coupled, remainder, landscape, batch: components of the critic.
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
        self._archive = Archive(width, len(space.discrete), memory)
        kept = tuple(name for name in COMPONENTS if name in ("linear", "choices") or name in self._tricks)
        self._variances = Variances.initial(width, len(space.discrete), self._slots.width, kept)
        if "misfit" not in self._tricks:
            self._variances.misfit = 0.0
        if "relevance" in self._tricks and width and len(space.discrete):
            pairs = "coupled" in self._variances.components
            self._variances.relevance = Relevance(width, np.array(space.choices), pairs)
        self._fit: Improvement | None = None
        self._new = 0
        self._stated = math.inf
        self._turnover = 1.0
        self._standard = (0.0, 1.0)
        self._trust = Trust()
        self._recommended = Encoding(self._mean, self._choices)

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """(1) a_i ~ pi(a | s, xi): choices first, then numbers around the mean for these choices."""
        with one_thread():
            return self._proposals(n)

    def _proposals(self, n: int) -> Encoding:
        discrete = self._slots.sample(self._probabilities(), self._rng, n)
        turnover = np.full((n, 1), self._turnover)
        if self._fit is not None and len(self.space.discrete):
            drawn = self._rng.permutation(n)[: round(self._share * n)]
            discrete[drawn] = self._posterior_choices(len(drawn), discrete[drawn])
            turnover[drawn] **= 1 - self._trusted
        discrete = np.where(self._rng.random(discrete.shape) < turnover, discrete, self._choices)
        continuous = self._means(discrete) + self._deviations(n) @ self._scale.T
        if "incumbent" in self._tricks and not self._archive.told and n:
            continuous[0], discrete[0] = self._mean, self._choices
        return Encoding(continuous, discrete)

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
        """Best choices of n draws from the critic's posterior, each found by changes from a start and random ones.

        From the policy's own choices alone it would never reach those that differ in many slots at once.
        """
        if self._fit is None or not n:
            return starts
        values, slots = self._fit.drawn_values(self._rng, n), starts.shape[1]
        restarts = RESTARTS if "restarts" in self._tricks and slots <= MANY_SLOTS else 0
        strangers = self._rng.integers(0, self.space.choices, (n, restarts, slots))
        rows = np.concatenate([starts[:, None], strangers], axis=1)
        found = [self._slots.highest(value, each) for value, each in zip(values, rows, strict=True)]
        return np.array(found, dtype=np.int64).reshape(starts.shape)

    def tell(self, batch: Batch) -> None:
        """(3) and (4): fit the critic, one natural-gradient step of the policy; (2), the evaluation, came before."""
        rewards = finite_rewards(batch)
        if batch.revised is not None:
            self._archive.revise(batch.revised)
        if not len(rewards):
            return
        if self._fit is not None:
            with one_thread():
                self._score(self._fit, batch.actions, rewards)
        self._archive.append(batch.actions, rewards, batch.errors, self._mean, self._scale)
        self._new += len(rewards)
        if self._new >= max(len(self._archive) / UPDATE_SHARE, 2) and np.ptp(self._archive.rewards) > 0:
            with one_thread():
                self._update()
            self._new = 0

    def _score(self, fit: Improvement, actions: Encoding, rewards: FloatArray) -> None:
        """What the critic predicts of new designs, against their rewards."""
        mean, deviation = self._standard
        predicted = fit.expected(actions.continuous, self._slots.columns(actions.discrete))
        stated = self._stated if math.isfinite(self._stated) else 0.0
        self._trust.score(predicted, _raised((rewards - mean) / deviation), stated)

    @property
    def _trusted(self) -> float:
        return self._trust.value if "trust" in self._tricks else 0.0

    def _update(self) -> None:
        """Fit the critic around the present policy, then move the policy to where the critic is largest."""
        critic = Critic(self._variances, "evidence" in self._tricks)
        fit = self._fitted(critic, steps=3 if len(self._archive) <= 3 * self._new else 1)
        tried = self._best_tried(fit)
        if len(self._choices):
            fit = self._with_best_choices(fit)
            self._update_logits(fit)
        self._mean = fit.mean(fit.w)
        self._recommended = tried or Encoding(self._mean, self._choices)
        if "incumbent" in self._tricks:
            fit = self._with_incumbent(fit)
        if len(self._mean):
            self._update_scale(fit)
        self._fit = fit

    def _fitted(self, critic: Critic, steps: int) -> Improvement:
        """The critic fitted around the present policy, after steps towards the evidence."""
        points, y = self._points()
        critic.largest_batch, critic.trusted = self._stated, self._trust.value > 0
        dependences = len(self._mean) * (self._slots.width - len(self._choices))
        critic.complete = "far" in self._tricks and self._trusted == 1 and 0 < dependences < len(self._archive)
        critic.fit(points, y, steps=steps)
        return self._improvement(critic)

    def _improvement(self, critic: Critic) -> Improvement:
        own = self._slots.columns(self._choices[None])[0]
        trust = self._trusted if "reach" in self._tricks else 0.0
        return Improvement(critic, self._mean, self._scale, own, "box" in self._tricks, trust)

    def _with_best_choices(self, fit: Improvement) -> Improvement:
        """The policy with the best choices, at their own numbers, and the critic around it.

        From afar a critic may see in other choices what it does not find there: then the policy stays with its own.
        """
        before = Encoding(self._mean, self._choices)
        self._choices = self._best_choices(fit)
        if np.array_equal(before.discrete, self._choices):
            return fit
        if "conditional" not in self._tricks:
            return self._improvement(fit.critic)
        promised = self._promised(fit)
        self._mean = fit.mean(self._slots.columns(self._choices[None])[0])
        fit = self._fitted(fit.critic, steps=0)
        if "confirmed" in self._tricks and self._promised(fit) < promised:
            self._mean, self._choices = before
            return self._fitted(fit.critic, steps=0)
        return fit

    def _promised(self, fit: Improvement) -> float:
        """The reward at the best numbers for the policy's choices, to the critic."""
        mean, deviation = self._standard
        return mean + deviation * float(fit.expected(fit.mean(fit.w)[None], fit.w[None])[0])

    def _best_tried(self, fit: Improvement) -> Encoding | None:
        """The best of what was recommended, what the newest designs were proposed around, and the incumbent.

        None where the critic lacks less than the errors of the rewards: what it knows of all designs together is then
        better than any of them. Where it lacks more, it may promise much of designs near which nothing was evaluated.
        """
        lack = self._lack(fit.critic.points)
        if "incumbent" not in self._tricks or lack < self._stated or lack == 0:
            return None
        incumbent, known = self._incumbent(fit, lack)
        tried = (self._recommended, Encoding(self._mean, self._choices))
        numbers, choices = (np.stack(parts) for parts in zip(*tried, strict=True))
        promised = fit.expected(numbers, self._slots.columns(choices))
        return (*tried, incumbent)[int(np.argmax([*promised, known]))]

    def _incumbent(self, fit: Improvement, lack: float, deviations: float = 0.0) -> tuple[Encoding, float]:
        """The evaluated design that is worth most, its own lack of fit included, so many standard deviations below what
        is expected, and that value."""
        known = fit.critic.known_values(lack, deviations)
        best = int(known.argmax())
        return Encoding(self._archive.continuous[best].copy(), self._archive.discrete[best].copy()), float(known[best])

    def _with_incumbent(self, fit: Improvement) -> Improvement:
        """Where the critic lacks something and surely knows more of the incumbent than it promises of the policy's own
        design: the incumbent recommended, and the policy back at it unless the critic is trusted, with the critic
        around it. Lower confidence bounds decide that: a lucky design would call the policy back.
        """
        lack = self._lack(fit.critic.points)
        if lack == 0:
            return fit
        incumbent, known = self._incumbent(fit, lack, CAUTION)
        if known <= fit.cautious_value(self._mean, fit.w):
            return fit
        if lack < self._stated:
            self._recommended = incumbent
        if self._trusted == 1:
            return fit
        self._mean, self._choices = incumbent
        return self._fitted(fit.critic, steps=0)

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
        y, mean, deviation = _standardised(archive.rewards, points, self._variances)
        self._standard = (mean, deviation)
        self._stated = archive.pure_error() / deviation**2
        return points, y

    def _best_choices(self, fit: Improvement) -> IntArray:
        """Those evaluated with the best lower confidence bound; without caution, the best that the critic can find.

        A critic is wrong most where it knows least: the largest of thousands of its values would be a mistake.
        """
        if "caution" in self._tricks:
            candidates = np.unique(self._archive.discrete, axis=0)
            order = np.argsort(-fit.value(self._slots.columns(candidates)), kind="stable")
            candidates = candidates[order[:CANDIDATES]]
            values = fit.cautious_values(self._slots.columns(candidates))
        else:
            candidates = self._ascents(fit, np.random.default_rng(self._archive.told))
            values = fit.value(self._slots.columns(candidates))
        result: IntArray = candidates[values.argmax()]
        return result

    def _ascents(self, fit: Improvement, rng: np.random.Generator) -> IntArray:
        """Ends of single changes from the present choices, the best evaluated and random ones, [ends, slots]."""
        best = np.argsort(-self._archive.rewards)[:5]
        strangers = rng.integers(0, self.space.choices, (16, len(self._choices)))
        starts = np.concatenate([self._choices[None], self._archive.discrete[best], strangers])
        ends: IntArray = np.unique([self._slots.ascend(fit.value, row) for row in starts], axis=0)
        return ends

    def _update_logits(self, fit: Improvement) -> None:
        """Natural gradient of the logits: the advantage of every choice, the others at their best."""
        changed = self._slots.neighbours(self._choices)
        advantages = fit.value(self._slots.columns(changed)) - fit.value(fit.w[None])
        logits = self._logits + np.clip(0.5 * advantages, -1, 1)
        self._logits = np.maximum(logits - self._slots.largest(logits), -8)

    def _update_scale(self, fit: Improvement) -> None:
        """Reshape the covariance by the Hessian, and scale it to where one evaluation tells most."""
        hessian = fit.hessian
        rate = 1 - math.exp(-0.02 * self._new)
        mean_curvature = np.diag(hessian).mean()
        shape = hessian - np.eye(len(hessian)) * mean_curvature if "shape" in self._tricks else np.zeros_like(hessian)
        values, vectors = np.linalg.eigh(shape)
        stretched = self._scale @ (vectors * np.exp(rate * np.clip(values, -0.5, 0.5))) @ vectors.T
        common = rate * np.clip(math.log(self._best_bandwidth(fit)), -1, 1) if "sigma" in self._tricks else 0.0
        if self._lack(fit.critic.points) >= self._stated:
            common = min(common, 0.0)  # wider it would fit even less
        values, vectors = np.linalg.eigh(stretched @ stretched.T * math.exp(2 * common))
        spread = np.clip(np.sqrt(np.maximum(values, 0)), self._sigma_minimum, self._sigma)
        self._scale = (vectors * spread) @ vectors.T
        if len(self._choices) and "turnover" in self._tricks:
            width = min(math.sqrt((self._scale**2).sum(axis=1).mean()) / self._sigma, 1.0)
            self._turnover = max(width, 1 / len(self._choices))

    def _best_bandwidth(self, fit: Improvement) -> float:
        """Factor by which sigma should change."""
        critic, variances = fit.critic, fit.critic.variances
        lack = unresolved(self._lack(critic.points), self._stated, self._trusted)
        nonquadratic = critic.nonquadratic_variance(3 * self._new, fit.w)
        if "hidden" in self._tricks:
            nonquadratic = max(nonquadratic, critic.hidden_variance())
        near = float((1 / (1 + critic.points.distances**MISFIT_POWER)).sum())
        slopes = len(self._mean) + critic.dependences
        return best_bandwidth(variances.noise, variances.misfit + nonquadratic, lack, near, slopes)

    def _lack(self, points: Points) -> float:
        """Variance of the critic's lack of fit."""
        if "lack_of_fit" not in self._tricks:
            return 0.0
        return lack_of_fit(self._variances.noise, self._stated, len(self._archive), points.relative_width)

    def recommend(self, observation: FloatArray) -> Encoding:
        """The mean of the numbers for the best choices, in the box; where the critic does not fit, the best tried."""
        continuous, discrete = self._recommended
        return Encoding(np.clip(continuous, -1, 1), discrete.copy())

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the numbers, in units of half the box.
        entropy: of the choices, in nats.
        turnover: probability that a slot drawn from the categoricals is free to differ from the policy's own choice.
        trust: in the critic's predictions, from 0 to 1.
        relevant: groups of a number and choices that it depends on, found by the critic.
        remembered: evaluations that the critic holds.
        noise, misfit: variances of the critic's noise and misfit, relative to that of the rewards.
        """
        sigma = float(np.sqrt((self._scale**2).sum(axis=1)).mean()) if len(self._mean) else 0.0
        entropy = self._slots.entropy(self._probabilities())
        variances = {"noise": self._variances.noise, "misfit": self._variances.misfit}
        remembered = float(len(self._archive))
        relevant = float((self._variances.relevance.variances > 0).sum())
        return {
            "sigma": sigma,
            "entropy": entropy,
            "turnover": self._turnover,
            "trust": self._trusted,
            "relevant": relevant,
            "remembered": remembered,
            **variances,
        }

    def state_dict(self) -> dict[str, Any]:
        """Policy, archive, strengths of the critic, the latest fit, and the random generator."""
        arrays = {"mean": self._mean, "scale": self._scale, "choices": self._choices, "logits": self._logits}
        return {
            **{name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
            "archive": self._archive.state_dict(),
            "variances": {name: deepcopy(getattr(self._variances, name)) for name in ("components", "noise", "misfit")},
            "relevance": torch.from_numpy(self._variances.relevance.variances.copy()),
            "fit": None if self._fit is None else self._fit.state_dict(),
            "new": self._new,
            "turnover": self._turnover,
            "trust": torch.from_numpy(self._trust.sums.copy()),
            "stated": self._stated,
            "standard": list(self._standard),
            "recommended": [torch.from_numpy(array.copy()) for array in self._recommended],
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for name in ("mean", "scale", "choices", "logits"):
            setattr(self, f"_{name}", state[name].numpy().copy())
        self._archive.load_state_dict(state["archive"])
        stored = state["variances"]
        components = {name: stored["components"][name] for name in COMPONENTS if name in stored["components"]}
        relevance = self._variances.relevance
        relevance.variances = state["relevance"].numpy().copy()
        self._variances = Variances(components, stored["noise"], stored["misfit"], relevance)
        with one_thread():
            self._fit = None if state["fit"] is None else Improvement.restored(self._variances, state["fit"])
        self._new, self._turnover, self._stated = state["new"], state["turnover"], state["stated"]
        self._trust.sums[:] = state["trust"].numpy()
        self._standard = (state["standard"][0], state["standard"][1])
        self._recommended = Encoding(*(tensor.numpy().copy() for tensor in state["recommended"]))
        self._rng.bit_generator.state = state["rng"]


def _check(sigma: float, minimum: float, exploration: float, share: float, memory: int, without: Sequence[str]) -> None:
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


def _standardised(rewards: FloatArray, points: Points, variances: Variances) -> tuple[FloatArray, float, float]:
    """Rewards less their mean over their standard deviation, both weighted by nearness, not below -3, [designs];
    and that mean and standard deviation.

    One very bad design says no more about where the best is than a bad one: it is raised to -3 before the standard
    deviation is taken again, WINSORISINGS times (winsorising: Tukey 1962).
    """
    weights = 1 / (points.noise + np.minimum(points.distances**MISFIT_POWER, 1e6) * variances.misfit / variances.noise)
    raised = rewards
    for _ in range(WINSORISINGS):
        mean = np.average(raised, weights=weights)
        deviation = math.sqrt(np.average((raised - mean) ** 2, weights=weights))
        raised = np.maximum(rewards, mean - 3 * deviation)
    deviation = max(deviation, 1e-150)
    return _raised((rewards - mean) / deviation), float(mean), deviation


def _raised(standardised: FloatArray) -> FloatArray:
    return np.maximum(standardised, -3)
