"""The judge that learns one reconstruction from the events of all designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.measure import finite
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.reach.few_events import BatchLosses, reaches
from rl_detector.reconstruct.shared import KernelReconstruction, Reconstruction, Sample
from rl_detector.space import Design, DesignSpace, FloatArray
from rl_detector.terms import Features, Measurement, Readout, SharedReach


class SharedJudge:
    """Scores designs with one reconstruction, trained on every event of the study, so that few events suffice.

    No event is predicted by a fit that saw any event of its design. The metric then says how well the design measures
    without calibration on its own events, and a lucky fluctuation cannot teach the fit that scores it. Splitting by
    event instead would let the other events of the design in.

    Args:
        problem: its reach must be a SharedReach; its features are used where it has some.
        reconstruction: `kernel` (coefficients that vary smoothly with the design) or `network` (a small neural network
            that gives the coefficients, five-fold over designs, warm-started with every batch).
        window: number of latest designs that are scored again; older ones keep their reach and no longer train.
        seed: of the network.
    """

    def __init__(
        self, problem: DesignProblem, reconstruction: str = "kernel", window: int = 2000, seed: int = 0
    ) -> None:
        if not isinstance(problem.reach, SharedReach):
            raise ConfigError(
                f"judge=shared needs a reach that declares its target and per-event losses (SharedReach); that of "
                f"{problem.name} is a {type(problem.reach).__name__}"
            )
        if window < 2:
            raise ConfigError(f"judge.window must be at least 2 designs, got {window}")
        self._reach: SharedReach = problem.reach
        self._features = problem.features or plain_features(problem.space)
        self._reconstruction = make_reconstruction(reconstruction, seed)
        self._window = window
        self._batches: list[list[_Design]] = []
        self._measured: list[Measurement] = []

    def add(self, batch: Sequence[Evaluation]) -> None:
        """Take in the evaluations of one batch, none failed, each with its readout."""
        first = sum(map(len, self._batches))
        self._batches.append([self._seen(number, evaluation) for number, evaluation in enumerate(batch, first)])

    def _seen(self, number: int, evaluation: Evaluation) -> _Design:
        if evaluation.readout is None:
            raise ConfigError("a judge needs readouts: evaluate with problem.for_judge()")
        if self._reach.target not in evaluation.readout.truth:
            raise ConfigError(f"the truth of a readout lacks {self._reach.target!r}, which the reach reconstructs")
        return _Design(number, evaluation, evaluation.readout, self._features, self._reach.target)

    def judge(self) -> list[Measurement]:
        """Measurements of all designs added so far, in order."""
        batches, total = self._recent(), sum(len(batch) for batch in self._batches)
        designs = [design for batch in batches for design in batch]
        if not designs:
            return list(self._measured)
        judged, error = self._judged(batches, designs)
        kept = total - len(designs)
        self._measured = self._measured[:kept] + [_measurement(self._reach, value, error) for value in judged]
        return list(self._measured)

    def _recent(self) -> list[list[_Design]]:
        """The latest batches with at most `window` designs, at least one batch, without empty ones."""
        chosen: list[list[_Design]] = []
        for batch in reversed(self._batches):
            if chosen and sum(map(len, chosen)) + len(batch) > self._window:
                break
            chosen.append(batch)
        return [batch for batch in reversed(chosen) if batch]

    def _judged(self, batches: list[list[_Design]], designs: list[_Design]) -> tuple[FloatArray, float]:
        coordinates = np.stack([design.coordinates for design in designs])
        losses = iter(self._losses(designs, coordinates))
        grouped = []
        for batch in batches:
            common = len({design.seed for design in batch}) == 1 and len(batch) > 1
            grouped.append(BatchLosses(np.stack([next(losses) for _ in batch]), common))
        values, error = reaches(grouped, coordinates, self._reach.reference, self._reach.logarithmic)
        return values, finite("error of the reach", error)

    def _losses(self, designs: list[_Design], coordinates: FloatArray) -> list[FloatArray]:
        """Per-event losses of each design, [events] each."""
        counts = [len(design.target) for design in designs]
        target = np.concatenate([design.target for design in designs])
        features = np.concatenate([design.features for design in designs])
        owners, numbers = np.repeat(np.arange(len(designs)), counts), np.array([design.number for design in designs])
        sample = Sample(features, target, self._reach.weights(target), owners, coordinates, numbers)
        predicted = self._reconstruction.predict(sample)
        variance = predicted_variance(sample, predicted) if self._reach.needs_variance else None
        return np.split(self._reach.losses(predicted, variance, target), np.cumsum(counts)[:-1])

    def state_dict(self) -> dict[str, Any]:
        """Latest reaches of all designs, and the state of the reconstruction."""
        values = [(m.reach, m.error, m.metric, m.metric_error) for m in self._measured]
        return {"measured": values, "reconstruction": self._reconstruction.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict, after its batches were added."""
        self._measured = [Measurement(*values) for values in state["measured"]]
        self._reconstruction.load_state_dict(state["reconstruction"])


class _Design:
    """One design as the reconstruction sees it."""

    def __init__(self, number: int, evaluation: Evaluation, readout: Readout, features: Features, target: str) -> None:
        self.number, self.seed = number, evaluation.seed
        self.target = np.asarray(readout.truth[target], dtype=np.float64)
        self.coordinates = np.asarray(features.design(evaluation.design), dtype=np.float64)
        self.features = np.asarray(features.events(evaluation.design, readout.signals), dtype=np.float64)
        if not (np.isfinite(self.coordinates).all() and np.isfinite(self.features).all()):
            raise SimulationError(f"the features of a design are not finite: {evaluation.design}")


def predicted_variance(sample: Sample, predicted: FloatArray) -> FloatArray:
    """Variance of the prediction of each event, learned from the squared residuals of all other designs, [events].

    ln(residual^2) is regressed on the features and the prediction. The result is scaled so that residual^2 / variance
    has the mean 1 over the central 98 % of the events.
    """
    squares = (sample.target - predicted) ** 2
    logarithms = np.log(squares + 1e-6 * squares.mean() + 1e-300)
    spread = max(float(predicted.std()), 1e-300)
    features = np.concatenate([sample.features, ((predicted - predicted.mean()) / spread)[:, None]], axis=1)
    other = Sample(features, logarithms, np.ones(len(squares)), sample.designs, sample.coordinates, sample.numbers)
    shape = np.exp(KernelReconstruction(rank=20).predict(other))
    ratios = squares / shape
    scale = ratios[ratios <= np.quantile(ratios, 0.98)].mean()
    variance: FloatArray = shape * max(float(scale), 1e-300)
    return variance


def _measurement(reach: SharedReach, value: float, error: float) -> Measurement:
    """The reach with the metric that belongs to it."""
    if not reach.logarithmic:
        return Measurement(float(value), error, reach.reference - float(value), error)
    metric = reach.reference * float(np.exp(-value))
    return Measurement(float(value), error, metric, metric * error)


def plain_features(space: DesignSpace) -> Features:
    """Features of any problem: the encoding with choices as indicators; 1, the signals and roots of their sizes."""
    choices = space.choices

    def coordinates(design: Design) -> FloatArray:
        continuous, discrete = space.encode(design)
        indicators = [np.eye(size)[index] for size, index in zip(choices, discrete, strict=True)]
        return np.concatenate([continuous, *indicators])

    def events(design: Design, signals: FloatArray) -> FloatArray:
        return np.concatenate([np.ones((len(signals), 1)), signals, np.sqrt(np.abs(signals))], axis=1)

    return Features(coordinates, events)


def make_reconstruction(name: str, seed: int) -> Reconstruction:
    """The reconstruction of this name.

    Raises:
        ConfigError: there is no such reconstruction.
    """
    if name == "kernel":
        return KernelReconstruction()
    if name == "network":
        from rl_detector.reconstruct.neural import NetworkReconstruction

        return NetworkReconstruction(seed)
    raise ConfigError(f"unknown reconstruction {name!r} of the judge: known are kernel, network")
