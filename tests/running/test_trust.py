"""Folders and files of strangers: what they name is shown and refused, what the user typed is remembered."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl_detector.claims import Claim, claims_of, evaluator_claims, simulator_claims
from rl_detector.cli import main
from rl_detector.comparison.session import compare
from rl_detector.errors import ConfigError, RunFolderError, TrustError
from rl_detector.records.run_folder import RunFolder
from rl_detector.running import trust
from rl_detector.running.trust import accept, trust_file
from rl_detector.simulators.command.simulator import CommandSimulator
from rl_detector.simulators.two_fidelities import TwoFidelities
from rl_detector.sweeps.file import read_sweep

PROGRAM = """
import json, pathlib, random, sys
pathlib.Path({marker!r}).touch()
if sys.argv[1] == "--version":
    print("1.0")
    raise SystemExit
layer = json.load(open(sys.argv[1]))["layer"][0]
random.seed(int(sys.argv[4]))
with open(sys.argv[2], "w") as file:
    file.write("energy,s0\\n")
    for _ in range(int(sys.argv[3])):
        energy = random.uniform(1, 20)
        file.write(f"{{energy!r}},{{energy * random.gauss(1, 0.1) * layer['scintillator_thickness'] / 50!r}}\\n")
"""
SMALL = [
    "env.layers=1", "agent=random_search", "budget.events=80", "budget.events_per_design=20",
    "budget.designs_per_batch=2", "held_out.events=20",
]  # fmt: skip
LAYER = {"absorber": "choice", "absorber_thickness": "cm", "scintillator": "choice", "scintillator_thickness": "cm"}


pytestmark = pytest.mark.usefixtures("quick_figures")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a state of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def marker(place: Path) -> Path:
    """Exists once a program was started."""
    return place / "started"


def write_program(folder: Path, marker: Path, **changes: Any) -> Path:
    """A description and its program."""
    folder.mkdir(exist_ok=True)
    (folder / "tool.py").write_text(PROGRAM.format(marker=str(marker)))
    start = [sys.executable, "-I", "-S", "{here}/tool.py"]
    description = {
        "name": "toy",
        "command": [*start, "{design}", "{output}", "{events}", "{seed}"],
        "version": [*start, "--version"],
        "conditions": {"photon_fraction": 0.5, "energy_low": 1.0, "energy_high": 20.0},
        "parameters": {f"layer[].{name}": unit for name, unit in LAYER.items()},
        "output": {"file": "out.csv", "truth": {"energy": "GeV"}, "signals": {"s0": "GeV"}},
        **changes,
    }
    (folder / "toy.yaml").write_text(json.dumps(description))
    return folder / "toy.yaml"


@pytest.fixture
def file(place: Path, marker: Path) -> Path:
    return write_program(place / "program", marker)


def call(*words: str) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program, a finished training with it, and what is then trusted."""
    folder = tmp_path_factory.mktemp("whole")
    file = write_program(folder / "program", folder / "started")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        assert call("train", *SMALL, "simulator=command", f"simulator.file={file}") == 0
    return folder


@pytest.fixture
def trained(whole: Path, place: Path) -> RunFolder:
    """A copy of the finished run, and of what is trusted."""
    shutil.copytree(whole / "runs", place / "work" / "runs")
    shutil.copytree(whole / "state", place / "state")
    return RunFolder.find("latest")


@pytest.fixture
def elsewhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this the account of somebody who has never trained anything."""
    return lambda: monkeypatch.setenv("XDG_STATE_HOME", str(place / "other_state"))


def change(folder: RunFolder, **groups: Any) -> None:
    """Edit the stored configuration, as a stranger may."""
    config = yaml.safe_load(folder.config.read_text())
    folder.config.write_text(yaml.safe_dump({**config, **groups}))


VALIDATE = ("validate", "latest", "--events", "20")


def test_what_was_typed_is_remembered(trained: RunFolder, whole: Path) -> None:
    assert (whole / "started").exists()
    assert stat.S_IMODE(trust_file().stat().st_mode) == 0o600
    (trained.path / "checkpoint.pt").unlink()
    assert call("resume", "latest") == 0
    assert call(*VALIDATE) == 0


@pytest.mark.parametrize("words", [("resume", "latest"), VALIDATE], ids=["resume", "validate"])
def test_a_strangers_folder_starts_nothing_until_it_is_trusted(
    trained: RunFolder, whole: Path, elsewhere: Callable[[], None], words: tuple[str, ...], capfd: Any
) -> None:
    elsewhere()
    marker = whole / "started"
    marker.unlink(missing_ok=True)
    stored = trained.validation.read_bytes()
    assert call(*words) == 2
    said = capfd.readouterr().err
    assert not marker.exists() and trained.validation.read_bytes() == stored
    assert f"described in {whole / 'program'}" in said and "{here}/tool.py" in said and "--version" in said
    assert "repeat the command with --trust" in said and str(trust_file()) in said and "Traceback" not in said
    assert call(*words, "--trust") == 0 and marker.exists()
    assert call(*words) == 0, "which is remembered"


def test_a_report_starts_nothing(trained: RunFolder, whole: Path, elsewhere: Callable[[], None]) -> None:
    elsewhere()
    marker = whole / "started"
    marker.unlink(missing_ok=True)
    stored = trained.read_config()
    change(trained, env={**stored.env, "simulator": stored.simulator})
    assert call("report", "latest") == 0
    assert not marker.exists()


def test_a_simulator_that_is_typed_counts_as_trusted(trained: RunFolder, whole: Path, elsewhere: Any) -> None:
    elsewhere()
    file = whole / "program" / "toy.yaml"
    assert call(*VALIDATE, "--simulator", "command", "--set", f"file={file}") == 0
    assert call(*VALIDATE) == 0


CHANGES: dict[str, Callable[[Path], object]] = {
    "program": lambda folder: (folder / "tool.py").write_text((folder / "tool.py").read_text() + "\n# more"),
    "command": lambda folder: edit(folder, "command", [sys.executable, "-I", "{here}/tool.py", "{events}{seed}"]),
    "environment": lambda folder: edit(folder, "environment", {"LD_PRELOAD": "./x.so"}),
    "version": lambda folder: edit(folder, "version", ["touch", "{here}/tool.py"]),
    "limits": lambda folder: edit(folder, "limits", {"timeout": 5}),
}


def edit(folder: Path, key: str, value: Any) -> None:
    description = json.loads((folder / "toy.yaml").read_text())
    (folder / "toy.yaml").write_text(json.dumps({**description, key: value}))


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_is_asked_for_again(file: Path, marker: Path, what: str) -> None:
    accept(CommandSimulator(file).claims(), trusted=True)
    accept(CommandSimulator(file).claims(), trusted=False)
    CHANGES[what](file.parent)
    with pytest.raises(TrustError, match="Nothing was started"):
        accept(CommandSimulator(file).claims(), trusted=False)
    assert not marker.exists()


def test_templates_and_the_folder_belong_to_it(place: Path, marker: Path) -> None:
    folder = place / "templated"
    folder.mkdir()
    (folder / "run.in").write_text("${events} ${seed}")
    command = ["bash", "{scratch}/run.sh"]
    file = write_program(folder, marker, templates={"run.sh": "run.in"}, command=command)
    accept(CommandSimulator(file).claims(), trusted=True)
    shutil.copytree(folder, place / "copy")
    with pytest.raises(TrustError, match=r"template: run\.sh from run\.in"):
        accept(CommandSimulator(place / "copy" / "toy.yaml").claims(), trusted=False)
    (folder / "run.in").write_text("touch evil ${events} ${seed}")
    with pytest.raises(TrustError):
        accept(CommandSimulator(file).claims(), trusted=False)


def test_a_simulator_of_two_claims_for_both(file: Path) -> None:
    command = CommandSimulator(file)
    assert claims_of(TwoFidelities(command, command, copies=1)) == [*command.claims(), *command.claims()]


def test_a_command_that_hides_is_a_claim() -> None:
    class Hides:
        """A simulator of another package that starts programs and does not say so."""

    nested = {"name": "both", "cheap": {"name": "command", "file": "x.yaml"}, "dear": {"name": "fast"}}
    for env, chosen in (({"name": "own"}, nested), ({"name": "own", "simulator": "command"}, None)):
        (claim,) = simulator_claims(env, chosen, Hides())
        assert "Hides with its own program" in claim.lines[0]
    assert simulator_claims({"name": "own"}, {"name": "fast"}, Hides()) == []


def test_what_is_shown_cannot_move_the_cursor() -> None:
    claim = Claim.of("x", "rm \x1b[2K\r\nls ü")
    assert claim.lines == ("rm \\x1b[2K\\r\\nls ü",)


# Evaluators

JOB = {"settings": {"job": {"job_script_prologue": ["touch evil"], "cores": 1}}}
DANGEROUS: dict[str, dict[str, Any]] = {
    "a stranger's scheduler": {"cluster": "tcp://203.0.113.1:8786", "workers": 1},
    "a scheduler file": {"cluster": "scheduler.json", "workers": 1},
    "text of a job": {"cluster": "slurm", "workers": 1, **JOB},
    "an open port": {"cluster": "htcondor", "workers": 1, "listen": "0.0.0.0"},
    "TLS of a stranger": {"cluster": "local", "settings": {"security": {"tls_ca_file": "ca.pem"}}},
    "no settings": {"cluster": "pbs"},
}


@pytest.mark.parametrize("case", DANGEROUS)
def test_batch_jobs_and_schedulers_are_programs_too(case: str) -> None:
    claims = evaluator_claims({"name": "dask", **DANGEROUS[case]})
    with pytest.raises(TrustError, match=r"evaluator: dask\n.*cluster"):
        accept(claims, trusted=False)
    accept(claims, trusted=True)
    accept(claims, trusted=False)
    other = evaluator_claims({"name": "dask", **DANGEROUS[case], "group": 3})
    with pytest.raises(TrustError):
        accept(other, trusted=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "serial"},
        {"name": "local", "workers": 2},
        {"name": "dask", "cluster": "local", "settings": {"job": {}}},
    ],
)
def test_harmless_evaluators_need_no_trust(settings: dict[str, Any]) -> None:
    accept(evaluator_claims(settings), trusted=False)
    assert not trust_file().exists()


def test_the_same_name_of_another_file_is_another_claim(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("mine", "yours"):
        (place / name).mkdir()
        (place / name / "scheduler.json").write_text("{}")
        monkeypatch.chdir(place / name)
        found += evaluator_claims({"name": "dask", "cluster": "scheduler.json", "workers": 1})
    assert found[0].digest != found[1].digest


def test_resume_does_not_call_a_strangers_scheduler(plain: RunFolder, place: Path, capfd: Any) -> None:
    folder = RunFolder(place / "copy")
    shutil.copytree(plain.path, folder.path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        change(folder, evaluator={"name": "dask", "cluster": address, "workers": 1}, budget=bigger(folder))
        assert call("resume", str(folder.path)) == 2
        with pytest.raises(TimeoutError):
            server.accept()
    assert f'cluster: "{address}"' in capfd.readouterr().err


def bigger(folder: RunFolder) -> dict[str, Any]:
    return {**asdict(folder.read_config().budget), "events": 800}


# Other ways into a configuration

TOUCH = "touch {marker}"
HOSTILE: dict[str, dict[str, Any]] = {
    "module as environment": {"env": {"name": "os:system"}},
    "path as environment": {"env": {"name": "../evil"}},
    "module as agent": {"agent": {"name": "os:system"}},
    "target of an agent": {"agent": {"name": "random_search", "_target_": "os.system", "_args_": [TOUCH]}},
    "target of an environment": {"env": {"name": "calorimeter", "_target_": "os.system", "command": TOUCH}},
    "target as simulator": {"simulator": {"name": "fast", "_target_": "os.system", "command": TOUCH}},
    "module as evaluator": {"evaluator": {"name": "os:system"}},
    "target of the whole": {"_target_": "os.system", "command": TOUCH},
    "resolver": {"runs": "${oc.env:HOME}"},
    "resolver in a list": {"agent": {"name": "policy_gradient", "without": ["${oc.env:HOME}"]}},
    "resolver for a number": {"seed": "${oc.decode:1}"},
    "hydra": {"hydra": {"callbacks": {"evil": {"_target_": "os.system", "command": TOUCH}}}},
    "start elsewhere": {"start": "../../elsewhere"},
    "start as list": {"start": ["x"]},
    "tracker with a folder": {"tracker": {"name": "wandb", "folder": "/tmp/evil"}},
    "judge": {"judge": {"name": "os:system"}},
    "contexts": {"contexts": {"cost_weight": ["${oc.env:HOME}", 1]}},
    "group as text": {"simulator": "os.system"},
    "nested simulators": {"simulator": {"name": "two_fidelities", "cheap": {"name": "os:system"}, "dear": 1}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run without any program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        assert call("train", *SMALL) == 0
        return RunFolder(RunFolder.find("latest").path.resolve())


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_configurations_execute_nothing(
    case: str, plain: RunFolder, place: Path, marker: Path, capfd: Any
) -> None:
    copy = place / "copy"
    shutil.copytree(plain.path, copy)
    groups = json.loads(json.dumps(HOSTILE[case]).replace("{marker}", str(marker)))
    change(RunFolder(copy), **groups)
    assert call("resume", str(copy)) == 2
    assert "Traceback" not in capfd.readouterr().err
    if case.startswith(("target", "hydra")):
        assert call("report", str(copy)) in (0, 2)
    assert not marker.exists() and not Path("/tmp/evil").exists()


def test_interpolations_never_meet_the_environment(plain: RunFolder, place: Path) -> None:
    shutil.copytree(plain.path, place / "copy")
    change(RunFolder(place / "copy"), tracker={"name": "off", "note": "${oc.env:HOME}"})
    with pytest.raises(RunFolderError, match=r"an interpolation \(\$\{oc.env:HOME\}\)"):
        RunFolder(place / "copy").read_config()


def test_yaml_tags_are_refused(plain: RunFolder, place: Path, marker: Path) -> None:
    shutil.copytree(plain.path, place / "copy")
    config = place / "copy" / "config.yaml"
    config.write_text(config.read_text() + f"start: !!python/object/apply:os.system ['touch {marker}']\n")
    for command in ("resume", "report"):
        assert call(command, str(place / "copy")) == 2
    assert not marker.exists()


# The file of what is trusted

CLAIM = Claim.of("facts", "a program")


def test_a_file_that_others_can_write_is_not_believed() -> None:
    accept([CLAIM], trusted=True)
    trust_file().chmod(0o666)
    with pytest.warns(UserWarning, match="others can write it"), pytest.raises(TrustError):
        accept([CLAIM], trusted=False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 9, "trusted": {"D": []}}', "[" * 10**5])
def test_a_damaged_file_trusts_nobody_and_is_made_anew(text: str) -> None:
    trust_file().parent.mkdir(parents=True)
    trust_file().write_text(text.replace("D", CLAIM.digest))
    with pytest.raises(TrustError):
        accept([CLAIM], trusted=False)
    accept([CLAIM], trusted=True)
    accept([CLAIM], trusted=False)


def test_many_at_once_forget_nothing() -> None:
    claims = [Claim.of(number, str(number)) for number in range(20)]
    threads = [threading.Thread(target=accept, args=([claim], True)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accept(claims, trusted=False)


def test_a_home_that_cannot_be_written_does_not_stop_a_training(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file"))
    with pytest.warns(UserWarning, match="will ask for --trust"):
        accept([CLAIM], trusted=True)
    with pytest.raises(TrustError):
        accept([CLAIM], trusted=False)


def test_where_it_is_remembered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust_file() == place / "state" / "rl_detector" / "trusted.json"
    monkeypatch.setenv("HOME", str(place))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert trust_file() == place / ".local" / "state" / "rl_detector" / "trusted.json"
    assert trust.FORMAT == 1


# Sweeps and comparisons: files with settings that nobody typed


def sweep_file(folder: Path, words: list[str], parameters: dict[str, Any]) -> Path:
    command = ["${env}", "${interpreter}", "-m", "rl_detector", "train", *words, "${args_no_hyphens}"]
    whole = {"command": command, "method": "grid", "metric": {"name": "reward"}, "parameters": parameters}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(whole))
    return folder / "sweep.yaml"


def test_a_sweep_starts_and_resumes_only_what_is_trusted(file: Path, marker: Path, place: Path) -> None:
    words = [*SMALL, "simulator=command", f"simulator.file={file}"]
    path = sweep_file(place, words, {"seed": {"values": [0]}})
    start = ("sweep", str(path), "--out", str(place / "out"))  # whose trainings are processes of their own
    assert call(*start) == 2 and not marker.exists()
    (log,) = (place / "out").glob("runs/*/log.txt")
    assert "repeat the command with --trust" in log.read_text()
    assert not list((place / "out").glob("runs/*/*/config.yaml")), "a refused training leaves no run behind"
    assert call(*start, "--trust") == 0
    assert marker.exists()


EVIL = ["+hydra.callbacks.evil._target_=os.system", "hydra/launcher=joblib", "--config-dir=evil", "-m", "-cd", "env"]
EVIL += ["hydra.sweeper._target_=os.system", "env=../../evil", "experiment=/evil", "simulator@hydra.callbacks=evil"]
EVIL += ["~hydra.x", "+hydra={callbacks: {}}", "seed"]


@pytest.mark.parametrize("word", EVIL)
def test_sweeps_have_settings_and_no_words_of_hydra(word: str, place: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes settings such as agent\.sigma"):
        read_sweep(sweep_file(place, [word], {"seed": {"values": [0]}}))
    name, _, value = word.partition("=")
    with pytest.raises(ConfigError, match=r"takes settings such as agent\.sigma"):
        read_sweep(sweep_file(place, [], {name if "=" in word else f"{word} ": {"values": [value]}}))


def test_settings_of_sweeps_may_hold_paths(place: Path) -> None:
    words = ["simulator.file=../program/toy.yaml", "runs=/data/runs", "start=runs/best", "+agent.sigma=0.1"]
    assert read_sweep(sweep_file(place, words, {"seed": {"values": [0]}})).words == tuple(words)


def test_a_comparison_starts_only_what_is_trusted(file: Path, marker: Path, place: Path) -> None:
    problem = {"label": "toy", "env": {"name": "calorimeter", "layers": 1}, "events": 80, "events_per_design": 20}
    simulator = {"name": "command", "file": str(file)}
    agents = [{"label": "random", "agent": {"name": "random_search"}}]
    whole = {"problems": [{**problem, "simulator": simulator}], "agents": agents, "reference": "random", "seeds": 1}
    (place / "compare.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(TrustError, match="repeat the command with --trust"):
        compare(place / "compare.yaml", place / "out")
    assert not marker.exists() and not (place / "out").exists()
