"""What scores all designs of a study anew with every batch: the protocol of a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rl_detector.problem import Evaluation
from rl_detector.terms import Measurement


class Judge(Protocol):
    """Scores all designs of a study together; a function of what was added, in order, and of its state."""

    def add(self, batch: Sequence[Evaluation]) -> None:
        """Take in the evaluations of one batch, none failed, each with its readout."""
        ...

    def judge(self) -> list[Measurement]:
        """Measurements of all designs added so far, in order."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the next `judge` builds on besides what was added: tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict, after the same batches were added."""
        ...
