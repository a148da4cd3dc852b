"""Errors that a person can act on: what went wrong, where, and the cure."""

from __future__ import annotations

import errno
import importlib
import re
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


_CURES = {
    errno.ENOSPC: "the disk is full: free some space, then run it again (train: with --resume)",
    errno.EDQUOT: "your disk quota is used up: free some space, then run it again",
    errno.EACCES: "permission denied: choose another place, or change its permissions",
    errno.EPERM: "permission denied: choose another place, or change its permissions",
    errno.EROFS: "it is on a read-only file system: choose another place",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EISDIR: "it is a folder where a file is meant",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EEXIST: "something of that name is in the way: choose another place",
    errno.ENOENT: "there is no such file or folder",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ELOOP: "its links lead in a circle",
}
_NO_MEMORY = "not enough memory: close other programs, or take a smaller model or --batch-size"


def system_fault(error: BaseException) -> str | None:
    """What the system refused (disk, permissions, memory), in one line with the cure.

    Native libraries tell it in errors of their own. None for an error of another kind.
    """
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    said = " ".join(str(error).split())
    if isinstance(error, OSError):
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
        said = _CURES.get(error.errno or 0, error.strerror or said)
        return f"{where}: {said}" if where else said
    if type(error).__name__ == "SafetensorError" and (code := re.search(r"os error (\d+)", said)):
        return f"weights could not be written or read: {_CURES.get(int(code[1]), said)}"
    if "not enough memory" in said or "out of memory" in said:  # torch, on a processor or a GPU
        return _NO_MEMORY
    return None
