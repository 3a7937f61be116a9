"""A farm of workers in simulated time: how busy it is, and its accounts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from rl_detector.agents import make_agent
from rl_detector.envs.oracles.problem import oracle
from rl_detector.records.ledger import Ledger
from rl_detector.study import Budget, Study
from rl_detector.study.asynchronous import AsynchronousStudy

FARM = Path(__file__).parents[2] / "experiments" / "farm" / "farm.py"


@pytest.fixture(scope="module")
def farm() -> Any:
    spec = importlib.util.spec_from_file_location("farm", FARM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["farm"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["farm"]


def on_farm(kind: type[Study], farm: Any, designs: int, per_batch: int = 100):
    problem = oracle("quadratic", 6, 0.3)
    place = farm.Farm(farm.FarmSettings(nodes=20, workers_per_node=5))
    agent = make_agent("reinforce", problem.space, 0, problem.start, designs_per_update=100)
    study = kind(problem, agent, Ledger(Path(":memory:")), Budget(designs, 1, per_batch), evaluator=place)
    return place, study, problem.simulator.truth(study.run())


def test_a_farm_of_100_workers_is_busy_in_an_asynchronous_study(farm):
    place, study, gain = on_farm(AsynchronousStudy, farm, 1500)
    assert place.asked_last.utilisation > 0.95
    assert study.ledger.count() == 1500
    assert gain > 0.5
    waiting, _, other = on_farm(Study, farm, 1500)
    assert waiting.asked_last.utilisation < 0.25
    assert waiting.time > 2 * place.time
    assert gain > other - 0.1


def test_a_farm_keeps_its_accounts(farm):
    place, study, _ = on_farm(AsynchronousStudy, farm, 1000)
    total = place.snapshot()
    assert 0 < total.lost < total.busy < total.up <= 100 * total.time
    assert place._finished == 1000 and not place._waiting and not place._running
    again, same, _ = on_farm(AsynchronousStudy, farm, 1000)
    assert again.snapshot() == total
    assert same.ledger.reproducible_rows() == study.ledger.reproducible_rows()
