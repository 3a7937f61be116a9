"""A finite library of showers from a file, for example of Geant4: experiments/slab_calorimeter/generate.py writes one.

It validates designs that were found with the fast library. A search on a few hundred stored events would learn them by
heart. Fresh seeds would not show it: they draw from the events of the file again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rl_detector.envs.slab_calorimeter.library import CALIBRATION_SAMPLE, SAMPLES, STEEL, Book, Events, SinglePrecision
from rl_detector.errors import ConfigError
from rl_detector.physics.materials import material
from rl_detector.space import IntArray

SILICON = material("Si")


SILICON_THICKNESS, STEEL_BEFORE = 0.2, 0.48
"""Silicon in mm, and steel before it in cm, of every plane of the file."""


PLANE_PITCH = STEEL_BEFORE + SILICON_THICKNESS / 10 * STEEL.radiation_length / SILICON.radiation_length
"""Distance of the planes in cm of steel with as many radiation lengths."""


class Stored(NamedTuple):
    """Contents of a file: what made it, and deposits [events, planes] in MeV by particle and energy in GeV."""

    facts: Mapping[str, Any]
    deposits: Mapping[tuple[str, float], SinglePrecision]


@lru_cache
def stored(path: str) -> Stored:
    """Read a file; samples with other planes are left out, parts of a sample are put together.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    parts: dict[tuple[str, float], list[SinglePrecision]] = {}
    try:
        with np.load(path) as file:
            facts = json.loads(str(file["header"]))
            for name in file.files:
                particle, energy, *rest = name.split(" ") if " " in name else ("", "")
                if particle in ("gamma", "pi+") and "types" not in rest:
                    parts.setdefault((particle, float(energy)), []).append(file[name].astype(np.float32))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read the shower library {path!r} (written by generate.py): {error}") from error
    missing = [f"{particle} {energy:g} GeV" for particle, energy in SAMPLES if (particle, energy) not in parts]
    if missing:
        raise ConfigError(f"the shower library {path!r} lacks {', '.join(missing)}")
    return Stored(facts, {key: np.concatenate(arrays) for key, arrays in parts.items()})


@dataclass(frozen=True)
class StoredLibrary:
    """Books that are drawn from a file: a seed says which of the stored events, each at most once.

    Calibration events are drawn from all samples of the file.

    Attributes:
        path: of the file.
    """

    path: str

    def book(self, seed: int, events: int) -> Book:
        """Some of the stored events.

        Raises:
            ConfigError: the file does not hold as many.
        """
        return _stored_book(self.path, seed, events)

    def describe(self) -> Mapping[str, str]:
        """Facts of the simulation that made the file."""
        facts = stored(self.path).facts
        made_by = {name: str(facts[name]) for name in ("version", "physics_list", "cut") if name in facts}
        return {"simulator": "slab", "library": "stored events", **made_by}


def whole_book(path: str) -> Book:
    """All stored events once; those that are not of `SAMPLES` are for the calibration."""
    deposits = stored(path).deposits
    numbers = {key: float(SAMPLES.index(key)) if key in SAMPLES else CALIBRATION_SAMPLE for key in deposits}
    counts = [len(each) for each in deposits.values()]
    sample, energy = (np.repeat(values, counts) for values in (list(numbers.values()), [e for _, e in deposits]))
    pion = np.repeat([particle == "pi+" for particle, _ in deposits], counts)
    return _book(Events(sample, energy, pion), np.concatenate(list(deposits.values())).T)


def _book(events: Events, deposits: SinglePrecision) -> Book:
    """Deposits [planes, events] in MeV in units of the mean of a fast particle."""
    crossings = deposits / np.float32(SILICON.mip_loss * SILICON_THICKNESS / 10 * 1000)
    return Book(events, crossings, PLANE_PITCH, PLANE_PITCH, SILICON_THICKNESS, alone=True)


@lru_cache(maxsize=4)
def _stored_book(path: str, seed: int, events: int) -> Book:
    deposits, rng = stored(path).deposits, np.random.default_rng(seed)
    drawn = Events.of(events, rng)
    energy, pion = drawn.energy.copy(), drawn.pion.copy()
    seen = np.zeros((next(iter(deposits.values())).shape[1], events), np.float32)
    for number, key in enumerate(SAMPLES):
        chosen = np.flatnonzero(drawn.sample == number)
        seen[:, chosen] = deposits[key][_draw(rng, deposits[key], len(chosen), path, key)].T
    calibration, keys = np.flatnonzero(drawn.sample == CALIBRATION_SAMPLE), list(deposits)
    kinds = rng.integers(len(keys), size=len(calibration))
    for event, kind in zip(calibration, kinds, strict=True):
        key = keys[kind]
        seen[:, event] = deposits[key][rng.integers(len(deposits[key]))]
        energy[event], pion[event] = key[1], key[0] == "pi+"
    return _book(Events(drawn.sample, energy, pion), seen)


def _draw(
    rng: np.random.Generator, deposits: SinglePrecision, number: int, path: str, key: tuple[str, float]
) -> IntArray:
    if number > len(deposits):
        most = (len(SAMPLES) + 1) * len(deposits)
        raise ConfigError(
            f"the shower library {path!r} holds {len(deposits)} events of {key[0]} {key[1]:g} GeV: "
            f"at most {most} events per design, got about {(len(SAMPLES) + 1) * number}"
        )
    return rng.permutation(len(deposits))[:number]
