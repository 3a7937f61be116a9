"""An oracle whose simulation crashes, hangs or returns nonsense."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fault_plan import Plan

from rl_detector.envs.oracles.fast import OracleSimulator
from rl_detector.terms import Readout


def _exception() -> None:
    raise RuntimeError("geometry has overlapping volumes")


class _Unpicklable(Exception):
    def __init__(self, first: object, second: object) -> None:
        super().__init__(lambda: None)


def _strange_exception() -> None:
    raise _Unpicklable(1, 2)


def _busy() -> None:
    while True:
        pass


def _deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(1000)


def _memory() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(2**28))


def _sockets() -> list[int]:
    found = []
    for descriptor in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.append(descriptor)
    return found


def _hang_up() -> None:
    for descriptor in _sockets():
        socket.socket(fileno=descriptor).close()
    time.sleep(1000)


def _talk_over(data: bytes) -> None:
    for descriptor in _sockets():
        os.write(descriptor, data)


def _leave_a_child() -> None:
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(5)


ENDS: dict[str, Callable[[], object]] = {
    "exception": _exception,
    "exception that cannot be sent": _strange_exception,
    "sys.exit": lambda: sys.exit(4),
    "exit code 0 (os._exit)": lambda: os._exit(0),
    "exit code 3 (os._exit)": lambda: os._exit(3),
    "segmentation fault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "worker killed (SIGKILL)": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "worker terminated (SIGTERM)": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "crash that leaves a child": _leave_a_child,
    "connection closed": _hang_up,
    "garbage on the connection": lambda: _talk_over(b"\0\0\0\x05hello"),
    "out of memory": _memory,
    "hang (sleep)": lambda: time.sleep(1000),
    "hang (busy)": _busy,
    "hang (GIL held)": lambda: ctypes.PyDLL(None).sleep(1000),
    "hang (deaf to SIGTERM)": _deaf,
    "stopped (SIGSTOP)": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "slow": lambda: time.sleep(0.5),
}
"""Kind -> function that runs before the simulation."""

SPOILS: dict[str, Callable[[Readout], Any]] = {
    "NaN": lambda readout: replace(
        readout, signals=np.where(np.arange(len(readout.signals)) > 2, np.nan, 1.0)[:, None]
    ),
    "NaN in the truth": lambda readout: replace(readout, truth={"spread": np.full(len(readout.signals), np.nan)}),
    "infinity": lambda readout: replace(readout, signals=readout.signals / 0.0),
    "wrong shape": lambda readout: replace(readout, signals=readout.signals[:, 0]),
    "transposed": lambda readout: replace(readout, signals=readout.signals.T),
    "too few events": lambda readout: replace(readout, signals=readout.signals[:-1]),
    "too many events": lambda readout: replace(readout, signals=np.repeat(readout.signals, 2, axis=0)),
    "text instead of numbers": lambda readout: replace(readout, signals=readout.signals.astype(str)),
    "garbage object": lambda readout: {"signals": "none"},
    "nothing (None)": lambda readout: None,
}
"""Kind -> function that spoils the readout."""

LOST_TIME = [kind for kind in ENDS if kind.startswith(("hang", "stopped"))]
"""Kinds that only the time limit ends."""


@dataclass(frozen=True)
class FaultyOracle:
    """An oracle with the faults of a plan.

    Attributes:
        oracle: simulator without faults.
        plan: plan of the faults.
        seconds: duration of each simulation.
    """

    oracle: OracleSimulator
    plan: Plan
    seconds: float = 0.0

    def simulate(self, design: Mapping[str, Any], events: int, seed: int) -> Readout:
        """Simulate with the oracle, unless a fault ends the simulation or spoils its readout."""
        if self.seconds:
            time.sleep(self.seconds)
        kind = self.plan.next(seed)
        if kind in ENDS:
            ENDS[kind]()
        with np.errstate(divide="ignore", invalid="ignore"):
            readout = self.oracle.simulate(design, events, seed)
            spoiled: Readout = SPOILS[kind](readout) if kind in SPOILS else readout
        return spoiled

    def describe(self) -> Mapping[str, str]:
        """Return the facts of the oracle."""
        return self.oracle.describe()


@dataclass(frozen=True)
class FaultyBatches(FaultyOracle):
    """An oracle with faults that simulates groups of designs at once."""

    def simulate_batch(self, designs: Sequence[Mapping[str, Any]], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Simulate events in every design."""
        return [self.simulate(design, events, seed) for design, seed in zip(designs, seeds, strict=True)]
