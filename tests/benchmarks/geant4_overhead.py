"""What our worker costs over a bare Geant4 loop, and what a second worker brings. Prints ratios; nothing is asserted.

Run on an idle machine: `python tests/benchmarks/geant4_overhead.py [repeats]`. The bare loop is one process with the
same physics list, geometry, seeds and primaries, and nothing else: no scoring, no reading, no pool, no checks. CPU
times (worker + parent) are printed beside wall-clock times because they suffer less from other jobs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rl_detector.simulators.geant4 import Geant4Simulator, simulator
from rl_detector.simulators.geant4.physics_lists import choose
from rl_detector.simulators.stack import Beam, Primaries, Stack

STACK = Stack(("PbWO4", "Fe", "polystyrene", "Fe", "polystyrene"), (23.0, 20.0, 1.0, 20.0, 1.0))
EVENTS, CHUNK, SEED, CUT, WIDTH = 200, 25, 5, 0.7, 200.0
BEAM = Beam({"gamma": 0.5, "pi+": 0.5}, 1.0, 5.0)
TICKS = os.sysconf("SC_CLK_TCK")


def primaries() -> Primaries:
    return BEAM.sample(EVENTS, np.random.default_rng(0))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def worker_pids(geant4: Geant4Simulator) -> list[int]:
    return list(geant4._pool._pool._pool_manager.worker_manager.workers)


def time_ours(geant4: Geant4Simulator) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one batch."""
    pids = [os.getpid(), *worker_pids(geant4)]
    cpu, wall = sum(map(cpu_seconds, pids)), time.perf_counter()
    (result,) = geant4.deposits([STACK], [primaries()], [SEED])
    assert isinstance(result, np.ndarray)
    return time.perf_counter() - wall, sum(map(cpu_seconds, pids)) - cpu


def bare_loop() -> None:
    """Child process: for every line on stdin, simulate the same events and print wall-clock and CPU seconds."""
    from rl_detector.simulators.geant4 import worker

    worker._prepare_environment(choose("data-free"))
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    g4, manager, gun = bare_manager(worker)
    sent = primaries()
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        for number, start in enumerate(range(0, EVENTS, CHUNK)):
            events = slice(start, start + CHUNK)
            gun.shots = list(zip(sent.particles[events], sent.energies[events], strict=True))
            g4.G4Random.setTheSeeds([*simulator._seeds(SEED, number), 0], 4)
            manager.BeamOn(len(gun.shots))
        print(time.perf_counter() - wall, time.process_time() - cpu, file=output, flush=True)
    os._exit(0)


def bare_manager(worker: Any) -> tuple[Any, Any, Any]:
    """Run manager with the layers in vacuum and a particle gun."""
    import geant4_pybind as g4

    kept: list[Any] = []

    def box(name: str, material: str, side: float, depth: float, mother: Any, z: float) -> Any:
        solid = g4.G4Box(name, side / 2, side / 2, depth / 2)
        logical = g4.G4LogicalVolume(solid, g4.G4NistManager.Instance().FindOrBuildMaterial(material), name)
        physical = g4.G4PVPlacement(None, g4.G4ThreeVector(0, 0, z), logical, name, mother, False, len(kept))
        kept.extend((solid, logical, physical))
        return logical, physical

    class Detector(g4.G4VUserDetectorConstruction):  # type: ignore[name-defined, misc]
        def Construct(self) -> Any:
            length, front = STACK.length * g4.cm, -STACK.length * g4.cm / 2
            world = box("world", "G4_Galactic", (WIDTH + 20) * g4.cm, length + 20 * g4.cm, None, 0)
            for name, thickness in zip(STACK.materials, STACK.thicknesses, strict=True):
                depth = thickness * g4.cm
                box("layer", simulator.material(name).geant4, WIDTH * g4.cm, depth, world[0], front + depth / 2)
                front += depth
            return world[1]

    class Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[name-defined, misc]
        shots: list[tuple[str, float]]

        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)
            self.gun.SetParticlePosition(g4.G4ThreeVector(0, 0, -STACK.length * g4.cm / 2 - 5 * g4.cm))
            self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(0, 0, 1))

        def GeneratePrimaries(self, event: Any) -> None:
            particle, energy = self.shots[event.GetEventID()]
            self.gun.SetParticleDefinition(g4.G4ParticleTable.GetParticleTable().FindParticle(particle))
            self.gun.SetParticleEnergy(float(energy) * g4.GeV)
            self.gun.GeneratePrimaryVertex(event)

    class Actions(g4.G4VUserActionInitialization):  # type: ignore[name-defined, misc]
        def Build(self) -> None:
            self.gun = Gun()
            self.SetUserAction(self.gun)

    manager, parts = g4.G4RunManager(), (Detector(), worker._physics_list(g4, "data-free"), Actions())
    for part in parts:
        manager.SetUserInitialization(part)
    manager.Initialize()
    g4.G4UImanager.GetUIpointer().ApplyCommand(f"/run/setCut {CUT} mm")
    gun = parts[2].gun
    gun.kept = (kept, parts)
    return g4, manager, gun


def median_ratio(above: list[float], below: list[float]) -> str:
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.3f} (of {len(ratios)}: {min(ratios):.3f} to {max(ratios):.3f})"


def main(repeats: int) -> None:
    command = [sys.executable, __file__, "bare"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    one, two = (Geant4Simulator(workers=workers, cut=CUT, width=WIDTH, chunk=CHUNK) for workers in (1, 2))
    walls: dict[str, list[float]] = {"bare": [], "one": [], "two": []}
    cpus: dict[str, list[float]] = {"bare": [], "one": [], "two": []}

    def time_bare() -> tuple[float, float]:
        bare.stdin.write("go\n")
        bare.stdin.flush()
        wall, cpu = map(float, bare.stdout.readline().split())
        return wall, cpu

    with one, two, subprocess.Popen(command, **pipes) as bare:
        for simulator_ in (one, two):
            simulator_.deposits([STACK] * 2, [primaries()] * 2, [1, 2])
        time_bare()
        for _ in range(repeats):
            for name, timed in (("bare", time_bare), ("one", lambda: time_ours(one)), ("two", lambda: time_ours(two))):
                wall, cpu = timed()
                walls[name].append(wall)
                cpus[name].append(cpu)
        bare.stdin.close()

    gev = float(primaries().energies.sum())
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {EVENTS} events, {gev:.0f} GeV per batch")
    for name in walls:
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"{name:5s} wall {wall:.2f} s = {EVENTS / wall:.0f} events/s; CPU {1e3 * cpu / gev:.1f} ms per GeV")
    print("worker / bare loop, wall:", median_ratio(walls["one"], walls["bare"]))
    print("worker / bare loop, CPU: ", median_ratio(cpus["one"], cpus["bare"]))
    print("two workers over one:    ", median_ratio(walls["one"], walls["two"]))


if __name__ == "__main__":
    if sys.argv[1:] == ["bare"]:
        bare_loop()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
