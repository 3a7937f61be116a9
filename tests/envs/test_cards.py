"""Every environment has a card whose headings, tables and counts agree with the problem it describes."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from types import ModuleType

import pytest

from rl_detector import registry
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical
from rl_detector.problem import DesignProblem
from rl_detector.registry import card, find, load_factory, register, registered
from rl_detector.space import DesignSpace, Repeated

HEADINGS = [
    *("Description", "Parameters", "Limits", "Reach", "Baselines", "Simulators"),
    *("What a reviewer should know", "Arguments", "Version history"),
]
WIDTH = 100
NAMES = sorted(registered())


@cache
def problem(name: str) -> DesignProblem:
    return load_factory(find(name).factory)()


def sections(text: str) -> dict[str, str]:
    """Heading -> text below it, in order."""
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[0::2], parts[1::2], strict=True))


def table(section: str) -> list[list[str]]:
    """Rows of the first table without its head, code marks taken off."""
    found = re.search(r"(?:^\|.*\n?)+", section, flags=re.MULTILINE)
    rows = found[0].splitlines()[2:] if found else []
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def expected_parameters(space: DesignSpace, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Name -> bounds and unit, as a card writes them."""
    found: dict[str, tuple[str, str]] = {}
    for each in space.parameters:
        name = prefix + each.name
        if isinstance(each, Repeated):
            count = f"{each.minimum}" if each.minimum == each.maximum else f"{each.minimum} to {each.maximum}"
            found |= {name: (count, ""), **expected_parameters(each.space, f"{name}.")}
        elif isinstance(each, Categorical):
            found[name] = ", ".join(each.choices), ""
        else:
            log = ", log" if getattr(each, "log", False) else ""
            found[name] = f"{each.low:g} to {each.high:g}{log}", each.unit
    return found


def check_headings(text: str, _: DesignProblem) -> None:
    assert list(sections(text)) == HEADINGS
    assert all(part.strip() for part in sections(text).values())
    first, *_ = text.splitlines()
    assert first.endswith("."), "the card begins with one sentence that says what it is"
    assert max(map(len, text.splitlines())) <= WIDTH


def check_parameters(text: str, problem: DesignProblem) -> None:
    section = sections(text)["Parameters"]
    described: dict[str, tuple[str, str]] = {}
    wanted = expected_parameters(problem.space)
    for patterns, bounds, unit, *_ in table(section):
        for pattern in patterns.split(", "):
            names = [name for name in wanted if fnmatchcase(name, pattern)]
            assert names, f"no parameter is called {pattern}"
            assert not set(names) & set(described), f"{pattern} is described twice"
            described |= dict.fromkeys(names, (bounds, unit))
    assert described == wanted
    counts = re.search(r"(\d+) coordinates?\b.*?(\d+) choices?\b", section, flags=re.DOTALL)
    assert counts, "the card states how many coordinates and choices a design has"
    assert [int(each) for each in counts.groups()] == [len(problem.space.continuous), len(problem.space.discrete)]


def check_limits(text: str, problem: DesignProblem) -> None:
    wanted = [("cost", each.name, each.reference, each.unit) for each in problem.costs]
    wanted += [("limit", each.name, each.limit, each.unit) for each in problem.constraints]
    rows = table(sections(text)["Limits"])
    assert [(kind, name, unit) for kind, name, _, unit, *_ in rows] == [(k, n, unit) for k, n, _, unit in wanted]
    assert [float(row[2]) for row in rows] == pytest.approx([value for _, _, value, _ in wanted])


def check_reach(text: str, problem: DesignProblem) -> None:
    assert f"Metric: `{problem.metric}`" in sections(text)["Reach"]


def check_baselines(text: str, problem: DesignProblem) -> None:
    rows = table(sections(text)["Baselines"])
    assert [row[0] for row in rows] == list(problem.baselines)
    assert all(row[1] for row in rows), "every baseline has a source"


def check_arguments(text: str, problem: DesignProblem) -> None:
    rows = table(sections(text)["Arguments"])
    signature = inspect.signature(load_factory(find(owner(text)).factory)).parameters
    assert {row[0]: ast.literal_eval(row[1]) for row in rows} == {n: p.default for n, p in signature.items()}
    assert [row[0] for row in rows] == list(signature)
    assert all(row[2] for row in rows), "every argument has a meaning"


def check_version(text: str, problem: DesignProblem) -> None:
    assert f"- v{find(owner(text)).version}: " in sections(text)["Version history"]


CHECKS = (
    *(check_headings, check_parameters, check_limits, check_reach),
    *(check_baselines, check_arguments, check_version),
)
OWNERS: dict[str, str] = {}


def owner(text: str) -> str:
    return OWNERS[text]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_card(check, name):
    OWNERS[card(name)] = name
    check(card(name), problem(name))


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        (check_headings, "## Limits", "## Bounds"),
        (check_headings, "## Limits", "## Reach\n\n## Limits"),
        (check_headings, "Every layer", "x" * WIDTH + " Every layer"),
        (check_parameters, "0 to 50", "0 to 60"),
        (check_parameters, "Pb, Fe", "Pb, Fe, W"),
        (check_parameters, "| cm ", "| mm "),
        (check_parameters, "6 coordinates", "7 coordinates"),
        (check_parameters, "layer.absorber_thickness", "layer.absorber_depth"),
        (check_limits, "| 200 ", "| 210 "),
        (check_limits, "| EUR", "| kEUR"),
        (check_reach, "mean (E_rec", "median (E_rec"),
        (check_baselines, "`homogeneous`", "`crystal`"),
        (check_arguments, "| 0.05 ", "| 0.1 "),
        (check_arguments, "`energy_low`", "`low`"),
        (check_version, "- v0", "- v1"),
    ],
)
def test_a_broken_card_fails(check, old, new):
    whole = card("calorimeter")
    assert old in whole
    broken = whole.replace(old, new)
    OWNERS[broken] = "calorimeter"
    with pytest.raises(AssertionError):
        check(broken, problem("calorimeter"))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user with a registered environment; both are forgotten afterwards."""
    module = ModuleType("own_detector_module", "Telescope of three planes.\n\n    ## Description\n    Planes.\n")
    module.telescope = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.setattr(registry, "_register_with_gymnasium", lambda registration: None)
    register("own_telescope", "own_detector_module:telescope")
    return module


def test_card_of_an_own_environment(own):
    assert card("own_telescope") == "Telescope of three planes.\n\n## Description\nPlanes."


def test_no_card(own):
    own.__doc__ = None
    with pytest.raises(ConfigError, match="own_telescope has no card: begin own_detector_module with a docstring"):
        card("own_telescope")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("calorimter", "did you mean calorimeter"), ("Muon_Shield", "did you mean muon_shield"), ("zzz", "known are")],
)
def test_an_unknown_name_gets_the_nearest(name, meant):
    with pytest.raises(ConfigError, match=f"unknown environment '{name}': {meant}"):
        card(name)


def test_the_command_prints_the_card():
    command = [sys.executable, "-m", "rl_detector", "list"]
    shown = subprocess.run([*command, "spectrometer"], capture_output=True, text=True, timeout=120, check=True).stdout
    assert shown.startswith("spectrometer  rl_detector/Spectrometer-v0  ")
    assert shown.rstrip().endswith(card("spectrometer"))
    wrong = subprocess.run([*command, "spectrometre"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2
    assert "did you mean spectrometer" in wrong.stderr
