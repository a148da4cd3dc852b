"""Errors that a person can act on: what went wrong, where, and the cure."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

MOST_SHOWN = 20_000  # characters of one message
_SHOWN = 60
_COMPARED = 128  # letters of a word that are compared, which takes the square of their number


class EdgecdError(Exception):
    """Base of every error that edgecd raises on purpose; `exit_code` is the command's."""

    exit_code = 2


class InputError(EdgecdError):
    """Wrong use or bad input: a file, an option, a model that does not fit."""


class CheckFailed(EdgecdError):
    """A check said no: the export's gate, or `verify`."""

    exit_code = 1


class MissingExtra(EdgecdError):
    """A command needs packages that an extra installs."""


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtra with the one command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] != module.split(".")[0]:
            raise
        package = module.split(".")[0]
        raise MissingExtra(
            f"this needs {package}, which is not installed: pip install 'edgecd[{extra}]'"
        ) from None


def check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raise InputError for a key that nobody reads, and suggest the one that was meant."""
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {shown(key)}{suggest(key, known)}")


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something close is known, else nothing."""
    close = nearest(word, known)
    return "" if close is None else f"; did you mean {close!r}?"


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like `word`, case and outer blanks aside; None of none."""
    plain = {one[:_COMPARED].casefold().strip(): one for one in known}
    close = get_close_matches(word[:_COMPARED].casefold().strip(), plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def shown(value: object) -> str:
    """A value from a file as a message shows it: quoted, control characters escaped, cut."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else repr(value[:_SHOWN]) + "..."
    if isinstance(value, bool | int | float) and abs(value) < 1e30:
        return repr(value)
    return f"of type {type(value).__name__}"


def printable(text: str) -> str:
    """A text with control characters escaped, so that it can neither move nor colour a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else repr(letter)[1:-1] for letter in text)


def for_terminal(text: str, most: int = MOST_SHOWN) -> str:
    """What a terminal is given of a text of anybody's: `printable` but for its lines, and cut."""
    if len(text) > most:
        text = f"{text[:most]}... ({len(text):,} characters)"
    return "\n".join(map(printable, text.split("\n")))


def _is_shown(letter: str) -> bool:
    """Whether it is a letter, a sign, a blank of any width, or what joins letters and emoji."""
    joins = letter in "\u200c\u200d"
    return letter.isprintable() or joins or unicodedata.category(letter) == "Zs"


def native_failure(error: BaseException, what: str) -> BaseException:
    """What to raise for an error from inside a native library: an InputError that says `what`.

    A panic of a library in Rust is no Exception, and an interruption no failure: that one is given
    back as it is, as are edgecd's own errors.
    """
    is_panic = type(error).__name__ == "PanicException"
    if isinstance(error, EdgecdError) or not (isinstance(error, Exception) or is_panic):
        return error
    return InputError(f"{what}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message to people."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:400]
