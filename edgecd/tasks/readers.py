"""Rows from JSONL, CSV, TSV, Parquet and the hub, each with a place that an error can name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, require


@dataclass(frozen=True)
class DataRow:
    """One record: `where` for messages (file:line), its number from 1, and its columns."""

    where: str
    number: int
    values: Mapping[str, Any]


def read_rows(path: str, hub: str | None = None, config: str | None = None) -> Iterator[DataRow]:
    """Yield the rows of a file, or of split `path` of hub data set `hub`.

    Raises InputError for a missing file, an unknown ending, or a malformed line (named).
    """
    if hub is not None:
        return _hub(hub, config, path)
    file = Path(path)
    reader = _READERS.get(file.suffix)
    if reader is None:
        raise InputError(f"{path}: unknown kind of file; use {', '.join(_READERS)}")
    if not file.is_file():
        raise InputError(f"{path}: no such file (see [data] in the task file)")
    return reader(file)


def _jsonl(path: Path) -> Iterator[DataRow]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                values = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as bad:
                raise InputError(f"{where}: not valid JSON ({bad})") from None
            if not isinstance(values, dict):
                raise InputError(f"{where}: not a JSON object, such as {{'text': ..., ...}}")
            yield DataRow(where, number, values)


def _delimited(delimiter: str) -> Callable[[Path], Iterator[DataRow]]:
    def read(path: Path) -> Iterator[DataRow]:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            try:
                header = next(reader, None)
                if header is None:
                    raise InputError(f"{path}: empty; the first line must name the columns")
                for number, cells in enumerate(reader, start=1):
                    if not cells:
                        continue
                    where = f"{path}:{reader.line_num}"
                    if len(cells) != len(header):
                        raise InputError(
                            f"{where}: {len(cells)} columns where the header has {len(header)}"
                        )
                    yield DataRow(where, number, dict(zip(header, cells, strict=True)))
            except (csv.Error, UnicodeDecodeError) as bad:
                raise InputError(f"{path}:{reader.line_num + 1}: {bad}") from None

    return read


def _parquet(path: Path) -> Iterator[DataRow]:
    parquet = require("pyarrow.parquet", "train")
    try:
        table = parquet.ParquetFile(path)
    except Exception as bad:  # pyarrow's own error types live in the module just imported
        raise InputError(f"{path}: not a readable Parquet file ({bad})") from None
    number = 0
    for batch in table.iter_batches(batch_size=1024):
        for values in batch.to_pylist():
            number += 1
            yield DataRow(f"{path}:row {number}", number, values)


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


_READERS: dict[str, Callable[[Path], Iterator[DataRow]]] = {
    ".jsonl": _jsonl,
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".parquet": _parquet,
}
