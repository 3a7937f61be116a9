"""A description with the files that it names: executable, templates and others, found before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl_detector.claims import Claim
from rl_detector.errors import ConfigError
from rl_detector.safety.untrusted import LARGEST_YAML, check_yaml, read_bytes
from rl_detector.simulators.command.description import Description, build
from rl_detector.simulators.command.inputs import PLACEHOLDERS, Template, check_placeholders, insert, read_template

_FIXED_FILE = re.compile(r"\{here\}/[^{}]+")
"""Word of a command that names a file beside the description."""


_MOST_LEVELS = 12
"""Most levels of nesting in a description, counting the document and the stream."""


@dataclass(frozen=True)
class Program:
    """A checked description with the files that it names.

    Attributes:
        here: folder of the description.
        description: content of the description.
        executable: full path of the executable.
        templates: file in the scratch folder -> template.
        digest: fingerprint of everything that decides results, the files in {here} included.
    """

    here: Path
    description: Description
    executable: str
    templates: Mapping[str, Template]
    digest: str

    def uses(self, placeholder: str) -> bool:
        """Return whether the command or a template contains a placeholder."""
        in_command = any(f"{{{placeholder}}}" in word for word in self.description.command)
        return in_command or any(placeholder in template.get_identifiers() for template in self.templates.values())


def read_program(file: Path) -> Program:
    """Read a description, and find the files that it names.

    Raises:
        ConfigError: it cannot be read, a key is unknown, missing or wrong, or a file that it names is absent.
        MissingDependency: the format of the output needs a library that is not installed.
    """
    path = Path(os.path.abspath(file))  # noqa: PTH100  (links stay: the files beside a link belong to it)
    try:
        return _program(path.parent, build("", Description, _load(path)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _load(path: Path) -> Any:
    """Read plain data from YAML: tags, aliases and repeated keys are errors, ${...} stays text, 1e-5 is a number."""
    from omegaconf import OmegaConf

    try:
        text = read_bytes(path, LARGEST_YAML, links=True).decode()
        check_yaml(text, _MOST_LEVELS)
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except Exception as error:  # any error that damaged or hostile YAML causes
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"cannot be read as a description in YAML: {reason}") from error


def _program(here: Path, description: Description) -> Program:
    _check_command(description)
    words = [*description.command, *(description.version or [])]
    for word in words:
        if _FIXED_FILE.fullmatch(word) and not Path(insert([word], {"here": str(here)})[0]).exists():
            raise ConfigError(f"{word} does not exist ({{here}} is {here}); build or copy it first")
    executable = find_executable(description.command[0], here)
    if description.version is not None:
        find_executable(description.version[0], here)
    templates = {name: read_template(here / source) for name, source in description.templates.items()}
    program = Program(here, description, executable, templates, _digest(here, description, templates))
    for needed in ("events", "seed"):
        if not program.uses(needed):
            raise ConfigError(f"neither the command nor a template passes on {needed!r}: {{{needed}}} or ${{{needed}}}")
    return program


def _check_command(description: Description) -> None:
    for where, words in (("command", description.command), ("version", description.version)):
        if words is None:
            continue
        if not words or not words[0]:
            raise ConfigError(f"{where} must begin with an executable")
        check_placeholders(where, words[:1], ("here",))
        check_placeholders(where, words, PLACEHOLDERS if where == "command" else ("here",))


def find_executable(word: str, here: Path) -> str:
    """Find the full path of an executable, in PATH or relative to the folder of the description.

    Raises:
        ConfigError: there is none, or it cannot be executed.
    """
    path = insert([word], {"here": str(here)})[0]
    found = shutil.which(str(here / path) if "/" in path else path)
    if found is None:
        place = str(here / path) if "/" in path else "in PATH"
        raise ConfigError(f"there is no executable {word!r} ({place}); build or install it first")
    return found


def _digest(here: Path, description: Description, templates: Mapping[str, Template]) -> str:
    """Return 12 hexadecimal digits of a SHA-256 of what decides results; limits, workers and folders do not."""
    facts = {k: v for k, v in asdict(description).items() if k not in ("limits", "workers", "scratch")}
    facts["templates"] = {name: template.template for name, template in templates.items()}
    whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in _own_files(here, description.command):
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:12]


def claim(program: Program) -> Claim:
    """Return what a user must trust: the description and its folder, the executable, templates and files beside it."""
    description = program.description
    words = [description.command, *([description.version] if description.version else [])]
    files = sorted({path for command in words for path in _own_files(program.here, command)})
    facts = {
        "description": asdict(description),
        "templates": {name: template.template for name, template in program.templates.items()},
        "files": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "here": os.path.realpath(program.here),
        "executable": program.executable,
    }
    lines = [f"simulator: {description.name}, described in {program.here}", f"command: {shlex.join(words[0])}"]
    lines += [f"version command: {shlex.join(command)}" for command in words[1:]]
    lines += [f"environment: {name}={value}" for name, value in description.environment.items()]
    lines += [f"template: {name} from {source}" for name, source in description.templates.items()]
    return Claim.of(facts, *lines, *(f"file: {path}" for path in files))


def _own_files(here: Path, command: Sequence[str]) -> list[Path]:
    """Return the files of a command that lie beside the description: executable, script, input file."""
    relative = command[:1] if "/" in command[0] and not command[0].startswith("/") else []
    words = {*relative, *(word for word in command if _FIXED_FILE.fullmatch(word))}
    paths = [here / word for word in insert(sorted(words), {"here": str(here)})]
    return [path for path in paths if path.is_file()]
