"""Muons from the target through a shield to the sensitive plane; designs may share muons and random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rl_detector.envs.muon_shield.layout import absorber, magnets, mass
from rl_detector.envs.muon_shield.source import START_Z, MuonSource, Primaries
from rl_detector.physics.muon_transport import IndexArray, IronTransport, Muons, Noise, Stage
from rl_detector.simulators.batch import FromBatch
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Readout

ABSORBER_STEPS = (2, 12)


MAGNET_STEPS = (12, 12, 12, 12, 12, 12, 1)
"""Steps in each magnet: 20 to 50 cm each."""


MUONS_PER_DRAW = 2048
"""Muons that share one stream of random numbers; another number gives other events."""


MUONS_MOVED_AT_ONCE = 8192
"""Muons of all designs that are moved at once: as many as the cache of one core holds."""


@dataclass(frozen=True)
class ShieldSimulator(FromBatch):
    """Muons at the sensitive plane behind the shield; air, walls and decays are left out.

    Attributes:
        source: of the muons.
        distance: of the plane from the end of the shield in cm.
        transport: through the iron.
    """

    source: MuonSource
    distance: float
    transport: IronTransport = field(default_factory=IronTransport)

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; equal seeds share muons and random numbers.

        Truth, [events]: `weight`, muons per PROTONS protons this event represents, times the number of events;
        `momentum` in GeV at the target; `charge`. Signals [events, 4]: x and y in m and
        momentum in GeV at the plane, all 0 for a muon that does not get there with 1 GeV, and the mass of the shield in
        kg.
        """
        found: dict[int, Readout] = {}
        for seed in set(seeds):
            mine = [index for index, each in enumerate(seeds) if each == seed]
            found.update(zip(mine, self._shared([designs[index] for index in mine], events, seed), strict=True))
        return [found[index] for index in range(len(seeds))]

    def _shared(self, designs: Sequence[Design], events: int, seed: int) -> list[Readout]:
        first, *chunks = np.random.SeedSequence(seed).spawn(1 + -(-events // MUONS_PER_DRAW))
        primaries = self.source.sample(events, np.random.default_rng(first))
        signals = np.zeros((len(designs), events, 4))
        signals[:, :, 3] = np.array([mass(design) for design in designs])[:, None]
        for number, sequence in enumerate(chunks):
            part = slice(number * MUONS_PER_DRAW, min((number + 1) * MUONS_PER_DRAW, events))
            self._chunk(designs, primaries, part, np.random.default_rng(sequence), signals[:, part])
        truth = {
            "weight": primaries.weight,
            "momentum": np.sqrt((primaries.momentum**2).sum(axis=0)),
            "charge": primaries.charge,
        }
        return [Readout(truth, each) for each in signals]

    def _chunk(
        self,
        designs: Sequence[Design],
        primaries: Primaries,
        part: slice,
        rng: np.random.Generator,
        signals: FloatArray,
    ) -> None:
        """Fill the signals [designs, muons, 4] of a part of the muons."""
        muons, source = self._behind_absorber(primaries, part, rng)
        noise = [Noise.draw(rng, steps, part.stop - part.start) for steps in MAGNET_STEPS]
        size = max(MUONS_MOVED_AT_ONCE // max(len(muons), 1), 1)
        for start in range(0, len(designs), size):
            group = designs[start : start + size]
            which = np.repeat(np.arange(len(group)), len(muons))
            many = muons.take(np.tile(np.arange(len(muons)), len(group)))
            at, design, event = self._behind_magnets(group, many, which, np.tile(source, len(group)), noise)
            signals[start + design, event, :3] = np.stack([at.x / 100, at.y / 100, at.momentum], axis=1)

    def _behind_absorber(self, primaries: Primaries, part: slice, rng: np.random.Generator) -> tuple[Muons, IndexArray]:
        """Muons at the end of the fixed absorber, and which of the part they are."""
        x, y = primaries.position[:, part]
        muons = Muons.of(x, y, primaries.momentum[:, part], primaries.charge[part]).drift(-START_Z)
        which, source = np.zeros(len(muons), dtype=np.intp), np.arange(len(muons))
        for magnet, steps in zip(absorber(), ABSORBER_STEPS, strict=True):
            noise = Noise.draw(rng, steps, part.stop - part.start)
            muons, which, source = self.transport.through(muons, which, source, Stage.of([magnet]), noise)
        return muons, source

    def _behind_magnets(
        self, designs: Sequence[Design], muons: Muons, which: IndexArray, source: IndexArray, noise: Sequence[Noise]
    ) -> tuple[Muons, IndexArray, IndexArray]:
        """Muons at the plane, with the design and the number of each."""
        for row, numbers in zip(zip(*map(magnets, designs), strict=True), noise, strict=True):
            muons, which, source = self.transport.through(muons, which, source, Stage.of(row), numbers)
        return muons.drift(self.distance), which, source

    def describe(self) -> Mapping[str, str]:
        """Facts of the simulation."""
        return {
            "simulator": "muon shield, fast",
            "muons": self.source.describe(),
            "plane": f"{self.distance / 100:g} m behind the shield",
            "iron": "uniform fields, energy loss with straggling, Highland scattering",
        }
