"""Futures that follow from other futures; no thread waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import TypeVar

A = TypeVar("A")


B = TypeVar("B")


def finished(value: A) -> Future[A]:
    """A future that already has its result."""
    future: Future[A] = Future()
    future.set_result(value)
    return future


def then(first: Future[A], step: Callable[[Future[A]], Future[B]]) -> Future[B]:
    """Call `step` once the first future is done; the result is that of the future that `step` returns.

    An error in `step` becomes the error of the result. Cancelling the result cancels the future it waits for.
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
    """A future of all results in order; the first error becomes its error."""
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
    """Give a future its result or error, unless it has one or was cancelled. A CancelledError cancels it."""
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
