"""Every `>>>` in a public docstring is run, and every public name has one."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import rl_detector
import rl_detector.physics
import rl_detector.reach

PUBLIC = (
    "space",
    "parameters",
    "terms",
    "problem",
    "agent",
    "registry",
    "errors",
    "checks",
    "measure",
    "assembly",
    "conf.schema",
)
PACKAGES = (rl_detector.physics, rl_detector.reach)


def _modules() -> list[str]:
    found = [f"rl_detector.{name}" for name in PUBLIC]
    for package in PACKAGES:
        found += [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    homes = {getattr(rl_detector, name).__module__ for name in rl_detector.__all__ if name != "Design"}
    return sorted({*found, *homes})


def _tests(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", _modules())
def test_examples_in_docstrings_are_true(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    reports: list[str] = []
    for test in _tests(import_module(name)):
        runner.run(test, out=reports.append)
    assert runner.summarize(verbose=False).failed == 0, "\n".join(reports)


def _has_example(thing: Any) -> bool:
    return ">>>" in (inspect.getdoc(thing) or "")


@pytest.mark.parametrize("name", [name for name in rl_detector.__all__ if name != "Design"])
def test_every_public_name_has_an_example(name: str) -> None:
    assert _has_example(getattr(rl_detector, name))


def _physics_functions() -> list[Any]:
    names = [module.name for module in pkgutil.iter_modules(rl_detector.physics.__path__)]
    modules = [import_module(f"rl_detector.physics.{name}") for name in names]
    return [
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]


@pytest.mark.parametrize("function", _physics_functions(), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_function_of_physics_has_an_example(function: Any) -> None:
    assert _has_example(function)
