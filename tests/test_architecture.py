"""Who may import whom, read from the sources, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import rl_detector

PACKAGE = Path(rl_detector.__file__).parent
SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names of all imported modules, wherever in the file the import stands."""
    return tuple(names(parsed(path)))


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
    {"errors"},
    {"safety", "reproducible", "claims", "conf"},
    {"parameters", "settings", "registry"},
    {"space"},
    {"encodings", "agent", "terms", "physics"},
    {"measure"},
    {"problem"},
    {"simulators", "agents", "reconstruct"},
    {"reach", "execution", "records", "episodes"},
    {"envs", "study", "checks", "sweeps"},
    {"assembly"},
    {"report"},
    {"running"},
    {"comparison"},
    {"cli"},
    {"__main__", "__init__"},
]
"""Rooms, lowest layer first: a module imports from its own room and from layers below."""

LARGEST_FOLDER = 12
"""Most modules side by side."""


def room(module: str) -> str:
    """`space` of rl_detector.space, `envs` of rl_detector.envs.calorimeter.layout."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def layer(name: str) -> int:
    (found,) = (level for level, rooms in enumerate(LAYERS) if name in rooms)
    return found


def own_imports(module: str) -> set[str]:
    """Modules of the package that a module imports; `from room import module` is an import of that module alone."""
    found = set()
    for node in ast.walk(parsed(SOURCES[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in SOURCES else node.module for whole in full.values()}
    return {name for name in found if name in SOURCES} - {module}


def upward(modules: Iterable[str]) -> list[str]:
    """`module imports module` where the imported one is in another room and not below."""
    pairs = [(module, imported) for module in modules for imported in own_imports(module)]
    return [
        f"{module} imports {imported}"
        for module, imported in pairs
        if room(module) != room(imported) and layer(room(imported)) >= layer(room(module))
    ]


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_is_in_one_layer_and_imports_only_from_below(module: str) -> None:
    assert sum(room(module) in rooms for rooms in LAYERS) == 1, "name its room in LAYERS"
    assert upward([module]) == []


def test_every_named_room_is_there() -> None:
    assert set().union(*LAYERS) == {room(module) for module in SOURCES} | {"__main__"}


def detector(module: str) -> str:
    """`calorimeter` of rl_detector.envs.calorimeter.layout; empty outside envs."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["envs"] and len(parts) > 2 else ""


def test_no_detector_imports_another() -> None:
    strangers = [
        f"{module} imports {imported}"
        for module in SOURCES
        for imported in own_imports(module)
        if detector(module) and detector(imported) not in ("", detector(module))
    ]
    assert strangers == []


def test_envs_and_agents_never_see_each_other() -> None:
    assert offenders(("envs",), "rl_detector.agents", "rl_detector.agent") == []
    assert offenders(("agents",), *inside("envs", "problem", "simulators", "reach", "reconstruct", "physics")) == []


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others (strongly connected parts of more than one)."""
    reach = {module: reachable(module, graph) for module in graph}
    return sorted({tuple(sorted(m for m in reach[a] if a in reach.get(m, ()))) for a in graph if a in reach[a]})


def reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph.get(module, ())
    return found


def test_no_circles() -> None:
    assert circles({module: own_imports(module) for module in SOURCES}) == []


def test_folders_are_small() -> None:
    folders = Counter(str(path.parent) for path in SOURCES.values() if path.name != "__init__.py")
    top = folders.pop(str(PACKAGE)) - 1  # without __main__
    assert top <= 14
    assert max(folders.values()) <= LARGEST_FOLDER


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("hydra", ("cli",)),
        ("wandb", ("running.wandb_tracker",)),
        ("geant4_pybind", ("simulators.geant4",)),
        ("stable_baselines3", ("episodes.wrappers", "agents.peers")),
        ("sb3_contrib", ("episodes.builder_wrappers",)),
        ("botorch", ("agents.surrogates",)),
        ("gpytorch", ("agents.surrogates.gaussian_process",)),
        ("optuna", ("agents.peers.tpe", "sweeps.search")),
        ("pymoo", ("agents.peers.nsga2",)),
        ("dask", ("execution.cluster",)),
        ("dask_jobqueue", ("execution.cluster",)),
        ("distributed", ("execution.cluster",)),
        ("cma", ("agents",)),
        ("uproot", ("simulators.command",)),
        ("pyarrow", ("simulators.command",)),
        ("sqlite3", ("records",)),
    ],
)
def test_libraries_are_imported_in_one_place(library: str, homes: tuple[str, ...]) -> None:
    found = {module for module, path in SOURCES.items() if any(under(name, library) for name in imports(path))}
    strangers = [module for module in found if not under(module, *inside(*homes))]
    assert strangers == []


def test_physics_needs_no_learning() -> None:
    packages = ("physics", "simulators", "reach", "reconstruct", "envs", "space", "problem", "episodes.env")
    found = offenders(packages, "torch", "stable_baselines3")
    assert [each for each in found if not each.startswith("rl_detector.reconstruct.neural imports torch")] == []
    users = offenders(packages, "rl_detector.reconstruct.neural")
    assert {user.split()[0] for user in users} <= {"rl_detector.reach.shared_judge"}, "imported lazily"


@pytest.mark.parametrize("module", SOURCES)
def test_no_assert_and_no_print(module: str) -> None:
    for node in ast.walk(parsed(SOURCES[module])):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise an error of rl_detector.errors"
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and module not in inside("cli"):
            assert called.id != "print", f"line {called.lineno}: only the command line prints"


def test_reading_imports_finds_every_form() -> None:
    tree = ast.parse("import a.b\nfrom c import d\ndef f():\n    from e.f import g\nif True:\n    import h as i")
    assert set(names(tree)) == {"a.b", "c", "c.d", "e.f", "e.f.g", "h"}
    assert under("rl_detector.env", "rl_detector.env")
    assert not under("rl_detector.envs", "rl_detector.env")


def test_the_tests_of_architecture_can_fail() -> None:
    assert "rl_detector.cli imports hydra" in offenders(("cli",), "hydra")
    assert "rl_detector.problem" in own_imports("rl_detector.envs.calorimeter.problem")
    assert layer("errors") < layer("space") < layer("cli")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [("a", "b", "c")]
    assert detector("rl_detector.envs.muon_map.layout") == "muon_map" and detector("rl_detector.reach.few_events") == ""


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
        ("import rl_detector.envs.calorimeter", ("torch", "stable_baselines3", "geant4_pybind")),
    ],
)
def test_start_up_loads_nothing_heavy(code: str, forbidden: tuple[str, ...]) -> None:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert "rl_detector" in loaded
    assert loaded.isdisjoint(forbidden)
