"""Rows from Parquet files and Excel workbooks."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, first_line, printable, require
from edgecd.tasks.rows import MAX_COLUMNS, MAX_LINE, DataRow, check_columns

MAX_UNPACKED = 1 << 30  # bytes of a Parquet file's pages, as it says itself
MAX_WORKBOOK = 1 << 28  # bytes of a workbook's parts, unpacked
MAX_CELLS = 20_000_000
_EXCEL_ROWS = 1_048_576  # of a sheet, as many as Excel has
_BATCH_ROWS = 1024
_SEARCHED_ROWS = 64  # at the top of a sheet, for any that is not blank


def read_parquet(path: Path) -> Iterator[DataRow]:
    """A row for each of a Parquet file's; InputError for a damaged or unbounded one."""
    parquet = require("pyarrow.parquet", "train")
    types = require("pyarrow", "train").types
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names, metadata = file.schema_arrow.names, file.metadata
            texts = [
                one.name
                for one in file.schema_arrow
                if types.is_string(one.type) or types.is_large_string(one.type)
            ]
        check_columns(names, str(path))
        groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
        unpacked = sum(group.total_byte_size for group in groups)
        if unpacked > MAX_UNPACKED:
            raise InputError(
                f"{path}: unpacks to {unpacked:,} bytes, and {MAX_UNPACKED:,} are the most: take a "
                "sample of the rows"
            )
        # A text that occurs in many rows stays one in memory.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for cells in _batch_rows(batch, f"{path}: after row {number}"):
                    number += 1
                    yield DataRow(
                        f"{path}:row {number}", number, dict(zip(names, cells, strict=True))
                    )
    except InputError:
        raise
    except Exception as bad:  # pyarrow's own error types live in the module just imported
        raise InputError(
            f"{path}: {_after(number)}not a readable Parquet file ({_line(bad)})"
        ) from None


def _batch_rows(batch: Any, where: str) -> Iterator[tuple[Any, ...]]:
    """The values of each row of a batch; one by one where all together would be too large."""
    compute = require("pyarrow.compute", "train")
    dictionaries = [column.dictionary for column in batch.columns if hasattr(column, "dictionary")]
    lengths = [compute.max(compute.binary_length(one)).as_py() or 0 for one in dictionaries]
    longest = max(lengths, default=0)
    if longest > MAX_LINE:
        raise InputError(f"{where}: a text of over {MAX_LINE:,} bytes")
    if longest * batch.num_rows > MAX_LINE:
        for place in range(batch.num_rows):
            yield tuple(column[place].as_py() for column in batch.columns)
    else:
        plain = (
            column.dictionary_decode() if hasattr(column, "dictionary") else column
            for column in batch.columns
        )
        yield from zip(*(column.to_pylist() for column in plain), strict=True)


def read_xlsx(path: Path) -> Iterator[DataRow]:
    """A row for each of a workbook's only sheet with any; numbers and dates are text, as in CSV.

    Raises InputError for several such sheets, a damaged file, and one that unpacks to too much.
    """
    openpyxl = require("openpyxl", "xlsx")
    number = 0
    try:
        with zipfile.ZipFile(path) as parts:  # whose sizes are held to when it is unpacked
            unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > MAX_WORKBOOK:
            raise InputError(f"{path}: unpacks to {unpacked:,} bytes: save it as CSV UTF-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts of a workbook that are not read here
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            names: list[str] = []
            for number, cells in enumerate(_sheet(book, path), start=1):
                where = f"{path}:row {number}"
                if not any(cells):
                    continue
                if not names:
                    names = [cell.strip() for cell in cells]
                    check_columns(names, where)
                    continue
                if len(cells) > len(names):
                    raise InputError(f"{where}: more columns than the header has")
                cells += [""] * (len(names) - len(cells))
                values = {name: cell for name, cell in zip(names, cells, strict=True) if name}
                yield DataRow(where, number, values)
        finally:
            book.close()
    except InputError:
        raise
    except Exception as bad:  # a damaged workbook fails in as many ways as XML and zip files do
        raise InputError(
            f"{path}: {_after(number)}not a readable .xlsx workbook ({_line(bad)}): save it again, "
            "without a password"
        ) from None


def _sheet(book: Any, path: Path) -> Iterator[list[str]]:
    """The cells, as text, of each row of the only sheet that has any; none at its blank end."""
    full = [sheet for sheet in book.worksheets if _has_rows(sheet)]
    if not full:
        raise InputError(f"{path}: empty; the first row must name the columns")
    if len(full) > 1:
        raise InputError(
            f"{path}: several sheets have rows ({', '.join(sheet.title for sheet in full[:8])}): "
            "keep one of them, or save it as CSV UTF-8"
        )
    cells = 0
    for number, row in enumerate(full[0].iter_rows(values_only=True), start=1):
        cells += len(row)
        if cells > MAX_CELLS or len(row) > MAX_COLUMNS:
            raise InputError(f"{path}: over {MAX_CELLS:,} cells: save it as CSV UTF-8")
        if number > _EXCEL_ROWS:  # one row far below all others has empty ones before it
            raise InputError(f"{path}: over {_EXCEL_ROWS:,} rows, and Excel has no more: damaged")
        texts = [_cell(value) for value in row]
        while texts and not texts[-1]:
            texts.pop()
        yield texts


def _has_rows(sheet: Any) -> bool:
    if not hasattr(sheet, "reset_dimensions"):  # a chart alone
        return False
    sheet.reset_dimensions()  # what it says of its own size is often wrong
    return any(
        any(value is not None for value in row)
        for row in sheet.iter_rows(max_row=_SEARCHED_ROWS, values_only=True)
    )


def _cell(value: Any) -> str:
    """A cell as the same sheet saved as CSV has it, but that truths are as in JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text if text.strip() else ""


def _after(rows: int) -> str:
    return f"after row {rows}, " if rows else ""


def _line(bad: Exception) -> str:
    """The first line of what a library says, cut; of a damaged file it may hold anything."""
    return printable(first_line(bad)[:200])
