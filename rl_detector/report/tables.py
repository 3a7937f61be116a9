"""Texts and tables of the page of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rl_detector.conf.schema import Config
from rl_detector.problem import RECOMMENDED, DesignProblem
from rl_detector.reach.paired import Difference
from rl_detector.report.history import ROUNDING
from rl_detector.report.numbers import amount, duration, measured, timed
from rl_detector.report.results import Results
from rl_detector.space import Design
from rl_detector.study.validation import FamilyMember, ValidatedDesign

SIGNIFICANT = 3.0
"""Standard errors from which a difference counts as one."""

COMPARABLE = (
    "Absolute values are not comparable with published ones. Compare ratios to the baselines, which were implemented "
    "again and simulated here with the same events, seeds and reconstruction."
)


ABSENT = "–"
"""In place of a parameter whose component a design does not have."""

NOT_RECORDED = "not recorded"


def page_context(results: Results) -> dict[str, Any]:
    """Names and values of the template."""
    provenance = results.provenance
    return {
        "summary": _summary(results),
        "comparisons": [_comparison(row, results) for row in results.rows if row.difference is not None],
        "notes": [*results.notes],
        "sections": [_section(name, rows, results) for name, rows in results.sections.items()],
        "family": [_member(member, results) for member in results.family],
        "family_facts": results.family_facts,
        "design": _design_table(results),
        "zero": results.zero,
        "budget": list(_budget(results).items()),
        "failures": [(reason, f"{number:,}") for reason, number in results.history.failures.most_common(5)],
        "command": provenance.command,
        "started": provenance.started and _moment(provenance.started),
        "versions": list(provenance.versions.items()),
        "sessions": list(_sessions(results)),
        "comparable": COMPARABLE if any(len(rows) > 1 for rows in results.sections.values()) else "",
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _costs(costs: Mapping[str, float], problem: DesignProblem | None) -> str:
    units = {cost.name: cost.unit for cost in problem.costs} if problem else {}
    return ", ".join(f"{amount(value)} {units.get(name, name)}" for name, value in costs.items())


def _violations(violations: Mapping[str, float], problem: DesignProblem | None) -> str:
    units = {limit.name: limit.unit for limit in problem.constraints} if problem else {}
    over = [
        f"{name} by {amount(value)} {units.get(name, '')}".strip()
        for name, value in violations.items()
        if value > ROUNDING
    ]
    return ", ".join(over) or "none"


def _summary(results: Results) -> str:
    """The run in one sentence."""
    row, history = results.recommended, results.history
    if row is None:
        return (
            f"Not finished: {len(history):,} designs evaluated with {history.spent:,} simulated events, and no "
            "recommended design yet."
        )
    facts = ", ".join(f"{name} {value}" for name, value in row.simulator.items())
    costs = f"cost {_costs(row.costs, results.problem)}, " if row.costs else ""
    start = next((other.metric for other in results.rows if other.name == results.zero), 0.0)
    ratio = start > 0 < row.metric and math.isclose(math.log(start / row.metric), row.reach, abs_tol=1e-6)
    factor = f" (metric smaller by a factor {start / row.metric:.2f})" if ratio and row.reach > 0 else ""
    violated = _violations(row.violations, results.problem)
    limits = "all limits kept" if violated == "none" else f"LIMITS VIOLATED: {violated}"
    if not results.rows and not (results.problem and results.problem.baselines):
        value = measured(row.metric, row.metric_error)
        return f"Recommended design: metric {value} on {row.events:,} held-out events, {costs}{limits}; {facts}."
    return (
        f"Recommended design: reach {measured(row.reach, row.reach_error, '+')} against {results.zero}{factor} on "
        f"{row.events:,} held-out events, {costs}{limits}; {facts}."
    )


def _comparison(row: ValidatedDesign, results: Results) -> str:
    """How the recommended design compares with a baseline, in words."""
    costs = ""
    if row.costs and results.recommended is not None:
        ours, theirs = (_costs(design.costs, results.problem) for design in (results.recommended, row))
        costs = f"; both cost {ours}" if ours == theirs else f"; cost {ours} instead of {theirs}"
    paired = row.difference or Difference(0.0, 0.0)
    if results.recommended is not None and results.recommended.design == row.design:
        return f"{row.name} itself{costs}"
    if paired.value == paired.error == 0:
        return f"equal to {row.name} in every event{costs}"
    if abs(paired.significance) < SIGNIFICANT:
        return f"not distinguishable from {row.name}: reach {measured(paired.value, paired.error, '+')}{costs}"
    word = "better" if paired.value > 0 else "worse"
    errors = f" ({abs(paired.significance):.1f} standard errors)" if paired.error > 0 else ""
    size = f"reach {measured(paired.value, paired.error, '+')}{errors}"
    return f"{word} than {row.name}: {size}{costs}"


def _section(name: str, rows: Sequence[ValidatedDesign], results: Results) -> dict[str, Any]:
    """The table of one simulator."""
    first = rows[0]
    return {
        "name": name,
        "facts": list(first.simulator.items()),
        "events": f"{first.events:,}",
        "seed": first.seed,
        "rows": [_cells(row, results.problem) for row in rows],
        "metric": results.problem.metric if results.problem else "metric",
        "diagnostics": _diagnostics(rows),
    }


def _diagnostics(rows: Sequence[ValidatedDesign]) -> dict[str, Any]:
    """Further results of the reach: their names, and of every design its name and their values."""
    names = list(dict.fromkeys(name for row in rows for name in row.diagnostics))
    values = [
        (row.name, [_value(float(row.diagnostics[n])) if n in row.diagnostics else "" for n in names]) for row in rows
    ]
    return {"names": names, "rows": values if names else []}


def _cells(row: ValidatedDesign, problem: DesignProblem | None) -> dict[str, Any]:
    paired = row.difference
    return {
        "name": row.name,
        "recommended": row.name == RECOMMENDED,
        "metric": measured(row.metric, row.metric_error),
        "reach": measured(row.reach, row.reach_error, "+"),
        "cost": _costs(row.costs, problem),
        "violations": _violations(row.violations, problem),
        "reward": f"{round(row.reward, 3) + 0.0:+.3f}".replace("-", "−"),
        "difference": measured(paired.value, paired.error, "+") if paired else "",
        "significance": _significance(paired) if paired else "",
    }


def _significance(paired: Difference) -> str:
    """A difference in standard errors; `exact` if it has no error."""
    if paired.error <= 0:
        return "exact" if paired.value else "0"
    return f"{paired.significance:+.1f}".replace("-", "−")


def _member(member: FamilyMember, results: Results) -> dict[str, str]:
    """One line of the designs over the price of cost."""
    return {
        "cost_weight": f"{member.cost_weight:.3g}",
        "reach": measured(member.reach, member.reach_error, "+"),
        "cost": _costs(member.costs, results.problem),
        "violations": _violations(member.violations, results.problem),
        "reward": measured(member.reward, member.reach_error, "+"),
        "gain": measured(member.gain.value, member.gain.error, "+"),
    }


def _design_table(results: Results) -> list[dict[str, str]]:
    """The recommended design, parameter by parameter, beside the start and the bounds."""
    if results.recommended is None:
        return []
    problem = results.problem
    start = dict(_flat(problem.start, "")) if problem and problem.start else {}
    slots = {slot.path: slot.parameter for slot in problem.space.slots} if problem else {}
    chosen = dict(_flat(results.recommended.design, ""))
    absent = ABSENT if start else ""
    return [
        {
            "path": path,
            "value": _value(chosen.get(path, ABSENT)),
            "start": _value(start.get(path, absent)),
            "unit": getattr(slots.get(path), "unit", ""),
            "allowed": _allowed(slots.get(path)),
        }
        for path in dict.fromkeys((*chosen, *start))
        if path in slots or not path.endswith(".count")
    ]


def _flat(design: Design, prefix: str) -> Iterator[tuple[str, Any]]:
    """Paths and values, such as layer[0].absorber, and the number of components, such as layer.count."""
    for name, value in design.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{prefix}{name}.count", len(value)
            for index, part in enumerate(value):
                yield from (
                    _flat(part, f"{prefix}{name}[{index}].")
                    if isinstance(part, Mapping)
                    else [(f"{prefix}{name}[{index}]", part)]
                )
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def _allowed(parameter: Any) -> str:
    if hasattr(parameter, "choices"):
        return ", ".join(parameter.choices)
    return f"{parameter.low:g} to {parameter.high:g}" if parameter is not None else ""


def _budget(results: Results) -> dict[str, str]:
    """What was spent, on what, and how long it took."""
    history, config = results.history, results.config
    stated = sorted(history.simulator.items(), key=lambda fact: fact[0] != "simulator")
    facts = ", ".join(f"{name} {value}" for name, value in stated)
    return {
        "simulator": facts or _named(config.simulator),
        "simulated events": f"{history.spent:,} of {config.budget.events:,}",
        "events per design": str(config.budget.events_per_design),
        "designs evaluated": f"{len(history) + history.failed:,}",
        "failed designs": f"{history.failed:,}",
        "agent": _named(config.agent),
        "evaluator": _named(config.evaluator, "workers"),
        "seed": str(config.seed),
        **_times(results),
    }


def _times(results: Results) -> dict[str, str]:
    """Wall time of the training, time of its simulations, time of its agent."""
    history, sessions = results.history, results.sessions
    name = "time from submission to result, added over the designs" if in_flight(results.config) else "simulation time"
    several = f", in {len(sessions):,} sessions" if len(sessions) > 1 else ""
    wall = timed(sum(session.wall_seconds for session in sessions), history.spent) + several
    own = duration(sum(session.agent_seconds for session in sessions))
    return {
        "wall time of the training": wall if sessions else NOT_RECORDED,
        name: timed(history.seconds, history.spent),
        "time of the agent": own if sessions else NOT_RECORDED,
    }


def in_flight(config: Config) -> bool:
    """Whether the study was asynchronous, so that the times of its simulations overlap."""
    return config.asynchronous


def _named(group: Any, *settings: str) -> str:
    """Name of a group of the configuration, with some of its settings."""
    known = _mapping(group)
    extra = [f"{known[name]} {name}" for name in settings if known.get(name) is not None]
    return ", ".join([str(known.get("name", "unknown")), *extra])


def _sessions(results: Results) -> Iterator[str]:
    """Sessions after the first, with versions that differ from the first session."""
    for session in results.sessions[1:]:
        changed = [f"{name} {value}" for name, value in session.versions.items() if _other(results, name, value)]
        yield f"{_moment(session.started)} with {', '.join(changed) if changed else 'these versions'}"


def _other(results: Results, name: str, value: str) -> bool:
    return results.provenance.versions.get(name) != value


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
