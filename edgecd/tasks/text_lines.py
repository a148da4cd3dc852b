"""Lines of text files as people have them: UTF-8, or UTF-16 and UTF-32 that say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecd.errors import InputError
from edgecd.files import encoding_of, not_text
from edgecd.tasks.rows import MAX_LINE

_NO_TEXT = {
    b"PK\x03\x04": "a zip file or an Excel workbook: name it .xlsx if it is one, or unpack it",
    b"\x1f\x8b": "compressed with gzip: unpack it first (gunzip)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as .xlsx or as CSV UTF-8",
    b"PAR1": "a Parquet file: name it .parquet",
}


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file with their ends; any of \\n, \\r\\n and \\r ends one.

    Raises InputError, naming the line, for bytes that are no text and for endless lines.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    for magic, said in _NO_TEXT.items():
        if head.startswith(magic):
            raise InputError(f"{path} is {said}")
    number = 0
    with path.open(encoding=encoding_of(path), newline="") as lines:
        try:
            while line := lines.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise InputError(f"{path}:{number}: a line of over {MAX_LINE:,} characters")
                yield line
        except UnicodeError:
            raise not_text(path) from None
