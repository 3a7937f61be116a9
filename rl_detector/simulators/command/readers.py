"""Read JSON, npz, Parquet and ROOT as columns; values that a library would silently turn into numbers are refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.simulators.command.files import (
    Choose,
    Column,
    Request,
    check_events,
    check_size,
    columns,
    name_and_unit,
    open_text,
)


def read_json(request: Request, choose: Choose) -> dict[str, Any]:
    """Read an object of columns, {"x": [...]}, a list of events, [{"x": ...}, ...], or one event per line."""
    with open_text(request) as file:
        text = file.read()
    data = _parsed(text, lines=request.expected.file.removesuffix(".gz").endswith(("jsonl", "ndjson")))
    if isinstance(data, list) and data and all(isinstance(event, dict) for event in data):
        keys = choose(columns(list(data[0])))
        return {key: _json_values(key, [_entry(event, key, row) for row, event in enumerate(data, 1)]) for key in keys}
    if not isinstance(data, dict):
        raise SimulationError("must hold an object of columns, a list of events, or one event per line")
    return {key: _json_values(key, data[key]) for key in choose(columns(list(data)))}


def _parsed(text: str, lines: bool) -> Any:
    if not lines:
        try:
            return json.loads(text, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
    return list(_json_lines(text))


def _json_lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                raise SimulationError(f"cannot read line {number} as json: {error}") from error


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise SimulationError(f"one object has the key {max(names, key=names.count)!r} more than once")
    return found


def _entry(event: Mapping[str, Any], key: str, row: int) -> Any:
    if key not in event:
        raise SimulationError(f"event {row} of the file lacks {key!r}, which the first one has")
    return event[key]


def _json_values(name: str, values: Any) -> np.ndarray[Any, Any]:
    """Return a column, [events] or [events, channels]; its values must be all numbers, or all truth values."""
    if not isinstance(values, list):
        raise SimulationError(f"{name} must be a list with one entry per event, got {str(values)[:40]}")
    nested = bool(values) and isinstance(values[0], list)
    _check_equal_lengths(name, [len(each) if isinstance(each, list) else -1 for each in values])
    flat = list(chain.from_iterable(values)) if nested else values
    if set(map(type, flat)) - {int, float} and set(map(type, flat)) != {bool}:
        index = next(index for index, each in enumerate(flat) if type(each) not in (int, float))
        row = index // max(len(values[0]), 1) if nested else index
        raise SimulationError(f"event {row + 1} of the file, {name}: {json.dumps(flat[index])[:40]} is no number")
    return np.array(values)


def _check_equal_lengths(name: str, lengths: Sequence[int]) -> None:
    for row, length in enumerate(lengths, 1):
        if length != lengths[0]:
            raise SimulationError(
                f"event {row} of the file, {name}: {_amount(length)}, the first event has {_amount(lengths[0])}: "
                "equally many per event are needed"
            )


def _amount(length: int) -> str:
    return "one value" if length < 0 else f"a list of {length}"


def read_npz(request: Request, choose: Choose) -> dict[str, Any]:
    """Read arrays by name; objects are refused."""
    with zipfile.ZipFile(request.path) as archive:
        check_size(sum(entry.file_size for entry in archive.infolist()), request)
    with np.load(request.path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in choose(columns(arrays.files))}


def read_parquet(request: Request, choose: Choose) -> dict[str, Any]:
    """Read columns, lists of equal length, and members of structures as `name.member`."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with pq.ParquetFile(request.path) as file:
        fields = [(name, field) for each in file.schema_arrow for name, field in _arrow_fields(each.name, each)]
        keys = choose([_arrow_column(name, field) for name, field in fields])
        check_events(file.metadata.num_rows, request)
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        check_size(sum(group.total_byte_size for group in groups), request)
        table = file.read(columns=keys)
    while any(_is_struct(each.type) for each in table.schema):
        table = table.flatten()
    return {key: _arrow(key, table.column(key).combine_chunks()) for key in keys}


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as kinds  # type: ignore[import-untyped]

    return bool(kinds.is_struct(kind))


def _arrow_fields(name: str, field: Any) -> Iterator[tuple[str, Any]]:
    if not _is_struct(field.type):
        yield name, field
        return
    for index in range(field.type.num_fields):
        member = field.type.field(index)
        yield from _arrow_fields(f"{name}.{member.name}", member)


def _arrow_column(name: str, field: Any) -> Column:
    """Make a column with the unit in its metadata (entry `unit`), or else the one in its name."""
    plain, unit = name_and_unit(name)
    stated = (field.metadata or {}).get(b"unit")
    return Column(name, plain, unit if stated is None else stated.decode())


def _arrow(name: str, array: Any) -> np.ndarray[Any, Any]:
    import pyarrow.types as kinds

    if array.null_count:
        raise SimulationError(f"{array.null_count} values of {name} are missing (null)")
    if not (kinds.is_list(array.type) or kinds.is_fixed_size_list(array.type) or kinds.is_large_list(array.type)):
        values: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
        return values
    lengths = array.value_lengths().to_pylist()
    _check_equal_lengths(name, lengths)
    return _arrow(name, array.flatten()).reshape(len(lengths), lengths[0] if lengths else 0)


def read_root(request: Request, choose: Choose) -> dict[str, Any]:
    """Read a TTree or an RNTuple: branches with equally many values per event, leaves, and members of objects."""
    import uproot  # type: ignore[import-untyped]

    with uproot.open(request.path) as file:
        kinds = file.classnames(cycle=False)
        name = request.expected.tree
        if name not in kinds:
            found = ", ".join(kinds)[:300] or "nothing"
            raise SimulationError(f"has no tree {name!r}: it has {found}; output.tree says which to read")
        if kinds[name] in ("TTree", "TNtuple", "TNtupleD"):
            return _read_tree(file[name], request, choose)
        if kinds[name] == "ROOT::RNTuple":
            return _read_ntuple(file[name], request, choose)
        raise SimulationError(f"{name!r} is a {kinds[name]}, neither a TTree nor an RNTuple")


def _read_tree(tree: Any, request: Request, choose: Choose) -> dict[str, Any]:
    """Read a tree; leaves of leaf lists are `branch.leaf`, members of split objects `branch/branch.member`."""
    branches = [(path, each) for path, each in tree.iteritems(recursive=True, full_paths=True) if not each.branches]
    leaves = {key: (branch, leaf) for path, branch in branches for key, leaf in _leaves(path, branch)}
    keys = choose([_branch_column(key, *leaves[key]) for path, branch in branches for key, _ in _leaves(path, branch)])
    check_events(tree.num_entries, request)
    check_size(
        sum(branch.uncompressed_bytes for branch in {id(leaves[key][0]): leaves[key][0] for key in keys}.values()),
        request,
    )
    read = {key: leaves[key][0].array(library="ak") for key in keys}
    return {
        key: _awkward(key, array if leaves[key][1] is None else array[leaves[key][1]]) for key, array in read.items()
    }


def _leaves(path: str, branch: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the keys of a branch, each with its leaf; None: the branch has no leaf list."""
    import uproot

    try:
        names = getattr(getattr(branch.interpretation, "to_dtype", None), "names", None)
    except uproot.interpretation.identify.UnknownInterpretation:  # matters only if this branch is chosen
        names = None
    yield from [(path, None)] if names is None else [(f"{path}.{name}", name) for name in names]


def _branch_column(key: str, branch: Any, leaf: str | None) -> Column:
    name = branch.name if leaf is None else f"{branch.name}.{leaf}"
    return Column(key, name, name_and_unit(branch.title)[1])


def _read_ntuple(ntuple: Any, request: Request, choose: Choose) -> dict[str, Any]:
    """Read fields, and members of structures as `name.member`; the description of a field may end with its unit."""
    fields = {key: ntuple[key] for key in ntuple.keys() if not ntuple[key].fields}  # noqa: SIM118  (not a mapping)
    keys = choose([Column(key, key, name_and_unit(f"x {field.description}")[1]) for key, field in fields.items()])
    check_events(ntuple.num_entries, request)
    check_size(_ntuple_bytes(ntuple), request)
    return {key: _awkward(key, fields[key].array()) for key in keys}


def _ntuple_bytes(ntuple: Any) -> int:
    """Add up the bytes of all columns, uncompressed."""
    pages = [
        (record, column)
        for cluster in ntuple.page_link_list
        for record, column in zip(ntuple.column_records, cluster, strict=False)
    ]
    return sum(int(record.nbits * page.num_elements) for record, column in pages for page in column.pages) // 8


def _awkward(name: str, array: Any) -> np.ndarray[Any, Any]:
    """Convert to a rectangular array; text, objects and lists of several lengths are refused."""
    import awkward as ak  # type: ignore[import-untyped]

    if array.ndim == 2:
        _check_equal_lengths(name, ak.num(array, axis=1).to_list())
    try:
        values: np.ndarray[Any, Any] = ak.to_numpy(ak.to_regular(array, axis=None), allow_missing=False)
    except (ValueError, TypeError) as error:
        kind = str(array.type)[:100]
        raise SimulationError(f"{name} must hold plain numbers, equally many per event, got {kind}") from error
    return values
