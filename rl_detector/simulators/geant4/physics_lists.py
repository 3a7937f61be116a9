"""Choice of the physics list and search for its data sets. Parent process; imports no Geant4."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rl_detector.errors import ConfigError, MissingDependency

DATA_FREE = "data-free"
DATA_FREE_STRINGS = "data-free-ftfp"
AUTO = "auto"
DATA_FREE_LABEL = "data-free EM (Urban msc, no G4LEDATA) + Bertini/BGG hadronics"
STRINGS_LABEL = "data-free EM (Urban msc, no G4LEDATA) + FTFP above 9-12 GeV, Bertini below, BGG cross sections"
"""Labels of the data-free lists in results, above without strings."""

_STACKS, _TRACKS = "Urban msc,", "WentzelVI and single scattering of muons,"


def tracks_label(label: str) -> str:
    """Return the label of a physics list for tracks: those of data-free lists name another scattering of muons.

    Examples:
        >>> tracks_label(DATA_FREE_LABEL)
        'data-free EM (WentzelVI and single scattering of muons, no G4LEDATA) + Bertini/BGG hadronics'
        >>> tracks_label("FTFP_BERT")
        'FTFP_BERT'
    """
    return label.replace(_STACKS, _TRACKS)


STRINGS_LIMIT = 200.0
"""Highest kinetic energy of pions in GeV at which the list with strings was checked."""

HADRON_LIMIT = 30.0
"""Highest kinetic energy of pions in GeV with the data-free list.

Above it the Bertini cascade stops interacting: the response to pi+ in 7 interaction lengths of iron is 0.77 at 10 and
30 GeV, 0.12 at 50 GeV.
"""

HADRON_LIMITS: Mapping[str, float] = {DATA_FREE: HADRON_LIMIT, DATA_FREE_STRINGS: STRINGS_LIMIT}

GEANT4_VERSIONS = {"0.1.3": "11.4.1"}
"""geant4_pybind -> Geant4 inside its wheel (G4RunManager::GetVersionString: geant4-11-04-patch-01)."""

DATA_SETS = {
    "G4LEDATA": "G4EMLOW8.8",
    "G4LEVELGAMMADATA": "PhotonEvaporation6.1.2",
    "G4PARTICLEXSDATA": "G4PARTICLEXS4.2",
    "G4SAIDXSDATA": "G4SAIDDATA2.0",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE3.0",
    "G4NEUTRONHPDATA": "G4NDL4.7.1",
    "G4INCLDATA": "G4INCL1.3",
    "G4RADIOACTIVEDATA": "RadioactiveDecay6.1.2",
    "G4ABLADATA": "G4ABLA3.3",
    "G4PIIDATA": "G4PII1.3",
    "G4REALSURFACEDATA": "RealSurface2.2",
    "G4CHANNELINGDATA": "G4CHANNELING2.0",
}
"""Variable -> folder of the data set in Geant4 11.4 (table inside geant4_pybind 0.1.3)."""

_ALWAYS = ("G4LEDATA", "G4LEVELGAMMADATA", "G4PARTICLEXSDATA", "G4SAIDXSDATA", "G4ENSDFSTATEDATA")
_EXTRA = {"_HP": ("G4NEUTRONHPDATA",), "AllHP": ("G4NEUTRONHPDATA",), "INCLXX": ("G4INCLDATA",)}

_HADRONIC = (
    "FTFP_BERT",
    "FTFP_BERT_TRV",
    "FTFP_BERT_ATL",
    "FTFP_BERT_HP",
    "FTFQGSP_BERT",
    "FTFP_INCLXX",
    "FTFP_INCLXX_HP",
    "FTF_BIC",
    "QBBC",
    "QGSP_BERT",
    "QGSP_BERT_HP",
    "QGSP_BIC",
    "QGSP_BIC_HP",
    "QGSP_BIC_AllHP",
    "QGSP_FTFP_BERT",
    "QGSP_INCLXX",
    "QGSP_INCLXX_HP",
    "QGS_BIC",
    "Shielding",
    "ShieldingM",
    "NuBeam",
)
_ELECTROMAGNETIC = ("", "_EMV", "_EMX", "_EMY", "_EMZ", "_LIV", "_PEN", "__GS", "__SS", "_EM0", "_WVI", "__LE")
PHYSICS_LISTS = tuple(hadronic + em for hadronic in _HADRONIC for em in _ELECTROMAGNETIC)
"""Names that G4PhysListFactory of Geant4 11.4 knows, without the LEND, LIQMD and HPT variants."""


@dataclass(frozen=True)
class Physics:
    """A physics list that can run on this machine.

    Attributes:
        name: "data-free" or the name of a reference physics list.
        label: description that results state.
        data: variable -> folder of the data sets found; empty for the data-free list.
    """

    name: str
    label: str
    data: Mapping[str, str]


def require_geant4() -> str:
    """Return the version of geant4_pybind.

    Raises:
        MissingDependency: it is not installed.
    """
    if importlib.util.find_spec("geant4_pybind") is None:
        raise MissingDependency("the Geant4 simulator needs geant4_pybind; run: pip install 'rl_detector[geant4]'")
    return importlib.metadata.version("geant4_pybind")


def choose(physics_list: str) -> Physics:
    """Resolve a name from the configuration: "data-free", "data-free-ftfp", "auto" or a reference physics list.

    Raises:
        ConfigError: no such list.
        MissingDependency: its data sets are not on this machine.
    """
    if physics_list == DATA_FREE:
        return Physics(DATA_FREE, DATA_FREE_LABEL, {})
    if physics_list == DATA_FREE_STRINGS:
        return Physics(DATA_FREE_STRINGS, STRINGS_LABEL, {})
    if physics_list == AUTO:
        return _named("FTFP_BERT") if not _missing("FTFP_BERT") else choose(DATA_FREE)
    if physics_list not in PHYSICS_LISTS:
        raise ConfigError(
            f"unknown physics_list {physics_list!r}: use {DATA_FREE!r} (needs no data sets), {DATA_FREE_STRINGS!r} "
            f"(needs none either, for pions above {HADRON_LIMIT:g} GeV), {AUTO!r}, or one of "
            f"{', '.join(_HADRONIC)}, each with an optional EM suffix {', '.join(_ELECTROMAGNETIC[1:])}"
        )
    _require_data(physics_list)
    return _named(physics_list)


def _named(name: str) -> Physics:
    found = {variable: str(folder) for variable in DATA_SETS if (folder := _folder(variable)) is not None}
    return Physics(name, name, found)


def _require_data(name: str) -> None:
    missing = _missing(name)
    if missing:
        sets = ", ".join(f"{DATA_SETS[variable]} (variable {variable})" for variable in missing)
        raise MissingDependency(
            f"physics_list={name} needs Geant4 data sets that are not on this machine: {sets}. Point each variable, or "
            f"GEANT4_DATA_DIR for all of them, to the unpacked folders (from https://geant4.web.cern.ch/download); "
            f"physics_list={DATA_FREE} runs without any data set."
        )


def _missing(name: str) -> list[str]:
    needed = [*_ALWAYS, *(variable for part, more in _EXTRA.items() if part in name for variable in more)]
    return [variable for variable in dict.fromkeys(needed) if _folder(variable) is None]


def _folder(variable: str) -> Path | None:
    """Find the non-empty folder of a data set where Geant4 and geant4_pybind look for it."""
    places = [Path(path) for path in (os.environ.get(variable),) if path]
    roots = [os.environ.get("GEANT4_DATA_DIR"), str(Path.home() / ".geant4_pybind")]
    places += [Path(root) / DATA_SETS[variable] for root in roots if root]
    return next((place for place in places if place.is_dir() and any(place.iterdir())), None)
