"""One agent on one problem with a budget: the study that people write in Python."""

from __future__ import annotations

from pathlib import Path

from rl_detector.agent import Agent
from rl_detector.execution.evaluator import Evaluator
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger
from rl_detector.study.batches import BatchLoop
from rl_detector.study.judge import Judge
from rl_detector.study.loop import Parts
from rl_detector.study.progress import Budget
from rl_detector.study.scoring import Judged, Scoring


class Study(BatchLoop):
    """One agent on one problem with a budget, told in batches.

    The agent's proposals are a function of its seed and of what it was told. A study that was interrupted therefore
    goes on from the latest checkpoint, and later batches are told from the ledger without being simulated again.
    Without a readable checkpoint the whole ledger is told again. Either way the result is that of an uninterrupted
    study.

    Args:
        problem, agent, ledger, budget: what is studied, by whom, where it is kept, and what it may spend.
        seed: root of all event seeds.
        common_events: whether the designs of one batch share their event seed (it changes with every batch).
        evaluator: where simulations run.
        checkpoint: file of the agent's state; None keeps none.
        judge: scores all designs anew with every batch, see Judged; None: the reach of the problem scores each once.

    Examples:
        >>> import rl_detector as rd
        >>> import gymnasium as gym
        >>> from rl_detector.agents import make_agent
        >>> problem = gym.make("rl_detector/Oracle-v0", dimensions=2).unwrapped.problem
        >>> agent = make_agent("random_search", problem.space, seed=0, start=problem.start)
        >>> ledger = rd.Ledger(Path(":memory:"))
        >>> study = rd.Study(problem, agent, ledger, rd.Budget(events=800, events_per_design=10, designs_per_batch=8))
        >>> best = study.run()
        >>> study.trials, ledger.count(), problem.space.contains(best)
        (80, 80, True)
    """

    def __init__(
        self,
        problem: DesignProblem,
        agent: Agent,
        ledger: Ledger,
        budget: Budget,
        seed: int = 0,
        common_events: bool = False,
        evaluator: Evaluator | None = None,
        checkpoint: Path | None = None,
        judge: Judge | None = None,
    ) -> None:
        parts = Parts(problem, agent, ledger, budget, seed, common_events, evaluator, checkpoint)
        super().__init__(parts, Scoring(problem) if judge is None else Judged(problem, judge))
