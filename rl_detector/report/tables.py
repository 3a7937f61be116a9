"""What the page of a run says in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rl_detector.family import FamilyMember
from rl_detector.problem import RECOMMENDED, DesignProblem
from rl_detector.report.history import ROUNDING
from rl_detector.report.results import Results
from rl_detector.space import Design
from rl_detector.validation import Difference, ValidatedDesign

SIGNIFICANT = 3.0
"""Standard errors from which on a difference is called one."""

COMPARABLE = (
    "Absolute values are not comparable with published ones. What is claimed are ratios against baselines that were "
    "implemented anew and simulated here with the same events, seeds and reconstruction."
)


def page_context(results: Results) -> dict[str, Any]:
    """Names and values of the template."""
    provenance = _mapping(results.config.get("run"))
    return {
        "summary": _summary(results),
        "comparisons": [_comparison(row, results) for row in results.rows if row.difference is not None],
        "notes": [*results.notes],
        "sections": [_section(name, rows, results) for name, rows in results.sections.items()],
        "family": [_member(member, results) for member in results.family],
        "design": _design_table(results),
        "zero": results.zero,
        "budget": list(_budget(results).items()),
        "failures": [(reason, f"{number:,}") for reason, number in results.history.failures.most_common(5)],
        "command": provenance.get("command", "unknown"),
        "started": provenance.get("started", "unknown"),
        "versions": list(_mapping(provenance.get("versions")).items()),
        "comparable": COMPARABLE,
    }


def amount(value: float) -> str:
    """A number with a unit after it: whole from 100 on, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(value: float, error: float, sign: str = "") -> str:
    """Value and standard error with two digits of the error."""
    if value == error == 0:
        return "0"
    digits = 3 if error <= 0 else min(max(1 - math.floor(math.log10(error)), 0), 8)
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}".replace("-", "−")


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
        costs = f"; cost {ours} instead of {theirs}"
    paired = row.difference or Difference(0.0, 0.0)
    if abs(paired.significance) < SIGNIFICANT:
        return f"not distinguishable from {row.name}: reach {measured(paired.value, paired.error, '+')}{costs}"
    word = "better" if paired.value > 0 else "worse"
    size = f"reach {measured(paired.value, paired.error, '+')} ({abs(paired.significance):.1f} standard errors)"
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
    }


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
        "significance": f"{paired.significance:+.1f}".replace("-", "−") if paired else "",
    }


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
    return [
        {
            "path": path,
            "value": _value(value),
            "start": _value(start.get(path, "")),
            "unit": getattr(slots.get(path), "unit", ""),
            "allowed": _allowed(slots.get(path)),
        }
        for path, value in _flat(results.recommended.design, "")
    ]


def _flat(design: Design, prefix: str) -> Iterator[tuple[str, Any]]:
    """Paths and values, such as layer[0].absorber."""
    for name, value in design.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            for index, part in enumerate(value):
                yield from (
                    _flat(part, f"{prefix}{name}[{index}].")
                    if isinstance(part, Mapping)
                    else [(f"{prefix}{name}[{index}]", part)]
                )
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _allowed(parameter: Any) -> str:
    if hasattr(parameter, "choices"):
        return ", ".join(parameter.choices)
    return f"{parameter.low:g} to {parameter.high:g}" if parameter is not None else ""


def _budget(results: Results) -> dict[str, str]:
    """What was spent."""
    history, planned = results.history, _mapping(results.config["budget"])
    total = planned.get("events")
    of = f" of {total:,}" if isinstance(total, int) else ""
    return {
        "simulated events": f"{history.spent:,}{of}",
        "events per design": str(planned.get("events_per_design", "unknown")),
        "designs evaluated": f"{len(history) + history.failed:,}",
        "failed designs": f"{history.failed:,}",
        "computing time": f"{history.seconds:,.0f} s",
        "seed": str(results.config["seed"]),
    }
