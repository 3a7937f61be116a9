"""A worker process: builds the problem it is sent, evaluates groups of designs, and ends with its parent."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from rl_detector.execution.parcel import Parcel
from rl_detector.problem import DesignProblem, Evaluation
from rl_detector.safety.child_processes import follow_parent
from rl_detector.terms import Group

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Work(NamedTuple):
    """What a worker is asked to evaluate.

    Attributes:
        key: of the parcel with the problem, sent before.
        group: the designs.
    """

    key: str
    group: Group


class Answer(NamedTuple):
    """Reply of a worker: evaluations (none to a parcel), or an error that every design would meet."""

    evaluations: list[Evaluation]
    error: Exception | None = None


def main(descriptor: int, memory_mb: int) -> None:
    """Serve until the parent closes the connection; `memory_mb` 0 is no limit."""
    os.set_inheritable(descriptor, False)
    _end_with_supervisor()
    if memory_mb:
        _limit_memory(memory_mb)
    problems: dict[str, DesignProblem] = {}
    with Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                return
            connection.send_bytes(_packed(_answer(message, problems)))


def _answer(message: Parcel | Work, problems: dict[str, DesignProblem]) -> Answer:
    try:
        if isinstance(message, Parcel):
            while len(problems) > 3:
                del problems[next(iter(problems))]
            problems[message.key] = message.unpack()
            return Answer([])
        group = message.group
        return Answer(problems[message.key].evaluate_batch(group.designs, group.events, group.seeds))
    except Exception as error:
        return Answer([], error)


def _packed(answer: Answer) -> bytes:
    """The answer as bytes that the parent can read; an error that cannot be unpickled is replaced by its text."""
    try:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        if answer.error is not None:
            pickle.loads(data)  # noqa: S301 - made one line above; some exceptions cannot be made again
        return data
    except Exception as error:
        reason = answer.error or error
        return pickle.dumps(Answer([], RuntimeError(f"{type(reason).__name__}: {reason}")))


def _end_with_supervisor() -> None:
    """End with the supervisor, however it ends: by a signal of the kernel on Linux, and by polling."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    follow_parent()


def _limit_memory(megabytes: int) -> None:
    import resource

    limit: Any = megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
