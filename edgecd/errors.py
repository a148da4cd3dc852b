"""Errors that a person can act on: what went wrong, where, and the cure."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any


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
            raise InputError(f"{where}: unknown key {key!r}{suggest(key, known)}")


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something close is known, else nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


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
