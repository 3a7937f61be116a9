"""Futures that follow from other futures, without a thread that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import TypeVar

A = TypeVar("A")


B = TypeVar("B")


def finished(value: A) -> Future[A]:
    """A future that has its result."""
    future: Future[A] = Future()
    future.set_result(value)
    return future


def then(first: Future[A], step: Callable[[Future[A]], Future[B]]) -> Future[B]:
    """The future of what `step` starts once the first one is done; an error in `step` is its error.

    Cancelling it cancels what it waits for.
    """
    outcome: Future[B] = Future()

    def on_first(done: Future[A]) -> None:
        if outcome.cancelled():
            return
        try:
            second = step(done)
        except Exception as error:
            settle(outcome, error=error)
            return
        _cancel_with(outcome, second)
        second.add_done_callback(lambda ended: pass_on(ended, outcome))

    _cancel_with(outcome, first)
    first.add_done_callback(on_first)
    return outcome


def gathered(futures: Sequence[Future[A]]) -> Future[list[A]]:
    """The future of all results in order; the first error is its error."""
    outcome: Future[list[A]] = Future()
    left, lock = [len(futures)], Lock()

    def on_one(done: Future[A]) -> None:
        if failed(done):
            settle(outcome, error=CancelledError() if done.cancelled() else done.exception())
            return
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last and not any(failed(future) for future in futures):
            settle(outcome, [future.result() for future in futures])

    for future in futures:
        _cancel_with(outcome, future)
        future.add_done_callback(on_one)
    return outcome if futures else finished([])


def failed(future: Future[A]) -> bool:
    """Whether a future that is done has no result."""
    return future.cancelled() or future.exception() is not None


def pass_on(done: Future[A], outcome: Future[A]) -> None:
    """Give the result or error of one future to another."""
    if done.cancelled():
        settle(outcome, error=CancelledError())
    elif (error := done.exception()) is not None:
        settle(outcome, error=error)
    else:
        settle(outcome, done.result())


def settle(outcome: Future[A], value: A | None = None, error: BaseException | None = None) -> None:
    """Give a future its result or error, or cancel it with what it waits for, unless it has one or was cancelled."""
    if isinstance(error, CancelledError):
        outcome.cancel()
        return
    with _settling:
        if outcome.done() or not outcome.set_running_or_notify_cancel():
            return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(value)  # type: ignore[arg-type]


_settling = Lock()


def _cancel_with(outcome: Future[B], inner: Future[A]) -> None:
    outcome.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
