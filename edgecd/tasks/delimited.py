"""Rows from CSV and TSV files, Excel's variants included."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgecd.errors import InputError
from edgecd.tasks.rows import MAX_LINE, DataRow, Faults, check_columns
from edgecd.tasks.text_lines import text_lines

_DELIMITERS = (",", ";", "\t")
_SAMPLE_LINES = 60
_MESSAGES = {
    "unexpected end of data": "a quoted text that begins here never ends: write a quote inside a "
    'quoted text twice ("")',
    "field larger than field limit": f"a text of over {MAX_LINE:,} characters, or a quote that is "
    "never closed",
    "expected after": "something follows a closing quote: write a quote inside a quoted text "
    'twice ("")',
}

# The default of 131,072 characters is less than many documents have.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))


def read_csv(path: Path, lenient: bool = False) -> Iterator[DataRow]:
    """Rows of a file whose columns have commas between, or semicolons or tabs (see `_read`)."""
    return _read(path, ",", lenient)


def read_tsv(path: Path, lenient: bool = False) -> Iterator[DataRow]:
    """Rows of a file whose columns have tabs between, or commas or semicolons (see `_read`)."""
    return _read(path, "\t", lenient)


def _read(path: Path, usual: str, lenient: bool) -> Iterator[DataRow]:
    """A row for each record that is not blank, with the names of the first line that is not.

    What is between the columns is `usual`, or what a first line `sep=;` says, or the only other
    delimiter with which the first records have as many columns as the header. Blank cells behind
    the last column, and columns without a name, are left out. Raises InputError, naming the line,
    for anything else; `lenient`, a record with too few or too many cells is a row with a fault.
    """
    lines = text_lines(path)
    start, sample = 0, list(itertools.islice(lines, _SAMPLE_LINES))
    delimiter = _said(sample[0]) if sample else None
    if delimiter is not None:
        start, sample = 1, sample[1:]
    else:
        delimiter = _delimiter(sample, usual, path)
    records = _records(itertools.chain(sample, lines), delimiter, path, start)
    place, header = next(records, ("", []))
    if not header:
        raise InputError(f"{path}: empty; the first line must name the columns")
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    check_columns(names, place)
    for number, (where, cells) in enumerate(records, start=1):
        fitting, fault = _fitting(cells, len(names)), None
        if fitting is None and lenient:
            fault = _ragged(len(cells), len(names), delimiter)
            fitting = [*cells, *[""] * len(names)][: len(names)]
        if fitting is None:
            faults = Faults()
            for place, others in itertools.chain([(where, cells)], records):
                if _fitting(others, len(names)) is None:
                    faults.add(_ragged(len(others), len(names), delimiter), place)
                if faults.are_many:
                    break
            faults.refuse()
        elif any(fitting):
            yield DataRow(
                where,
                number,
                {name: cell for name, cell in zip(names, fitting, strict=True) if name},
                fault,
            )


def _records(
    lines: Iterable[str], delimiter: str, path: Path, before: int
) -> Iterator[tuple[str, list[str]]]:
    """(file:line of its beginning, cells) of each record; `before` lines are gone already.

    Blank lines in front of the header are passed over.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begun = False
    while True:
        where = f"{path}:{before + reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as bad:
            said = next((text for part, text in _MESSAGES.items() if part in str(bad)), str(bad))
            raise InputError(f"{where}: {said}") from None
        begun = begun or any(cell.strip() for cell in cells)
        if begun:
            yield where, cells


def _fitting(cells: Sequence[str], columns: int) -> Sequence[str] | None:
    """One cell for each column, all blank for a blank record; None when they are too few or many.

    Blank cells behind the last column lose nothing.
    """
    if not any(cell.strip() for cell in cells):
        return [""] * columns
    if len(cells) < columns or any(cell.strip() for cell in cells[columns:]):
        return None
    return cells[:columns]


def _ragged(found: int, columns: int, delimiter: str) -> str:
    shown = {"\t": "a tab"}.get(delimiter, repr(delimiter))
    return (
        f"{found} columns where the header has {columns}: put double quotes around a text that "
        f"holds {shown}"
    )


def _said(line: str) -> str | None:
    """The delimiter that a first line such as `sep=;` names, as Excel reads and writes it."""
    text = line.strip('"\r\n').lower()
    return text[4] if text.startswith("sep=") and text[4:5] in (*_DELIMITERS, "|") else None


def _delimiter(sample: Sequence[str], usual: str, path: Path) -> str:
    """What is between the columns of these first lines; InputError where it might be two."""
    widths = {one: _widths(sample, one) for one in (usual, *_DELIMITERS)}
    fit = [one for one, found in widths.items() if found[0] > 1 and len(set(found)) == 1]
    if usual in fit or (not fit and widths[usual][0] > 1):
        return usual
    if len(fit) > 1:
        raise InputError(
            f"{path}: its columns may have {' or '.join(map(repr, fit))} between: say which with a "
            f"first line such as sep={fit[0]}"
        )
    split = [one for one, found in widths.items() if found[0] > 1]
    return fit[0] if fit else split[0] if len(split) == 1 else usual


def _widths(sample: Sequence[str], delimiter: str) -> list[int]:
    """How many cells the first records have with this delimiter; the last may be cut off."""
    found = [0]
    try:
        for cells in csv.reader(sample, delimiter=delimiter):
            if any(cell.strip() for cell in cells):
                found.append(len(cells))
    except csv.Error:
        pass
    if len(sample) == _SAMPLE_LINES:
        found = found[: max(2, len(found) - 1)]
    return found[1:] or found
