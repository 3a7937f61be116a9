"""One thread for linear algebra and networks, wherever designs are evaluated."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _controller(torch_is_loaded: bool) -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> Any:
    """Context in which BLAS and OpenMP use one thread, as in worker processes.

    The last bits of sums depend on how threads share them: with one, evaluations are the same on any number of cores
    and in any evaluator.
    """
    return _controller("torch" in sys.modules).limit(limits=1)
