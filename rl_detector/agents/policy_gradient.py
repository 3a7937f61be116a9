"""Policy gradient for one-shot detector design, in the formulation of J. Kieseler, with a critic of all evaluations.

## Idea
The simulation is a black box without gradients; the policy that proposes designs has them.
A Gaussian proposes coordinates, given the choices that categoricals propose.
A critic, a Bayesian linear model, predicts the reward of a design from all evaluations so far.
Its mean gradient and Hessian move the policy, without the sampling noise of a single batch.
That is what saves simulated events.

## Equations
(1) Sample variations a_i = theta_i ~ pi(a | s, xi), here categoricals for choices, and N(mu, Sigma) for coordinates.

(2) Evaluate each in the black box.

(3) The physics reach of each gives its advantage A_i, a constant without gradient.

(4) Maximise the advantage-weighted log-likelihood, a fit of pi to the a_i with weights A_i:

    xi <- argmax_xi sum_i A_i log pi(a_i | s, xi)

With the advantages of a critic that is linear in compatible features, the natural gradient of (4) is

    for mu:     g = mean gradient of the critic under pi
    for Sigma:  H = mean Hessian of the critic under pi

H gives Sigma its shape. Its size goes to where one evaluation tells most about the optimum.

## Source
Natural gradient: S. Kakade, NIPS 2001. Natural actor-critic and compatible features: J. Peters and S. Schaal,
Neurocomputing 71 (2008) 1180. Draws from the posterior: W. R. Thompson, Biometrika 25 (1933) 285.

## When to use it
Use it first: it is the default, and one set of defaults serves all registered detectors.
It gains most where noise is large and where the best coordinates depend on the choices.
With a few parameters and little noise, `bayesian` may need fewer designs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.critic.improvement import CAUTION, Improvement
from rl_detector.agents.critic.model import Critic
from rl_detector.agents.one_shot.experience import Experience
from rl_detector.agents.one_shot.policy import OneShotPolicy
from rl_detector.agents.one_shot.search import cautious_choices, posterior_choices, unbounded_choices
from rl_detector.agents.one_shot.settings import Settings
from rl_detector.agents.policies import start_encoding
from rl_detector.reproducible import one_thread
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray, IntArray

UPDATE_SHARE = 32
"""The critic is fitted anew when one in UPDATE_SHARE of its evaluations is new; that bounds the agent's own time."""


class PolicyGradient:
    """Natural actor-critic whose critic is fitted to all evaluations so far.

    Names in `without` switch these tricks off, one by one:

    - antithetic: proposals come in pairs mu +- delta, whose difference is free of all even terms.
    - posterior: some choices are the best of a draw from the critic's posterior (Thompson 1933).
    - conditional: the mean of the coordinates follows the choices.
    - caution: the policy's own choices are the evaluated ones with the best lower confidence bound.
    - box: steps are the best in the box, not clipped to it.
    - sigma: the spread goes to where the optimum is found most exactly.
    - lack_of_fit: it also narrows where rewards scatter about the critic by more than their stated errors.
    - hidden: it also narrows where only the remainder explains the rewards.
    - shape: the Hessian gives the full covariance.
    - restarts: choices from the posterior are also sought from random starts.
    - relevance: coordinates with the choices that they depend on get their own strengths in the critic.
    - reach: the better the critic foresees rewards, the farther away are coordinates for other choices sought.
    - confirmed: choices change only where the critic, fitted anew around them, promises no less.
    - trust: lack of fit that more evaluations resolve does not narrow the policy. The critic foresees rewards there.
    - incumbent: the start is the first design evaluated. Where the critic does not fit, the best evaluated design
      competes with its promises for the recommendation. Without full foresight it also competes for the policy's
      centre. Where the lack of fit exceeds the errors of the rewards, only designs that were tried are recommended.
    - turnover: the narrower the policy, the fewer of its choices change in a proposal. With foresight this holds less
      for choices from the posterior.
    - far: with full foresight, and more evaluations than coordinates times options, far designs count like near ones.
    - evidence: strengths of the critic's kernels follow the data.
    - errors: the stated errors of the rewards weight them.
    - misfit: evaluations far from the policy count less, in proportion to what the critic lacks there.
    - bowl, quadratic, interaction, coupled, remainder, landscape, batch: kernels of the critic.

    Attributes:
        space: the designs that can be proposed.

    Args:
        sigma: initial and largest spread in units of half the box. Under noise the widest spread at which the critic
            still fits tells most about the optimum.
        sigma_minimum: smallest spread, so that the search never stops.
        exploration: probability shared out among all options of a choice, so that none dies.
        posterior_share: share of the proposals whose choices are the best of a draw from the critic's posterior. The
            others come from the categoricals.
        memory: evaluations that the critic is fitted to; 0: only the newest batch.
        without: names of tricks to switch off, from the list above. It is for ablations;
            experiments/agents measures what each trick is worth.
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
        settings = Settings(sigma, sigma_minimum, exploration, posterior_share, memory, tuple(without))
        self.space, self._tricks = space, settings.tricks
        self._share = posterior_share * ("posterior" in self._tricks)
        self._rng = np.random.default_rng(seed)
        first = start_encoding(space, start)
        self._policy = OneShotPolicy(first, space.choices, sigma, sigma_minimum, exploration)
        self._experience = Experience(space, memory, self._tricks)
        self._fit: Improvement | None = None
        self._new = 0
        self._recommended = self._policy.centre

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """(1) a_i ~ pi(a | s, xi): choices first, then coordinates around the mean for these choices."""
        with one_thread():
            return self._proposals(n)

    def _proposals(self, n: int) -> Encoding:
        policy = self._policy
        discrete = self._proposed_choices(n)
        continuous = self._means(discrete) + policy.deviations(self._rng, n, "antithetic" in self._tricks)
        if "incumbent" in self._tricks and not self._experience.archive.told and n:
            continuous[0], discrete[0] = policy.centre
        return Encoding(continuous, discrete)

    def _proposed_choices(self, n: int) -> IntArray:
        """Choices from the categoricals and from the posterior; most stay the policy's own, [n, k]."""
        policy, rng = self._policy, self._rng
        discrete = policy.choices.sample(policy.probabilities, rng, n)
        turnover = np.full((n, 1), policy.turnover)
        if self._fit is not None and len(policy.own):
            drawn, restarts = rng.permutation(n)[: round(self._share * n)], "restarts" in self._tricks
            discrete[drawn] = posterior_choices(self._fit, policy.choices, discrete[drawn], rng, restarts)
            turnover[drawn] **= 1 - self._experience.confidence
        return np.where(rng.random(discrete.shape) < turnover, discrete, policy.own)

    def _means(self, discrete: IntArray) -> FloatArray:
        """Mean of the coordinates for each row of choices [n, k], [n, c]."""
        own, choices = self._policy.mean, self._policy.choices
        if self._fit is None or "conditional" not in self._tricks:
            return np.broadcast_to(own, (len(discrete), len(own)))
        unique, inverse = np.unique(discrete, axis=0, return_inverse=True)
        means = np.array([self._fit.mean(choices.columns(row[None])[0]) for row in unique])
        result: FloatArray = means.reshape(len(unique), len(own))[inverse.reshape(-1)]
        return result

    def tell(self, batch: Batch) -> None:
        """(3) and (4): fit the critic, one natural-gradient step of the policy; (2), the evaluation, came before."""
        rewards, archive = finite_rewards(batch), self._experience.archive
        if batch.revised is not None:
            archive.revise(batch.revised)
        if not len(rewards):
            return
        if self._fit is not None:
            with one_thread():
                self._experience.score(self._fit, self._policy, batch.actions, rewards)
        archive.append(batch.actions, rewards, batch.errors, self._policy.mean, self._policy.scale)
        self._new += len(rewards)
        if self._new >= max(len(archive) / UPDATE_SHARE, 2) and np.ptp(archive.rewards) > 0:
            with one_thread():
                self._update()
            self._new = 0

    def _update(self) -> None:
        """Fit the critic around the present policy, then move the policy to where the critic is largest."""
        policy, critic = self._policy, Critic(self._experience.variances, "evidence" in self._tricks)
        fit = self._fitted(critic, steps=3 if len(self._experience.archive) <= 3 * self._new else 1)
        tried = self._best_tried(fit)
        if len(policy.own):
            fit = self._with_best_choices(fit)
            changed = policy.choices.columns(policy.choices.neighbours(policy.own))
            policy.move_logits(fit.value(changed) - fit.value(fit.w[None]))
        policy.mean = fit.mean(fit.w)
        self._recommended = tried or policy.centre
        if "incumbent" in self._tricks:
            fit = self._with_incumbent(fit)
        if len(policy.mean):
            self._update_scale(fit)
        self._fit = fit

    def _fitted(self, critic: Critic, steps: int = 0) -> Improvement:
        return self._experience.fitted(critic, self._policy, steps)

    def _with_best_choices(self, fit: Improvement) -> Improvement:
        """Give the policy the best choices, at their best coordinates, and return the critic around it.

        From afar a critic may see merit in other choices that it does not find nearby. Then the policy keeps its own.
        """
        policy, before, promised = self._policy, self._policy.centre, self._experience.promised
        policy.own = self._best_choices(fit)
        if np.array_equal(before.discrete, policy.own):
            return fit
        if "conditional" not in self._tricks:
            return self._experience.improvement(fit.critic, policy)
        least = promised(fit)
        policy.mean = fit.mean(policy.columns)
        fit = self._fitted(fit.critic)
        if "confirmed" in self._tricks and promised(fit) < least:
            policy.mean, policy.own = before
            return self._fitted(fit.critic)
        return fit

    def _best_choices(self, fit: Improvement) -> IntArray:
        """The evaluated choices with the best lower confidence bound; without caution, the best that the critic finds.

        A critic errs most where it knows least. The largest of thousands of its values would be an error.
        """
        choices, archive = self._policy.choices, self._experience.archive
        if "caution" in self._tricks:
            return cautious_choices(fit, choices, archive.discrete)
        best = archive.discrete[np.argsort(-archive.rewards)[:5]]
        starts = np.concatenate([self._policy.own[None], best])
        return unbounded_choices(fit, choices, starts, np.random.default_rng(archive.told))

    def _best_tried(self, fit: Improvement) -> Encoding | None:
        """The best of the latest recommendation, the centre of the newest proposals, and the incumbent.

        None where the critic lacks less than the errors of the rewards. Its knowledge of all designs together is then
        better than any of them. Where it lacks more, it may promise much far from all evaluations.
        """
        lack = self._experience.lack(fit)
        if "incumbent" not in self._tricks or lack < self._experience.stated or lack == 0:
            return None
        incumbent, known = self._experience.incumbent(fit)
        tried = (self._recommended, self._policy.centre)
        continuous, discrete = (np.stack(parts) for parts in zip(*tried, strict=True))
        promised = fit.expected(continuous, self._policy.choices.columns(discrete))
        return (*tried, incumbent)[int(np.argmax([*promised, known]))]

    def _with_incumbent(self, fit: Improvement) -> Improvement:
        """Recommend the incumbent where it is surely better than the policy's design; return the critic around it.

        Without full foresight the policy also goes back to the incumbent. Lower confidence bounds decide, for a lucky
        design would call the policy back. Nothing happens where the critic lacks nothing.
        """
        policy, lack = self._policy, self._experience.lack(fit)
        if lack == 0:
            return fit
        incumbent, known = self._experience.incumbent(fit, CAUTION)
        if known <= fit.cautious_value(policy.mean, fit.w):
            return fit
        if lack < self._experience.stated:
            self._recommended = incumbent
        if self._experience.confidence == 1:
            return fit
        policy.mean, policy.own = incumbent
        return self._fitted(fit.critic)

    def _update_scale(self, fit: Improvement) -> None:
        """Reshape the covariance by the Hessian, and scale it to where one evaluation tells most."""
        hessian, rate = fit.hessian, 1 - math.exp(-0.02 * self._new)
        traceless = hessian - np.eye(len(hessian)) * np.diag(hessian).mean()
        factor = self._experience.best_bandwidth(fit, 3 * self._new) if "sigma" in self._tricks else 1.0
        common = rate * float(np.clip(math.log(factor), -1, 1))
        if self._experience.lack(fit) >= self._experience.stated:
            common = min(common, 0.0)  # a wider policy would fit even less
        self._policy.stretch(traceless if "shape" in self._tricks else np.zeros_like(hessian), rate, common)
        if len(self._policy.own) and "turnover" in self._tricks:
            self._policy.narrow_turnover()

    def recommend(self, observation: FloatArray) -> Encoding:
        """The best choices at their mean coordinates, in the box; where the critic does not fit, the best tried."""
        continuous, discrete = self._recommended
        return Encoding(np.clip(continuous, -1, 1), discrete.copy())

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: mean standard deviation of the coordinates, in units of half the box.
        entropy: of the choices, in nats.
        turnover: probability that a choice drawn from the categoricals may differ from the policy's own.
        trust: foresight of the critic, from 0 to 1.
        relevant: groups of a coordinate and the choices that it depends on, found by the critic.
        remembered: evaluations that the critic holds.
        noise, misfit: variances of the critic's noise and misfit, relative to that of the rewards.
        """
        policy, variances = self._policy, self._experience.variances
        return {
            "sigma": policy.spread,
            "entropy": policy.choices.entropy(policy.probabilities),
            "turnover": policy.turnover,
            "trust": self._experience.confidence,
            "relevant": float((variances.relevance.variances > 0).sum()),
            "remembered": float(len(self._experience.archive)),
            "noise": variances.noise,
            "misfit": variances.misfit,
        }

    def state_dict(self) -> dict[str, Any]:
        """Policy, experience, the latest fit, the recommendation, and the random generator."""
        return {
            "policy": self._policy.state_dict(),
            "experience": self._experience.state_dict(),
            "fit": None if self._fit is None else self._fit.state_dict(),
            "new": self._new,
            "recommended": [torch.from_numpy(array.copy()) for array in self._recommended],
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._policy.load_state_dict(state["policy"])
        self._experience.load_state_dict(state["experience"])
        fit, variances = state["fit"], self._experience.variances
        with one_thread():
            self._fit = None if fit is None else Improvement.restored(variances, fit)
        self._new = state["new"]
        self._recommended = Encoding(*(tensor.numpy().copy() for tensor in state["recommended"]))
        self._rng.bit_generator.state = state["rng"]
