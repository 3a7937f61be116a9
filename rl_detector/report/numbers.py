"""Format numbers for people: rounded, with errors, units and minus signs."""

from __future__ import annotations

import math

SMALLEST = 1e-4
"""Standard errors below this are written with a power of ten."""


def amount(value: float) -> str:
    """A number with a unit after it: whole from 100 on, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(value: float, error: float, sign: str = "") -> str:
    """Value and standard error with two digits of the error; an error of 0 means an exact value."""
    if value == error == 0:
        return "0"
    if error <= 0:
        return f"{value:{sign}.4g} ± 0".replace("-", "−")
    exponent = math.floor(math.log10(error))
    if error < SMALLEST:
        power = exponent if abs(value) < error else math.floor(math.log10(abs(value)))
        shown = measured(value / 10.0**power, error / 10.0**power, sign) if error >= SMALLEST * 10.0**power else ""
        return f"({shown}) × 10^{power}".replace("-", "−") if shown else f"{value:{sign}.6g} ± {error:.2g}"
    digits = max(1 - exponent, 0)
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """A time in the unit that gives it one to three digits before the point."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def timed(seconds: float, events: int) -> str:
    """A time, and the events per second."""
    rate = f" ({amount(events / seconds)} events per second)" if seconds > 0 < events else ""
    return duration(seconds) + rate
