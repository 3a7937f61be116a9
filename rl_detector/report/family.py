"""Runs in which one training served many prices of cost: their rewards made comparable, and their front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from rl_detector.errors import RunFolderError
from rl_detector.problem import DesignProblem
from rl_detector.records.ledger import Ledger, Trial
from rl_detector.report.figures import GREY, WIDTH, plain
from rl_detector.report.history import History
from rl_detector.study.validation import FamilyMember

NOTE = (
    "The cost weight changed with every batch. Rewards of the training are shown at the cost weight of the problem "
    "itself; most designs were proposed for another one."
)
UNKNOWN_PRICES = (
    "The cost weight changed with every batch, and the problem cannot be built here: rewards of different batches "
    "cannot be compared, nor can the best design so far be named."
)


def at_own_weights(history: History, path: Path, problem: DesignProblem) -> History:
    """The history with rewards at the problem's own cost weight, and the best design by them.

    Raises:
        RunFolderError: the ledger does not hold these trials, with the costs of this problem.
    """
    if len(history) == 0:
        return history
    with closing(Ledger(path, read_only=True)) as ledger:
        trials = [trial for trial in ledger.trials() if not trial.evaluation.failed][: len(history)]
    try:
        rewards = [_reward(trial, problem) for trial in trials]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"the ledger {path} has not the costs of {problem.name}: {error!r}") from error
    if len(rewards) != len(history):
        raise RunFolderError(f"the ledger {path} changed while it was read: make the report again")
    return replace(history, reward=np.array(rewards), best=trials[int(np.argmax(rewards))].evaluation.design)


def _reward(trial: Trial, problem: DesignProblem) -> float:
    measured = trial.evaluation.measurement
    reach = 0.0 if measured is None else measured.reach
    return reach - problem.charge(trial.evaluation.costs, trial.evaluation.violations)


def front(family: Sequence[FamilyMember], name: str, unit: str, zero: str) -> Figure:
    """Reach against a cost, one design per cost weight."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [member.costs[name] for member in family], [member.reach for member in family], color=GREY, lw=1.0, ls=":"
    )
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(family)))
    for member, shade, marker in zip(family, shades, cycle("osD^v")):
        axes.errorbar(
            member.costs[name], member.reach, member.reach_error, color=shade, marker=marker, ms=7, ls="", capsize=4,
            label=f"cost weight {member.cost_weight:.3g}",
        )  # fmt: skip
    axes.legend(fontsize=9)
    axes.margins(0.08)
    axes.set(xlabel=f"{plain(name)} [{plain(unit)}]" if unit else plain(name), ylabel=f"reach against {plain(zero)}")
    return figure


def costed(family: Sequence[FamilyMember]) -> Mapping[str, float]:
    """Costs that all members state, with the values of the first."""
    shared = set.intersection(*(set(member.costs) for member in family)) if family else set[str]()
    return {name: value for name, value in family[0].costs.items() if name in shared} if family else {}
