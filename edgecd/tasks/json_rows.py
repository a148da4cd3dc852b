"""Rows from JSON lines and from a list of objects in a .json file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, shown
from edgecd.files import read_text
from edgecd.tasks.rows import MAX_COLUMNS, MAX_LINE, DataRow, Faults
from edgecd.tasks.text_lines import text_lines

MAX_ARRAY_BYTES = 1 << 28
_BLANK = re.compile(r"[ \t\r\n]*")
_NO_OBJECT = "not a JSON object, such as {'text': ..., ...}"


class _Repeated(dict[str, Any]):
    """An object that names a key twice; which one is meant nobody knows."""

    key: str = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = _Repeated(found)
    names = [name for name, _ in pairs]
    repeated.key = next(name for name in names if names.count(name) > 1)
    return repeated


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse_json(text: str) -> Any:
    """The value of one line of JSON, a byte order mark aside.

    Raises InputError for what is not JSON, an object that names a key twice, and for what is too
    long, too deep or has too many digits.
    """
    if len(text) > MAX_LINE:
        raise InputError(f"over {MAX_LINE:,} characters")
    text = text.removeprefix("\ufeff").strip(" \t\r\n")
    value, end = _value(text, 0)
    if end != len(text):
        raise InputError(f"not valid JSON (something follows the value at column {end + 1})")
    return value


def _value(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as bad:
        raise InputError(f"not valid JSON ({bad})") from None
    except RecursionError:
        raise InputError("not valid JSON here: nested too deeply") from None
    except ValueError:
        raise InputError("not valid JSON here: a number of thousands of digits") from None
    if isinstance(value, _Repeated):
        raise InputError(f"the key {shown(value.key)} is there twice: remove all but one")
    return value, end


def _fields(value: Any) -> dict[str, Any]:
    """A row's columns; InputError for what is no object, or has too many."""
    if not isinstance(value, dict):
        raise InputError(_NO_OBJECT)
    if len(value) > MAX_COLUMNS:
        raise InputError(f"{len(value):,} columns, and {MAX_COLUMNS:,} are the most")
    return value


def read_jsonl(path: Path, lenient: bool = False) -> Iterator[DataRow]:
    """A row for each line that is not blank; InputError names every line that is wrong.

    `lenient`, a line that is wrong is a row with a fault.
    """
    lines = enumerate(text_lines(path), start=1)
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = DataRow(f"{path}:{number}", number, _fields(parse_json(line)))
        except InputError as bad:
            row = DataRow(f"{path}:{number}", number, {}, str(bad))
            if not lenient:
                faults = Faults()
                faults.add(str(bad), row.where)
                _refuse_all(path, lines, faults)
        yield row


def _refuse_all(path: Path, lines: Iterator[tuple[int, str]], faults: Faults) -> None:
    """Raise InputError for the faults so far and those of the lines that follow."""
    for number, line in lines:
        try:
            if line.strip():
                _fields(parse_json(line))
        except InputError as bad:
            faults.add(str(bad), f"{path}:{number}")
            if faults.are_many:
                break
    faults.refuse()


def read_json_file(path: Path) -> Iterator[DataRow]:
    """Rows of a .json file: a list of objects, or (as it is often named) JSON lines.

    Raises InputError, naming the line of the object, for anything else.
    """
    if path.stat().st_size > MAX_ARRAY_BYTES:
        raise InputError(f"{path}: over {MAX_ARRAY_BYTES:,} bytes: save it as JSON lines (.jsonl)")
    text = read_text(path)
    if text[_skip(text, 0) : _skip(text, 0) + 1] == "[":
        return _listed(path, text)
    try:
        parse_json(next((line for line in io.StringIO(text) if line.strip()), ""))
    except InputError:
        raise InputError(
            f"{path}: neither a list of objects ([{{...}}, {{...}}]) nor an object a line"
        ) from None
    return read_jsonl(path)


def _listed(path: Path, text: str) -> Iterator[DataRow]:
    """A row for each object of the list that `text` is; each is parsed when it is asked for."""
    place = _skip(text, text.index("[") + 1)
    number, line, counted = 0, 1, 0
    while not text.startswith("]", place):
        line, counted = line + text.count("\n", counted, place), place
        where = f"{path}:{line}"
        try:
            value, end = _value(text, place)
            values = _fields(value)
        except InputError as bad:
            raise InputError(f"{where}: {bad}") from None
        number += 1
        yield DataRow(where, number, values)
        place = _skip(text, end)
        if text.startswith(",", place):
            place = _skip(text, place + 1)
        elif not text.startswith("]", place):
            raise InputError(f"{where}: after this object the list neither goes on nor ends")
    if _skip(text, place + 1) != len(text):
        raise InputError(f"{path}: something follows the list")


def _skip(text: str, place: int) -> int:
    """The next place that is not blank."""
    found = _BLANK.match(text, place)
    return found.end() if found else place
