"""What a run keeps: ledger, checkpoint, run folder."""

from rl_detector.records.ledger import Ledger, Trial
from rl_detector.records.run_folder import RunFolder

__all__ = ["Ledger", "RunFolder", "Trial"]
