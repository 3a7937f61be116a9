"""Who may import whom, read from the sources, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rl_detector

PACKAGE = Path(rl_detector.__file__).parent
SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(path: Path) -> Iterator[str]:
    """Full names of all imported modules, wherever in the file the import stands."""
    return names(ast.parse(path.read_text()))


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def offenders(importers: tuple[str, ...], *forbidden: str) -> list[str]:
    """`module imports module` for modules under `importers` that import what is forbidden to them."""
    return [
        f"{module} imports {imported}"
        for module, path in SOURCES.items()
        if under(module, *(f"rl_detector.{name}" for name in importers))
        for imported in imports(path)
        if under(imported, *forbidden)
    ]


def inside(*modules: str) -> tuple[str, ...]:
    return tuple(f"rl_detector.{module}" for module in modules)


LAYERS = [
    ("errors",),
    ("parameters", "space", "construction"),
    ("problem", "agent", "box"),
    ("env", "evaluate", "ledger", "judge", "futures", "threads", "building", "builder"),
    ("registry",),
    ("study", "validation"),
    ("in_flight", "asynchronous"),
    ("launch", "report"),
    ("display",),
    ("cli",),
]
"""Lowest first: a module imports only from its own layer and those below."""


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_modules_import_downwards_only(level: int) -> None:
    above = [module for layer in LAYERS[level + 1 :] for module in layer]
    assert offenders(LAYERS[level], *inside(*above)) == []


@pytest.mark.parametrize(
    ("importers", "forbidden"),
    [
        (("physics",), ("simulators", "reach", "reconstruct", "envs", "agents", "problem", "env", "study", "cli")),
        (("simulators",), ("reach", "reconstruct", "envs", "agents", "agent", "env", "study", "cli")),
        (("reach", "reconstruct"), ("simulators", "envs", "agents", "agent", "env", "study", "cli")),
        (("envs",), ("agents", "agent", "env", "registry", "study", "launch", "cli")),
        (
            ("agents",),
            (
                "envs",
                "env",
                "builder",
                "building",
                "problem",
                "simulators",
                "reach",
                "reconstruct",
                "physics",
                "study",
                "cli",
            ),
        ),
        (
            ("space", "problem", "env", "agent", "study", "ledger", "evaluate"),
            ("envs", "agents", "simulators", "reach"),
        ),
    ],
)
def test_packages_import_only_what_they_build_on(importers: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    assert offenders(importers, *inside(*forbidden)) == []


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("hydra", ("cli",)),
        ("wandb", ("tracking",)),
        ("geant4_pybind", ("simulators.geant4",)),
        ("stable_baselines3", ("wrappers", "agents.stable_baselines", "agents.ppo", "agents.sac")),
        ("sb3_contrib", ("builder_wrappers",)),
        ("botorch", ("agents.gaussian_process", "agents.bayesian", "agents.turbo")),
        ("gpytorch", ("agents.gaussian_process",)),
        ("optuna", ("agents.tpe", "sweep_search")),
        ("pymoo", ("agents.nsga2",)),
        ("dask", ("dask_evaluator",)),
        ("dask_jobqueue", ("dask_evaluator",)),
        ("distributed", ("dask_evaluator",)),
        ("cma", ("agents",)),
        ("uproot", ("simulators.command_readers",)),
        ("pyarrow", ("simulators.command_readers",)),
        ("sqlite3", ("ledger", "ledger_file", "ledger_rows", "salvage")),
    ],
)
def test_libraries_are_imported_in_one_place(library: str, homes: tuple[str, ...]) -> None:
    found = {module for module, path in SOURCES.items() if any(under(name, library) for name in imports(path))}
    strangers = [module for module in found if not under(module, *inside(*homes))]
    assert strangers == []


def test_physics_needs_no_learning() -> None:
    packages = ("physics", "simulators", "reach", "reconstruct", "envs", "space", "problem", "env")
    found = offenders(packages, "torch", "stable_baselines3")
    assert [each for each in found if not each.startswith("rl_detector.reconstruct.neural imports torch")] == []
    users = offenders(packages, "rl_detector.reconstruct.neural")
    assert {user.split()[0] for user in users} <= {"rl_detector.reach.mutual_information"}, "imported lazily"


@pytest.mark.parametrize("module", SOURCES)
def test_no_assert_and_no_print(module: str) -> None:
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise an error of rl_detector.errors"
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and module not in inside("cli"):
            assert called.id != "print", f"line {called.lineno}: only the command line prints"


def test_reading_imports_finds_every_form() -> None:
    tree = ast.parse("import a.b\nfrom c import d\ndef f():\n    from e.f import g\nif True:\n    import h as i")
    assert set(names(tree)) == {"a.b", "c", "c.d", "e.f", "e.f.g", "h"}
    assert under("rl_detector.episodes.env", "rl_detector.episodes.env")
    assert not under("rl_detector.envs", "rl_detector.episodes.env")


def test_the_tests_of_architecture_can_fail() -> None:
    assert "rl_detector.envs.calorimeter.problem imports rl_detector.problem" in offenders(
        ("envs",), "rl_detector.problem"
    )
    assert "rl_detector.cli imports hydra" in offenders(("cli",), "hydra")


def test_few_public_names() -> None:
    public = getattr(rl_detector, "__all__", [])
    assert len(public) <= 25
    assert all(hasattr(rl_detector, name) for name in public)


HEAVY = ("torch", "stable_baselines3", "wandb", "hydra", "scipy", "matplotlib", "cma", "geant4_pybind", "pydantic")


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import rl_detector", HEAVY),
        ("from rl_detector.cli import main; main(['list'])", ("torch", "stable_baselines3", "wandb", "matplotlib")),
        ("from rl_detector.cli import main; main(['--help'])", ("torch", "stable_baselines3", "wandb", "matplotlib")),
        ("import rl_detector.registry, rl_detector.episodes.env", ("torch", "stable_baselines3", "wandb", "hydra")),
        ("import rl_detector.envs.calorimeter.problem", ("torch", "stable_baselines3", "geant4_pybind")),
    ],
)
def test_start_up_loads_nothing_heavy(code: str, forbidden: tuple[str, ...]) -> None:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert "rl_detector" in loaded
    assert loaded.isdisjoint(forbidden)
