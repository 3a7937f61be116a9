"""Linear algebra on one thread."""

from __future__ import annotations

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> Any:
    """Context in which linear algebra uses one thread, so that its last bits do not depend on the number of cores.

    A study that was begun on one machine and goes on with another number of threads then proposes the same designs;
    and the matrices of an agent are too small to gain from more threads.
    """
    return _controller().limit(limits=1, user_api="blas")
