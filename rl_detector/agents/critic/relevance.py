"""Which few of a critic's many weights matter: own strengths for coordinates that depend on choices.

The best thickness of a layer may depend on its own material and on that of a neighbour, but hardly on all pairs of
materials. With one strength for all, the few weights that matter are shrunk as much as the many that do not. Here a
group of weights gets its own variance once the evidence asks for it (relevance vector machine: Tipping 2001).
"""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri  # type: ignore[import-untyped]

from rl_detector.agents.critic.kernels import Points, pairs_of
from rl_detector.space import FloatArray, IntArray

MOST_GROUPS = 100
"""Most groups that are relevant at a time."""


CHANCE = 0.05
"""Probability that any group becomes relevant by chance in one step, of which there are hundreds in a run."""


NEW_GROUPS = 3
"""Most groups that become relevant in one step."""


LEAST_INFORMATION = 0.1
"""Information of the data on a group, relative to that of its variance, below which the group is forgotten."""


FASTEST = 4.0
"""Largest factor by which a variance changes in one step towards the evidence."""


Solution = tuple[FloatArray, FloatArray]
"""alpha = C^-1 y and the inverse C^-1 of the covariance C of the rewards y."""


class Relevance:
    """Additional variances of the weights of x_i w_a, and with pairs also of x_i w_a w_b, by groups.

    A group is one coordinate x_i with all options w_a of a choice, or of a pair of choices. The coordinates are those
    of the box, not of the policy. A material goes with a place in the box, and variances there do not change while the
    policy narrows.

    Args:
        size: number c of coordinates.
        options: number of options of every choice.
        pairs: whether there are groups of pairs of choices, too.

    Attributes:
        variances: of the weights of each group, mostly 0: [c, choices and pairs of choices].
    """

    def __init__(self, size: int = 0, options: IntArray | None = None, pairs: bool = False) -> None:
        counts = np.zeros(0, dtype=np.int64) if options is None else options
        choices, self._pairs = len(counts), pairs
        choice = np.repeat(np.arange(choices), counts)
        one, two = np.triu_indices(choices if pairs else 0, 1)
        pair = np.full((choices, choices), -1)
        pair[one, two] = choices + np.arange(len(one))
        first, second = np.triu_indices(len(choice) if pairs else 0, 1)
        self._groups = np.concatenate([choice, pair[choice[first], choice[second]]])
        freedoms = np.maximum(counts - 1, 1)
        self._freedoms = np.concatenate([freedoms, freedoms[one] * freedoms[two]]).astype(np.float64)
        self._single = np.arange(len(self._freedoms)) < choices
        self.variances: FloatArray = np.zeros((size, len(self._freedoms)))

    @property
    def strengths(self) -> FloatArray:
        """Variances of all weights, [c, terms]."""
        padded = np.concatenate([self.variances, np.zeros((len(self.variances), 1))], axis=1)
        return padded[:, self._groups]

    def terms(self, w: FloatArray) -> FloatArray:
        """w_a, and w_a w_b for a < b, of choices [n, m]: [n, terms]."""
        return np.concatenate([w, pairs_of(w)], axis=1) if self._pairs else w

    def covariance(self, a: Points, b: Points) -> FloatArray:
        """Additional covariances of designs, [designs of a, designs of b]."""
        left, variances, _ = self._features(a)
        right = left if a is b else self._features(b)[0]
        result: FloatArray = (left * variances) @ right.T
        return result

    def diagonal(self, points: Points) -> FloatArray:
        """Additional variances of designs, [designs]."""
        features, variances, _ = self._features(points)
        result: FloatArray = features**2 @ variances
        return result

    def moments(self, points: Points, alphas: FloatArray) -> FloatArray:
        """Weights of z_i times the terms, for n weightings alpha [n, designs] of the designs, [n, c, terms].

        Empty where nothing is relevant.
        """
        if not self.variances.any():
            return np.zeros((0, 0, 0))
        terms, strengths = self.terms(points.w), self.strengths
        weights = np.stack([strengths * ((points.x.T * alpha) @ terms) for alpha in alphas])
        return np.asarray(points.scale @ weights, dtype=np.float64)

    def draw(self, rng: np.random.Generator, n: int, points: Points) -> FloatArray:
        """Draw weights of z_i times the terms from the prior, [n, c, terms]; empty where nothing is relevant."""
        if not self.variances.any():
            return np.zeros((0, 0, 0))
        strengths = self.strengths
        result: FloatArray = points.scale @ (rng.standard_normal((n, *strengths.shape)) * np.sqrt(strengths))
        return result

    def follow_evidence(self, points: Points, fitted: Solution, plain: Solution, fresh: bool = True) -> None:
        """Take a step of the variances towards the evidence.

        The terms Phi of a group have the gain |Phi' alpha|^2 and the loss tr(Phi' C^-1 Phi). The variance of a relevant
        group follows gain over loss, as the strengths of the kernels do. Another group becomes relevant where gain over
        loss exceeds the largest value that chance makes of all groups. It gets the variance that has the largest
        evidence if nothing else changes (Tipping and Faul 2003). Losses of groups not yet relevant are taken in
        proportion to the sum of the squares of Phi.

        Args:
            points: designs that the critic is fitted to.
            fitted: alpha = C^-1 y and the inverse C^-1 of the covariance.
            plain: alpha and C^-1 where kernels that can explain anything count as noise, for groups not yet relevant.
            fresh: whether groups may become relevant. None does before there are more evaluations than coordinates and
                options.
        """
        x, terms = points.x, self.terms(points.w)
        size = self._summed((x**2).T @ terms**2)
        old = self.variances > 0
        features, _, owner = self._features(points)
        gain, loss = self._gains(x, terms, fitted[0]), size * 0
        loss[old] = np.bincount(owner, (features * (fitted[1] @ features)).sum(axis=0), minlength=old.sum())
        self.variances[old] *= np.clip(gain[old] / np.maximum(loss[old], 1e-12), 1 / FASTEST, FASTEST)
        self.variances[self.variances * loss < LEAST_INFORMATION] = 0
        if fresh and len(x) > len(self.variances) + self._freedoms[self._single].sum():
            self._make_relevant(self._gains(x, terms, plain[0]), self._losses(x, terms, plain[1], size), size)
        self.variances = np.minimum(self.variances, len(x) / np.maximum(size, 1e-12))

    def _make_relevant(self, gain: FloatArray, loss: FloatArray, size: FloatArray) -> None:
        """Give a variance to the groups with the largest gain over loss, if it is larger than by chance."""
        ratio = gain / np.maximum(loss, 1e-12)
        found = np.argwhere((self.variances == 0) & (ratio > self._limit(int((size > 0).sum()))))
        order = np.argsort(-ratio[tuple(found.T)], kind="stable")
        found = found[order][: min(NEW_GROUPS, MOST_GROUPS - int((self.variances > 0).sum()))]
        for i, group in found:
            excess = gain[i, group] - loss[i, group]
            self.variances[i, group] = self._freedoms[group] * excess / loss[i, group] ** 2

    def _gains(self, x: FloatArray, terms: FloatArray, alpha: FloatArray) -> FloatArray:
        """|Phi' alpha|^2 of every group, [c, groups]."""
        return self._summed(((x.T * alpha) @ terms) ** 2)

    def _limit(self, groups: int) -> FloatArray:
        """Ratio of gain and loss that chance exceeds in any of `groups` groups with the probability CHANCE, [groups].

        By chance the ratio is a chi-squared variable over its degrees of freedom; Bonferroni's bound covers all groups.
        """
        limit: FloatArray = chdtri(self._freedoms, CHANCE / max(groups, 1)) / self._freedoms
        return limit

    def _losses(self, x: FloatArray, terms: FloatArray, inverse: FloatArray, size: FloatArray) -> FloatArray:
        """tr(Phi' C^-1 Phi) of every group, from that of all groups with one choice, or with two, [c, groups]."""
        losses = size.copy()
        alike, choices = x @ x.T, int(self._single.sum())
        ones, twos = terms[:, (self._groups >= 0) & (self._groups < choices)], terms[:, self._groups >= choices]
        for kind, of_kind in ((self._single, ones), (~self._single, twos)):
            total = np.vdot(alike * (of_kind @ of_kind.T), inverse) if of_kind.size else 0.0
            losses[:, kind] *= total / max(losses[:, kind].sum(), 1e-12)
        return losses

    def _summed(self, values: FloatArray) -> FloatArray:
        """Sums over the terms of every group, [c, terms] -> [c, groups]."""
        members = self._groups[:, None] == np.arange(self.variances.shape[1])
        result: FloatArray = values @ members
        return result

    def _features(self, points: Points) -> tuple[FloatArray, FloatArray, IntArray]:
        """Terms of the relevant groups [designs, features], their variances, and the index of each one's group."""
        coordinates, groups = np.nonzero(self.variances)
        owner, columns = np.nonzero(groups[:, None] == self._groups)
        features: FloatArray = points.x[:, coordinates[owner]] * self.terms(points.w)[:, columns]
        return features, self.variances[coordinates, groups][owner], owner
