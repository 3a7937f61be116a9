"""A user's executable as a simulator: good runs in every format, all failures, and attacks that must not succeed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_detector.assembly import build_evaluator, build_problem
from rl_detector.checks.problems import check_problem, check_simulator
from rl_detector.conf.schema import Config
from rl_detector.errors import ConfigError, MissingDependency, SimulationError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.simulators.command import files as command_files
from rl_detector.simulators.command import scratch as command_scratch
from rl_detector.simulators.command.inputs import plain_design
from rl_detector.simulators.command.needs import Needs
from rl_detector.simulators.command.simulator import CommandSimulator, command_simulator
from rl_detector.simulators.command.units import UNITS, factor
from rl_detector.space import DesignSpace, Repeated
from rl_detector.terms import Group

HONEST = """
import json, random, sys
design, output, events, seed = sys.argv[1:5]
x, material = (json.load(open(design))[name] for name in ("x", "material"))
random.seed(int(seed))
with open(output, "w") as file:
    file.write("energy [MeV],s0,s1\\n")
    for _ in range(int(events)):
        energy = random.uniform(1000, 2000)
        file.write(f"{energy!r},{x * random.gauss(1, 0.1)!r},{(material == 'Pb') + random.random()!r}\\n")
"""
DESIGN = {"x": 2.0, "material": "Pb"}
SPACE = DesignSpace((Continuous("x", 0.5, 4.0, "mm"), Categorical("material", ("Pb", "PbWO4"))))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder in which scratch folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the program and its description; `changes` replace keys, None removes one."""

    def written(code: str = HONEST, **changes: Any) -> Path:
        (tmp_path / "tool.py").write_text(code)
        arguments = ["{design}", "{output}", "{events}", "{seed}"]
        description: dict[str, Any] = {
            "name": "toy",
            "command": [sys.executable, "-I", "-S", "{here}/tool.py", *arguments],
            "parameters": {"x": "mm", "material": "choice"},
            "output": {"file": "out.csv", "truth": {"energy": "MeV"}, "signals": {"s0": "mm", "s1": "number"}},
            "limits": {"timeout": 30},
            **changes,
        }
        path = tmp_path / "toy.yaml"
        path.write_text(json.dumps({key: value for key, value in description.items() if value is not None}))
        return path

    return written


def failure(file: Path, events: int = 5, design: Any = None) -> str:
    """Simulate a trial that must fail; return its reason."""
    with pytest.raises(SimulationError) as caught:
        CommandSimulator(file).simulate(DESIGN if design is None else design, events, 1)
    return str(caught.value)


# Good runs


def test_the_contract_of_a_simulator(write: Callable[..., Path], scratch: Path) -> None:
    simulator = CommandSimulator(write(), Needs(SPACE, {"energy": "GeV"}, channels=None), workers=2)
    check_simulator(simulator, [DESIGN, {"x": 1.0, "material": "PbWO4"}], events=5)
    assert list(scratch.iterdir()) == [], "folders of good runs are removed"


def test_what_comes_back(write: Callable[..., Path]) -> None:
    readout = CommandSimulator(write(), Needs(SPACE, {"energy": "GeV"})).simulate(DESIGN, 50, 3)
    assert readout.signals.shape == (50, 2)
    assert readout.signals.dtype == np.float64
    assert 1.5 < readout.signals[:, 0].mean() < 2.5
    assert np.all((readout.truth["energy"] >= 1) & (readout.truth["energy"] <= 2)), "MeV became GeV"
    assert np.all((readout.signals[:, 1] >= 1) & (readout.signals[:, 1] <= 2)), "the material arrived"


def test_many_at_once_are_the_same_as_one_by_one(write: Callable[..., Path]) -> None:
    file = write()
    designs = [{"x": 1.0 + index / 4, "material": "Pb"} for index in range(6)]
    one, four = CommandSimulator(file, workers=1), CommandSimulator(file, workers=4)
    for single, batched in zip(
        one.simulate_batch(designs, 3, range(6)), four.simulate_batch(designs, 3, range(6)), strict=True
    ):
        np.testing.assert_array_equal(single.signals, batched.signals)  # type: ignore[union-attr]
    assert four.simulate_batch([], 3, []) == []


def test_a_failure_does_not_touch_the_others_of_its_batch(write: Callable[..., Path]) -> None:
    simulator = CommandSimulator(write("import sys\n" + "if '3.0' in open(sys.argv[1]).read(): sys.exit(4)\n" + HONEST))
    designs = [{"x": x, "material": "Pb"} for x in (2.0, 3.0, 4.0)]
    outcomes = simulator.simulate_batch(designs, 3, [1, 2, 3])
    assert [isinstance(outcome, SimulationError) for outcome in outcomes] == [False, True, False]


def test_workers_run_at_the_same_time(write: Callable[..., Path]) -> None:
    """Two trials that wait for each other both succeed."""
    meet = """
import os, time
open(os.path.join(os.path.dirname(os.getcwd()), "here-" + os.path.basename(os.getcwd())), "w").close()
end = time.time() + 20
while sum(name.startswith("here-") for name in os.listdir("..")) < 2:
    if time.time() > end: raise SystemExit("alone")
    time.sleep(0.01)
"""
    outcomes = CommandSimulator(write(meet + HONEST), workers=2).simulate_batch([DESIGN] * 2, 2, [1, 2])
    assert not any(isinstance(outcome, SimulationError) for outcome in outcomes)


def test_it_can_be_sent_to_another_process(write: Callable[..., Path]) -> None:
    simulator = CommandSimulator(write(), Needs(SPACE, {"energy": "GeV"}))
    sent = pickle.loads(pickle.dumps(simulator))
    np.testing.assert_array_equal(sent.simulate(DESIGN, 4, 9).signals, simulator.simulate(DESIGN, 4, 9).signals)


COLUMNS = {"energy": np.linspace(1.0, 2.0, 4), "s": np.arange(8.0).reshape(4, 2), "t": np.arange(4)}


def json_columns(path: Path) -> None:
    path.write_text(json.dumps({name: column.tolist() for name, column in COLUMNS.items()}))


def json_events(path: Path) -> None:
    rows = [{name: column[index].tolist() for name, column in COLUMNS.items()} for index in range(4)]
    path.write_text(json.dumps(rows))


def npz(path: Path) -> None:
    np.savez_compressed(path, **COLUMNS)  # type: ignore[arg-type]


def parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: column.tolist() for name, column in COLUMNS.items()}), path)


def parquet_fixed(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"s": pa.array(COLUMNS["s"].tolist(), pa.list_(pa.float32(), 2))}
    pq.write_table(pa.table({"energy": COLUMNS["energy"], "t": COLUMNS["t"], **columns}), path)


def root(path: Path) -> None:
    import uproot

    with uproot.recreate(path) as file:
        file.mktree("events", {name: np.dtype((column.dtype, column.shape[1:])) for name, column in COLUMNS.items()})
        file["events"].extend(COLUMNS)


WRITERS = {
    "json_columns": (json_columns, "json"),
    "json_events": (json_events, "json"),
    "npz": (npz, "npz"),
    "parquet": (parquet, "parquet"),
    "parquet_fixed": (parquet_fixed, "parquet"),
    "root": (root, "root"),
}


def copies(write: Callable[..., Path], kind: str, **output: Any) -> Path:
    """Write a program that copies a prepared file to its output."""
    copy = "import shutil, sys\nshutil.copy(sys.argv[3], sys.argv[2])"
    arguments = ["{design}", "{output}", "{here}/prepared", "{events}", "{seed}"]
    entries = {"file": f"out.{kind}", "truth": {"energy": "GeV"}, "signals": {"s": "mm", "t": "number"}, **output}
    return write(copy, command=[sys.executable, "-I", "-S", "{here}/tool.py", *arguments], output=entries)


@pytest.mark.parametrize("case", WRITERS)
def test_every_format(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    writer, kind = WRITERS[case]
    suffixed = tmp_path / f"prepared.{kind}"
    writer(suffixed)
    suffixed.rename(tmp_path / "prepared")
    simulator = CommandSimulator(copies(write, kind), Needs(truth={"energy": "MeV"}, channels=3))
    readout = simulator.simulate(DESIGN, 4, 1)
    np.testing.assert_allclose(readout.truth["energy"], 1e3 * COLUMNS["energy"], rtol=1e-15)
    np.testing.assert_array_equal(readout.signals, np.column_stack([COLUMNS["s"], COLUMNS["t"]]))
    assert "the output has 4 events of" in failure(copies(write, kind), events=5)
    assert "the output has no column 'absent'" in failure(copies(write, kind, signals={"absent": "mm"}), events=4)
    (tmp_path / "prepared").write_bytes(b"\x93garbage" * 20)
    assert f"cannot read out.{kind} as {kind}" in failure(copies(write, kind), events=4)
    (tmp_path / "prepared").write_bytes(b"")
    assert "is empty" in failure(copies(write, kind), events=4)


@pytest.mark.parametrize("kind", ["json", "parquet", "npz"])
def test_a_unit_in_the_file_must_be_that_of_the_description(
    write: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    columns = {"energy [keV]": COLUMNS["energy"], "s": np.arange(4.0)}
    prepared = tmp_path / f"prepared.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), prepared)
    elif kind == "npz":
        np.savez(prepared, **columns)  # type: ignore[arg-type]
    else:
        prepared.write_text(json.dumps({name: column.tolist() for name, column in columns.items()}))
    prepared.rename(tmp_path / "prepared")
    wrong = copies(write, kind, signals={"s": "mm"}, truth={"energy": "GeV"})
    assert "says that energy is in keV, the description says GeV" in failure(wrong, events=4)
    right = copies(write, kind, signals={"s": "mm"}, truth={"E": {"column": "energy", "unit": "keV"}})
    readout = CommandSimulator(right, Needs(truth={"E": "MeV"})).simulate(DESIGN, 4, 0)
    np.testing.assert_allclose(readout.truth["E"], COLUMNS["energy"] / 1e3, rtol=1e-15)


def test_the_title_of_a_root_branch_states_its_unit() -> None:
    assert command_files.name_and_unit("energy of the primary [MeV]") == ("energy of the primary", "MeV")
    assert command_files.name_and_unit("hits[10]/D") == ("hits[10]/D", None)


# Failures


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no field map')", r"toy: exit code 1; stderr: no field map; files kept in "),
        ("import os; os.kill(os.getpid(), 11)", r"killed by signal 11 \(SIGSEGV\)"),
        ("import os; os.killpg(0, 9)", "killed from outside"),
        ("pass", "exit code 0, but no output file out.csv"),
        ("open('out.csv', 'w')", r"the output file out.csv is empty"),
        ("import os; os.mkdir('out.csv')", "not a regular file"),
        ("import os; os.mkfifo('out.csv')", "not a regular file"),
        ("import os; os.symlink('/dev/zero', 'out.csv')", "not a regular file"),
        ("open('out.csv', 'wb').write(bytes(range(256)) * 9)", "out.csv: cannot read what follows line 0 as text"),
        (HONEST.replace("int(events)", "int(events) - 1"), "the output has 4 events of all columns, expected 5"),
        (HONEST.replace("int(events)", "int(events) + 1"), "the output has 6 events of all columns, expected 5"),
        (HONEST.replace("int(events)", "0"), "the output has 0 events of all columns, expected 5"),
        (HONEST.replace("{energy!r}", "nan"), "5 values of energy are NaN or infinite"),
        (HONEST.replace("{energy!r}", "-inf"), "5 values of energy are NaN or infinite"),
        (HONEST.replace("{energy!r}", "high"), r"out.csv: line 2, column energy \[MeV\]: 'high' is no number"),
        (HONEST.replace("s0,s1", "s0,s2"), "the output has no column 's1': it has energy, s0, s2"),
        (HONEST.replace("s0,s1", "s0,s1,s1"), "2 columns 's1'"),
        (HONEST.replace("[MeV]", "[GeV]"), "says that energy is in GeV, the description says MeV"),
        (HONEST + "    file.seek(file.tell() - 1); file.truncate()", "the file is cut"),
        ("open('big', 'wb').write(bytes(3_000_000))", "limits.megabytes"),
        ("import time\nfor i in range(99): open(f'big{i}', 'wb').write(bytes(500_000)); time.sleep(.05)", "limits.meg"),
        ("import sys\nwhile True: sys.stdout.write('x' * 10000)", "limits.megabytes"),
        ("import sys, time\nsys.stderr.write('still alive'); sys.stderr.flush(); time.sleep(60)",
         "no end within 2 s; make limits.timeout longer if it needs more; stderr: still alive"),
    ],
)  # fmt: skip
def test_every_failure_has_its_reason(write: Callable[..., Path], code: str, reason: str) -> None:
    """The folder of a failed trial is kept, and the reason says where."""
    with pytest.raises(SimulationError, match=reason) as caught:
        CommandSimulator(write(code, limits={"timeout": 2, "megabytes": 2})).simulate(DESIGN, 5, 1)
    kept = Path(str(caught.value).rpartition("files kept in ")[2])
    assert json.loads((kept / "design.json").read_text()) == DESIGN


def test_only_some_folders_are_kept(write: Callable[..., Path], scratch: Path) -> None:
    simulator = CommandSimulator(write("1 / 0", limits={"timeout": 9, "kept_failures": 2}))
    outcomes = simulator.simulate_batch([DESIGN] * 4, 5, range(4))
    assert all("ZeroDivisionError" in str(outcome) for outcome in outcomes)
    assert len(list(scratch.iterdir())) == 2
    assert all(str(folder) in str(outcomes) for folder in scratch.iterdir())


def test_kept_folders_are_limited_over_all_simulators(write: Callable[..., Path], scratch: Path) -> None:
    file = write("1 / 0", limits={"timeout": 9, "kept_failures": 3})
    for seed in range(5):
        CommandSimulator(file).simulate_batch([DESIGN], 5, [seed])
    assert len(list(scratch.iterdir())) == 3


def test_old_large_and_abandoned_folders_are_removed(scratch: Path) -> None:
    large, older, dead, alive = (command_scratch.make(scratch) for _ in range(4))
    for folder, age in ((large, 1000), (older, 8 * 86_400)):
        (folder / command_scratch.MARK).touch()
        os.utime(folder / command_scratch.MARK, (time.time() - age,) * 2)
    with (large / "hits").open("wb") as file:
        file.truncate(command_scratch.LARGEST + 1)  # a sparse file, which takes no room
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = dead.rename(dead.with_name(dead.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")))
    for folder in (dead, alive):
        os.utime(folder, (time.time() - 2 * command_scratch.ABANDONED,) * 2)
    command_scratch.prune(scratch, 20)
    assert set(scratch.iterdir()) == {large, alive}  # the newest failure stays at any size
    newest = command_scratch.make(scratch)
    assert command_scratch.keep(newest, 20)
    assert set(scratch.iterdir()) == {newest, alive}


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
def test_what_leaves_its_session_is_ended_too(write: Callable[..., Path], tmp_path: Path) -> None:
    code = f"""import os, subprocess
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
os._exit(3)"""
    assert "exit code 3" in failure(write(code))
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_long_and_wild_messages_are_cut_and_printable(write: Callable[..., Path]) -> None:
    reason = failure(write("import sys\nsys.stderr.write('\\x1b[31m' + 'a' * 100_000 + '\\x00end'); sys.exit(3)"))
    assert "exit code 3; stderr: " in reason
    assert len(reason) < 2000
    assert reason.isprintable()


def test_the_scratch_folder_can_be_chosen(write: Callable[..., Path], tmp_path: Path) -> None:
    assert f"files kept in {tmp_path / 'mine'}" in failure(write("1 / 0", scratch="mine"))


def test_an_executable_that_the_system_cannot_run(write: Callable[..., Path], tmp_path: Path) -> None:
    script = tmp_path / "noformat"
    script.write_text("neither a binary nor a script")
    script.chmod(0o755)
    assert "cannot start" in failure(write(command=["{here}/noformat", "{events}", "{seed}"]))


def test_a_missing_library_is_said_before_anything_runs(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"reading root needs uproot: pip install 'rl_detector\[root\]'"):
        CommandSimulator(write(output={"file": "x.root", "signals": {"s": "mm"}}))


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


FAMILY = """
import os, subprocess, sys, time
deaf = "import signal, time; signal.signal(15, 1); time.sleep(300)"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf])
with open(os.environ["PIDS"] + ".part", "w") as file: print(os.getpid(), child.pid, file=file)
os.rename(os.environ["PIDS"] + ".part", os.environ["PIDS"])
"""
"""Program with a child that ignores SIGTERM."""


def pids(path: Path, seconds: float = 20.0) -> list[int]:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return [int(word) for word in path.read_text().split()]


@pytest.mark.parametrize("ending", ["time.sleep(300)", "sys.exit(5)", ""])
def test_nothing_is_left_running(write: Callable[..., Path], tmp_path: Path, ending: str) -> None:
    """No process is left after a timeout, a failure, or a good run that left a child behind."""
    family = FAMILY + (ending or HONEST)
    file = write(family, environment={"PIDS": str(tmp_path / "pids")}, limits={"timeout": 2})
    outcome = CommandSimulator(file).simulate_batch([DESIGN], 3, [1])[0]
    assert isinstance(outcome, SimulationError) is bool(ending)
    assert all(gone(pid) for pid in pids(tmp_path / "pids"))


def test_nothing_is_left_when_the_parent_is_killed(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(FAMILY + "time.sleep(300)", environment={"PIDS": str(tmp_path / "pids")})
    code = (
        "from rl_detector.simulators.command.simulator import CommandSimulator\n"
        f"CommandSimulator({str(file)!r}).simulate({DESIGN!r}, 3, 1)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        running = pids(tmp_path / "pids")
        assert all(alive(pid) for pid in running)
        parent.kill()
    assert all(gone(pid) for pid in running)


def test_ctrl_c_ends_the_whole_batch(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(FAMILY + "time.sleep(300)", environment={"PIDS": str(tmp_path / "pids")})
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rl_detector.simulators.command.simulator import CommandSimulator\n"
        f"CommandSimulator({str(file)!r}, workers=2).simulate_batch([{DESIGN!r}] * 9, 3, range(9))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment) as parent:
        running = pids(tmp_path / "pids")
        parent.send_signal(signal.SIGINT)
        assert parent.stderr is not None
        assert "KeyboardInterrupt" in parent.communicate(timeout=20)[1]
    assert all(gone(pid) for pid in running)
    assert not list((tmp_path / "scratch").iterdir()), "an interrupted batch leaves no folders"


# Attacks


@pytest.mark.parametrize(
    "text",
    ["; touch owned", "$(touch owned)", "`touch owned`", "../../etc/passwd", "a/b", "a..b", "-rf", "{0.__class__}",
     "{seed}", "${seed}", "%s", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "a b", "a\nb", "a\0b", "", "é", "x" * 65],
)  # fmt: skip
def test_values_of_a_design_stay_data(write: Callable[..., Path], scratch: Path, text: str) -> None:
    ran = "open(sys.argv[2] + '.ran', 'w')\n" + HONEST
    file = write("import sys\n" + ran)
    assert "a choice that goes to an executable must be" in failure(file, design={"x": 1.0, "material": text})
    assert "letters, digits, _ and -" in failure(file, design={"x": 1.0, "material": "Pb", f"{text}!": 1.0})
    assert not list(scratch.parent.rglob("*.ran")), "nothing ran"
    space = DesignSpace((SPACE.parameters[0], Categorical("material", ("Pb", text))))
    with pytest.raises(ConfigError, match="a choice that goes to an executable must be"):
        CommandSimulator(file, Needs(space))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, object(), b"x", {1, 2}, np.zeros(2)])
def test_values_that_are_no_data_are_refused(write: Callable[..., Path], value: Any) -> None:
    assert "design.x must be a finite number" in failure(write(), design={"x": value, "material": "Pb"})


def test_numpy_numbers_and_nested_designs_are_plain_json() -> None:
    design = {"layer": ({"z": np.float32(0.5), "n": np.int64(3)},), "kind": "G4_Si"}
    plain = plain_design(design)
    assert plain == {"layer": [{"z": 0.5, "n": 3}], "kind": "G4_Si"}
    assert json.loads(json.dumps(plain)) == plain
    assert type(plain["layer"][0]["n"]) is int


def test_a_design_of_another_problem_is_refused(write: Callable[..., Path]) -> None:
    assert "the design has 'y', the description only x, material" in failure(write(), design={**DESIGN, "y": 1.0})
    assert "the design lacks 'material'" in failure(write(), design={"x": 1.0})


def test_no_shell_reads_the_command(write: Callable[..., Path], scratch: Path) -> None:
    arguments = ["{design}", "{output}", "{events}", "{seed}", "; touch owned", "$(touch owned)", "*"]
    show = HONEST + "json.dump(sys.argv[5:], open('words.json', 'w')); sys.exit(9)"
    file = write(show, command=[sys.executable, "-I", "-S", "{here}/tool.py", *arguments])
    assert "exit code 9" in failure(file)
    (kept,) = scratch.iterdir()
    assert json.loads((kept / "words.json").read_text()) == arguments[4:]
    assert not list(scratch.parent.rglob("owned"))


def test_it_is_told_its_own_seed(write: Callable[..., Path], scratch: Path) -> None:
    """The seed fits into the program's bits, is equal for equal seeds, and differs for different ones."""
    note = "import sys\nsys.exit(sys.argv[4])"
    seen = {}
    for bits in (16, 31, 63):
        file = write(note, seed_bits=bits)
        simulator = CommandSimulator(file)
        found = [str(each) for each in simulator.simulate_batch([DESIGN] * 4, 5, [7, 7, 8, 2**62])]
        seen[bits] = [int(text.split("stderr: ")[1].split(";")[0]) for text in found]
        assert all(1 <= number < 2**bits for number in seen[bits])
        assert seen[bits][0] == seen[bits][1]
        assert len(set(seen[bits])) == 3
    assert seen[63][0] > 2**31


# Templates


TEMPLATED = DesignSpace((Repeated("plane", DesignSpace((Continuous("z", 0, 9, "mm"), Integer("n", 1, 5))), 1, 3),))


def templated(write: Callable[..., Path], tmp_path: Path, text: str, **changes: Any) -> Path:
    (tmp_path / "run.in").write_text(text)
    show = "import sys\nsys.exit(open(sys.argv[1] + '/run.mac').read())"
    command = [sys.executable, "-I", "-S", "{here}/tool.py", "{scratch}", "{events}", "{seed}"]
    parameters = {"plane[].z": "mm", "plane[].n": "number"}
    return write(show, command=command, parameters=parameters, templates={"run.mac": "run.in"}, **changes)


def test_templates_are_filled_once_with_numbers_that_read_back(write: Callable[..., Path], tmp_path: Path) -> None:
    text = "/z ${design.plane[0].z} {alias} $$5 <n>${design.plane[0].n}</n> ${design.plane.count} ${events} ${output}"
    reason = failure(templated(write, tmp_path, text), design={"plane": [{"z": 1 / 3, "n": 2}]})
    assert f"stderr: /z {1 / 3!r} {{alias}} $5 <n>2</n> 1 5 out.csv;" in reason
    reason = failure(templated(write, tmp_path, "${design.plane[1].z}"), design={"plane": [{"z": 1.0, "n": 2}]})
    assert "template run.mac: this design has no ${design.plane[1].z}" in reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${design.plane[0].thickness}", r"\$\{design.plane\[0\].thickness\} is unknown: known are"),
        ("${design.__class__}", "is unknown"),
        ("${design.plane[0].z.real}", "is unknown"),
        ("$seed", r"a \$ begins no placeholder"),
        ("${seed!r}", r"a \$ begins no placeholder"),
        ("${}", r"a \$ begins no placeholder"),
    ],
)
def test_a_template_that_asks_for_what_is_not_there(
    write: Callable[..., Path], tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        CommandSimulator(templated(write, tmp_path, text), Needs(TEMPLATED))


# The description


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"comand": []}, "unknown setting description.comand: known are name, command, parameters, output"),
        ({"limits": {"time": 3}}, "unknown setting limits.time: known are timeout, timeout_per_event, megabytes"),
        ({"output": {"file": "a.csv", "signal": {}}}, "unknown setting output.signal: known are file, signals, truth"),
        ({"output": {"file": "a.csv", "signals": {"s": {"unit": "mm", "colum": "a"}}}},
         "unknown setting output.signals.s.colum: known are unit, column"),
        ({"output": {"file": "a.csv", "signals": {"s": {"column": "a"}}}}, "output.signals.s lacks the key 'unit'"),
        ({"name": None}, "description lacks the key 'name'"),
        ({"command": "rm -rf /"}, "description.command: Input should be a valid list"),
        ({"command": []}, "command must begin with an executable"),
        ({"command": ["no-such-program", "{events}", "{seed}"]}, "no executable 'no-such-program' .in PATH."),
        ({"command": ["{here}/no-such-program", "{events}", "{seed}"]}, "does not exist"),
        ({"command": ["./tool.py", "{events}", "{seed}"]}, "no executable './tool.py'"),
        ({"command": ["{design}", "{events}", "{seed}"]}, r"unknown placeholder \{design\}: known are \{here\}"),
        ({"command": [sys.executable, "{0.__class__}"]}, r"unknown placeholder \{0.__class__\}: known are \{here\}, "),
        ({"command": [sys.executable, "{design.x}"]}, r"unknown placeholder \{design.x\}"),
        ({"command": [sys.executable, "{seed!r}"]}, r"unknown placeholder \{seed!r\}"),
        ({"command": [sys.executable, "{{seed}}"]}, "belongs to no placeholder"),
        ({"command": [sys.executable, "{here}/absent.py"]}, "does not exist"),
        ({"command": [sys.executable, "a\0b"]}, "zero byte"),
        ({"command": [sys.executable, "{seed}"]}, "neither the command nor a template passes on 'events'"),
        ({"command": [sys.executable, "{events}"]}, "neither the command nor a template passes on 'seed'"),
        ({"output": {"file": "../out.csv", "signals": {"s": "mm"}}}, "expected a plain file name"),
        ({"output": {"file": "design.json", "signals": {"s": "mm"}}}, "expected a plain file name"),
        ({"output": {"file": "out.pickle", "signals": {"s": "mm"}}}, "no suffix of a known format: json, csv, npz"),
        ({"output": {"file": "out.csv", "format": "pickle", "signals": {"s": "mm"}}}, "output.format: Input should be"),
        ({"output": {"file": "out.csv", "signals": {}}}, "output.signals must name at least one column"),
        ({"output": {"file": "out.csv", "signals": {"s": "parsec"}}}, "unknown unit 'parsec': known are number:"),
        ({"templates": {"../x": "toy.yaml"}}, "expected a plain file name"),
        ({"templates": {"out.csv": "toy.yaml"}}, "out.csv is the output file"),
        ({"templates": {"x": "absent.in"}}, "cannot read the template"),
        ({"templates": {"x": "/dev/zero"}}, "not a regular file"),
        ({"environment": {"A=B": "c"}}, "cannot be a variable"),
        ({"name": "a/b"}, "name must be letters"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"workers": "many"}, "description.workers: Input should be a valid integer"),
        ({"seed_bits": 8}, "seed_bits must be 16 to 63"),
        ({"limits": {"timeout": 0}}, "limits.timeout must be positive"),
        ({"limits": {"kept_failures": -1}}, "limits.kept_failures must be finite and >= 0"),
        ({"limits": 5}, "limits must be keys and values, got 5"),
    ],
)  # fmt: skip
def test_mistakes_in_the_description(write: Callable[..., Path], changes: dict[str, Any], reason: str) -> None:
    file = write(**changes)
    with pytest.raises(ConfigError, match=reason) as caught:
        CommandSimulator(file)
    assert str(file) in str(caught.value), "the message names the file"


HOSTILE = [
    "!!python/object/apply:os.system ['touch OWNED']",
    "name: !!python/object/apply:os.system ['touch OWNED']",
    "name: !!python/object/new:subprocess.Popen [[touch, OWNED]]",
    "name: ${oc.env:HOME}",
    "name: ${oc.decode:1}",
    "name: ${",
    "a: &a [x]\nb: *a",
    "name: a\nname: b",
    "[" * 5000,
    "name: toy\ncommand: toy",
    "just text",
    "- a\n- b",
    "",
    "\x00",
    "name: '" + "x" * 2_000_000 + "'",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_description_executes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(text.replace("OWNED", str(tmp_path / "owned")))
    with pytest.raises(ConfigError, match=r"hostile\.yaml"):
        CommandSimulator(file)
    assert [path.name for path in tmp_path.iterdir() if path.name != "scratch"] == ["hostile.yaml"]


@pytest.mark.parametrize("path", ["absent.yaml", ".", "/dev/zero"])
def test_a_description_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        CommandSimulator(tmp_path / path)


def test_what_it_says_of_itself(write: Callable[..., Path], tmp_path: Path) -> None:
    version = [sys.executable, "-c", "print('toy 1.2', 'x' * 1000)"]
    first = CommandSimulator(write(version=version)).describe()
    assert first["simulator"] == "toy"
    assert "tool.py {design} {output} {events} {seed}" in first["command"]
    assert first["version"].startswith("toy 1.2 xxx")
    assert len(first["version"]) == 300
    with pytest.raises(ConfigError, match="no executable 'absent-program'"):
        CommandSimulator(write(version=["absent-program"]))
    longer = CommandSimulator(write(version=version, limits={"timeout": 99}, workers=3)).describe()
    assert longer == first, "time limits and workers do not change results"
    changed = [
        CommandSimulator(write(HONEST + "# another program", version=version)),
        CommandSimulator(write(version=version, environment={"A": "b"})),
        CommandSimulator(write(version=version, seed_bits=63)),
    ]
    digests = {simulator.describe()["description"] for simulator in changed}
    assert len(digests | {first["description"]}) == 4


@pytest.mark.parametrize(("code", "reason"), [("1 / 0", "failed: exit code 1"), ("pass", "printed nothing")])
def test_a_version_command_that_fails(write: Callable[..., Path], code: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CommandSimulator(write(version=[sys.executable, "-c", code])).describe()


# Needs of the problem


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (Needs(truth={"slope": "mrad"}), "the problem needs 'slope' in output.truth, which has energy"),
        (Needs(truth={"energy": "mm"}), "the problem needs mm, the description says MeV, which is of another kind"),
        (Needs(signals="GeV"), "output.signals.s0: the problem needs GeV, the description says mm"),
        (Needs(DesignSpace((Continuous("x", 0, 1, "cm"), SPACE.parameters[1]))), "the problem gives it in cm"),
        (Needs(DesignSpace((*SPACE.parameters, Continuous("y", 0, 1)))), "parameters lacks 'y'"),
        (Needs(DesignSpace(SPACE.parameters[:1])), "parameters has 'material', the problem only x"),
        (Needs(conditions={"energy": 5.0}), "the problem has the condition energy = 5: pass it on"),
    ],
)
def test_a_description_that_does_not_fit_the_problem(write: Callable[..., Path], needs: Needs, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CommandSimulator(write(), needs)


def test_conditions_are_passed_on_or_stated(write: Callable[..., Path]) -> None:
    needs = Needs(SPACE, conditions={"field": 3.8})
    CommandSimulator(write(conditions={"field": 3.8}), needs)
    with pytest.raises(ConfigError, match=r"conditions.field: the executable simulates 2, the problem asks for 3.8"):
        CommandSimulator(write(conditions={"field": 2.0}), needs)
    with pytest.raises(ConfigError, match="conditions has 'fields'"):
        CommandSimulator(write(conditions={"fields": 2.0}), needs)
    show = "import sys\nsys.exit(open(sys.argv[1]).read())"
    command = [sys.executable, "-I", "-S", "{here}/tool.py", "{conditions}", "{events}", "{seed}"]
    with pytest.raises(SimulationError, match=r'"field": 3\.8'):
        CommandSimulator(write(show, command=command), needs).simulate(DESIGN, 5, 1)


def test_the_number_of_channels_is_checked(write: Callable[..., Path]) -> None:
    with pytest.raises(SimulationError, match="the output has 2 channels of signals, the problem 3"):
        CommandSimulator(write(), Needs(channels=3)).simulate(DESIGN, 5, 1)


def test_units() -> None:
    assert factor("x", "MeV", "GeV") == pytest.approx(1e-3)
    assert factor("x", "fC", "e") == pytest.approx(6241.509)
    assert all(factor("x", unit, unit) == 1 for units in UNITS.values() for unit in units)
    assert len({unit for units in UNITS.values() for unit in units}) == sum(map(len, UNITS.values()))


# In an environment


CALORIMETER = """
import json, random, sys
design, conditions, output, events, seed = sys.argv[1:6]
layers, beam = json.load(open(design))["layer"], json.load(open(conditions))
random.seed(int(seed))
low, high = 1e3 * beam["energy_low"], 1e3 * beam["energy_high"]
energies = [random.uniform(low, high) for _ in range(int(events))]
seen = [[e * random.gauss(1, 0.1) * layer["scintillator_thickness"] / 150 for layer in layers] for e in energies]
json.dump({"E": energies, "seen": [[max(s, 0) for s in row] for row in seen]}, open(output, "w"))
"""
LAYERS = {
    "layer[].absorber": "choice",
    "layer[].absorber_thickness": "cm",
    "layer[].scintillator": "choice",
    "layer[].scintillator_thickness": "cm",
}


def of_calorimeter(write: Callable[..., Path]) -> Path:
    arguments = ["{design}", "{conditions}", "{output}", "{events}", "{seed}"]
    return write(
        CALORIMETER,
        command=[sys.executable, "-I", "-S", "{here}/tool.py", *arguments],
        parameters=LAYERS,
        output={
            "file": "out.json",
            "truth": {"energy": {"column": "E", "unit": "MeV"}},
            "signals": {"seen": "MeV"},
        },
    )


def test_the_calorimeter_takes_an_executable(write: Callable[..., Path]) -> None:
    file = of_calorimeter(write)
    problem = build_problem({"name": "calorimeter", "layers": 2}, {"name": "command", "file": str(file), "workers": 2})
    check_problem(problem, events=20, designs=1)
    readout = problem.simulator.simulate(problem.start, 30, 1)
    assert readout.signals.shape == (30, 2)
    assert np.all((readout.truth["energy"] >= 1) & (readout.truth["energy"] <= 20)), "GeV"


def test_settings_of_the_configuration(write: Callable[..., Path]) -> None:
    file = str(of_calorimeter(write))
    with pytest.raises(ConfigError, match=r"needs a description of the executable: simulator\.file=PATH"):
        build_problem({"name": "calorimeter"}, {"name": "command", "file": None})
    with pytest.raises(ConfigError, match=r"unknown setting simulator.fil: known are file, workers"):
        build_problem({"name": "calorimeter"}, {"name": "command", "fil": file})
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        build_problem({"name": "calorimeter"}, {"name": "command", "file": file, "workers": 0})
    assert command_simulator({"name": "fast"}, Needs(), default=file).describe()["simulator"] == "toy"
    assert command_simulator(None, Needs(), default=file).describe()["simulator"] == "toy"
    with pytest.raises(ConfigError, match="unknown simulator 'geant4' of this environment: known is command"):
        command_simulator("geant4", Needs(), default=file)


def test_train_on_an_executable(write: Callable[..., Path], tmp_path: Path) -> None:
    words = ["train", "simulator=command", f"simulator.file={of_calorimeter(write)}", "env.layers=1"]
    budget = ["budget.events=320", "budget.events_per_design=40", "budget.designs_per_batch=4", "held_out.events=50"]
    result = subprocess.run(
        [sys.executable, "-m", "rl_detector", *words, *budget, f"runs={tmp_path / 'runs'}"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (report,) = (tmp_path / "runs").glob("*/report.html")
    validation = json.loads((report.parent / "validation.json").read_text())
    assert validation["toy"][0]["simulator"]["description"]


def test_in_the_processes_of_an_evaluator(write: Callable[..., Path]) -> None:
    """Worker processes, each with its own copy of the simulator, give the evaluations of this process."""
    file = of_calorimeter(write)
    problem = build_problem({"name": "calorimeter", "layers": 1}, {"name": "command", "file": str(file)})
    designs = [problem.space.sample(np.random.default_rng(seed)) for seed in range(4)]
    here = problem.evaluate_batch(designs, 20, range(4))
    local = build_evaluator(Config.of({"evaluator": {"name": "local", "workers": 2, "group": 2}}))
    try:
        there = [evaluation for group in local.evaluate(problem, Group(designs, 20, range(4))) for evaluation in group]
    finally:
        local.close()
    assert [each.reward for each in there] == [each.reward for each in here]
    assert not any(each.failed for each in there)
