"""Environments by name: those of this package, the user's own, and those that other installed packages announce.

Another package announces its environments with the entry-point group `rl_detector.envs`:

    [project.entry-points."rl_detector.envs"]
    my_detector = "my_package.detector:my_problem"

Then `gym.make("rl_detector/MyDetector-v0")` and `rl-detector train env=my_detector` work. If its space has one Repeated
component, `gym.make("rl_detector/MyDetectorBuilder-v0")` builds designs piece by piece.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import gymnasium as gym

from rl_detector.errors import ConfigError

NAMESPACE = "rl_detector"
"""Namespace of all Gymnasium ids."""

GROUP = "rl_detector.envs"
"""Entry-point group in which other packages announce their environments."""


@dataclass(frozen=True)
class Registration:
    """One registered problem.

    Attributes:
        name: short name in lower_snake_case, used on the command line.
        factory: "package.module:function" that returns a DesignProblem.
        version: version of the physics; it is raised whenever the physics changes.

    Examples:
        >>> Registration("muon_map", "rl_detector.envs.muon_map:muon_map").id
        'rl_detector/MuonMap-v0'
    """

    name: str
    factory: str
    version: int = 0

    @property
    def id(self) -> str:
        """Gymnasium id, for example rl_detector/Calorimeter-v0."""
        return self._id("")

    @property
    def builder_id(self) -> str:
        """Gymnasium id for building piece by piece, for example rl_detector/SpectrometerBuilder-v0."""
        return self._id("Builder")

    def _id(self, suffix: str) -> str:
        stem = "".join(part.capitalize() for part in self.name.split("_"))
        return f"{NAMESPACE}/{stem}{suffix}-v{self.version}"


_NAME = "[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*"
"""Pattern of names. Every word starts with a letter, so that no two names share a Gymnasium id."""

_PATH = r"[\w.]+:\w+"
"""Pattern of factories: "package.module:function"."""

_REGISTERED: dict[str, Registration] = {}


def register(name: str, factory: str | Callable[..., Any], version: int = 0) -> str:
    """Register a problem factory under a name; return its Gymnasium id.

    Args:
        name: short name in lower_snake_case, for example "my_detector".
        factory: a function at module level, or "package.module:function", that returns a DesignProblem. `gym.make`
            passes keyword arguments on to it.
        version: version of the physics; raise it whenever the physics changes.

    Raises:
        ConfigError: another factory has the name, the name is not lower_snake_case, or the factory has no import path.

    Examples:
        >>> import rl_detector as rd
        >>> rd.register("oracle", find("oracle").factory)
        'rl_detector/Oracle-v0'
        >>> try:
        ...     rd.register("Telescope", "my_package.telescope:telescope")
        ... except rd.DetectorError as error:
        ...     str(error)
        "name of an environment must be lower_snake_case such as my_detector, got 'Telescope'"
    """
    if not re.fullmatch(_NAME, name):
        raise ConfigError(f"name of an environment must be lower_snake_case such as my_detector, got {name!r}")
    path = factory if isinstance(factory, str) else _import_path(factory)
    if not re.fullmatch(_PATH, path):
        raise ConfigError(f"factory of {name} must be a function or 'package.module:function', got {path!r}")
    registration = Registration(name, path, version)
    if _REGISTERED.setdefault(name, registration) != registration:
        taken = _REGISTERED[name]
        raise ConfigError(f"{name!r} is already registered as {taken.id} with {taken.factory}; choose another name")
    _register_with_gymnasium(registration)
    return registration.id


def _register_with_gymnasium(registration: Registration) -> None:
    """Register one id for whole designs, and one for building them piece by piece.

    Building needs a space with a Repeated component.
    """
    new = []
    for wanted in (registration.id, registration.builder_id):
        taken_by = gym.registry.get(wanted)
        if taken_by is not None and taken_by.kwargs.get("factory") != registration.factory:
            del _REGISTERED[registration.name]
            raise ConfigError(f"the Gymnasium id {wanted} is taken by another environment; choose another name")
        if taken_by is None:
            new.append(wanted)
    whole = {
        "entry_point": f"{NAMESPACE}.episodes:make_env",
        "vector_entry_point": f"{NAMESPACE}.episodes:make_vector_env",
    }
    pieces = {"entry_point": f"{NAMESPACE}.episodes:make_builder_env"}
    for wanted in new:
        points: dict[str, Any] = whole if wanted == registration.id else pieces
        gym.register(wanted, kwargs={"factory": registration.factory}, **points)


def registered() -> dict[str, Registration]:
    """Return all registrations by name, with those of other packages.

    Examples:
        >>> [name for name in registered() if name.startswith("muon")]
        ['muon_map', 'muon_shield', 'muon_tomography']
    """
    load_entry_points()
    return dict(sorted(_REGISTERED.items()))


def announced() -> list[Registration]:
    """Return the registrations that come from other installed packages."""
    points = {(point.name, point.value) for point in entry_points(group=GROUP)}
    return [entry for entry in registered().values() if (entry.name, entry.factory) in points]


def find(name: str) -> Registration:
    """Find a registration by its short name.

    Raises:
        ConfigError: the name is unknown; the message gives the nearest names and all known ones.

    Examples:
        >>> find("calorimeter").id
        'rl_detector/Calorimeter-v0'
    """
    known = registered()
    if name not in known:
        near = get_close_matches(name.lower(), known, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? Known" if near else "known"
        raise ConfigError(f"unknown environment {name!r}: {meant} are {', '.join(known)}")
    return known[name]


def card(name: str) -> str:
    """Return the card of an environment in Markdown: the docstring of the module or package that holds its factory.

    Raises:
        ConfigError: the environment is unknown, cannot be imported, or has no card.

    Examples:
        >>> card("calorimeter").splitlines()[0]
        'Sampling calorimeter: materials and thicknesses of its layers, for the best energy resolution.'
    """
    factory = find(name).factory
    load_factory(factory)
    module = factory.partition(":")[0]
    text = inspect.cleandoc(sys.modules[module].__doc__ or "")
    if not text:
        raise ConfigError(f"environment {name} has no card: begin {module} with a docstring that describes it")
    return text


def load_entry_points() -> None:
    """Register the environments that installed packages announce in the group `rl_detector.envs`.

    It imports none of their modules. An announcement with a bad or taken name is left out with a warning, so that it
    does not break the other environments.
    """
    for point in entry_points(group=GROUP):
        try:
            register(point.name, point.value)
        except ConfigError as error:
            warnings.warn(f"entry point {point.value!r} of the group {GROUP} is left out: {error}", stacklevel=2)


def _import_path(factory: Callable[..., Any]) -> str:
    module, name = factory.__module__, factory.__qualname__
    if "<" in name or "." in name:
        raise ConfigError(f"the factory {name} must be a function at module level, so that it can be imported by name")
    return f"{module}:{name}"


register("calorimeter", "rl_detector.envs.calorimeter:calorimeter")
register("muon_map", "rl_detector.envs.muon_map:muon_map")
register("muon_shield", "rl_detector.envs.muon_shield:muon_shield")
register("muon_tomography", "rl_detector.envs.muon_tomography:muon_tomography")
register("oracle", "rl_detector.envs.oracles:oracle")
register("slab_calorimeter", "rl_detector.envs.slab_calorimeter:slab_calorimeter")
register("spectrometer", "rl_detector.envs.spectrometer:spectrometer")


load_entry_points()


def announced_environments() -> dict[str, dict[str, Any]]:
    """Return the environments of other packages: name -> config with the defaults of the factory's arguments.

    An environment that cannot be loaded is left out with a warning, so that it does not stop the others.
    """
    found: dict[str, dict[str, Any]] = {}
    for registration in announced():
        try:
            parameters = inspect.signature(load_factory(registration.factory)).parameters.values()
        except Exception as error:  # another package may raise anything while it is imported
            warnings.warn(f"environment {registration.name} is left out: {error}", stacklevel=2)
            continue
        plain = (int, float, str, bool, type(None))
        defaults = {p.name: p.default for p in parameters if isinstance(p.default, plain) and p.name != "simulator"}
        found[registration.name] = {"name": registration.name, **defaults}
    return found


def load_factory(factory: str) -> Any:
    """Import the problem factory named "package.module:function".

    Raises:
        ConfigError: the factory cannot be imported.
    """
    module, _, name = factory.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot load the problem factory {factory!r} (expected 'package.module:function'): {error}"
        ) from error
