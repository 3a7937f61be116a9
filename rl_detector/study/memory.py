"""Keeps what survives a kill: the ledger of the trials, and a checkpoint of what was learned from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rl_detector.errors import RunFolderError
from rl_detector.records.checkpoint import load_checkpoint, save_checkpoint
from rl_detector.records.ledger import Ledger, Trial


class Counts(NamedTuple):
    """How far a study has come: batches told, trials told, and failed ones among these."""

    batch: int
    trials: int
    failed: int


class Memory:
    """The ledger of a study, and the checkpoint that says how much of it the agent was told.

    The ledger alone suffices: a study without a readable checkpoint is told all of it again. The checkpoint saves that
    time. It is used only if it was made with this ledger, and if the ledger holds every trial that it counts.

    Args:
        ledger: of the trials.
        checkpoint: file of the state; None keeps none.
        plan: what the order of telling depends on, as plain values. A checkpoint with another plan is not used.
    """

    def __init__(self, ledger: Ledger, checkpoint: Path | None, plan: Mapping[str, Any]) -> None:
        self.ledger, self.checkpoint, self._plan = ledger, checkpoint, dict(plan)

    def trials(self, batch: int) -> list[Trial]:
        """Trials of one batch in the order of their numbers, with the readouts that were kept for a judge."""
        readouts = self.ledger.readouts(batch)
        return [
            replace(trial, evaluation=replace(trial.evaluation, readout=readouts.get(trial.number)))
            for trial in self.ledger.trials(batch)
        ]

    def save(self, counts: Counts, state: Mapping[str, Any]) -> None:
        """Write the checkpoint, if there is one to be kept."""
        if self.checkpoint is not None:
            facts = {"study": self.ledger.identity, "plan": self._plan, **counts._asdict()}
            save_checkpoint(self.checkpoint, {**facts, **state})

    def load(self, told: Callable[[Counts], int]) -> dict[str, Any] | None:
        """The state of the checkpoint; None if there is none to go on from, so that the ledger is told again.

        Args:
            told: gives the number of trials in the ledger that were told up to these counts.

        Raises:
            RunFolderError: it is no checkpoint, lacks its counts, or its ledger was lost.
        """
        state = load_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        return state if state is not None and self._matches_ledger(state, told) else None

    def _matches_ledger(self, state: Mapping[str, Any], told: Callable[[Counts], int]) -> bool:
        """Whether the ledger holds every trial that the checkpoint counts, told by the same plan."""
        if not {"study", "plan", *Counts._fields} <= state.keys():
            raise self._strange("it lacks its counts")
        if not all(isinstance(state[name], int) for name in Counts._fields):
            raise self._strange("its counts are no whole numbers")
        counts = Counts(*(state[name] for name in Counts._fields))
        if state["study"] != self.ledger.identity:
            self._refuse_if_empty(counts)
            return False
        if lost := max(counts.trials - told(counts), 0):
            self._warn_of(lost, counts)
        return lost == 0 and state["plan"] == self._plan

    def _refuse_if_empty(self, counts: Counts) -> None:
        if self.ledger.count() == 0:
            raise RunFolderError(
                f"{self.ledger.path} is empty, but {self.checkpoint} knows {counts.trials} trials: the ledger was "
                "lost. Restore it from a copy, or delete the checkpoint to begin anew."
            )

    def _warn_of(self, lost: int, counts: Counts) -> None:
        warnings.warn(
            f"{self.ledger.path} lacks {lost} of the {counts.trials} trials that {self.checkpoint} knows. They are "
            "simulated again with the same seeds; the others are not.",
            stacklevel=2,
        )

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Name the checkpoint in errors that come from a state which does not fit.

        Raises:
            RunFolderError: it does not fit.
        """
        try:
            yield
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise self._strange(error) from error

    def _strange(self, reason: object) -> RunFolderError:
        return RunFolderError(
            f"{self.checkpoint} does not fit this agent ({reason}). If it comes from another version, go on with that "
            "one: designs proposed by another version are not continued. If it is damaged, delete it: the study then "
            "goes on from the ledger alone, and nothing is simulated again."
        )
