"""Make runs repeatable: seeds of events, and sums in one thread."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

ONE_THREAD: Mapping[str, str] = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
"""Environment variables that give linear algebra and torch one thread, if set before they are loaded."""


@cache
def _controller(torch_is_loaded: bool) -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> Any:
    """Context in which BLAS and OpenMP use one thread, as in worker processes.

    The last bits of a sum depend on how threads share it. With one thread, evaluations are equal on any number of cores
    and in any evaluator.
    """
    return _controller("torch" in sys.modules).limit(limits=1)


def trial_seed(root: int, trial: int) -> int:
    """Event seed of a trial: SeedSequence(root, spawn_key=(trial,)), as a whole number below 2^63."""
    return int(np.random.SeedSequence(root, spawn_key=(trial,)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def held_out_seed(root: int) -> int:
    """Event seed of a validation: never that of a trial (its spawn key has another length)."""
    return int(np.random.SeedSequence(root, spawn_key=(0, 1)).generate_state(1, np.uint64)[0] >> np.uint64(1))
