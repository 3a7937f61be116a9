"""Files as other people's programs write them: read with the right numbers, or refused by name. Nothing in between."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_detector.errors import ConfigError, SimulationError
from rl_detector.simulators.command.description import Output, build
from rl_detector.simulators.command.files import name_and_unit
from rl_detector.simulators.command.needs import Needs, output_format
from rl_detector.simulators.command.output import read_output
from rl_detector.terms import Readout

EVENTS = 3
ENERGY, S0 = [1500.0, 0.25, -2.0], [7.0, 8.0, 9.0]
"""What every file below holds, where it can be read."""


def read(
    folder: Path, file: str, content: bytes | Callable[[Path], None], events: int = EVENTS, **output: Any
) -> Readout:
    """What comes of a file; its columns are energy and s0 unless said otherwise."""
    if callable(content):
        content(folder / file)
    else:
        (folder / file).write_bytes(content)
    entries = {"file": file, "truth": {"energy": "MeV"}, "signals": {"s0": "mm"}, **output}
    return read_output(folder, output_format(build("output", Output, entries), Needs()), events, 10_000_000)


class Case(NamedTuple):
    """A file of a writer, and either why it is refused (a pattern) or None: it holds ENERGY and S0."""

    writer: str
    file: str
    content: str | bytes | Callable[[Path], None]
    reason: str | None = None
    output: Mapping[str, Any] = {}


GEANT4 = "#class tools::wcsv::ntuple\n#title Hits\n#separator 44\n#vector_separator 59\n"
COLUMNS = "#column double energy\n#column string process\n#column float s0\n"
ROWS = "1500,eIoni,7\n0.25,msc,8\n-2,compt,9\n"
FLAGS: dict[str, Any] = {"truth": {}, "signals": {"s0": "flag"}}


def array(**columns: Any) -> dict[str, Any]:
    return {"energy": np.array(ENERGY), "s0": np.array(S0), **columns}


def npz(**columns: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **array(**columns))


def parquet(metadata: dict[str, str] | None = None, **columns: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(array(**columns))
        fields = [pa.field(each.name, each.type, metadata=metadata) for each in table.schema]
        pq.write_table(table.cast(pa.schema(fields)), path)

    return write


def root(kind: str, **columns: Any) -> Callable[[Path], None]:
    """A TTree or an RNTuple `events`, by uproot."""

    def write(path: Path) -> None:
        import awkward as ak
        import uproot

        data = {
            name: ak.Array(column) if isinstance(column, list) else column for name, column in array(**columns).items()
        }
        with uproot.recreate(path) as file:
            if kind == "tree":
                file.mktree("events", {name: ak.type(ak.Array(column)).content for name, column in data.items()})
                file["events"].extend(data)
            else:
                file.mkrntuple("events", data)

    return write


def histogram(path: Path) -> None:
    import uproot

    with uproot.recreate(path) as file:
        file["events"] = np.histogram(np.array(ENERGY))


def savetxt(**options: Any) -> bytes:
    text = io.StringIO()
    np.savetxt(text, np.column_stack([ENERGY, S0]), **options)
    return text.getvalue().encode()


CASES = [
    # Geant4's analysis manager
    Case("geant4", "geant.csv", GEANT4 + COLUMNS + ROWS),
    Case("geant4", "semi.csv", (GEANT4 + COLUMNS + ROWS.replace(",", ";")).replace("44", "59")),
    Case("geant4", "tab.csv", (GEANT4 + COLUMNS + ROWS.replace(",", "\t")).replace("44", "9")),
    Case("geant4", "unit.csv", GEANT4 + COLUMNS.replace("energy", "energy [MeV]") + ROWS),
    Case("geant4", "unit2.csv", GEANT4 + COLUMNS.replace("energy", "energy [keV]") + ROWS, "energy is in keV"),
    Case("geant4", "text.csv", GEANT4 + COLUMNS + ROWS.replace("msc", "a,b"), "line 9: 4 fields, the header names 3"),
    Case("geant4", "histogram.csv", "#class tools::histo::h1d\n#title Edep\n1,2,3\n",
         "line 1: Geant4 wrote a tools::hi"),
    Case("geant4", "nothing.csv", GEANT4 + ROWS, "no #column"),
    Case("geant4", "ragged.csv", GEANT4 + "#column double energy\n#column double[] s0\n1500,7;8\n0.25,8\n-2,9;1\n",
         "line 8, column s0: 1 values, the first event has 2"),
    # numpy
    Case("numpy", "savetxt.csv", savetxt(delimiter=",", header="energy,s0")),
    Case("numpy", "blanks.csv", savetxt(header="energy s0")),
    Case("numpy", "units.csv", savetxt(header="run 17\nenergy [MeV] s0 (mm)")),
    Case("numpy", "plain.csv", savetxt(delimiter=",", header="energy,s0", comments="")),
    Case("numpy", "headless.csv", savetxt(delimiter=","),
         "line 1: a header with the names of the columns must come fi"),
    Case("numpy", "other.csv", savetxt(delimiter=",", header="made by me"), "no column 'energy'"),
    Case("numpy", "gzip.csv.gz", gzip.compress(savetxt(delimiter=",", header="energy,s0"))),
    Case("numpy", "cut.csv.gz", gzip.compress(savetxt(delimiter=",", header="energy,s0"))[:-9], "damaged or cut"),
    Case("numpy", "bool.npz", npz(s0=np.array([True, False, True])), "s0 holds truth values: state the unit 'flag'"),
    Case("numpy", "int.npz", npz(s0=np.array([7, 8, 9], dtype=">i2"))),
    Case("numpy", "big.npz", npz(s0=np.array([7, 8, 2**53 + 1])), "beyond 2\\^53"),
    Case("numpy", "complex.npz", npz(s0=np.array([7, 8, 9j])), "s0 must hold plain numbers"),
    Case("numpy", "text.npz", npz(s0=np.array(["7", "8", "9"])), "s0 must hold plain numbers"),
    Case("numpy", "object.npz", npz(s0=np.array([7, 8, None], dtype=object)),
         "cannot read object.npz as npz: .*pickle"),
    # pandas
    Case("pandas", "index.csv", ",energy,s0\n0,1500.0,7.0\n1,0.25,8.0\n2,-2.0,9.0\n"),
    Case("pandas", "plain.csv", "energy,s0\n1500.0,7.0\n0.25,8.0\n-2.0,9.0\n"),
    Case("pandas", "text.csv", 'energy,note,s0\n1500.0,"a, ""b""\nc",7.0\n0.25,"1,2",8.0\n-2.0,,9.0\n'),
    Case("pandas", "missing.csv", ",energy,s0\n0,1500.0,7.0\n1,,8.0\n2,-2.0,9.0\n",
         "line 3, column energy: '' is empty"),
    Case("pandas", "bool.csv", "energy,s0\n1500.0,True\n0.25,False\n-2.0,True\n", "s0 holds truth values"),
    Case("pandas", "mixed.csv", "energy,s0\n1500.0,7\n0.25,True\n-2.0,9\n",
         "line 3, column s0: 'True' is a truth value"),
    Case("pandas", "unnamed.csv", ",0,1\n0,1500.0,7.0\n1,0.25,8.0\n2,-2.0,9.0\n", "line 1: a header"),
    Case("pandas", "levels.csv", "energy,s0\nmean,mean\n1500,7\n0.25,8\n",
         "line 2, column energy: 'mean' is no number"),
    Case("pandas", "twice.csv", "energy,s0,s0\n1500,7,1\n0.25,8,1\n-2,9,1\n", "2 columns 's0'"),
    Case("pandas", "tabs.tsv", "energy\ts0\n1500\t7\n.25\t8\n-2.\t9\n"),
    Case("pandas", "lines.jsonl", '{"energy":1500.0,"s0":7}\n{"energy":0.25,"s0":8}\n{"energy":-2.0,"s0":9}\n'),
    Case("pandas", "records.json", '[{"energy":1500,"s0":7},{"energy":0.25,"s0":8},{"energy":-2,"s0":9}]'),
    Case("pandas", "null.json", '[{"energy":1500,"s0":7},{"energy":0.25,"s0":null},{"energy":-2,"s0":9}]',
         "event 2 of the file, s0: null is no number"),
    # R
    Case("R", "write_csv.csv", '"","energy","s0"\n"1",1500,7\n"2",0.25,8\n"3",-2,9\n'),
    Case("R", "write_table.csv", '"energy" "s0"\n"1" 1500 7\n"2" 0.25 8\n"3" -2 9\n',
         "line 2: 3 fields.*row.names = FALSE"),
    Case("R", "write_table2.csv", '"energy" "s0"\n1500 7\n0.25 8\n-2 9\n'),
    Case("R", "comma.csv", '"energy","s0"\n"1",1500,7\n"2",0.25,8\n"3",-2,9\n', "line 2: 3 fields.*row.names = FALSE"),
    Case("R", "na.csv", '"energy","s0"\n1500,7\nNA,8\n-2,9\n', "line 3, column energy: 'NA' is a missing value"),
    Case("R", "logical.csv", '"energy","s0"\n1500,TRUE\n0.25,FALSE\n-2,NA\n',
         "line 2, column s0: 'TRUE' is a truth value"),
    Case("R", "csv2.csv", '"energy";"s0"\n1500;7\n0,25;8\n-2;9\n',
         "line 3, column energy: '0,25' has a comma.*output.dec"),
    Case("R", "csv2.csv", '"energy";"s0"\n1500;7\n0,25;8\n-2;9\n', None, {"decimal": ","}),
    # Excel
    Case("Excel", "bom.csv", b"\xef\xbb\xbfenergy,s0\r\n1500,7\r\n0.25,8\r\n-2,9\r\n"),
    Case("Excel", "sep.csv", "sep=;\r\nenergy;s0\r\n1500;7\r\n0.25;8\r\n-2;9\r\n"),
    Case("Excel", "german.csv", "energy;s0\r\n1,5E+03;7\r\n0,25;8\r\n-2;9\r\n", None, {"decimal": ","}),
    Case("Excel", "groups.csv", "energy;s0\r\n1.500;7\r\n0,25;8\r\n-2;9\r\n",
         "line 2.*'1.500' has a point", {"decimal": ","}),
    Case("Excel", "groups.csv", 'energy,s0\r\n"1,500",7\r\n0.25,8\r\n-2,9\r\n',
         "line 2, column energy: '1,500' has a comma"),
    Case("Excel", "commas.csv", "energy,s0\r\n1500,0,7\r\n0,25,8\r\n-2,0,9\r\n", "line 2: 3 fields.*a decimal comma"),
    Case("Excel", "utf16.csv", "energy\ts0\r\n1500\t7\r\n".encode("utf-16"), "utf16.csv: is text in UTF-16"),
    Case("Excel", "error.csv", "energy,s0\r\n1500,7\r\n#DIV/0!,8\r\n-2,9\r\n",
         "line 3, column energy: '#DIV/0!' is a comment"),
    Case("Excel", "book.csv", b"PK\x03\x04" + bytes(99), "is a zip archive"),
    Case("Excel", "empty.csv", "energy,s0\r\n1500,7\r\n0.25,8\r\n,\r\n", "line 4, column energy: '' is empty"),
    Case("Excel", "latin.csv", "energy;µ;s0\r\n1500;1;7\r\n".encode("latin-1"),
         "cannot read what follows line 0 as text"),
    # Fortran
    Case("Fortran", "double.csv", "energy,s0\n 1.5D+03, 7\n2.5d-1,8\n-0.2D1,9\n"),
    Case("Fortran", "list.csv", "  energy          s0\n   1500.0000   7.0000   \n  .2500  8.\n -2.0   9.0\n"),
    Case("Fortran", "comment.csv", "# energy s0\n 1.5D+03 7\n 2.5D-01 8\n-2.0D+00 9\n"),
    Case("Fortran", "wide.csv", "energy,s0\n1500,7\n****,8\n-2,9\n",
         "line 3, column energy: '\\*\\*\\*\\*' is a number too wide"),
    Case("Fortran", "logical.csv", "energy s0\n1500 T\n0.25 F\n-2 T\n", "s0 holds truth values"),
    Case("Fortran", "repeat.csv", "energy s0\n1500 7\n0.25 8\n2*9.0\n", "line 4: 1 fields, the header names 2"),
    # C and C++
    Case("C++", "fewer.csv", "energy,a,s0\n1500,1,7\n0.25,8\n-2,1,9\n",
         "line 3: 2 fields, the header names 3: a value is mi"),
    Case("C++", "ends.csv", "energy,s0\n1500,7,\n0.25,8,\n-2,9,\n",
         "line 2: 3 fields.*a separator behind the last field"),
    Case("C++", "ends2.csv", "energy,s0,\n1500,7,\n0.25,8,\n-2,9,\n"),
    Case("C++", "mixed.csv", "energy,s0;t\n1500,7;1\n", "',' and ';'.*output.separator"),
    Case("C++", "mixed.csv", 'energy;s0;t,u\n1500;7;1\n.25;8;1\n-2;9;1\n', None, {"separator": "semicolon"}),
    Case("C++", "nan.csv", "energy,s0\n1500,7\n-nan,8\n-2,9\n",
         "1 values of energy are NaN or infinite, the first in line 3"),
    Case("C++", "windows.csv", "energy,s0\n1500,7\n-1.#IND,8\n-2,9\n", "line 3, column energy: '-1.#IND' is"),
    Case("C++", "large.csv", "energy,s0\n1500,7\n1e999,8\n-2,9\n", "energy are NaN or infinite, the first in line 3"),
    Case("C++", "unit.csv", "energy,s0\n1500 MeV,7\n0.25,8\n-2,9\n", "line 2.*'1500 MeV' is more than a number"),
    Case("C++", "python.csv", "energy,s0\n1_500,7\n0.25,8\n-2,9\n", "line 2, column energy: '1_500' is no number"),
    Case("C++", "cut.csv", "energy,s0\n1500,7\n0.25,8\n-2,9", "line 4, the last, has no end: the file is cut"),
    Case("C++", "quote.csv", 'energy,s0\n1500,7\n0.25,"8\n-2,9\n', "line 4: unexpected end of data"),
    Case("C++", "comment.csv", "energy,s0\n1500,7\n# half\n-2,9\n", "line 3: 1 fields"),
    Case("C++", "semi.csv", "energy,s0\n1500;7\n0.25;8\n-2;9\n", "line 2: 1 fields.*another separator than ','"),
    Case("C++", "blank.csv", "energy,s0\n\n1500,7\n0.25,8\n\n-2,9\n\n"),
    Case("C++", "more.csv", "energy,s0\n1500,7\n0.25,8\n-2,9\n1,1\n", "4 events of all columns, expected 3"),
    # units in headers
    Case("units", "square.csv", "energy [MeV],s0[mm]\n1500,7\n0.25,8\n-2,9\n"),
    Case("units", "round.csv", "energy (MeV),s0 (mm)\n1500,7\n0.25,8\n-2,9\n"),
    Case("units", "wrong.csv", "energy (GeV),s0\n1500,7\n0.25,8\n-2,9\n", "energy is in GeV, the description says MeV"),
    Case("units", "name.csv", "energy_GeV,s0\n1500,7\n0.25,8\n-2,9\n", "energy_GeV is in GeV, the description says MeV",
         {"truth": {"energy": {"column": "energy_GeV", "unit": "MeV"}}}),
    Case("units", "name.csv", "E/MeV,s0\n1500,7\n0.25,8\n-2,9\n", None,
         {"truth": {"energy": {"column": "E/MeV", "unit": "MeV"}}}),
    Case("units", "micro.csv", "energy,s0 [µm]\n1500,7\n0.25,8\n-2,9\n", None, {"signals": {"s0": "um"}}),
    # JSON of other programs
    Case("JSON", "bool.json", '{"energy": [1500, 0.25, -2], "s0": [7, true, 9]}',
         "event 2 of the file, s0: true is no n"),
    Case("JSON", "text.json", '{"energy": [1500, 0.25, -2], "s0": [7, "8", 9]}',
         "event 2 of the file, s0: \"8\" is no nu"),
    Case("JSON", "twice.json", '{"energy": [1500, 0.25, -2], "s0": [7, 8, 9], "s0": [1, 2, 3]}',
         "the key 's0' more than"),
    Case("JSON", "lacks.json", '[{"energy":1500,"s0":7},{"energy":0.25},{"energy":-2,"s0":9}]',
         "event 2 of the file lacks"),
    Case("JSON", "ragged.json", '{"energy": [1500, 0.25, -2], "s0": [[7], [8, 8], [9]]}',
         "event 2 of the file, s0: a list of"),
    Case("JSON", "lines.json", '{"energy":1500,"s0":7}\n{"energy":0.25,"s0":8}\n\n{"energy":-2,"s0":9}\n'),
    Case("JSON", "cut.jsonl", '{"energy":1500,"s0":7}\n{"energy":0.25,"s0":8}\n{"energy":-2,',
         "cannot read line 3 as json"),
    Case("JSON", "zip.json.gz", gzip.compress(json.dumps({"energy": ENERGY, "s0": S0}).encode())),
    Case("JSON", "nan.json", '{"energy": [1500, NaN, -2], "s0": [7, 8, 9]}',
         "energy are NaN or infinite, the first in row 2"),
    # Parquet
    Case("Parquet", "lists.parquet", parquet(s0=[[7.0], [8.0], [9.0]])),
    Case("Parquet", "ragged.parquet", parquet(s0=[[7.0], [8.0, 1.0], [9.0]]),
         "event 2 of the file, s0: a list of 2, the f"),
    Case("Parquet", "null.parquet", parquet(s0=[7.0, None, 9.0]), "1 values of s0 are missing"),
    Case("Parquet", "null2.parquet", parquet(s0=[[7.0], [None], [9.0]]), "1 values of s0 are missing"),
    Case("Parquet", "bool.parquet", parquet(s0=[True, False, True]), "s0 holds truth values"),
    Case("Parquet", "text.parquet", parquet(s0=["7", "8", "9"]), "s0 must hold plain numbers"),
    Case("Parquet", "unit.parquet", parquet({"unit": "cm"}), "energy is in cm, the description says MeV"),
    Case("Parquet", "struct.parquet", parquet(hit=[{"x": x} for x in S0]), None,
         {"signals": {"s0": {"column": "hit.x", "unit": "mm"}}}),
    Case("Parquet", "really.csv", parquet(), "is a Parquet file, not csv"),
    # ROOT
    *(Case(kind, f"{kind}-{name}.root", root(kind, **columns), reason, output) for kind in ("tree", "rntuple")
      for name, columns, reason, output in [
        ("plain", {}, None, {}),
        ("vector", {"s0": [[7.0], [8.0], [9.0]]}, None, {}),
        ("ragged", {"s0": [[7.0], [8.0, 1.0], [9.0]]}, "event 2 of the file, s0: a list of 2, the first", {}),
        ("bool", {"s0": np.array([True, False, True])}, "s0 holds truth values", {}),
        ("int", {"s0": np.array([7, 8, 9], dtype="i4")}, None, {}),
        ("absent", {}, "no column 'nothing'", {"signals": {"nothing": "mm"}}),
        ("name", {}, "has no tree 'hits': it has events; output.tree", {"tree": "hits"}),
    ]),
    Case("rntuple", "struct.root", root("rntuple", hit=[{"x": x, "n": 1} for x in S0]), None,
         {"signals": {"s0": {"column": "hit.x", "unit": "mm"}}}),
    Case("ROOT", "histogram.root", histogram, "'events' is a TH1D, neither a TTree nor an RNTuple"),
    # flags, stated as such
    Case("flags", "flag.csv", "energy,s0\n1500,7\n0.25,8\n-2,9\n", "s0 is a flag by the description", FLAGS),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.writer}-{case.file}")
def test_right_or_refused(tmp_path: Path, case: Case) -> None:
    content = case.content.encode() if isinstance(case.content, str) else case.content
    if case.reason is not None:
        with pytest.raises(SimulationError, match=case.reason) as caught:
            read(tmp_path, case.file, content, **case.output)
        assert case.file in str(caught.value)
        return
    readout = read(tmp_path, case.file, content, **case.output)
    assert readout.truth["energy"].tolist() == ENERGY
    assert readout.signals.tolist() == [[value] for value in S0]


def test_the_campaign_is_wide() -> None:
    assert len(CASES) >= 100
    assert len({case.writer for case in CASES}) >= 12


@pytest.mark.parametrize("text", ["true,false,TRUE", "T,F,T", "1,0,1", "1.0,0.0,1.0"])
def test_declared_flags(tmp_path: Path, text: str) -> None:
    content = "\n".join(["s0", *text.split(","), ""]).encode()
    assert read(tmp_path, "out.csv", content, **FLAGS).signals.tolist() == [[1.0], [0.0], [1.0]]


@pytest.mark.parametrize("writer", [npz, parquet])
def test_declared_flags_of_other_formats(tmp_path: Path, writer: Any) -> None:
    write = writer(s0=np.array([True, False, True]))
    suffix = "npz" if writer is npz else "parquet"
    assert read(tmp_path, f"out.{suffix}", write, **FLAGS).signals.tolist() == [[1.0], [0.0], [1.0]]


def test_vectors_of_geant4(tmp_path: Path) -> None:
    text = GEANT4 + "#column double energy\n#column double[] s0\n1,7;8\n2,8;1.5\n3,9;1\n"
    assert read(tmp_path, "out.csv", text.encode()).signals.tolist() == [[7, 8], [8, 1.5], [9, 1]]


def test_exponents_of_fortran_with_three_digits(tmp_path: Path) -> None:
    text = "energy,s0\n1.5-103,1.5+103\n-.5D-100,1.e2\n1.Q2,0\n"
    readout = read(tmp_path, "out.csv", text.encode())
    assert readout.truth["energy"].tolist() == [1.5e-103, -0.5e-100, 100.0]
    assert readout.signals[:, 0].tolist() == [1.5e103, 100.0, 0.0]


KEYED = {"key": "event"}
PERMUTED = "event,energy,s0\n{2},-2,9\n{0},1500,7\n{1},0.25,8\n"


@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 2, 3), ("0.0", "1.0", "2e0")])
def test_keyed_rows_are_put_in_order(tmp_path: Path, numbers: tuple[Any, ...]) -> None:
    readout = read(tmp_path, "out.csv", PERMUTED.format(*numbers).encode(), **KEYED)
    assert readout.truth["energy"].tolist() == ENERGY
    assert readout.signals[:, 0].tolist() == S0


@pytest.mark.parametrize(
    ("numbers", "events", "reason"),
    [
        ((0, 1, 1), 3, "by the key event, of 3 events: event 2 is missing; event 1 is there more than once"),
        ((0, 1, 2), 5, "of 5 events: events 3, 4 are missing"),
        ((1, 2, 9), 3, "event 3 is missing; event 9 is not from 1 to 3"),
        ((0, 1, 2), 2, "event 2 is not from 0 to 1"),
        ((0, 1, 0.5), 3, "the key event must be one whole number per event"),
        ((0, 1, "x"), 3, "line 2, column event: 'x' is no number"),
        ((-1, 0, 1), 3, "events 2, 3 are missing; events -1, 0 are not from 1 to 3"),
    ],
)
def test_keys_tell_what_is_wrong(tmp_path: Path, numbers: tuple[Any, ...], events: int, reason: str) -> None:
    with pytest.raises(SimulationError, match=reason):
        read(tmp_path, "out.csv", PERMUTED.format(*numbers).encode(), events, **KEYED)


def test_keys_of_other_formats(tmp_path: Path) -> None:
    order = [2, 0, 1]
    columns = {"event": np.array(order), "energy": np.array(ENERGY)[order], "s0": np.array(S0)[order]}
    for file, write in {
        "a.npz": npz(**columns),
        "a.parquet": parquet(None, **columns),
        "a.root": root("tree", **columns),
    }.items():
        readout = read(tmp_path, file, write, **KEYED)
        assert readout.truth["energy"].tolist() == ENERGY
        assert readout.signals[:, 0].tolist() == S0


class FakeBranch(NamedTuple):
    """What the reader asks a branch of uproot, which itself writes neither leaf lists nor split objects."""

    name: str
    title: str
    dtype: Any
    values: Any
    branches: tuple[Any, ...] = ()
    uncompressed_bytes: int = 8

    @property
    def interpretation(self) -> Any:
        import uproot

        if self.dtype is None:
            raise uproot.interpretation.identify.UnknownInterpretation("none of the rules matched", "file", "object")
        return uproot.AsDtype(np.dtype(self.dtype))

    def array(self, library: str) -> Any:
        import awkward as ak

        return ak.from_numpy(np.array(self.values, np.dtype(self.dtype).newbyteorder("=")))


class FakeTree(NamedTuple):
    """A tree with a leaf list, a split object, and an object that nothing can read."""

    num_entries: int = 3

    def iteritems(self, recursive: bool, full_paths: bool) -> list[tuple[str, FakeBranch]]:
        leaves = [("x", ">f8"), ("n", ">i4")]
        hits = FakeBranch("hit", "x/D:n/I", leaves, [(7.0, 1), (8.0, 2), (9.0, 3)])
        energy = FakeBranch("energy", "energy [MeV]", ">f8", ENERGY)
        other = FakeBranch("energy", "energy", ">f8", S0)
        whole = FakeBranch("event", "", None, None, (energy,))
        opaque = FakeBranch("opaque", "", None, None)
        branches = {"event": whole, "event/energy": energy, "other/energy": other, "hit": hits, "opaque": opaque}
        return list(branches.items())


def test_leaf_lists_and_split_objects_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path) -> None:
        root("tree")(path)
        monkeypatch.setattr("uproot.reading.ReadOnlyDirectory.__getitem__", lambda *_: FakeTree())

    signals = {"s0": {"column": "hit.x", "unit": "mm"}}
    whole = {"energy": {"column": "event/energy", "unit": "MeV"}}
    readout = read(tmp_path, "a.root", write, signals=signals, truth=whole)
    assert readout.truth["energy"].tolist() == ENERGY
    assert readout.signals[:, 0].tolist() == S0
    with pytest.raises(SimulationError, match="2 columns 'energy'"):
        read(tmp_path, "b.root", write, signals=signals)
    with pytest.raises(SimulationError, match="no column 'hit'"):
        read(tmp_path, "c.root", write, signals={"s0": {"column": "hit", "unit": "mm"}}, truth=whole)


def test_a_small_archive_cannot_become_large(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="the limit is 10 MB"):
        read(tmp_path, "out.csv.gz", gzip.compress(b"energy,s0\n" + b"1,1\n" * 5_000_000, 9))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ({"file": "a.root.gz"}, "only csv and json may be compressed"),
        ({"file": "a.json", "separator": "tab"}, "output.separator and output.decimal are for csv"),
        ({"file": "a.csv", "separator": "|"}, "output.separator"),
        ({"file": "a.csv", "key": 3}, "output.key"),
    ],
)
def test_options_that_do_not_fit(output: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build("output", Output, {"signals": {"s0": "mm"}, **output})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("energy [GeV]", ("energy", "GeV")),
        ("energy(MeV)", ("energy", "MeV")),
        ("p (GeV/c)", ("p", "GeV/c")),
        ("s[0]", ("s[0]", None)),
        ("x (fitted)", ("x (fitted)", None)),
        ("z [µm]", ("z", "um")),
    ],
)
def test_units_in_names(text: str, found: tuple[str, str | None]) -> None:
    assert name_and_unit(text) == found


DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NOTES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)


@settings(max_examples=200)
@given(st.lists(st.tuples(NUMBERS, NOTES, NUMBERS), min_size=1, max_size=6), DIALECTS)
def test_what_the_csv_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, str, float]], dialect: Any
) -> None:
    """Numbers bit by bit, beside any text, in any dialect; a line break without quotes, other than the end of a line,
    may be refused."""
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([("energy", "note", "s0"), *rows])
    folder = tmp_path_factory.mktemp("csv")
    try:
        readout = read(folder, "out.csv", text.getvalue().encode(), len(rows))
    except SimulationError:
        other = set("\r\n") - set(dialect["lineterminator"])
        assert any(other & set(note) for _, note, _ in rows) and dialect["quoting"] == csv.QUOTE_MINIMAL
        return
    assert readout.truth["energy"].tolist() == [row[0] for row in rows]
    assert readout.signals[:, 0].tolist() == [row[2] for row in rows]
