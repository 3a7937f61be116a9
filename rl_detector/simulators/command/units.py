"""Units of what an executable writes: known names, and factors between units of one kind."""

from __future__ import annotations

from rl_detector.errors import ConfigError

UNITS: dict[str, dict[str, float]] = {
    "number": {"number": 1.0, "percent": 1e-2, "flag": 1.0},
    "length": {"nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3},
    "energy": {"eV": 1e-9, "keV": 1e-6, "MeV": 1e-3, "GeV": 1.0, "TeV": 1e3},
    "momentum": {"keV/c": 1e-6, "MeV/c": 1e-3, "GeV/c": 1.0, "TeV/c": 1e3},
    "time": {"fs": 1e-6, "ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9},
    "angle": {"urad": 1e-6, "mrad": 1e-3, "rad": 1.0},
    "charge": {"e": 1.0, "ke": 1e3, "fC": 1e-15 / 1.602176634e-19, "pC": 1e-12 / 1.602176634e-19},
    "dose": {"mGy": 1e-3, "Gy": 1.0},
    "voltage": {"uV": 1e-6, "mV": 1e-3, "V": 1.0},
}
"""Kind -> unit -> its size in the unit of size 1 of that kind. The elementary charge is exact (SI 2019)."""


FLAG = "flag"
"""Unit of truth values, which become 0 and 1."""


def kind_of(unit: str) -> str:
    """Return the kind of a known unit."""
    return next(kind for kind, units in UNITS.items() if unit in units)


def check_unit(where: str, unit: str) -> None:
    """Raise ConfigError unless the unit is known."""
    if not any(unit in units for units in UNITS.values()):
        known = "; ".join(f"{kind}: {', '.join(units)}" for kind, units in UNITS.items())
        raise ConfigError(f"{where}: unknown unit {unit!r}: known are {known}")


def factor(where: str, given: str, wanted: str) -> float:
    """Return the factor that converts numbers from the unit `given` to the unit `wanted`.

    Raises:
        ConfigError: a unit is unknown, or they are of different kinds.
    """
    for unit in (given, wanted):
        check_unit(where, unit)
    for units in UNITS.values():
        if given in units and wanted in units:
            return units[given] / units[wanted]
    raise ConfigError(f"{where}: the problem needs {wanted}, the description says {given}, which is of another kind")
