"""Rows from files and the hub, each with a place that an error can name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edgecd.errors import InputError, require
from edgecd.tasks.delimited import read_csv, read_tsv
from edgecd.tasks.json_rows import read_json_file, read_jsonl
from edgecd.tasks.rows import DataRow, bounded
from edgecd.tasks.tables import read_parquet, read_xlsx

_READERS: dict[str, Callable[[Path], Iterator[DataRow]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json_file,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".xlsx": read_xlsx,
}
# Of these formats a record that is wrong can be told apart from the others.
_LENIENT: dict[str, Callable[[Path], Iterator[DataRow]]] = {
    ".jsonl": partial(read_jsonl, lenient=True),
    ".ndjson": partial(read_jsonl, lenient=True),
    ".csv": partial(read_csv, lenient=True),
    ".tsv": partial(read_tsv, lenient=True),
}
ENDINGS = tuple(_READERS)


def read_rows(
    path: str, hub: str | None = None, config: str | None = None, lenient: bool = False
) -> Iterator[DataRow]:
    """Yield the rows of a file, or of split `path` of hub data set `hub`.

    Raises InputError for a missing file, an unknown ending, a malformed line (named, and others
    with it), and for more than can be kept. `lenient`, a malformed record is a row with a fault,
    where the others can be read all the same.
    """
    if hub is not None:
        return bounded(_hub(hub, config, path), f"{hub} {path}")
    file = Path(path)
    known = {**_READERS, **_LENIENT} if lenient else _READERS
    reader = known.get(file.suffix.lower())
    if reader is None:
        old = "; save an .xls as .xlsx" if file.suffix.lower() == ".xls" else ""
        raise InputError(f"{path}: unknown kind of file; use {', '.join(_READERS)}{old}")
    try:
        if file.is_dir():
            raise InputError(f"{path} is a folder: name a file in it")
        if not file.is_file():
            raise InputError(f"{path}: no such file (see [data] in the task file)")
    except OSError as bad:
        raise InputError(f"{path[:200]}: cannot be read ({bad.strerror})") from None
    return bounded(reader(file), path)


def _hub(name: str, config: str | None, split: str) -> Iterator[DataRow]:
    datasets = require("datasets", "train")
    from edgecd.host.hub import resolve_dataset

    source = resolve_dataset(name)
    try:
        data = datasets.load_dataset(source, config, split=split)
    except Exception as bad:  # each format of a data set on the hub fails in its own way
        raise InputError(f"data set {name!r}, split {split!r}: {bad}") from bad
    classes = {
        column: feature.names
        for column, feature in data.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for number, values in enumerate(data, start=1):
        for column, names in classes.items():
            code = values[column]
            # -1 is the hub's way to say that a label is hidden
            values[column] = names[code] if code is not None and code >= 0 else None
        yield DataRow(f"{name} {split}:{number}", number, values)
