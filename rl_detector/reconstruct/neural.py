"""A neural reconstruction shared by all designs (the only module of this package that imports torch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rl_detector.reconstruct.bayesian_ridge import fit_ridge
from rl_detector.reconstruct.shared import Sample
from rl_detector.space import FloatArray

FOLDS = 5
HIDDEN_UNITS = 48
BATCH_EVENTS = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
"""Networks, units in each of two hidden layers, events per minibatch, and settings of AdamW."""


class NetworkReconstruction:
    """y = sum_k f_k (c_k + n_k(x)): the coefficients of a linear fit, corrected by a network that sees the design x.

    FOLDS networks, each trained on the designs of the other folds (design number modulo FOLDS) and predicting its own.
    c starts as a ridge regression. Each call continues from the weights of the last one (transfer learning) for `steps`
    steps of AdamW, the first one for `first_steps`.

    It needs more events than KernelReconstruction. On calorimeters the rank correlation of its metric with that of many
    events is 0.81 against 0.92 after 200 events of a study. After 1000 events both are nearly equal, from 3000 on
    equal. Its time per call does not grow with the number of events.

    Args:
        seed: of weights and minibatches.
        first_steps, steps: of the first and of every later call.
    """

    def __init__(self, seed: int = 0, first_steps: int = 400, steps: int = 100) -> None:
        self._seed, self._first_steps, self._steps = seed, first_steps, steps
        self._calls = 0
        self._networks: list[_Coefficients] = []

    def predict(self, sample: Sample) -> FloatArray:
        """Predictions of the target, [events], each by the network that never saw a design of its fold."""
        fold = sample.numbers[sample.designs] % FOLDS
        fresh = not self._networks
        tensors = [_tensor(a) for a in (sample.features, sample.coordinates[sample.designs], sample.target)]
        weights = _tensor(sample.weights / sample.weights.mean())
        predictions = np.full(len(sample.target), float(np.average(sample.target, weights=sample.weights)))
        for number in range(FOLDS):
            generator = torch.Generator().manual_seed((self._seed * FOLDS + number) * 1_000_003 + self._calls)
            rows = np.flatnonzero(fold != number)
            if fresh:
                self._networks.append(_Coefficients(sample, rows, generator))
            if len(rows) and (fold == number).any():
                steps = self._first_steps if fresh else self._steps
                _train(self._networks[number], tensors, weights, torch.from_numpy(rows), steps, generator)
                own = torch.from_numpy(np.flatnonzero(fold == number))
                with torch.no_grad():
                    predictions[own.numpy()] = self._networks[number](tensors[0][own], tensors[1][own]).numpy()
        self._calls += 1
        return predictions

    def state_dict(self) -> dict[str, Any]:
        """Weights of the networks, and how often they were trained."""
        networks = [{k: v.clone() for k, v in network.state_dict().items()} for network in self._networks]
        return {"calls": self._calls, "networks": networks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict."""
        self._calls = state["calls"]
        self._networks = [_Coefficients.of(weights) for weights in state["networks"]]


class _Coefficients(torch.nn.Module):
    """Coefficients [events, features] as a function of design coordinates, times features, summed."""

    def __init__(self, sample: Sample, rows: Any, generator: torch.Generator) -> None:
        super().__init__()
        features, coordinates = sample.features.shape[1], sample.coordinates.shape[1]
        self._build(features, coordinates, generator)
        weights = sample.weights / sample.weights.mean()
        if len(rows):
            fit = fit_ridge(sample.features[rows], sample.target[rows], weights[rows], (features,))
            self.common.data = _tensor(fit.mean)

    def _build(self, features: int, coordinates: int, generator: torch.Generator) -> None:
        self.common = torch.nn.Parameter(torch.zeros(features))
        self.hidden = torch.nn.ModuleList(
            [torch.nn.Linear(coordinates, HIDDEN_UNITS), torch.nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS)]
        )
        self.last = torch.nn.Linear(HIDDEN_UNITS, features)
        with torch.no_grad():
            for layer in self._layers():
                scale = (0.1 if layer is self.last else 1.0) / float(np.sqrt(layer.in_features))
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * scale)
                layer.bias.zero_()

    def _layers(self) -> Iterator[torch.nn.Linear]:
        yield from self.hidden  # type: ignore[misc]
        yield self.last

    @classmethod
    def of(cls, weights: Mapping[str, torch.Tensor]) -> _Coefficients:
        """A network of the shape of these weights, with them."""
        network = cls.__new__(cls)
        torch.nn.Module.__init__(network)
        network._build(len(weights["common"]), weights["hidden.0.weight"].shape[1], torch.Generator())
        network.load_state_dict(dict(weights))
        return network

    def forward(self, features: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """Predictions, [events]."""
        inside = coordinates
        for layer in self.hidden:
            inside = torch.nn.functional.silu(layer(inside))
        predictions: torch.Tensor = ((self.common + self.last(inside)) * features).sum(dim=1)
        return predictions


def _train(
    network: _Coefficients,
    tensors: list[torch.Tensor],
    weights: torch.Tensor,
    rows: torch.Tensor,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Minimise the weighted mean square with AdamW and a rate that falls to 0 along a cosine."""
    features, coordinates, target = tensors
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = rows[torch.randint(len(rows), (min(BATCH_EVENTS, len(rows)),), generator=generator)]
        residuals = network(features[chosen], coordinates[chosen]) - target[chosen]
        loss = (weights[chosen] * residuals**2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _tensor(array: FloatArray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)
