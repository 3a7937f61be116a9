"""Needs of a problem: inputs and outputs of its executable, checked against the description before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical
from rl_detector.simulators.command.description import Output
from rl_detector.simulators.command.files import Observable, OutputFormat
from rl_detector.simulators.command.inputs import NAME, forbidden_text, harmless, without_indices
from rl_detector.simulators.command.program import Program
from rl_detector.simulators.command.units import factor
from rl_detector.space import DesignSpace, Slot


@dataclass(frozen=True)
class Needs:
    """Inputs that a problem gives to an executable, and outputs that it expects.

    Attributes:
        space: space of the designs; None: parameters are checked only with the first design.
        truth: name -> unit that the problem wants; the output may hold more.
        signals: unit that the problem wants for all channels; None takes that of the description.
        channels: number of channels; None: any.
        conditions: facts of the task (beam, energies), name -> number. Each is passed to the executable, or built into
            it and stated in the description.
    """

    space: DesignSpace | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    signals: str | None = None
    channels: int | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)


def output_format(output: Output, needs: Needs) -> OutputFormat:
    """Return where the observables are, with the factors to the units that the problem wants.

    Raises:
        ConfigError: an observable is missing, or its unit is of another kind.
    """
    missing = [name for name in needs.truth if name not in output.truth]
    if missing:
        known = ", ".join(output.truth) or "nothing"
        raise ConfigError(f"the problem needs {missing[0]!r} in output.truth, which has {known}")
    truth = _observables(output, "truth", needs.truth)
    wanted = {} if needs.signals is None else dict.fromkeys(output.signals, needs.signals)
    signals = _observables(output, "signals", wanted)
    where = output.file, output.kind, output.tree
    return OutputFormat(*where, truth, signals, needs.channels, output.key, output.mark, output.decimal)


def _observables(output: Output, group: str, wanted: Mapping[str, str]) -> tuple[Observable, ...]:
    return tuple(
        Observable(
            name,
            entry.column or name,
            entry.unit,
            factor(f"output.{group}.{name}", entry.unit, wanted.get(name, entry.unit)),
        )
        for name, entry in output.columns(group).items()
    )


def check_needs(program: Program, needs: Needs) -> None:
    """Raise ConfigError if parameters, their units, placeholders or conditions do not fit the problem."""
    if needs.space is not None:
        _check_parameters(needs.space, program.description.parameters)
        _check_templates(needs.space, needs.conditions, program)
    _check_conditions(needs.conditions, program)


def _check_parameters(space: DesignSpace, stated: Mapping[str, str]) -> None:
    slots = [slot for slot in space.slots if not slot.path.endswith(".count")]
    units = {without_indices(slot.path): _unit(slot) for slot in slots}
    for path, unit in units.items():
        if path not in stated:
            raise ConfigError(f"parameters lacks {path!r} of the problem (unit {unit})")
        if stated[path] != unit:
            raise ConfigError(f"parameters.{path}: the problem gives it in {unit}, the description says {stated[path]}")
    unknown = sorted(set(stated) - set(units))
    if unknown:
        raise ConfigError(f"parameters has {unknown[0]!r}, the problem only {', '.join(units)}")


def _unit(slot: Slot) -> str:
    """Return the unit of a parameter as a description states it; raise ConfigError unless its names are harmless."""
    parameter = slot.parameter
    if not NAME.fullmatch(parameter.name):
        raise ConfigError(f"a parameter that goes to an executable must be letters, digits, _ and -: {slot.path!r}")
    if not isinstance(parameter, Categorical):
        return parameter.unit or "number"
    for choice in parameter.choices:
        if not harmless(choice):
            raise ConfigError(forbidden_text(slot.path, choice))
    return "choice"


def _check_templates(space: DesignSpace, conditions: Mapping[str, float], program: Program) -> None:
    known = {f"design.{slot.path}" for slot in space.slots} | {f"conditions.{name}" for name in conditions}
    known |= {f"{path.split('[')[0]}.count" for path in known if "[" in path}
    for name, template in program.templates.items():
        unknown = sorted(set(template.get_identifiers()) - known - {"events", "seed", "output"})
        if unknown:
            raise ConfigError(f"template {name}: ${{{unknown[0]}}} is unknown: known are {', '.join(sorted(known))}")


def _check_conditions(conditions: Mapping[str, float], program: Program) -> None:
    """Raise ConfigError unless each condition is passed on, or stated in the description with the problem's value."""
    stated = program.description.conditions
    unknown = sorted(set(stated) - set(conditions))
    if unknown:
        raise ConfigError(f"conditions has {unknown[0]!r}, the problem {', '.join(conditions) or 'none'}")
    for name, value in conditions.items():
        passed = program.uses("conditions") or program.uses(f"conditions.{name}")
        if name in stated and stated[name] != value:
            raise ConfigError(
                f"conditions.{name}: the executable simulates {stated[name]:g}, the problem asks for {value:g}"
            )
        if not passed and name not in stated:
            raise ConfigError(
                f"the problem has the condition {name} = {value:g}: pass it on with {{conditions}} in the command or "
                f"${{conditions.{name}}} in a template, or state it under `conditions` if it is built in"
            )
