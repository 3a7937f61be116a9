"""The command line: train, resume, validate, report, sweep, compare, list (the only file that imports hydra)."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_detector.errors import DetectorError, SimulationError

if TYPE_CHECKING:
    from rl_detector.assembly import Assembly
    from rl_detector.records.run_folder import RunFolder
    from rl_detector.study.validation import ValidatedDesign

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

CRASHED = 1
USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143

_DESCRIPTION = "Design particle detectors with reinforcement learning."
_COMMANDS = """commands:
  train [NAME=VALUE ...]   train an agent; see `rl-detector train --help`
  resume RUN               go on with an interrupted run
  validate RUN             simulate the recommended design and the baselines side by side
  report RUN               make report.html and the figures again
  sweep FILE               train with all settings of a sweep file of Weights & Biases; needs no server
  compare FILE             run agents on problems from several seeds and compare the events that they need
  list [ENV]               environments, agents and simulators; or the card of one environment

RUN is a run folder, its name, or `latest`."""
_VALIDATE = """Simulate the recommended design and all baselines with the same seed on fresh events, and compare them
pairwise. The result goes to validation.json and the report."""
_COMPARE = """Run all agents of a file on all its problems from several seeds, and make tables and figures. A run
that has a result is repeated only if its settings have changed. Results whose run files are gone are kept if
--only-agents or --only-problems leaves them out."""
_SWEEP = """Train with all settings of a sweep file (grid, random, or bayes with Optuna), each in its own folder, and
make results.csv. The same command again goes on with interrupted trainings and tries failed ones again; it repeats no
finished one. The file also runs with `wandb sweep FILE` and `wandb agent`."""
_LIST = """List environments, agents and simulators. With the name of an environment, print its card: parameters,
limits, reach, baselines, simulators, and what a reviewer should know."""
_TRUST = """start the programs that the folder or file names (command simulator, batch jobs, scheduler) though you have
not trained with them; read them first"""

CHECK_TRUST = "--check-trust"
"""First word of a training that a sweep starts: it starts only programs that are trusted already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `rl-detector`: ends with 0, 2 for a mistake of the user, 130 for Ctrl-C, 143 for SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["train"]:
        typed = words[1:2] != [CHECK_TRUST]
        sys.exit(_train(words[1 if typed else 2 :], typed))
    options = _parser().parse_args(words)
    sys.exit(_guarded(lambda: options.function(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "rl-detector",
        usage="rl-detector COMMAND ...",
        description=_DESCRIPTION,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="rl-detector")
    commands.add_parser("train")  # Hydra reads its arguments; here it is only among the choices
    for add in (_add_resume, _add_validate, _add_report, _add_compare, _add_sweep, _add_list):
        add(commands)
    return parser


def _add_resume(commands: Commands) -> None:
    parser = commands.add_parser("resume", description="Go on with an interrupted run until its budget is spent.")
    parser.set_defaults(function=_resume)
    _add_run(parser)
    _add_trust(parser)


def _add_validate(commands: Commands) -> None:
    parser = commands.add_parser("validate", description=_VALIDATE)
    parser.set_defaults(function=_validate)
    parser.add_argument("--simulator", default=None, help="fast, geant4, ... (default: the one of the run)")
    parser.add_argument("--events", type=_positive, required=True, help="simulated events per design")
    parser.add_argument("--seed", type=_natural, default=None, help="root of the event seeds (default: the run's)")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the simulator, for example --set physics_list=FTFP_BERT --set workers=4",
    )  # fmt: skip
    _add_run(parser)
    _add_trust(parser)


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser("report", description="Make report.html and the figures of a run again.")
    parser.set_defaults(function=_report)
    _add_run(parser)


def _add_compare(commands: Commands) -> None:
    parser = commands.add_parser("compare", description=_COMPARE)
    parser.set_defaults(function=_compare)
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML, for example experiments/agents/main.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where runs and results lie")
    parser.add_argument("--jobs", type=_positive, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--seeds", type=_positive, default=None, help="seeds 0 to N - 1 (default: the file's)")
    parser.add_argument("--only-agents", type=_labels, default=None, metavar="A,B", help="labels of agents to run")
    parser.add_argument("--only-problems", type=_labels, default=None, metavar="P,Q", help="labels of problems to run")
    parser.add_argument("--repeat", action="store_true", help="run again what has a result, for example with new code")
    parser.add_argument("--tables", action="store_true", help="run nothing, only make tables and figures again")
    _add_trust(parser)


def _add_sweep(commands: Commands) -> None:
    parser = commands.add_parser("sweep", description=_SWEEP)
    parser.set_defaults(function=_sweep)
    parser.add_argument("file", metavar="FILE", help="YAML as for `wandb sweep`, or a name in rl_detector/conf/sweep")
    parser.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="default: sweeps/NAME of the file")
    parser.add_argument("--jobs", type=_positive, default=1, help="trainings at the same time (default: 1)")
    parser.add_argument("--runs", type=_positive, default=None, help="trainings in all (default: run_cap of the file)")
    parser.add_argument("--seed", type=_natural, default=0, help="of random and bayes (default: 0)")
    parser.add_argument("--track", action="store_true", help="keep the tracker that the file asks for")
    _add_trust(parser)


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser("list", description=_LIST)
    parser.set_defaults(function=_list)
    parser.add_argument("env", nargs="?", default=None, metavar="ENV", help="an environment, for example calorimeter")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, its name under --runs, or `latest`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (default: runs)")


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help=_TRUST)


def _labels(text: str) -> list[str]:
    return [label.strip() for label in text.split(",") if label.strip()]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number >= 0, got {text!r}")
    return int(text)


def _guarded(function: Any) -> int:
    """Run a command; errors made for people are printed in one paragraph, without a traceback."""
    try:
        function()
    except DetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except _Terminated:
        print("terminated by SIGTERM", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


class _Terminated(KeyboardInterrupt):
    """SIGTERM, with which a batch system ends a job some seconds before it kills it."""


def _terminate(*signal_and_frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ending takes a moment
    raise _Terminated


def _train(overrides: Sequence[str], typed: bool = True) -> int:
    """Let Hydra compose the configuration (or several, with -m) and train; `typed`: by the user, not by a sweep."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from omegaconf import OmegaConf

    results: list[int] = []
    here = os.getpid()

    @hydra.main(version_base="1.3", config_path="pkg://rl_detector.conf", config_name="config")
    def job(config: Any) -> None:
        command = shlex.join(["rl-detector", "train", *HydraConfig.get().overrides.task])
        results.append(CRASHED)
        results[-1] = _guarded(lambda: _start(OmegaConf.to_container(config, resolve=True), command, typed))
        if results[-1] in (INTERRUPTED, TERMINATED):
            raise SystemExit(results[-1])
        if results[-1] != 0 and os.getpid() != here:  # a launcher's process returns nothing but an exception
            raise CompactHydraException(f"a training ended with exit code {results[-1]}, see its message")

    _store_configs()
    whole, sys.argv = sys.argv, ["rl-detector train", *overrides]
    try:
        job()
    except SystemExit as stop:
        if stop.code not in (None, 0):  # before the first job the configuration is wrong, later a job has crashed
            results.append(int(stop.code) if results and isinstance(stop.code, int) else USAGE_ERROR)
    finally:
        sys.argv = whole
    return max(results, default=0)


def _store_configs() -> None:
    """Tell Hydra the types of config.yaml, and the environments that other installed packages announce."""
    from hydra.core.config_store import ConfigStore

    from rl_detector.conf.schema import Config
    from rl_detector.registry import announced_environments

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, settings in announced_environments().items():
        store.store(group="env", name=name, node=settings)


def _start(config: Any, command: str, typed: bool) -> None:
    from rl_detector.running.launch import start_run

    folder, assembly = start_run(config, command, typed)
    _run(folder, assembly, typed)


def _resume(options: argparse.Namespace) -> None:
    from rl_detector.assembly import assemble

    folder = _find(options)
    _run(folder, assemble(folder.read_config()), options.trust)


def _run(folder: RunFolder, assembly: Assembly, trusted: bool) -> None:
    from rl_detector.running.display import ProgressDisplay, print_validation
    from rl_detector.running.launch import run

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        with ProgressDisplay(folder) as display:
            rows = run(folder, assembly, display.update, trusted)
    except (SimulationError, KeyboardInterrupt):
        path = shlex.quote(str(folder.path))
        print(f"stopped; nothing is lost: `rl-detector resume {path}` goes on", file=sys.stderr)
        raise
    print_validation(rows)
    _name_report(folder)


def _validate(options: argparse.Namespace) -> None:
    from rl_detector.conf.simulators import simulator_settings
    from rl_detector.report import write_report
    from rl_detector.running.display import print_validation, working
    from rl_detector.running.launch import validate_run

    folder = _find(options)
    chosen = folder.read_config().simulator
    if typed := options.simulator is not None or bool(options.settings):
        chosen = simulator_settings(options.simulator or chosen["name"], _pairs(options.settings))
    with working(f"simulating {options.events} events per design with {chosen['name']}"):
        rows: list[ValidatedDesign] = validate_run(folder, chosen, options.events, options.seed, typed or options.trust)
        write_report(folder)
    print_validation(rows)
    _name_report(folder)


def _report(options: argparse.Namespace) -> None:
    from rl_detector.report import write_report

    folder = _find(options)
    write_report(folder)
    _name_report(folder)


def _compare(options: argparse.Namespace) -> None:
    from rl_detector.comparison.session import compare, show

    if not options.tables:
        chosen = options.only_problems, options.only_agents
        compare(options.file, options.out, options.jobs, options.seeds, chosen, options.repeat, options.trust)
    for path in show(options.out):
        print(path)


def _sweep(options: argparse.Namespace) -> None:
    from rl_detector.sweeps.session import SweepSession, find_sweep
    from rl_detector.sweeps.table import print_sweep

    path = find_sweep(options.file)
    folder = options.out or Path("sweeps") / path.stem
    session = SweepSession.open(path, folder, options.jobs, options.runs, options.seed, options.track, options.trust)
    for note in session.sweep.ignored:
        print(note, file=sys.stderr)
    print(f"{session.search.total} trainings in {folder}", file=sys.stderr)
    runs = session.run(lambda run: print(f"run {run.number}: {run.state} {run.reason}".rstrip(), file=sys.stderr))
    print_sweep(runs, session.sweep.metric, session.sweep.maximize)
    print(folder / "results.csv")
    if any(run.failed for run in runs):
        raise SimulationError("some trainings failed, see their log.txt; the same command tries them again")


def _list(options: argparse.Namespace) -> None:
    from rl_detector.running.display import print_card, print_list

    if options.env is None:
        print_list()
    else:
        print_card(options.env)


def _find(options: argparse.Namespace) -> RunFolder:
    from rl_detector.records.run_folder import RunFolder

    return RunFolder.find(options.run, options.runs)


def _name_report(folder: RunFolder) -> None:
    print(f"report: {folder.report}")


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from rl_detector.errors import ConfigError

    for word in words:
        if "=" not in word:
            raise ConfigError(f"expected NAME=VALUE, got {word!r}")
    return {str(name): value for name, value in OmegaConf.from_dotlist(list(words)).items()}
