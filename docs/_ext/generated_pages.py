"""Write docs/_generated before the build: a page per environment and agent, and the public names, from the package."""

from __future__ import annotations

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import rl_detector
from rl_detector.agents import AGENTS, agent_class
from rl_detector.registry import Registration, card, registered

PLUG_IN = ("parameters", "space", "terms", "problem", "agent", "errors", "registry", "checks")
"""Modules with a page of their own in the API reference."""

SETTING = re.compile(r"^(\w+):\s*(.*?)(?:\s+#\s*(.*))?$")


def write_all(folder: Path) -> None:
    """Make the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("environments", "agents"):
        (folder / name).mkdir(parents=True)
    environments = [entry for entry in registered().values() if entry.factory.startswith("rl_detector.")]
    for entry in environments:
        (folder / "environments" / f"{entry.name}.md").write_text(environment_page(entry))
    for name in AGENTS:
        (folder / "agents" / f"{name}.md").write_text(agent_page(name))
    (folder / "environments.md").write_text(environment_table(environments))
    (folder / "agents.md").write_text(agent_table())
    (folder / "public_names.md").write_text(public_names())


def environment_page(entry: Registration) -> str:
    """The card of an environment, as `rl-detector list ENV` prints it."""
    summary, _, rest = card(entry.name).partition("\n")
    lines = [
        f"# {title(entry.name)}\n",
        summary + "\n",
        f"    gym.make({entry.id!r})\n    rl-detector train env={entry.name}\n",
        rest.strip() + "\n",
    ]
    return "\n".join(lines)


def environment_table(entries: list[Registration]) -> str:
    """All environments and what each is, in one line."""
    rows = [f"| [{e.id}](_generated/environments/{e.name}.md) | {card(e.name).splitlines()[0]} |" for e in entries]
    pages = "\n".join(f"_generated/environments/{entry.name}" for entry in entries)
    return _overview("Environments", "environments", ["| environment | what it is |", "|---|---|", *rows], pages)


def agent_page(name: str) -> str:
    """Idea, equations, source and use from the docstring of the module; details and settings from the class."""
    cls = agent_class(name)
    text = inspect.cleandoc(import_module(AGENTS[name].partition(":")[0]).__doc__ or "")
    summary, _, rest = text.partition("\n")
    lines = [
        f"# {name}\n",
        summary + "\n",
        f"    rl-detector train agent={name}\n    make_agent({name!r}, space, seed=0)\n",
        rest.strip() + "\n",
        "## Settings\n",
        *settings_table(cls, "agent", name),
        "## Details\n",
        "```{eval-rst}",
        f".. autoclass:: {cls.__module__}.{cls.__name__}",
        "   :exclude-members: __new__",
        "```",
    ]
    return "\n".join(lines) + "\n"


def agent_table() -> str:
    """All agents and what each is, in one line."""
    rows = []
    for name, path in AGENTS.items():
        first = inspect.cleandoc(import_module(path.partition(":")[0]).__doc__ or "").splitlines()[0]
        rows.append(f"| [{name}](_generated/agents/{name}.md) | {first} |")
    return "\n".join(["| agent | what it is |", "|---|---|", *rows]) + "\n"


def settings_table(function: Any, group: str, name: str) -> list[str]:
    """Arguments with the default of the signature and of each yaml file of the group that names this thing."""
    signature = inspect.signature(function).parameters
    yaml = _yaml(group, name)
    names = [key for key in signature if key not in ("space", "seed", "start") and not key.startswith("_")]
    if not names:
        return ["None.\n"]
    rows = ["| name | default | on the command line | meaning |", "|---|---|---|---|"]
    for key in names:
        default = signature[key].default
        value, meaning = yaml.get(key, ("", ""))
        shown = "" if default is inspect.Parameter.empty else f"`{default!r}`"
        rows.append(f"| `{key}` | {shown} | {f'`{value}`' if value else ''} | {_cell(meaning)} |")
    return ["\n".join(rows) + "\n"]


def _yaml(group: str, name: str) -> dict[str, tuple[str, str]]:
    """Name of a setting -> its value and comment in conf/GROUP/NAME.yaml; a comment may go on in the lines below."""
    path = Path(rl_detector.__file__).parent / "conf" / group / f"{name}.yaml"
    found: dict[str, tuple[str, str]] = {}
    latest = ""
    for line in path.read_text().splitlines() if path.exists() else ():
        if match := SETTING.match(line):
            latest = match[1]
            found[latest] = match[2], match[3] or ""
        elif latest and line.startswith(" ") and line.lstrip().startswith("#"):
            value, comment = found[latest]
            found[latest] = value, f"{comment} {line.strip(' #')}"
    return found


def public_names() -> str:
    """Every name that `import rl_detector` offers, each documented once."""
    rows, here = [], []
    for name in rl_detector.__all__:
        thing = getattr(rl_detector, name)
        home = "space" if name == "Design" else str(getattr(thing, "__module__", "")).removeprefix("rl_detector.")
        summary = "A design: parameter name -> value." if name == "Design" else _first_line(thing)
        if home in PLUG_IN:
            role, target = "obj", f"rl_detector.{home}.{name}"
        else:
            role, target = "obj", f"rl_detector.{name}"
            here.append(f".. autoclass:: rl_detector.{name}\n   :members:\n")
        rows.append(f"| {{py:{role}}}`{name} <{target}>` | {_cell(summary)} |")
    table = "\n".join(["| name | what it is |", "|---|---|", *rows])
    return f"{table}\n\n```{{eval-rst}}\n" + "\n".join(here) + "```\n"


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _overview(heading: str, folder: str, table: list[str], pages: str) -> str:
    return "\n".join(table) + f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def title(name: str) -> str:
    """muon_map -> Muon map."""
    return name.replace("_", " ").capitalize()


def setup(app: Any) -> dict[str, Any]:
    """Write the pages as soon as Sphinx knows its folders."""
    app.connect("builder-inited", lambda app: write_all(Path(app.srcdir) / "_generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
