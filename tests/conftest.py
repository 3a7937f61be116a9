"""A design problem with a known optimum, cheap and exactly reproducible."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import pytest

from rl_detector.agents import agent_class
from rl_detector.errors import SimulationError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.problem import DesignProblem
from rl_detector.space import Design, DesignSpace
from rl_detector.terms import Cost, Measurement, Readout

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # here, in the workers of xdist, and in every process that a test starts

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")  # every run tries the same examples, however slow the machine

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell that puts the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

OPTIMUM = {"x": 0.3, "y": -0.5, "material": "good"}


@dataclass(frozen=True)
class Bowl:
    """Signals scatter around -(distance from the optimum)^2 with standard deviation 0.5."""

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        value = -((design["x"] - 0.3) ** 2) - (design["y"] + 0.5) ** 2 - 0.5 * (design["material"] != "good")
        noise = np.random.default_rng(seed).normal(0, 0.5, (events, 1))
        return Readout({}, value + noise)

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "bowl"}


class MeanSignal:
    """The mean of the signals and its standard error."""

    def measure(self, readout: Readout) -> Measurement:
        mean, error = readout.signals.mean(), readout.signals.std(ddof=1) / np.sqrt(len(readout.signals))
        return Measurement(float(mean), float(error), float(mean), float(error))


class FailingBowl(Bowl):
    """A bowl whose simulation fails for every fifth seed."""

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        if seed % 5 == 0:
            raise SimulationError("this seed is unlucky")
        return super().simulate(design, events, seed)


def make_bowl(simulator: Bowl | None = None) -> DesignProblem:
    space = DesignSpace(
        (Continuous("x", -1.0, 1.0, "m"), Continuous("y", -1.0, 1.0, "m"), Categorical("material", ("bad", "good")))
    )
    return DesignProblem(
        name="bowl",
        space=space,
        simulator=simulator or Bowl(),
        reach=MeanSignal(),
        costs=(Cost("mass", "kg", 10.0, lambda design: 1.0 + design["x"]),),
        baselines={"corner": {"x": -0.8, "y": 0.8, "material": "bad"}},
    )


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What users have trusted is not touched by tests, nor by the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def quick_figures() -> Iterator[None]:
    """Figures are composed, but not drawn: for tests of what is around them."""

    def composed(make: Callable[[], Any]) -> bytes:
        make()
        return b"not drawn"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rl_detector.report.figures.png", composed)
        yield


@pytest.fixture
def bowl() -> DesignProblem:
    return make_bowl()


@pytest.fixture
def failing_bowl() -> DesignProblem:
    return make_bowl(FailingBowl())


LIGHT: dict[str, dict[str, Any]] = {
    "bayesian": {"startup": 8, "most_points": 16, "raw_samples": 8, "restarts": 1, "iterations": 1, "samples": 4},
    "turbo": {"most_points": 30, "candidates": 50},
    "tpe": {"candidates": 4},
    "sac": {"hidden": 16, "gradient_steps": 1},
    "l_gso": {"training_steps": 20},
    "policy_gradient": {"memory": 200},
}
"""Settings that save time where only the contract is tested."""


@pytest.fixture
def light(quick_fits: None) -> dict[str, dict[str, Any]]:
    return LIGHT


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian processes fit for 5 iterations instead of 50: for tests of what does not depend on how well they fit."""
    agent_class("bayesian")  # imports its libraries, whose warnings about each other are no errors
    monkeypatch.setattr("rl_detector.agents.surrogates.gaussian_process.FIT_ITERATIONS", 5)
