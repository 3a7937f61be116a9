"""C++ classes of Geant4 that the wheel exports but does not bind, constructed through ctypes. Worker process only.

Objects are made as C++ `new` makes them: memory from `operator new` (over-sized and zeroed), then the mangled
constructor. Geant4 may therefore delete them. PyDLL keeps the interpreter lock, as constructors never call Python. The
mangled names belong to one build of the wheel (WHEEL).
"""

from __future__ import annotations

import ctypes
from typing import Any

from rl_detector.errors import MissingDependency

WHEEL = "0.1.3"
"""Version of geant4_pybind that exports these symbols."""

_POINTER = ctypes.c_void_p
_OBJECT_BYTES = 65536
"""Memory per object in bytes; the largest class used here (the Bertini cascade) needs less than 4 kB."""

_PARTICLE = "PK20G4ParticleDefinition"
_NAME = "RK8G4String"


class _CxxString(ctypes.Structure):
    """std::string of libstdc++ (C++11 ABI); G4String derives from it and adds no member."""

    _fields_ = (("pointer", _POINTER), ("length", ctypes.c_size_t), ("buffer", ctypes.c_char * 16))


class Symbols:
    """Typed access to the exported C++ functions of one loaded geant4_pybind module."""

    def __init__(self, library: str) -> None:
        """Open the shared library at this path; importing geant4_pybind has loaded it already."""
        self._library = ctypes.PyDLL(library)
        self._new = self.function("_Znwm", ctypes.c_size_t, result=_POINTER)
        self._kept: list[Any] = []

    def function(self, symbol: str, *arguments: Any, result: Any = None) -> Any:
        """Find an exported function by its mangled name.

        Raises:
            MissingDependency: the installed wheel does not export it.
        """
        try:
            found = self._library[symbol]
        except AttributeError as error:
            raise MissingDependency(
                f"the data-free physics list needs geant4_pybind=={WHEEL}: the installed build lacks the C++ symbol "
                f"{symbol}; run: pip install 'rl_detector[geant4]'"
            ) from error
        found.argtypes, found.restype = list(arguments), result
        return found

    def string(self, text: str) -> int:
        """Make a G4String that lives as long as this object; return its address."""
        data = ctypes.create_string_buffer(text.encode())
        string = _CxxString(ctypes.addressof(data), len(text.encode()))
        self._kept.append((data, string))
        return ctypes.addressof(string)

    def construct(self, name: str, signature: str, *arguments: tuple[Any, Any]) -> int:
        """Construct an object of class `name`; return its address.

        Args:
            name: C++ class.
            signature: mangled types of the arguments.
            arguments: one (ctypes type, value) per argument.
        """
        constructor = self.function(f"_ZN{_mangled(name)}C1E{signature}", _POINTER, *(kind for kind, _ in arguments))
        address = int(self._new(_OBJECT_BYTES))
        ctypes.memset(address, 0, _OBJECT_BYTES)
        constructor(address, *(value for _, value in arguments))
        return address

    def named(self, name: str, label: str) -> int:
        """Construct `name(const G4String& label)`."""
        return self.construct(name, _NAME, (_POINTER, self.string(label)))

    def typed(self, name: str, label: str, kind: int) -> int:
        """Construct `name(const G4String& label, G4ProcessType kind)`."""
        arguments = ((_POINTER, self.string(label)), (ctypes.c_int, kind))
        return self.construct(name, f"{_NAME}13G4ProcessType", *arguments)

    def for_particle(self, name: str, particle: int) -> int:
        """Construct `name(const G4ParticleDefinition* particle)`."""
        return self.construct(name, _PARTICLE, (_POINTER, particle))

    def particle(self, name: str) -> int:
        """Return the definition of a particle by its class name, such as G4PionPlus."""
        return int(self.function(f"_ZN{_mangled(name)}10DefinitionEv", result=_POINTER)())

    def call(self, owner: str, method: str, signature: str, *arguments: tuple[Any, Any]) -> None:
        """Call `owner::method`; the first argument of a non-static method is its object."""
        name = f"_ZN{_mangled(owner)}{_mangled(method)}E{signature}"
        self.function(name, *(kind for kind, _ in arguments))(*(value for _, value in arguments))


def pointer(address: int | None) -> tuple[Any, int | None]:
    """Make an argument that is a pointer to an object."""
    return _POINTER, address


def integer(value: int) -> tuple[Any, int]:
    """Make an argument of C++ type int."""
    return ctypes.c_int, value


def boolean(value: bool) -> tuple[Any, bool]:
    """Make an argument of C++ type bool."""
    return ctypes.c_bool, value


def real(value: float) -> tuple[Any, float]:
    """Make an argument of C++ type double."""
    return ctypes.c_double, value


def name_for_particle(symbols: Symbols, name: str, label: str, particle: int | None, order: str = "pn") -> int:
    """Construct `name(particle, label)` (order "pn") or `name(label, particle)` (order "np")."""
    text, target = pointer(symbols.string(label)), pointer(particle)
    if order == "pn":
        return symbols.construct(name, _PARTICLE + _NAME, target, text)
    return symbols.construct(name, _NAME + _PARTICLE, text, target)


def _mangled(name: str) -> str:
    return f"{len(name)}{name}"
