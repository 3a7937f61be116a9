"""What tests of evaluators share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cloudpickle
import pytest

from rl_detector.problem import DesignProblem


@pytest.fixture
def by_value(request: pytest.FixtureRequest, bowl: DesignProblem) -> Iterator[None]:
    """Workers cannot import test modules: their classes travel with the problem."""
    modules = {request.module, sys.modules[type(bowl.simulator).__module__]}
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)
