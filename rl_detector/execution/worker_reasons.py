"""Reasons why a worker gave no evaluations, in words for the physicist."""

from __future__ import annotations

import signal

from rl_detector.errors import ConfigError, DetectorError


def ended_with(code: int | None) -> str:
    """Say how a process ended. A negative exit code is the signal that killed it; None: it still runs."""
    if code is None:
        return "the worker process closed its connection"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    hint = " (by hand, or memory ran out)" if -code == signal.SIGKILL else ""
    names = {int(each): each.name for each in signal.Signals}
    return f"the worker process was killed by {names.get(-code, f'signal {-code}')}{hint}"


def no_answer(found: object) -> str:
    """Say that a worker sent something else than an answer, or bytes that could not be read."""
    return (
        f"the worker process sent something else than an answer ({type(found).__name__}: {str(found)[:80]}): does the "
        "simulation write to files that it did not open?"
    )


def for_people(error: Exception) -> Exception:
    """Errors of the package unchanged; other errors with their cause and what to check."""
    if isinstance(error, DetectorError):
        return error
    return ConfigError(
        f"a worker process could not build or evaluate the problem ({type(error).__name__}: {error}). Workers import "
        "modules by name: can they find those of the environment, or is it only in a script or notebook?"
    )
