"""Reading a `tokenizer.json`, which comes from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.errors import native_failure
from edgecd.tasks.control import as_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` that encodes texts as text, and whole (see `tasks.control`).

    Raises InputError for a file that is none.
    """
    from tokenizers import Tokenizer

    try:
        return as_text(Tokenizer.from_file(str(path)))
    except BaseException as bad:
        raise native_failure(bad, f"{path} is not a tokenizer") from None
