"""Fit the parameters of the fast simulator to the training designs and write them into the package.

Residuals, per training design, particle and energy bin: mean and standard deviation of the share of the beam energy in
every layer and of its root (which weights the tails of showers), in all layers and in all scintillators, and of the
energy reconstructed by a regression that was trained on Geant4's events. The last one makes the fit see the
correlations between layers that the figure of merit depends on. Of the last two also the mean excess above and below
Geant4's central 80 %, and in the fit of the pions the figure of merit of the mixed beam itself.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reference import FOLDER, Sample, load
from scipy.optimize import least_squares

from rl_detector.reach.resolution import ResolutionReach
from rl_detector.reconstruct.least_squares import shower_features
from rl_detector.simulators.fast_stack import parameters as fast_parameters
from rl_detector.simulators.fast_stack.parameters import FITTED, Electromagnetic, FastParameters, Hadronic, Response
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.stack import Primaries
from rl_detector.terms import Readout

Array = NDArray[np.float64]
BINS = ((1.0, 2.5), (2.5, 6.5), (6.5, 20.1))
REPEATS, FEWEST = 2, 15
FLOOR, ROOT_FLOOR = 0.006, 0.02
"""Differences of shares, and of their roots, below this are not worth fitting."""
PRIOR = 1.0
TIGHT = {"ionisation": 0.1, "path": 0.1, "pion_start": 0.3, "pion_spread": 0.3, "rest_energy": 0.5, "straggling": 0.3}
"""Width of the prior around the start value, in the transformed parameter: weakly constrained ones stay physical."""

SHARES = {"visible", "local", "pool_visible", "exchange"}
FREE_SIGN = {"fraction_slope", "visible_slope", "local_slope", "pool_slope", "leading_slope"}
SHOWER_RESPONSE = ("growth", "relaxation", "absorption", "criticality", "quantum")
PION_SHOWER = ("pion_start", "pion_spread")

Key = tuple[str, str]


def keys(hadrons: bool) -> list[Key]:
    """(group or material, field) of the parameters of one of the two fits."""
    response = [field.name for field in fields(Response) if (field.name in SHOWER_RESPONSE) != hadrons]
    showers = [field.name for field in fields(Electromagnetic) if (field.name in PION_SHOWER) == hadrons]
    cascade = [field.name for field in fields(Hadronic)] if hadrons else []
    result = [(material, name) for material in FITTED.materials for name in response]
    return result + [("electromagnetic", name) for name in showers] + [("hadronic", name) for name in cascade]


def to_free(name: str, value: float) -> float:
    """Parameter -> the real line: logit of shares, logarithm of positive numbers."""
    if name in FREE_SIGN:
        return value
    return float(np.log(value / (1 - value)) if name in SHARES else np.log(value))


def from_free(name: str, value: float) -> float:
    """Inverse of `to_free`."""
    if name in FREE_SIGN:
        return float(value)
    return float(1 / (1 + np.exp(-value)) if name in SHARES else np.exp(value))


def read(parameters: FastParameters, key: Key) -> float:
    owner = parameters.materials.get(key[0]) or getattr(parameters, key[0])
    return float(getattr(owner, key[1]))


def updated(parameters: FastParameters, chosen: list[Key], values: Array) -> FastParameters:
    """Parameters with the chosen ones replaced by (free) values."""
    groups = {**parameters.materials, "electromagnetic": parameters.electromagnetic, "hadronic": parameters.hadronic}
    for (group, name), value in zip(chosen, values, strict=True):
        groups[group] = replace(groups[group], **{name: from_free(name, value)})
    electromagnetic, hadronic = groups.pop("electromagnetic"), groups.pop("hadronic")
    return FastParameters(groups, electromagnetic, hadronic)


def regression(signals: Array, energy: Array, ridge: float = 1e-2) -> Array:
    """Coefficients of a ridge regression of the beam energy."""
    features, weights = shower_features(signals[None])[0], 1 / (energy + 1)
    scale = np.sqrt((weights[:, None] * features**2).mean(0)) + 1e-9
    scaled = features / scale
    gram = (scaled * weights[:, None]).T @ scaled / len(energy) + ridge * np.eye(len(scale))
    return np.linalg.solve(gram, (scaled * weights[:, None]).T @ energy / len(energy)) / scale


@dataclass(frozen=True)
class Moments:
    """Means and standard deviations of the observables with their errors, and the mean excess beyond two cuts."""

    mean: Array
    spread: Array
    mean_error: Array
    spread_error: Array
    tails: Array
    tails_error: Array
    cuts: Array

    @staticmethod
    def of(values: Array, tailed: int, cuts: Array | None = None) -> Moments:
        """Moments of values [events, observables]; tails of the last `tailed` ones beyond 10 and 90 % quantiles."""
        events, mean = len(values), values.mean(0)
        centred = values - mean
        spread = np.sqrt((centred**2).mean(0))
        kurtosis = (centred**4).mean(0) / np.maximum(spread, 1e-9) ** 4
        error = spread / np.sqrt(events)
        last = values[:, values.shape[1] - tailed :]
        cuts = np.quantile(last, [0.1, 0.9], axis=0) if cuts is None else cuts
        excess = np.concatenate([np.maximum(cuts[0] - last, 0), np.maximum(last - cuts[1], 0)], axis=1)
        spread_error = error * np.sqrt(np.maximum(kurtosis - 1, 0.5) / 4)
        return Moments(mean, spread, error, spread_error, excess.mean(0), excess.std(0) / np.sqrt(events), cuts)


class Target:
    """Moments of one Geant4 sample, per particle and energy bin."""

    def __init__(self, sample: Sample, particles: tuple[str, ...]) -> None:
        self.sample, self.scintillators = sample, sample.scintillators
        self.tailed = 2 if 0 < self.scintillators.sum() < len(self.scintillators) <= 6 else 0
        names, energies = np.array(sample.primaries.particles), sample.primaries.energies
        if self.tailed:
            beam = names != "e-"
            self.coefficients = regression(sample.deposits[beam][:, self.scintillators], energies[beam])
        ranges = [(particle, low, high) for particle in particles for low, high in BINS]
        found = [np.flatnonzero((names == p) & (low <= energies) & (energies < high)) for p, low, high in ranges]
        chosen = [events for events in found if len(events) >= FEWEST]
        values = [self.observables(sample.deposits[events], energies[events]) for events in chosen]
        self.moments = [Moments.of(value, self.tailed) for value in values]
        order = np.concatenate([np.tile(events, REPEATS) for events in chosen])
        self.repeat = np.concatenate([np.repeat(np.arange(REPEATS), len(events)) for events in chosen])
        self.merit = None
        if self.tailed and {"gamma", "pi+"} <= set(particles):
            beam = np.concatenate(chosen)
            self.merit = figure_of_merit(sample.deposits[beam][:, self.scintillators], energies[beam])
        self.cuts = np.cumsum([REPEATS * len(events) for events in chosen])[:-1]
        self.primaries = Primaries(tuple(names[order].tolist()), energies[order])

    def observables(self, deposits: Array, energies: Array) -> Array:
        """Shares of the beam energy per layer, their roots, sums, and the reconstructed share: [events, ...]."""
        shares = deposits / energies[:, None]
        columns = [np.sqrt(shares), shares, shares.sum(1, keepdims=True)]
        if self.tailed:
            signals = deposits[:, self.scintillators]
            columns += [shares[:, self.scintillators].sum(1, keepdims=True)]
            columns += [(shower_features(signals[None])[0] @ self.coefficients / energies)[:, None]]
        return np.concatenate(columns, axis=1)

    def residuals(self, deposits: Array) -> list[Array]:
        """Weighted differences of the fast simulator's moments."""
        values = self.observables(deposits, self.primaries.energies)
        layers = len(self.scintillators)
        result, weight = [], 1 / np.sqrt(max(1.0, layers / 6))
        floor = np.where(np.arange(values.shape[1]) < layers, ROOT_FLOOR, FLOOR)
        for part, geant in zip(np.split(values, self.cuts), self.moments, strict=True):
            fast = Moments.of(part, self.tailed, geant.cuts)
            means = difference(fast.mean, geant.mean, geant.mean_error, floor)
            spreads = difference(fast.spread, geant.spread, geant.spread_error, floor)
            result += [means * weight, spreads * weight]
            if self.tailed:
                tails = difference(fast.tails, geant.tails, geant.tails_error, FLOOR / 4)
                result += [1.5 * means[-1:], 2 * spreads[-1:], tails]
        return result + ([] if self.merit is None else [self.merit_residual(deposits, *self.merit)])

    def merit_residual(self, deposits: Array, metric: float, error: float) -> Array:
        """Twice the difference of the logarithm of the figure of merit in units of its error."""
        energies, signals = self.primaries.energies, deposits[:, self.scintillators]
        parts = [self.repeat == repeat for repeat in range(REPEATS)]
        fast = np.mean([figure_of_merit(signals[part], energies[part])[0] for part in parts])
        return np.array([2 * np.log(fast / metric) / (error / metric * np.sqrt(1 + 1 / REPEATS))])


def figure_of_merit(signals: Array, energies: Array) -> tuple[float, float]:
    """The metric of the design study with its error."""
    measured = ResolutionReach(1.0).measure(Readout({"energy": energies}, signals))
    return measured.metric, measured.metric_error


def difference(fast: Array, geant: Array, error: Array, floor: Array | float) -> Array:
    """Difference in units of its statistical error and of what is not worth fitting."""
    return (fast - geant) / np.sqrt((1 + 1 / REPEATS) * error**2 + floor**2)


def fit(start: FastParameters, samples: list[Sample], hadrons: bool, evaluations: int) -> FastParameters:
    """Least squares with common random numbers and a weak prior around the start values."""
    targets = [Target(sample, ("gamma", "pi+") if hadrons else ("gamma", "e-")) for sample in samples]
    stacks, primaries = [target.sample.stack for target in targets], [target.primaries for target in targets]
    chosen, seeds = keys(hadrons), list(range(1, len(targets) + 1))
    origin = np.array([to_free(key[1], read(start, key)) for key in chosen])
    widths = np.array([TIGHT.get(name, PRIOR) for _, name in chosen])

    def residuals(values: Array) -> Array:
        deposits = FastStackSimulator(updated(start, chosen, values)).deposits(stacks, primaries, seeds)
        parts = [part for target, found in zip(targets, deposits, strict=True) for part in target.residuals(found)]
        return np.concatenate([np.clip(np.concatenate(parts), -30, 30), (values - origin) / widths])

    result = least_squares(residuals, origin, diff_step=0.01, max_nfev=evaluations, loss="soft_l1")
    first, last = (float((residuals(values) ** 2).mean()) for values in (origin, result.x))
    print(
        f"{'pions' if hadrons else 'photons and electrons'}: mean square residual {first:.3f} -> {last:.3f}", flush=True
    )
    return updated(start, chosen, result.x)


def written(parameters: FastParameters) -> str:
    """The parameters as Python source."""

    def call(value: Response | Electromagnetic | Hadronic) -> str:
        items = ", ".join(f"{field.name}={getattr(value, field.name):.4g}" for field in fields(value))
        return f"{type(value).__name__}({items},)"

    materials = "".join(f'"{name}": {call(response)}, ' for name, response in parameters.materials.items())
    return (
        f"FITTED = FastParameters(materials={{{materials}}}, electromagnetic={call(parameters.electromagnetic)}, "
        f"hadronic={call(parameters.hadronic)},)\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=10, help="steps of each of the two fits")
    parser.add_argument("--only", choices=("showers", "pions"), help="make one of the two fits")
    parser.add_argument("--print", action="store_true", help="only print the parameters")
    options = parser.parse_args()
    training, showers, parameters = load(FOLDER / "training.npz"), load(FOLDER / "showers.npz"), FITTED
    for hadrons in (False, True):
        if options.only not in (None, "pions" if hadrons else "showers"):
            continue
        parameters = fit(parameters, training if hadrons else training + showers, hadrons, options.evaluations)
    if options.print:
        print(written(parameters))
        return
    path = Path(fast_parameters.__file__)
    before, rest = path.read_text().split("# BEGIN FITTED\n")
    path.write_text(before + "# BEGIN FITTED\n" + written(parameters) + "# END FITTED" + rest.split("# END FITTED")[1])
    print(f"wrote {path}; now run `ruff format` on it")


if __name__ == "__main__":
    main()
