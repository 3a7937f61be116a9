"""Fit the parameters of the fast simulator to the training designs and write them into the package.

Residuals, per training design, particle and energy bin: mean and standard deviation of the share of the beam energy in
every layer, in all layers and in all scintillators, and of the energy reconstructed by a regression that was trained on
Geant4's events. The last one makes the fit see the correlations between layers that the figure of merit depends on.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reference import FOLDER, Sample, load
from scipy.optimize import least_squares

from rl_detector.reconstruct.least_squares import shower_features
from rl_detector.simulators import fast_parameters
from rl_detector.simulators.fast_parameters import FITTED, Electromagnetic, FastParameters, Hadronic, Response
from rl_detector.simulators.fast_stack import FastStackSimulator
from rl_detector.simulators.stack import Primaries

Array = NDArray[np.float64]
BINS = ((1.0, 2.5), (2.5, 6.5), (6.5, 20.1))
REPEATS = 2
FLOOR = 0.006
"""Differences of shares below this are not worth fitting."""
PRIOR = 1.5
TIGHT = {"ionisation": 0.1, "path": 0.1, "pion_start": 0.3, "pion_spread": 0.3, "rest_energy": 0.5}
"""Width of the prior around the start value, in the transformed parameter: weakly constrained ones stay physical."""

SHARES = {"visible", "local", "pool_visible"}
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


class Target:
    """Moments of one Geant4 sample, per particle and energy bin."""

    def __init__(self, sample: Sample, particles: tuple[str, ...]) -> None:
        self.sample, self.scintillators = sample, sample.scintillators
        self.mixed = 0 < self.scintillators.sum() < len(self.scintillators) <= 6
        names, energies = np.array(sample.primaries.particles), sample.primaries.energies
        if self.mixed:
            beam = names != "e-"
            self.coefficients = regression(sample.deposits[beam][:, self.scintillators], energies[beam])
        self.bins, chosen, start = [], [], 0
        for particle in particles:
            for low, high in BINS:
                events = np.flatnonzero((names == particle) & (low <= energies) & (energies < high))
                if len(events) >= 15:
                    self.bins.append(
                        (
                            slice(start, start + len(events) * REPEATS),
                            self.moments(sample.deposits[events], energies[events]),
                        )
                    )
                    chosen.append(np.tile(events, REPEATS))
                    start += len(events) * REPEATS
        order = np.concatenate(chosen)
        self.primaries = Primaries(tuple(names[order].tolist()), energies[order])

    def moments(self, deposits: Array, energies: Array) -> tuple[Array, Array, Array, Array]:
        """Means, standard deviations and the errors of both."""
        shares = deposits / energies[:, None]
        columns = [shares, shares.sum(1, keepdims=True)]
        if self.mixed:
            signals = deposits[:, self.scintillators]
            columns += [shares[:, self.scintillators].sum(1, keepdims=True)]
            columns += [(shower_features(signals[None])[0] @ self.coefficients / energies)[:, None]]
        values = np.concatenate(columns, axis=1)
        centred, events = values - values.mean(0), len(values)
        spread = np.sqrt((centred**2).mean(0))
        kurtosis = (centred**4).mean(0) / np.maximum(spread, 1e-9) ** 4
        errors = spread / np.sqrt(events)
        return values.mean(0), spread, errors, errors * np.sqrt(np.maximum(kurtosis - 1, 0.5) / 4)

    def residuals(self, deposits: Array) -> list[Array]:
        """Weighted differences of the fast simulator's moments."""
        result, weight = [], 1 / np.sqrt(max(1.0, len(self.scintillators) / 6))
        for events, (mean, spread, mean_error, spread_error) in self.bins:
            fast_mean, fast_spread, _, _ = self.moments(deposits[events], self.primaries.energies[events])
            first = (fast_mean - mean) / np.sqrt((1 + 1 / REPEATS) * mean_error**2 + FLOOR**2)
            second = (fast_spread - spread) / np.sqrt((1 + 1 / REPEATS) * spread_error**2 + FLOOR**2)
            result += [first * weight, second * weight]
            if self.mixed:
                result += [1.5 * first[-1:], 2 * second[-1:]]
        return result


def fit(start: FastParameters, samples: list[Sample], hadrons: bool, evaluations: int) -> FastParameters:
    """Least squares with common random numbers and a weak prior around the start values."""
    targets = [Target(sample, ("pi+",) if hadrons else ("gamma", "e-")) for sample in samples]
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
    parser.add_argument("--print", action="store_true", help="only print the parameters")
    options = parser.parse_args()
    samples, parameters = load(FOLDER / "training.npz"), FITTED
    for hadrons in (False, True):
        parameters = fit(parameters, samples, hadrons, options.evaluations)
    if options.print:
        print(written(parameters))
        return
    path = Path(fast_parameters.__file__)
    before, rest = path.read_text().split("# BEGIN FITTED\n")
    path.write_text(before + "# BEGIN FITTED\n" + written(parameters) + "# END FITTED" + rest.split("# END FITTED")[1])
    print(f"wrote {path}; now run `ruff format` on it")


if __name__ == "__main__":
    main()
