"""Read what a run folder holds, without simulating and without executing anything in it."""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl_detector.assembly import assemble
from rl_detector.conf.schema import Config
from rl_detector.errors import RunFolderError
from rl_detector.problem import RECOMMENDED, DesignProblem
from rl_detector.records.ledger_rows import listed
from rl_detector.records.run_folder import Provenance, RunFolder, Session
from rl_detector.registry import find, load_factory
from rl_detector.report.family import NOTE, UNKNOWN_PRICES, at_own_weights
from rl_detector.report.history import History, read_history
from rl_detector.settings import split_name
from rl_detector.study.validation import FamilyMember, ValidatedDesign


@dataclass(frozen=True)
class Results:
    """What a run folder holds.

    Attributes:
        config: as stored.
        history: finished trials; the zero of the reach is the first baseline of `rows` where there are rows.
        shift: what was added to the reaches of the ledger for that.
        sections: simulator -> validated designs.
        recommended: the recommended design on held-out events in the simulator of the training; None before its end.
        rows: recommended design and baselines in the simulator of the training, [] without validation or baselines.
        problem: None where it cannot be built here.
        notes: what is missing, and what to do.
        family: designs over the price of cost, where one training served many.
        family_facts: events and simulator of their validation.
        provenance: where the run comes from.
        sessions: the processes that trained, with their times; empty where none was recorded.
    """

    config: Config
    history: History
    shift: float
    sections: Mapping[str, Sequence[ValidatedDesign]]
    recommended: ValidatedDesign | None
    rows: Sequence[ValidatedDesign]
    problem: DesignProblem | None
    notes: Sequence[str]
    family: Sequence[FamilyMember] = ()
    family_facts: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    sessions: Sequence[Session] = ()

    @property
    def zero(self) -> str:
        """Name of the design whose reach is 0."""
        names = [row.name for row in self.rows if row.name != RECOMMENDED]
        names += self.problem.baselines if self.problem else []
        return str(names[0]) if names else "the baseline"


@dataclass(frozen=True)
class _FamilyFacts:
    """Simulator, events and seed of a validated family."""

    simulator: Mapping[str, str]
    events: int
    seed: int


def read_results(folder: RunFolder) -> Results:
    """Everything that the page shows.

    Raises:
        RunFolderError: a file of the run is damaged.
    """
    config, history = folder.read_config(), read_history(folder.ledger)
    sections = _sections(folder)
    recommended = _recommended(folder)
    trained = recommended.simulator.get("simulator", "") if recommended else ""
    rows = sections.get(trained, [])
    validated = next((row for row in rows if row.name == RECOMMENDED), None)
    earlier = validated is None or recommended is None or validated.design != recommended.design
    rows = [] if earlier or len(rows) == 1 else rows
    recommended = validated if rows else recommended
    problem, reason = _problem(config)
    notes = [reason] if reason else []
    if in_contexts(config):
        notes.append(NOTE if problem else UNKNOWN_PRICES)
        history = at_own_weights(history, folder.ledger, problem) if problem else replace(history, best=None)
    shift = _shift(history, rows)
    family, facts = _family(folder)
    results = Results(
        config, history.shifted(shift), shift, sections, recommended, rows, problem, [], family, facts,
        folder.read_provenance(), folder.read_sessions(),
    )  # fmt: skip
    return replace(results, notes=[*_notes(folder, results), *notes])


def in_contexts(config: Config) -> bool:
    """Whether the cost weight changed from batch to batch."""
    return config.contexts.cost_weight is not None


def _family(folder: RunFolder) -> tuple[list[FamilyMember], str]:
    """Designs over the price of cost, and the events and simulator of their validation."""
    stored = folder.read_json(folder.family, {})
    members: list[FamilyMember] = _typed(folder.family, list[FamilyMember], stored.get("members", []))
    if not members:
        return [], ""
    about: _FamilyFacts = _typed(folder.family, list[_FamilyFacts], [stored])[0]
    facts = "; ".join(f"{name}: {value}" for name, value in about.simulator.items())
    return members, f"{about.events:,} fresh events per design, the same for all (event seed {about.seed}). {facts}."


def _sections(folder: RunFolder) -> dict[str, list[ValidatedDesign]]:
    stored = folder.read_json(folder.validation, {})
    sections: dict[str, list[ValidatedDesign]] = _typed(folder.validation, dict[str, list[ValidatedDesign]], stored)
    return {name: rows for name, rows in sections.items() if rows}


def _recommended(folder: RunFolder) -> ValidatedDesign | None:
    stored = folder.read_json(folder.recommended, {})
    if not stored:
        return None
    row = {**stored, "name": RECOMMENDED, "difference": None}
    design: ValidatedDesign = _typed(folder.recommended, list[ValidatedDesign], [row])[0]
    return design


def _typed(path: Path, kind: Any, data: Any) -> Any:
    """JSON data as dataclasses."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        rules = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
        return TypeAdapter(kind, config=rules).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise RunFolderError(
            f"{path} is damaged: {where}: {first['msg']}. Delete it and make it again "
            "(`rl-detector resume` or `rl-detector validate`)."
        ) from error


def _problem(config: Config) -> tuple[DesignProblem | None, str]:
    """The problem with a simulator that starts no workers: the fast one, else the factory's own."""
    reason = ""
    env = config.env
    if isinstance(env, Mapping):  # a simulator of the folder's choice might start a program
        env = {name: value for name, value in env.items() if name != "simulator"}
    for simulator in ({"name": "fast"}, None):
        try:
            return assemble(replace(config, env=env, simulator=simulator)).problem, ""
        except Exception as error:  # a user's factory may raise anything; the rest of the page does not need it
            reason = reason or f"Layouts and parameters are left out, the problem cannot be built here: {error}"
    return None, reason


def _shift(history: History, rows: Sequence[ValidatedDesign]) -> float:
    """Shift of the reach in the ledger that puts its zero at the first baseline of the validation.

    Where reach = ln(reference / metric), ln(metric) + reach is the same number for all designs, ln(reference).
    """
    baseline = next((row for row in rows if row.name != RECOMMENDED), None)
    if baseline is None or baseline.metric <= 0 or not history.logarithmic:
        return 0.0
    return math.log(baseline.metric / float(history.metric[0])) - float(history.reach[0])


def takes_simulator(config: Config) -> bool:
    """Whether the detector can be simulated with a simulator of the user's choice, Geant4 among them."""
    try:
        factory = load_factory(find(split_name("env", config.env)[0]).factory)
    except Exception:  # whatever the import of another package raises
        return False
    return "simulator" in inspect.signature(factory).parameters


def _notes(folder: RunFolder, results: Results) -> list[str]:
    """Notes on what is missing, and the commands that make it."""
    runs = folder.path.parent
    run, notes = shlex.quote(folder.path.name), []
    run += "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    events = max(1000, results.problem.minimum_events if results.problem else 0)
    check = f"rl-detector validate {run} --simulator geant4 --events {events}"
    if results.recommended is None:
        notes.append(f"This run is not finished, so it has no recommended design yet: rl-detector resume {run}")
    elif not results.sections:
        notes.append(f"No validation yet: rl-detector validate {run} --events {results.recommended.events}")
    elif len(results.sections) == 1 and "geant4" not in results.sections and takes_simulator(results.config):
        name = next(iter(results.sections))
        notes.append(f"Validated only with the simulator {name!r} so far; an independent check: {check}")
    for name, rows in results.sections.items():
        validated = next((row.design for row in rows if row.name == RECOMMENDED), None)
        if results.recommended and validated != results.recommended.design:
            notes.append(f"The validation with {name!r} is of an earlier design of this run; validate again.")
    if not results.provenance.command or results.provenance.started is None:
        notes.append("config.yaml does not say when and with which command this run was started.")
    if results.history.broken:
        notes.append(
            f"The ledger is damaged: trials {listed(results.history.broken)} do not fit their checksums and are left "
            f"out. They are simulated again by: rl-detector resume {run}"
        )
    if len(results.history) == 0:
        notes.append("The ledger holds no finished trial, so there is no course of the training to show.")
    return notes
