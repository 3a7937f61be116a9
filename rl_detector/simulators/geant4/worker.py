"""The process that runs Geant4: one run manager, one geometry at a time. Worker process only.

`start` prepares the process, `run_chunk` is the task. Only this module imports geant4_pybind, when the first chunk
arrives.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rl_detector.errors import SimulationError
from rl_detector.safety.child_processes import follow_parent
from rl_detector.simulators.geant4 import data_free
from rl_detector.simulators.geant4.callbacks import Setup
from rl_detector.simulators.geant4.geometry import Layer, StackSetup
from rl_detector.simulators.geant4.physics_lists import DATA_FREE, DATA_FREE_STRINGS, DATA_SETS, Physics

_PATIENCE = 2.0
"""Multiple of the time limit after which a worker ends itself, in case its parent no longer can."""


class AnySettings(Protocol):
    """Settings of a worker, fixed when it starts."""

    @property
    def physics(self) -> Physics:
        """Physics list and data sets."""
        ...

    @property
    def cut(self) -> float:
        """Production cut in mm."""
        ...

    @property
    def limited(self) -> bool:
        """Whether all particles obey the limits of volumes on steps and energies."""
        ...

    def setup(self, g4: Any) -> Setup:
        """Make geometry and readout; `g4` is the module geant4_pybind."""
        ...


class AnyChunk(Protocol):
    """A task: some events in one geometry."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Four positive 31-bit numbers."""
        ...

    @property
    def limit(self) -> float:
        """Seconds that the parent waits."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Settings:
    """Settings of a worker for stacks, fixed when it starts.

    Attributes:
        physics: physics list and data sets.
        cut: production cut in mm.
        width: full transverse size of every layer in cm.
    """

    physics: Physics
    cut: float
    width: float
    limited = False

    def setup(self, g4: Any) -> Setup:
        """Make geometry and readout; `g4` is the module geant4_pybind."""
        return StackSetup(g4, self.width)


@dataclass(frozen=True)
class Chunk:
    """A task: some events in one stack.

    Attributes:
        layers: the layers that are built, in beam order.
        columns: number of columns of the result, one per layer, with those that are not built.
        particles, energies: one per event; kinetic energies in GeV.
        seeds: four positive 31-bit numbers.
        limit: seconds that the parent waits.
    """

    layers: tuple[Layer, ...]
    columns: int
    particles: tuple[str, ...]
    energies: tuple[float, ...]
    seeds: tuple[int, ...]
    limit: float

    def __len__(self) -> int:
        return len(self.particles)


_machine: _Machine | None = None
_failure: Exception | None = None


def start() -> None:
    """Prepare a new worker process: no output, ignores Ctrl-C, ends with its parent or at the first SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    atexit.register(os._exit, 0)  # the interpreter's own shutdown crashes inside Geant4
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    follow_parent()


def run_chunk(settings: AnySettings, chunk: AnyChunk) -> Any:
    """Simulate a chunk in the worker; return its result, such as deposits in GeV [events, layers]."""
    signal.alarm(math.ceil(_PATIENCE * chunk.limit))
    try:
        return _ready(settings).run(chunk)
    finally:
        signal.alarm(0)


def _ready(settings: AnySettings) -> _Machine:
    """Return the machine of this process, made at the first call.

    Raises the error of a failed start again: a second attempt would abort the process.
    """
    global _machine, _failure
    if _failure is not None:
        raise _failure
    try:
        if _machine is None:
            _machine = _Machine(settings)
    except Exception as error:
        _failure = error
        raise
    return _machine


class _Machine:
    """Geant4's run manager and physics, with the geometry of the last chunk."""

    def __init__(self, settings: AnySettings) -> None:
        _prepare_environment(settings.physics)
        import geant4_pybind as g4  # type: ignore[import-not-found]

        self.setup = settings.setup(g4)
        self.manager = g4.G4RunManager()
        self.interface = g4.G4UImanager.GetUIpointer()
        self.random = g4.G4Random
        self.g4 = g4
        self.settings = settings
        self.physics = _physics_list(g4, settings.physics.name, settings.limited)
        if settings.limited:
            self.limits = g4.G4StepLimiterPhysics()
            self.limits.SetApplyToAll(True)
            self.physics.RegisterPhysics(self.limits)
        self._initialize()

    def run(self, chunk: AnyChunk) -> Any:
        """Simulate the events of one chunk."""
        if self.setup.place(chunk):
            self.interface.ApplyCommand("/run/reinitializeGeometry true")
            self.manager.Initialize()
        self.random.setTheSeeds([*chunk.seeds, 0], len(chunk.seeds))  # the list must end with 0
        result = self.setup.shoot(chunk)
        self.manager.BeamOn(len(chunk))
        return result

    def _initialize(self) -> None:
        for topic in ("run", "event", "tracking", "process", "process/em", "process/had"):
            self.interface.ApplyCommand(f"/{topic}/verbose 0")
        for part in (self.setup.detector, self.physics, self.setup.actions):
            self.manager.SetUserInitialization(part)
        self.manager.Initialize()
        self._set_cut()

    def _set_cut(self) -> None:
        self.interface.ApplyCommand(f"/run/setCut {self.settings.cut} mm")
        actual = str(self.interface.GetCurrentValues("/run/setCut"))
        value, unit = actual.split()
        if unit != "mm" or not math.isclose(float(value), self.settings.cut, rel_tol=1e-4):
            raise SimulationError(f"Geant4 uses a production cut of {actual} instead of {self.settings.cut} mm")


def _prepare_environment(physics: Physics) -> None:
    """Point Geant4 at the data sets found, else at empty folders: its import then neither asks nor downloads."""
    root = _own_folder(Path(tempfile.gettempdir()) / f"rl_detector-geant4-{os.getuid()}")
    (root / "empty").mkdir(exist_ok=True)
    (root / "ensdf").mkdir(exist_ok=True)
    (root / "ensdf" / "ENSDFSTATE.dat").touch()
    os.environ.update({name: str(root / "empty") for name in DATA_SETS})
    os.environ["G4ENSDFSTATEDATA"] = str(root / "ensdf")
    os.environ["GEANT4_DATA_DIR"] = str(root)
    os.environ["G4BACKTRACE"] = "none"  # else Geant4's signal handler turns an abort into a hang
    os.environ.update(physics.data)


def _own_folder(path: Path) -> Path:
    """Make a folder that only this user can write; SimulationError if another user or a link has taken its name."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SimulationError(f"{path} is no folder of this user: remove it, or set TMPDIR to a folder of your own")
    return path


def _physics_list(g4: Any, name: str, tracks: bool) -> Any:
    parameters = g4.G4EmParameters.Instance()
    parameters.SetVerbose(0)
    parameters.SetWorkerVerbose(0)
    parameters.SetIsPrintedFlag(True)
    if name in (DATA_FREE, DATA_FREE_STRINGS):
        return data_free.physics_list(g4, tracks, name == DATA_FREE_STRINGS)
    factory = g4.G4PhysListFactory()
    factory.SetVerbose(0)
    return factory.GetReferencePhysList(name)
