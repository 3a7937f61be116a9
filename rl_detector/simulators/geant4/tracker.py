"""Charged particles through halls in Geant4, parent process: send chunks to workers, check their results."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.simulators.geant4.hall_geometry import VALUES_PER_PLANE, TrackChunk, TrackSettings
from rl_detector.simulators.geant4.physics_lists import DATA_FREE, HADRON_LIMITS, choose, tracks_label
from rl_detector.simulators.geant4.workers import Workers, check_sizes, chunk_seeds, failure
from rl_detector.simulators.hall import Charged, Crossings, Hall

MARGIN = 10.0
"""Space in cm along z between the hall's contents and its ends."""

SECONDS_PER_PARTICLE = 2.0
"""Seconds that a chunk may take in addition, per particle.

A particle takes 0.1 s through a whole muon shield on a quiet core.
"""

GAIN = 1e-6
"""Relative excess allowed for momenta over their start value, and for positions over the hall's half width.

It covers the rounding of floating-point sums only.
"""


class Geant4Tracker(Workers):
    """Muons and pions through halls in Geant4, in persistent worker processes.

    All energy losses count. Primaries and secondaries are dropped below the threshold. Crossings are equal bit by bit
    for equal (hall, particles, seed) and equal settings, on any worker and in any batch.

    Args:
        physics_list: "data-free" needs no data sets. "auto" is FTFP_BERT if its data sets are found, else data-free.
            Or the name of a reference physics list of Geant4, such as "FTFP_BERT_EMZ".
        workers: number of processes; None for one per core.
        cut: production cut in mm. No measured quantity changes from 0.1 to 10 mm; 10 mm is four times as fast as 1 mm.
        step: longest step in a block, in cm. The field bends a step by its momentum at the start. In iron at 5 GeV,
            steps of 2 cm bend 0.3 % too little.
        threshold: kinetic energy in GeV below which particles are dropped.
        timeout: seconds that a chunk may take, plus SECONDS_PER_PARTICLE for each particle.
        chunk: particles per task; it also fixes the random numbers.
    """

    def __init__(  # one argument per line of the configuration
        self,
        physics_list: str = DATA_FREE,
        workers: int | None = None,
        cut: float = 10.0,
        step: float = 2.0,
        threshold: float = 1.0,
        timeout: float = 60.0,
        chunk: int = 100,
    ) -> None:
        check_sizes(cut=cut, step=step, threshold=threshold, timeout=timeout)
        super().__init__(workers, chunk, TrackSettings(choose(physics_list), cut, step, threshold))
        self.timeout, self.step, self.threshold = timeout, step, threshold

    def describe(self) -> Mapping[str, str]:
        """Return the facts that every result must state."""
        label = tracks_label(self.physics.label)
        limits = {"longest step": f"{self.step} cm", "threshold": f"{self.threshold} GeV"}
        return {**super().describe(), "physics_list": label, **limits}

    def crossings(
        self, halls: Sequence[Hall], particles: Sequence[Charged], seeds: Sequence[int]
    ) -> list[Crossings | SimulationError]:
        """Simulate halls; return the crossings that the planes see per hall, or the error that stopped it."""
        jobs = [self._chunks(*job) for job in zip(halls, particles, seeds, strict=True)]
        results = iter(self._run([chunk for chunks in jobs for chunk in chunks]))
        return [
            self._assemble(index, hall, chunks, [next(results) for _ in chunks])
            for index, (hall, chunks) in enumerate(zip(halls, jobs, strict=True))
        ]

    def _chunks(self, hall: Hall, particles: Charged, seed: int) -> list[TrackChunk]:
        if self.physics.name in HADRON_LIMITS:
            _check_pions(hall, particles, self.physics.name)
        ends = _ends(hall, particles)
        key = hashlib.sha256(pickle.dumps((hall, ends))).hexdigest()
        states = np.concatenate([particles.position, particles.momentum], axis=1)
        parts = [slice(first, first + self.chunk) for first in range(0, len(particles), self.chunk)]
        limits = [self.timeout + SECONDS_PER_PARTICLE * len(states[part]) for part in parts]
        return [
            TrackChunk(hall, ends, key, particles.names[part], states[part], chunk_seeds(seed, number), limit)
            for number, (part, limit) in enumerate(zip(parts, limits, strict=True))
        ]

    def _assemble(
        self, index: int, hall: Hall, chunks: Sequence[TrackChunk], results: Sequence[Any]
    ) -> Crossings | SimulationError:
        for number, (chunk, result) in enumerate(zip(chunks, results, strict=True)):
            problem = failure(result, chunk.limit) or violation(result, chunk)
            if problem is not None:
                where = f"hall {index} ({len(hall.blocks)} blocks, {sum(map(len, chunks))} particles)"
                return SimulationError(f"geant4: {where}, chunk {number + 1} of {len(chunks)}: {problem}")
        found = np.concatenate([np.zeros((0, len(hall.planes), VALUES_PER_PLANE)), *results])
        return Crossings(found[..., 0] == 1, found[..., 1:3], found[..., 3:])


def violation(found: Any, chunk: TrackChunk) -> str | None:
    """Return the first rule that the crossings break, with its values, or None if all hold."""
    shape = (len(chunk), len(chunk.hall.planes), VALUES_PER_PLANE)
    if not isinstance(found, np.ndarray) or found.shape != shape:
        return f"expected crossings of shape {shape}, got {getattr(found, 'shape', type(found).__name__)}"
    if not np.all(np.isfinite(found)):
        return f"{int(np.sum(~np.isfinite(found)))} of {found.size} values of the crossings are not finite"
    if np.abs(found[..., 1:3]).max(initial=0.0) > chunk.hall.half_width * (1 + GAIN):
        return f"a particle at {np.abs(found[..., 1:3]).max():.6g} cm, outside the hall"
    return _gained(found, chunk.states)


def _gained(found: NDArray[np.float64], states: NDArray[np.float64]) -> str | None:
    start = np.sqrt(np.sum(states[:, 3:] ** 2, axis=1))
    excess = np.sqrt(np.sum(found[..., 3:] ** 2, axis=2)) - start[:, None] * (1 + GAIN)
    if excess.max(initial=0.0) <= 0:
        return None
    event, plane = np.unravel_index(int(np.argmax(excess)), excess.shape)
    return f"particle {event} of {start[event]:.6g} GeV gained {excess[event, plane]:.3g} GeV before plane {plane}"


def _ends(hall: Hall, particles: Charged) -> tuple[float, float]:
    """Return the lowest and highest z that belong to the hall, in cm."""
    edges = [edge for block in hall.blocks for edge in (block.z_in, block.z_out)]
    z = [*edges, *hall.planes, *particles.position[:, 2].tolist()]
    outside = np.abs(particles.position[:, :2]).max(initial=0.0)
    if outside >= hall.half_width:
        raise ConfigError(
            f"geant4: a particle starts {outside:.6g} cm from the axis, outside the hall's half width of "
            f"{hall.half_width:.6g} cm"
        )
    return min(z) - MARGIN, max(z) + MARGIN


def _check_pions(hall: Hall, particles: Charged, name: str) -> None:
    """Refuse pions that the data-free hadronic physics would simulate wrongly without a warning."""
    pions = particles.energies[[particle.startswith("pi") for particle in particles.names]]
    if np.any(pions > HADRON_LIMITS[name]):
        problem = f"pions only up to {HADRON_LIMITS[name]} GeV, got {pions.max():.4g} GeV"
    elif pions.size and any(hall.matter_of(block).name == "U" for block in range(len(hall.blocks))):
        problem = "no pions in uranium (fission by slow neutrons needs cross-section data)"
    else:
        return
    raise ConfigError(f"geant4: physics_list={name} simulates {problem}; use physics_list=FTFP_BERT with its data sets")
