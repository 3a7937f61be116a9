"""Sweep files: the YAML of Weights & Biases sweeps, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from rl_detector.errors import ConfigError
from rl_detector.safety.untrusted import LARGEST_YAML, check_yaml, read_bytes

METHODS = ("grid", "random", "bayes")


COMMAND = '["${env}", "${interpreter}", "-m", "rl_detector", "train", "${args_no_hyphens}"]'
"""What `command` of a sweep file must look like, with words for all runs before `${args_no_hyphens}`."""


DISTRIBUTIONS = {
    "constant": {"value"},
    "categorical": {"values"},
    "categorical_w_probabilities": {"values", "probabilities"},
    "int_uniform": {"min", "max"},
    "uniform": {"min", "max"},
    "log_uniform_values": {"min", "max"},
    "q_uniform": {"min", "max", "q"},
    "q_log_uniform_values": {"min", "max", "q"},
    "normal": {"mu", "sigma"},
}
"""Distribution -> names of its settings (q is 1 if it is absent)."""


_KEYS = {"method", "metric", "parameters", "command", "run_cap", "name", "description", "program", "project", "entity"}


_IGNORED = {
    "early_terminate": "every run spends its budget",
    "controller": "there is no server here",
    "scheduler": "there is no server here",
}


@dataclass(frozen=True)
class Parameter:
    """One swept setting.

    Attributes:
        name: dotted, as on the command line of `train`.
        distribution: one of DISTRIBUTIONS.
        values: those of a constant or of categories.
        numbers: min, max, q, mu, sigma as the distribution has them; `probabilities` stand by themselves.
        probabilities: of the values; empty: equal ones.
    """

    name: str
    distribution: str
    values: tuple[Any, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    probabilities: tuple[float, ...] = ()

    @property
    def logarithmic(self) -> bool:
        """Whether equal ratios are equally likely."""
        return "log" in self.distribution

    def sample(self, rng: np.random.Generator) -> Any:
        """A random value."""
        if self.values:
            shares = list(self.probabilities) or None
            return self.values[int(rng.choice(len(self.values), p=shares))]
        n = self.numbers
        if self.distribution == "normal":
            return float(rng.normal(n["mu"], n["sigma"]))
        if self.distribution == "int_uniform":
            return int(rng.integers(int(n["min"]), int(n["max"]) + 1))
        if self.logarithmic:
            return self.rounded(math.exp(rng.uniform(math.log(n["min"]), math.log(n["max"]))))
        return self.rounded(float(rng.uniform(n["min"], n["max"])))

    def rounded(self, value: float) -> float | int:
        """Round to the nearest multiple of q between min and max, where there is a q; whole if q is whole."""
        if not self.distribution.startswith("q_"):
            return value
        q, low, high = (self.numbers[name] for name in ("q", "min", "max"))
        steps = min(max(round(value / q), math.ceil(low / q - 1e-9)), math.floor(high / q + 1e-9)) * q
        return int(steps) if float(q).is_integer() else round(float(steps), 12)

    def grid(self) -> list[Any]:
        """All values.

        Raises:
            ConfigError: there is no end of them.
        """
        if self.values:
            return list(self.values)
        low, high = self.numbers.get("min", 0.0), self.numbers.get("max", 0.0)
        if self.distribution == "int_uniform":
            return list(range(int(low), int(high) + 1))
        if self.distribution == "q_uniform":
            return [self.rounded(value) for value in np.arange(low, high + 1e-9, self.numbers["q"])]
        raise ConfigError(f"parameter {self.name} of a grid needs values, int_uniform or q_uniform: a grid has an end")


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Attributes:
        method: grid, random or bayes.
        metric: what is compared, a number of recommended.json.
        maximize: whether more of it is better.
        parameters: in the order of the file.
        words: of every `rl-detector train`, before the parameters.
        runs: how many; None where the file does not say.
        ignored: what the file asks for and nobody does here, with the reason.
    """

    method: str
    metric: str
    maximize: bool
    parameters: tuple[Parameter, ...]
    words: tuple[str, ...]
    runs: int | None
    ignored: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Everything but the number of runs that decides the runs of a sweep, JSON-ready."""
        whole = asdict(self)
        return {name: whole[name] for name in ("method", "metric", "maximize", "parameters", "words")}


def read_sweep(path: Path) -> Sweep:
    """A sweep from its file.

    Raises:
        ConfigError: it is no file of a sweep that can run here; the message names the place.
    """
    try:
        text = read_bytes(path, LARGEST_YAML, links=True).decode()
        check_yaml(text)
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the sweep {path}: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} must hold method, metric, parameters and command of a sweep, got {config!r}")
    try:
        return _sweep(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _sweep(config: Mapping[str, Any]) -> Sweep:
    unknown = [key for key in config if key not in _KEYS | _IGNORED.keys()]
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}: known are {', '.join(sorted(_KEYS))}")
    method, parameters = config.get("method"), config.get("parameters")
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not isinstance(parameters, dict) or not parameters:
        raise ConfigError(f"parameters must name what is swept, got {parameters!r}")
    metric, goal = _metric(config.get("metric"))
    runs = config.get("run_cap")
    if runs is not None and (isinstance(runs, bool) or not isinstance(runs, int) or runs < 1):
        raise ConfigError(f"run_cap must be a whole number >= 1, got {runs!r}")
    return Sweep(
        method=str(method),
        metric=metric,
        maximize=goal == "maximize",
        parameters=tuple(_parameter(str(name), spec) for name, spec in parameters.items()),
        words=_words(config.get("command")),
        runs=runs,
        ignored=tuple(f"{key} is ignored: {reason}" for key, reason in _IGNORED.items() if key in config),
    )


def _metric(node: Any) -> tuple[str, str]:
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        raise ConfigError(f"metric must be a name and a goal, such as {{name: reward, goal: maximize}}, got {node!r}")
    goal = node.get("goal", "minimize")  # the default of Weights & Biases
    if goal not in ("maximize", "minimize"):
        raise ConfigError(f"metric.goal must be maximize or minimize, got {goal!r}")
    return node["name"], goal


def _words(command: Any) -> tuple[str, ...]:
    """The words after `train` of a command; a command that starts anything else is refused."""
    words = [str(word) for word in command] if isinstance(command, Sequence) and not isinstance(command, str) else []
    starts = (["${env}", "${interpreter}", "-m", "rl_detector"], ["${env}", "rl-detector"], ["rl-detector"])
    lengths = [len(start) for start in starts if words[: len(start) + 1] == [*start, "train"]]
    fixed = words[lengths[0] + 1 : -1] if lengths else []
    if not lengths or words[-1:] != ["${args_no_hyphens}"] or any("${" in word for word in fixed):
        raise ConfigError(f"command must be {COMMAND}, got {command!r}")
    for word in fixed:
        _check_setting(word)
    return tuple(fixed)


def _check_setting(word: str) -> None:
    """Check that a name is a setting of a training, since other words can make Hydra call any function.

    Raises:
        ConfigError: it is an option, a setting of Hydra itself, or a choice that leads out of the package.
    """
    name, equals, value = word.partition("=")
    plain = re.fullmatch(r"\+{0,2}[A-Za-z_]\w*(\.\w+)*", name, re.ASCII)
    outside = "." not in name and name.lstrip("+") not in _PATHS and ("/" in value or ".." in value)
    if not (plain and equals) or name.lstrip("+").split(".")[0] == "hydra" or outside:
        raise ConfigError(f"a training of a sweep takes settings such as agent.sigma=0.3, got {word!r}")


_PATHS = ("runs", "start")
"""Settings of a training without a dot that may hold a path; others without a dot choose files of the package."""


def _parameter(name: str, spec: Any) -> Parameter:
    if not isinstance(spec, Mapping):
        raise ConfigError(f"parameter {name} must be a mapping such as {{values: [1, 2]}}, got {spec!r}")
    if "parameters" in spec:
        raise ConfigError(f"parameter {name} is nested: write {name}.NAME: {{...}}, which the command line understands")
    kind = spec.get("distribution") or _inferred(name, spec)
    if kind not in DISTRIBUTIONS:
        raise ConfigError(f"parameter {name}: unknown distribution {kind!r}, those here are {', '.join(DISTRIBUTIONS)}")
    given = set(spec) - {"distribution"}
    if not DISTRIBUTIONS[kind] - {"q"} <= given <= DISTRIBUTIONS[kind]:
        expected, got = (", ".join(sorted(names)) or "none" for names in (DISTRIBUTIONS[kind], given))
        raise ConfigError(f"parameter {name}: {kind} takes {expected}, got {got}")
    values = (spec["value"],) if "value" in spec else tuple(spec.get("values") or ())
    for value in values or ("",):
        _check_setting(f"{name}={value}")
    if not DISTRIBUTIONS[kind].isdisjoint({"value", "values"}):
        return Parameter(name, kind, _checked_values(name, values), {}, _shares(name, spec, len(values)))
    return Parameter(name, kind, (), _numbers(name, kind, spec))


def _inferred(name: str, spec: Mapping[str, Any]) -> str:
    for key, kind in (
        ("value", "constant"),
        ("probabilities", "categorical_w_probabilities"),
        ("values", "categorical"),
    ):
        if key in spec:
            return kind
    if "min" in spec and "max" in spec:
        whole = all(isinstance(spec[bound], int) for bound in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise ConfigError(
        f"parameter {name} needs value, values, or min and max, got {', '.join(map(str, spec)) or 'none'}"
    )


def _checked_values(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ConfigError(f"parameter {name} has no values")
    for value in values:
        if isinstance(value, Mapping) or value is None:
            raise ConfigError(
                f'parameter {name}: values must be numbers, words or lists ("null" in quotes), got {value!r}'
            )
    return values


def _shares(name: str, spec: Mapping[str, Any], count: int) -> tuple[float, ...]:
    shares = tuple(spec.get("probabilities", ()))
    good = all(isinstance(share, (int, float)) and share >= 0 for share in shares)
    if shares and not (good and len(shares) == count and math.isclose(sum(shares), 1.0, abs_tol=1e-6)):
        raise ConfigError(f"parameter {name}: probabilities must be one per value and sum to 1, got {list(shares)}")
    return tuple(float(share) / sum(shares) for share in shares)


def _numbers(name: str, kind: str, spec: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: spec.get(key, 1) for key in DISTRIBUTIONS[kind]}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(
                f"parameter {name}: {key} must be a number (1e-3 is a word in YAML, 1.0e-3 not), got {value!r}"
            )
    low, high = numbers.get("min", 0), numbers.get("max", 0)
    if low > high or ("log" in kind and low <= 0):
        raise ConfigError(
            f"parameter {name}: {kind} needs {'0 < ' if 'log' in kind else ''}min <= max, got {low}, {high}"
        )
    if numbers.get("q", 1) <= 0 or numbers.get("sigma", 1) <= 0:
        raise ConfigError(f"parameter {name}: q and sigma must be positive, got {dict(spec)}")
    if "q" in numbers and math.floor(high / numbers["q"] + 1e-9) < math.ceil(low / numbers["q"] - 1e-9):
        raise ConfigError(f"parameter {name}: no multiple of q = {numbers['q']} lies between {low} and {high}")
    if kind == "int_uniform" and not all(isinstance(value, int) for value in numbers.values()):
        raise ConfigError(f"parameter {name}: int_uniform needs whole numbers, got {low}, {high}")
    return numbers
