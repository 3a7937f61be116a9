"""Local generative surrogate optimisation.

## Idea
Simulate designs in a small box around the current one.
Train a generator that imitates the simulator in that box.
The generator has gradients, which the simulator lacks.
Follow the gradient of the mean objective through it for one step.
Move the box and repeat.

## Equations
    y = S(psi', z) for |psi' - psi| <= epsilon,    S trained on simulated events by the energy distance
    psi <- Adam( grad_psi mean_z objective(S(psi, z)) )

## Source
Shirobokov et al., arXiv:2002.04632, algorithm 1.

## When to use it
Use it to compare with surrogate-gradient methods.
It needs gradients to be smooth over the box, and many designs per step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.advantages import finite_rewards
from rl_detector.agents.peers.proposals import Proposals, own_generators, start_vector
from rl_detector.agents.surrogates.local_generator import Neighbourhood, gradient
from rl_detector.encodings import BoxEncoding
from rl_detector.errors import ConfigError
from rl_detector.space import Design, DesignSpace, Encoding, FloatArray

MOST_EVENTS = 64
"""Most events of a design from which the generator learns."""


REMEMBERED_UPDATES = 10
"""Updates whose results are kept; those that lie in the neighbourhood are used again."""


class LGso:
    """Adam on the gradient of a generator that imitates the simulator in a box around the current design.

    Algorithm 1 of the paper has four steps. Propose designs from a Latin hypercube of half-size epsilon around psi.
    Train a generator y = S(psi', z) on all results in that box. Take the gradient of the mean objective through S at
    psi. Take one step of Adam. The observables y are the per-event losses where the reach has them. The reward is then
    ln(reference / mean y) less the charge, which has no noise and is fitted by a line. Else y is the design's reward.
    Every option of a choice has a score, the largest wins, and the gradient moves scores like coordinates.

    S is trained on the energy distance, the Cramér distance of one observable in closed form. The paper trains a Cramér
    GAN with a critic. The energy distance is that objective without a second network to balance, and faster. S is
    trained anew for every update, for a fixed number of steps.

    Attributes:
        space: the designs that can be proposed.

    Args:
        epsilon: half-size of the neighbourhood in units of half the box.
        learning_rate: of Adam, for psi in units of half the box; 0.1 in the paper.
        designs_per_update: fewest results per update.
        training_steps: steps of the generator's training, per update.
        hidden: units in each of its two hidden layers.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        start: Design | None = None,
        *,
        epsilon: float = 0.2,
        learning_rate: float = 0.1,
        designs_per_update: int = 16,
        training_steps: int = 200,
        hidden: int = 32,
    ) -> None:
        counts = designs_per_update >= 2 and training_steps >= 1 and hidden >= 1
        if not (0 < epsilon <= 1 and learning_rate > 0 and counts):
            raise ConfigError(
                "l_gso needs 0 < epsilon <= 1, learning_rate > 0, designs_per_update >= 2, training_steps and hidden "
                f">= 1, got {epsilon=}, {learning_rate=}, {designs_per_update=}, {training_steps=}, {hidden=}"
            )
        self.space, self._epsilon, self._needed = space, epsilon, designs_per_update
        self._training = training_steps, hidden
        self._box = BoxEncoding(space)
        self._rng = np.random.default_rng(seed)
        self._proposals = Proposals(self._box)
        self._psi = torch.from_numpy(start_vector(self._box, start)).requires_grad_(True)
        self._optimiser = torch.optim.Adam([self._psi], lr=learning_rate, maximize=True, foreach=False)
        self._results: list[tuple[FloatArray, float, FloatArray | None]] = []
        self._waiting = self._updates = 0
        self._used, self._norm = 0, 0.0

    def ask(self, observation: FloatArray, n: int) -> Encoding:
        """Propose n points of a Latin hypercube around psi, in the box."""
        if n == 0:
            return self._proposals.encode(np.zeros((0, self._box.size)))
        rng = np.random.default_rng(int(self._rng.integers(2**63)))  # the library spawns generators from it
        unit = qmc.LatinHypercube(self._box.size, seed=rng).random(n)
        vectors = self._psi.detach().numpy() + self._epsilon * (2 * unit - 1)
        return self._proposals.encode(np.clip(vectors, -1, 1))

    def tell(self, batch: Batch) -> None:
        """Update psi, or wait for more results."""
        rewards = finite_rewards(batch)
        losses = batch.losses if batch.losses is not None else [None] * len(rewards)
        vectors = self._proposals.vectors(batch.actions)
        for vector, reward, terms in zip(vectors, rewards.tolist(), losses, strict=True):
            self._results.append((vector, reward, _observable(terms)))
        self._waiting += len(rewards)
        if self._waiting >= self._needed:
            self._update()

    def _update(self) -> None:
        psi = self._psi.detach().numpy().copy()
        near = [r for r in self._results if np.abs(r[0] - psi).max() <= self._epsilon * (1 + 1e-9)]
        near = near if len(near) >= 2 else self._results[-self._waiting :]  # for designs that others proposed
        steps, hidden = self._training
        with own_generators(self._rng):
            slope = gradient(Neighbourhood.of(near, psi, self._epsilon), steps, hidden)
        self._psi.grad = torch.from_numpy(slope)
        self._optimiser.step()
        with torch.no_grad():
            self._psi.clamp_(-1, 1)
        self._used, self._norm = len(near), float(np.linalg.norm(slope))
        self._results = self._results[-REMEMBERED_UPDATES * max(self._needed, self._waiting) :]
        self._waiting, self._updates = 0, self._updates + 1

    def recommend(self, observation: FloatArray) -> Encoding:
        """The current design psi."""
        return self._box.to_encoding(self._psi.detach().numpy().copy())

    def metrics(self) -> Mapping[str, float]:
        """What to plot.

        sigma: standard deviation of a coordinate of the neighbourhood, epsilon / sqrt(3).
        updates, waiting: updates so far, and results that wait for the next one.
        results: number of results from which the latest generator learned.
        gradient_norm: Euclidean norm of the latest gradient.
        """
        return {
            "sigma": self._epsilon / math.sqrt(3),
            "updates": float(self._updates),
            "waiting": float(self._waiting),
            "results": float(self._used),
            "gradient_norm": self._norm,
        }

    def state_dict(self) -> dict[str, Any]:
        """psi, Adam's moments, random generator, the results that are kept, and the latest proposals."""
        results = [
            (torch.from_numpy(vector.copy()), reward, None if terms is None else torch.from_numpy(terms.copy()))
            for vector, reward, terms in self._results
        ]
        return {
            "psi": self._psi.detach().clone(),
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "rng": self._rng.bit_generator.state,
            "results": results,
            "proposals": self._proposals.remaining(),
            "counts": [self._waiting, self._updates, self._used],
            "norm": self._norm,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        with torch.no_grad():
            self._psi.copy_(state["psi"])
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self._rng.bit_generator.state = state["rng"]
        self._results = [
            (vector.numpy().copy(), reward, None if terms is None else terms.numpy().copy())
            for vector, reward, terms in state["results"]
        ]
        self._proposals.encode(state["proposals"].numpy())
        self._waiting, self._updates, self._used = state["counts"]
        self._norm = state["norm"]


def _observable(terms: FloatArray | None) -> FloatArray | None:
    """Losses of the first events, scaled to the mean of all events; None where there are no positive, finite losses."""
    if terms is None or len(terms) == 0 or not np.isfinite(terms).all() or np.mean(terms) <= 0:
        return None
    values = np.asarray(terms, dtype=np.float64)
    return (
        values[:MOST_EVENTS] * (values.mean() / values[:MOST_EVENTS].mean())
        if values[:MOST_EVENTS].mean() > 0
        else None
    )
