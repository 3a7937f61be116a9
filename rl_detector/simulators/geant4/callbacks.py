"""The objects that Geant4 calls back while it runs: geometry, gun, end of event. Worker process only."""

from __future__ import annotations

from typing import Any, Protocol


class Setup(Protocol):
    """Geometry, primaries and readout of one worker.

    It keeps a reference to every C++ object that Geant4 does not own.
    """

    g4: Any
    detector: Any
    actions: Any

    def place(self, chunk: Any) -> bool:
        """Take the geometry of a chunk; return whether it differs from the geometry already built."""
        ...

    def shoot(self, chunk: Any) -> Any:
        """Take the primaries of a chunk; return the result that the run will fill."""
        ...

    def build(self) -> Any:
        """Build the world volume."""
        ...

    def attach(self) -> None:
        """Attach scorers, fields and limits to the volumes."""
        ...

    def aim(self, gun: Any, event: int) -> None:
        """Point the gun for one event."""
        ...

    def read(self, event: Any) -> None:
        """Copy the result of a finished event."""
        ...


def detector(setup: Setup) -> Any:
    """Wrap a setup as a G4VUserDetectorConstruction."""

    class Detector(setup.g4.G4VUserDetectorConstruction):  # type: ignore[name-defined, misc]
        def Construct(self) -> Any:
            return setup.build()

        def ConstructSDandField(self) -> None:
            setup.attach()

    return Detector()


def actions(setup: Setup) -> Any:
    """Wrap a setup as a G4VUserActionInitialization."""
    g4 = setup.g4

    class Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)

        def GeneratePrimaries(self, event: Any) -> None:
            setup.aim(self.gun, event.GetEventID())
            self.gun.GeneratePrimaryVertex(event)

    class Reader(g4.G4UserEventAction):  # type: ignore[name-defined, misc]
        def EndOfEventAction(self, event: Any) -> None:
            setup.read(event)

    class Actions(g4.G4VUserActionInitialization):  # type: ignore[name-defined, misc]
        def Build(self) -> None:
            self.parts = (Gun(), Reader())
            for part in self.parts:
                self.SetUserAction(part)

    return Actions()
