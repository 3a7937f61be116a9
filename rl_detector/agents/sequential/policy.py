"""An autoregressive policy: pi(design) = product over components of pi(component | components before it)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import grad, vmap

from rl_detector.agents.policies import choose
from rl_detector.agents.sequential.sequences import Run, Sequences
from rl_detector.agents.sequential.start import start_hazard, start_logits
from rl_detector.encodings import Part, empty_encoding, one_hot
from rl_detector.space import DesignSpace, Encoding, FloatArray, IntArray

Parameters = dict[str, torch.Tensor]


LOGIT_BOUND = 6.0
"""Largest logit; beyond it an option is as good as certain."""


MEAN_BOUND = 1.5
"""Largest free mean, a little beyond the box, as couplings and network may pull it back."""


IMITATIONS = 30
"""Most corrections until a design is the likeliest one; the first is exact where nothing is clipped."""


class Heads(NamedTuple):
    """Outputs of the policy for components [n, m].

    Attributes:
        mean: of the coordinates, before the component's own choices shift it, [n, m, c].
        logits: of the options of all choices, [n, m, options].
        stop: logit of stopping before the component, [n, m].
    """

    mean: torch.Tensor
    logits: torch.Tensor
    stop: torch.Tensor


class SequentialPolicy:
    """Builds designs component by component: categorical heads for stopping and choices, Gaussian ones for coordinates.

    Every component has its own free parameters, which start at the start design. A network adds the influence of the
    components before it: attention over them, their count and sums, and the latest one. The network's last layer starts
    at zero. The mean of a component's coordinates depends on its own choices.

    Attributes:
        sequences: translates between encodings and components.
        hidden: units of the network.
        parameters: name -> tensor; those of a part are named "part.quantity", free ones are [m, ...].

    Args:
        space: the designs that can be built.
        start: the encoded design to imitate.
        sigma: spread of the coordinates in units of half the box.
        departure: probability that a choice differs from the start's, and that there are fewer components.
        hidden: units of the network.
        exploration: probability shared out among all options of a choice, and among the places to stop, so that none
            dies.
        rng: generator of the network's first weights.
    """

    def __init__(
        self,
        space: DesignSpace,
        start: Encoding,
        sigma: float,
        departure: float,
        hidden: int,
        exploration: float,
        rng: np.random.Generator,
    ) -> None:
        self.sequences = Sequences(space)
        self.hidden, self._sigma, self._exploration = hidden, sigma, exploration
        self.parameters: Parameters = {}
        counts = self.sequences.counts(Encoding(start.continuous[None], start.discrete[None]))[0]
        for p, part in enumerate(self.sequences.parts):
            self._set_free(p, part, start, int(counts[p]), departure)
            self._set_network(p, part, rng)
        for name in ("query", "key", "value"):
            self._set(name, rng.standard_normal((hidden, hidden)) / math.sqrt(hidden))

    def _set(self, name: str, value: FloatArray) -> None:
        self.parameters[name] = torch.from_numpy(np.array(value, dtype=np.float64))

    def _set_free(self, p: int, part: Part, start: Encoding, count: int, departure: float) -> None:
        """Set free parameters to those of the start; components beyond its end are like its last one."""
        rows = np.minimum(np.arange(part.maximum), max(count - 1, 0))
        self._set(f"{p}.mean", start.continuous[part.continuous[rows]] * (count > 0))
        self._set(f"{p}.log_sigma", np.full((part.maximum, part.coordinates), math.log(self._sigma)))
        self._set(f"{p}.logits", start_logits(start.discrete[part.discrete[rows]], part.choices, departure))
        self._set(f"{p}.coupling", np.zeros((part.maximum, part.options, part.coordinates)))
        if part.count is not None:
            hazard = start_hazard(part, count, departure)
            self._set(f"{p}.stop", np.log(hazard / (1 - hazard)))

    def _set_network(self, p: int, part: Part, rng: np.random.Generator) -> None:
        content, hidden = part.coordinates + part.options, self.hidden
        scales = np.array([3.0] * (1 + content) + [1.0] * content)
        self._set(f"{p}.token", rng.standard_normal((content + 1, hidden)) / math.sqrt(content + 1))
        self._set(
            f"{p}.features", rng.standard_normal((1 + 2 * content, hidden)) * scales[:, None] / math.sqrt(content)
        )
        self._set(f"{p}.shift", rng.uniform(-1, 1, hidden))
        self._set(f"{p}.last", np.zeros((hidden, content + 1)))

    def log_prob(self, parameters: Parameters, runs: Sequence[Run]) -> torch.Tensor:
        """ln pi of designs given as runs, [n]."""
        heads = self._all_heads(parameters, runs)
        parts = [self._run_log_prob(parameters, p, *pair) for p, pair in enumerate(zip(runs, heads, strict=True))]
        return torch.stack(parts).sum(dim=0)

    def _all_heads(self, parameters: Parameters, runs: Sequence[Run]) -> list[Heads]:
        """The heads of every component of every part, each having seen the components before it."""
        keys = torch.zeros(len(runs[0].exists), 0, self.hidden, dtype=torch.float64)
        values, seen = keys, keys[..., 0]
        found = []
        for p, run in enumerate(runs):
            content = torch.cat([run.coordinates.clamp(-1, 1), run.chosen], dim=-1)
            tokens = self._tokens(parameters, p, content)
            keys, values = self._extended(parameters, keys, values, tokens)
            features = self._features(p, content, run.exists)
            before = torch.tril(torch.ones(2 * [run.exists.shape[1]], dtype=torch.float64), diagonal=-1)
            visible = before * run.exists[:, None, :]
            visible = torch.cat([seen[:, None, :].expand(-1, visible.shape[1], -1), visible], dim=-1)
            found.append(self._heads(parameters, p, slice(None), features, keys, values, visible))
            seen = torch.cat([seen, run.exists], dim=-1)
        return found

    def _tokens(self, parameters: Parameters, p: int, content: torch.Tensor) -> torch.Tensor:
        return torch.tanh(content @ parameters[f"{p}.token"][:-1] + parameters[f"{p}.token"][-1])

    @staticmethod
    def _extended(
        parameters: Parameters, keys: torch.Tensor, values: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys = torch.cat([keys, tokens @ parameters["key"]], dim=1)
        return keys, torch.cat([values, tokens @ parameters["value"]], dim=1)

    def _features(self, p: int, content: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
        """The place of each component, the sums over those before it, and the latest of them, [n, m, features]."""
        n, m, width = *exists.shape, self.sequences.parts[p].coordinates
        amounts = torch.cat([(content[..., :width] + 1) / 2, content[..., width:]], dim=-1) * exists[..., None]
        first = torch.zeros_like(content[:, :1])
        sums = torch.cat([first, amounts.cumsum(dim=1)[:, :-1]], dim=1) / m
        latest = torch.cat([first, content[:, :-1]], dim=1)
        place = (torch.arange(m, dtype=torch.float64) / m)[None, :, None].expand(n, m, 1)
        return torch.cat([place, sums, latest], dim=-1)

    def _heads(
        self,
        parameters: Parameters,
        p: int,
        rows: slice,
        features: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        visible: torch.Tensor,
    ) -> Heads:
        """Masked attention of components [n, q] over what they see [n, q, tokens], and the heads."""
        part = self.sequences.parts[p]
        inner = features @ parameters[f"{p}.features"] + parameters[f"{p}.shift"]
        scores = (torch.tanh(inner) @ parameters["query"]) @ keys.mT / math.sqrt(self.hidden)
        weights = scores.clamp(-20, 20).exp() * visible
        attended = weights @ values / (1 + weights.sum(dim=-1, keepdim=True))  # 1: a token of nothing
        out = torch.tanh(inner + attended) @ parameters[f"{p}.last"]
        steps = torch.split(out, [part.coordinates, part.options, 1], dim=-1)
        mean = parameters[f"{p}.mean"][rows] + self._sigma * steps[0]
        logits = _bounded(parameters[f"{p}.logits"][rows] + steps[1], LOGIT_BOUND)
        free = parameters[f"{p}.stop"][rows] if part.count is not None else torch.zeros(out.shape[1]).double()
        return Heads(mean, logits, _bounded(free + steps[2][..., 0], LOGIT_BOUND))

    def _run_log_prob(self, parameters: Parameters, p: int, run: Run, heads: Heads) -> torch.Tensor:
        chosen = self._log_probabilities(p, heads.logits).masked_fill(run.chosen == 0, 0.0).sum(dim=-1)
        log_sigma = parameters[f"{p}.log_sigma"]
        z = (run.coordinates - self._conditional_mean(parameters, p, slice(None), heads, run.chosen)) * (
            -log_sigma
        ).exp()
        normal = (-0.5 * z.square() - log_sigma - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        result = ((chosen + normal) * run.exists).sum(dim=-1)
        if self.sequences.parts[p].count is None:
            return result
        hazard = self._hazard(p, heads.stop)
        return result + (run.went_on * (1 - hazard).log() + run.stopped * hazard.log()).sum(dim=-1)

    @staticmethod
    def _conditional_mean(
        parameters: Parameters, p: int, rows: slice, heads: Heads, chosen: torch.Tensor
    ) -> torch.Tensor:
        shift = (chosen[..., None, :] @ parameters[f"{p}.coupling"][rows])[..., 0, :]
        return _bounded(heads.mean + shift, 1.0)

    def _log_probabilities(self, p: int, logits: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of every option of every choice, [..., options]."""
        parts = []
        for each in torch.split(logits, list(self.sequences.parts[p].choices), dim=-1):
            softmax = (each - each.logsumexp(dim=-1, keepdim=True)).exp()
            parts.append((softmax * (1 - self._exploration) + self._exploration / each.shape[-1]).log())
        return torch.cat(parts, dim=-1) if parts else logits

    def _hazard(self, p: int, stop: torch.Tensor) -> torch.Tensor:
        """Probability to stop before a component."""
        part = self.sequences.parts[p]
        floor = self._exploration / (part.maximum - part.minimum + 1)
        return floor + (1 - 2 * floor) * torch.sigmoid(stop)

    def gradients(self, actions: Encoding, chunk: int = 128) -> Parameters:
        """grad ln pi of every design, name -> [n, ...]."""
        runs = self.sequences.runs(actions)

        def one(parameters: Parameters, *tensors: torch.Tensor) -> torch.Tensor:
            single = [Run(*(x[None] for x in tensors[i : i + 5])) for i in range(0, len(tensors), 5)]
            return self.log_prob(parameters, single)[0]

        flat = [x for run in runs for x in run]
        derivative = vmap(grad(one), in_dims=(None, *[0] * len(flat)), chunk_size=chunk)
        gradients: Parameters = derivative(self.parameters, *flat)
        return gradients

    @torch.no_grad()
    def log_probability(self, actions: Encoding) -> FloatArray:
        """ln pi of encodings, [n]."""
        result: FloatArray = self.log_prob(self.parameters, self.sequences.runs(actions)).numpy()
        return result

    @torch.no_grad()
    def build(self, n: int, rng: np.random.Generator | None) -> Encoding:
        """Build n designs, component by component; without a generator every decision is the likeliest one."""
        actions = empty_encoding(self.sequences.space, n)
        counts = np.zeros((n, len(self.sequences.parts)), dtype=np.int64)
        keys = torch.zeros(n, 0, self.hidden, dtype=torch.float64)
        values, seen = keys, keys[..., 0]
        for p in range(len(self.sequences.parts)):
            keys, values, seen, counts[:, p] = self._build_part(p, actions, (keys, values, seen), rng)
        self.sequences.write_counts(actions, counts)
        return actions

    def _build_part(
        self,
        p: int,
        actions: Encoding,
        memory: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        rng: np.random.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, IntArray]:
        part, (keys, values, seen) = self.sequences.parts[p], memory
        n, content = len(seen), part.coordinates + part.options
        alive = np.ones(n, dtype=bool)
        sums = latest = torch.zeros(n, content, dtype=torch.float64)
        counts = np.zeros(n, dtype=np.int64)
        for i in range(part.maximum):
            place = torch.full((n, 1), i / part.maximum, dtype=torch.float64)
            features = torch.cat([place, sums / part.maximum, latest], dim=-1)[:, None]
            heads = self._heads(self.parameters, p, slice(i, i + 1), features, keys, values, seen[:, None])
            if part.count is not None and i >= part.minimum:
                alive = alive & ~_drawn(self._hazard(p, heads.stop)[:, 0].numpy(), rng)
            chosen, coordinates = self._component(p, i, heads, rng)
            actions.discrete[:, part.discrete[i]] = chosen * alive[:, None]
            actions.continuous[:, part.continuous[i]] = coordinates * alive[:, None]
            counts += alive
            latest = torch.from_numpy(
                np.concatenate([np.clip(coordinates, -1, 1), one_hot(chosen, part.choices)], axis=1) * alive[:, None]
            )
            sums = sums + torch.cat([(latest[:, : part.coordinates] + 1) / 2, latest[:, part.coordinates :]], dim=1)
            keys, values = self._extended(
                self.parameters, keys, values, self._tokens(self.parameters, p, latest[:, None])
            )
            seen = torch.cat([seen, torch.from_numpy(alive.astype(np.float64))[:, None]], dim=1)
        return keys, values, seen, counts

    def _component(self, p: int, i: int, heads: Heads, rng: np.random.Generator | None) -> tuple[IntArray, FloatArray]:
        """Choices [n, k] and coordinates [n, c] of component i."""
        part, n = self.sequences.parts[p], len(heads.mean)
        probabilities = self._log_probabilities(p, heads.logits)[:, 0].exp().numpy()
        tables = np.split(probabilities, np.cumsum(part.choices)[:-1], axis=1) if part.choices else []
        columns = [each.argmax(axis=1) if rng is None else choose(each[:, None], rng, n)[:, 0] for each in tables]
        chosen = np.stack(columns, axis=1) if columns else np.zeros((n, 0), dtype=np.int64)
        weights = torch.from_numpy(one_hot(chosen, part.choices))[:, None]
        rows = slice(i, i + 1)
        mean: FloatArray = self._conditional_mean(self.parameters, p, rows, heads, weights)[:, 0].numpy()
        if rng is None:
            return chosen, mean
        sigma = self.parameters[f"{p}.log_sigma"][i].exp().numpy()
        return chosen, mean + sigma * rng.standard_normal((n, part.coordinates))

    @torch.no_grad()
    def imitate(self, design: Encoding, departure: float) -> None:
        """Change the free parameters until the design is the likeliest one; network and couplings stay."""
        actions = Encoding(design.continuous[None], design.discrete[None])
        counts, runs = self.sequences.counts(actions)[0].tolist(), self.sequences.runs(actions)
        for _ in range(IMITATIONS):
            heads = self._all_heads(self.parameters, runs)
            change = [self._imitate(p, design, departure, counts[p], runs[p], heads[p]) for p in range(len(runs))]
            if max(change) < 1e-9:
                return

    def _imitate(self, p: int, design: Encoding, departure: float, count: int, run: Run, heads: Heads) -> float:
        """Correct the free parameters of a part once, exactly where nothing is clipped; return the largest change."""
        part, free = self.sequences.parts[p], self.parameters
        mean = self._conditional_mean(free, p, slice(None), heads, run.chosen)[0]
        changes = {f"{p}.mean": (run.coordinates[0].clamp(-1, 1) - mean)[:count]}
        wanted = torch.from_numpy(start_logits(design.discrete[part.discrete], part.choices, departure))
        changes[f"{p}.logits"] = (wanted - heads.logits[0])[:count]
        if part.count is not None:
            hazard = torch.from_numpy(start_hazard(part, count, departure))
            changes[f"{p}.stop"] = (torch.logit(hazard) - heads.stop[0])[: count + 1]
        for name, change in changes.items():
            free[name] = torch.cat([free[name][: len(change)] + change, free[name][len(change) :]])
        return max(float(change.abs().max()) if change.numel() else 0.0 for change in changes.values())

    def move(self, steps: Mapping[str, torch.Tensor], sigma_minimum: float, sigma_maximum: float) -> None:
        """Add steps to the parameters, and keep free ones within their bounds."""
        for name, step in steps.items():
            self.parameters[name] = self.parameters[name] + step
        for p in range(len(self.sequences.parts)):
            for name, low, high in (
                (f"{p}.mean", -MEAN_BOUND, MEAN_BOUND),
                (f"{p}.log_sigma", math.log(sigma_minimum), math.log(sigma_maximum)),
                (f"{p}.logits", -LOGIT_BOUND, LOGIT_BOUND),
                (f"{p}.stop", -LOGIT_BOUND, LOGIT_BOUND),
            ):
                if name in self.parameters:
                    self.parameters[name] = self.parameters[name].clamp(low, high)


def _bounded(raw: torch.Tensor, bound: float) -> torch.Tensor:
    """The value clipped to +-bound with the gradient of the raw one."""
    return raw - (raw - raw.clamp(-bound, bound)).detach()


def _drawn(probabilities: FloatArray, rng: np.random.Generator | None) -> NDArray[np.bool_]:
    return probabilities > 0.5 if rng is None else rng.random(len(probabilities)) < probabilities
