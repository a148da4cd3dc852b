"""Labels for the rows of a file: its columns are kept, and the answers' columns are added."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edgecd.errors import InputError, printable, suggest
from edgecd.files import json_line, new_file
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.stream import CHUNK_ROWS, NESTED, Answer, Query, answer_all
from edgecd.tasks.readers import read_rows

_LISTED = 20  # columns that a message names
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_WRITTEN = (*_DELIMITERS, ".jsonl")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Table:
    """A file of inputs: how many rows it has, and the names of its columns.

    `fields` maps the template's fields to columns.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Summary:
    """What came of a file: how many rows have which label, and which of them need a look.

    `renamed` are the answers' columns whose usual name was taken, by that name.
    """

    rows: int
    labels: Mapping[str, int]
    unsure: int
    shortened: int
    errors: int
    renamed: Mapping[str, str]


def open_table(predictor: Predictor, path: Path, columns: Mapping[str, str]) -> Table:
    """Look through a file; `columns` says of the template's fields which column each is.

    Where the template has one field and the file one column, that is it. Raises InputError for a
    file that cannot be read whole, and for columns that are not there.
    """
    names = predictor.template.fields
    if unknown := set(columns) - set(names):
        field = sorted(unknown)[0]
        raise InputError(f"the template has the fields {', '.join(names)}, and no {field!r}")
    found: dict[str, None] = {}
    count = 0
    for query in _queries(predictor, path, {name: name for name in names}):
        found.update(dict.fromkeys(query.values))
        count += 1
    fields = {name: columns.get(name, name) for name in names}
    if len(names) == len(found) == 1 and not columns and NESTED not in found:
        fields = {names[0]: next(iter(found))}
    for name, column in fields.items():
        if column not in found and NESTED not in found:
            listed = printable(", ".join(list(found)[:_LISTED])) or "none"
            listed += ", ..." if len(found) > _LISTED else ""
            raise InputError(
                f"{path}: no column {column!r}{suggest(column, found)} (there are: {listed}); "
                f"--field {name}=COLUMN says which one holds it"
            )
    return Table(path, count, tuple(found), fields)


def label_table(
    predictor: Predictor,
    table: Table,
    out: Path | None,
    top: int | None = None,
    force: bool = False,
    as_json: bool = False,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Write the rows with their answers to a file (.csv, .tsv or .jsonl), or to standard output.

    There they are of the kind that they were read as, else CSV, and JSON lines where `as_json`.
    Added are `label`, `probability`, `unsure` where there is a threshold, with `top` the most
    probable labels (`top_1`, `top_1_probability`, ...), `shortened`, and `error`, which says what
    is wrong with a row that has no answer. A file appears whole or not at all. Raises InputError
    for one that is there already, unless `force`, and for another kind of file.
    """
    sure = predictor.manifest.threshold is None
    added = ["label", "probability", *(() if sure else ("unsure",))]
    shown = min(top or 0, len(predictor.labels))
    for place in range(1, shown + 1):
        added += [f"top_{place}", f"top_{place}_probability"]
    added += ["shortened", "error"]
    named = {name: _free(name, table.columns) for name in added}
    labels: Counter[str] = Counter()
    unsure = shortened = errors = 0
    columns = [*table.columns, *named.values()]
    kind = _kind(out, table.path, as_json)
    with _open(out, force, _is_marked(table.path)) as stream:
        write = _writer(stream, _DELIMITERS.get(kind), columns)
        queries = _queries(predictor, table.path, table.fields)
        for done, (query, answer) in enumerate(answer_all(predictor, queries), start=1):
            cells = _cells(answer, shown)
            write({**query.values, **{new: cells.get(name) for name, new in named.items()}})
            if isinstance(answer, InputError):
                errors += 1
            else:
                labels.update([answer.label] if answer.label is not None else [])
                unsure += answer.unsure
                shortened += answer.shortened
            if done % CHUNK_ROWS == 0 or done == table.rows:
                progress(done, table.rows)
    order = {name: labels[name] for name in predictor.labels if labels[name]}
    renamed = {name: new for name, new in named.items() if new != name}
    return Summary(table.rows, order, unsure, shortened, errors, renamed)


def _queries(predictor: Predictor, path: Path, fields: Mapping[str, str]) -> Iterator[Query]:
    """The rows of a file, read anew; one of them may be wrong alone."""
    for row in read_rows(str(path), lenient=True):
        if row.fault is not None:
            yield Query(row.values, InputError(row.fault))
            continue
        given, values = row.values, row.values
        if isinstance(values.get(NESTED), Mapping):
            given = values[NESTED]
        found = {name: given[column] for name, column in fields.items() if column in given}
        try:
            yield Query(values, predictor.fields(found))
        except InputError as bad:
            yield Query(values, bad)


def _cells(answer: Answer, top: int) -> dict[str, Any]:
    """What is said of a row, by the usual name of its column."""
    if isinstance(answer, InputError):
        return {"error": str(answer)}
    ((_, probability),) = answer.best(1)
    cells: dict[str, Any] = {"label": answer.label, "probability": round(probability, 6)}
    for place, (name, share) in enumerate(answer.best(top), start=1):
        cells |= {f"top_{place}": name, f"top_{place}_probability": round(share, 6)}
    return {**cells, "unsure": answer.unsure, "shortened": answer.shortened}


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or one like it that no column of the file has."""
    new = name
    while new in taken:
        new = f"predicted_{new}"
    return new


def _kind(out: Path | None, read: Path, as_json: bool) -> str:
    """The ending of what is written; InputError for one that nobody writes."""
    if out is None:
        suffix = read.suffix.lower()
        return ".jsonl" if as_json else suffix if suffix in _WRITTEN else ".csv"
    if out.suffix.lower() not in _WRITTEN:
        raise InputError(f"{out}: rows are written as {', '.join(_WRITTEN)}: choose such a name")
    if out.exists() and out.samefile(read):
        raise InputError(f"{out} is what is read: choose another --out")
    return out.suffix.lower()


@contextmanager
def _open(out: Path | None, force: bool, is_marked: bool) -> Iterator[TextIO]:
    """The file, whole at the end or not at all, or standard output."""
    if out is None:
        yield sys.stdout
        return
    # Excel takes a text for UTF-8 where it has a mark; what came with one leaves with one.
    encoding = "utf-8-sig" if is_marked and out.suffix.lower() in _DELIMITERS else "utf-8"
    with (
        new_file(out, force) as part,
        part.open("w", encoding=encoding, errors="replace", newline="") as stream,
    ):
        yield stream


def _writer(
    stream: TextIO, delimiter: str | None, columns: Sequence[str]
) -> Callable[[Mapping[str, Any]], None]:
    if delimiter is None:
        return lambda row: print(json_line(row, default=str), file=stream)
    rows = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    rows.writerow(columns)
    return lambda row: rows.writerow([_text(row.get(column)) for column in columns])


def _text(value: Any) -> str:
    """A value as a cell of a text file."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _is_marked(path: Path) -> bool:
    """Whether a file is one of Excel's, or begins with a byte order mark."""
    with path.open("rb") as stream:
        start = stream.read(3)
    excel = path.suffix.lower() == ".xlsx"
    return excel or start[:2] in (b"\xff\xfe", b"\xfe\xff") or start == b"\xef\xbb\xbf"
