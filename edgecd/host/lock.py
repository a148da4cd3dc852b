"""The lock that keeps a second process out of what one is at work on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgecd.errors import InputError
from edgecd.host.folders import LOCK

LOCK_WAIT_S = 10.0


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[IO[str]]:
    """Hold `folder`/.lock, where the system has flock; yields the open file.

    A child process that is given the file's descriptor holds the lock, too, so that it is waited
    for a moment when its parent was killed. Raises InputError, which calls the work `what`, when
    another process goes on holding it.
    """
    with (folder / LOCK).open("a+") as lock:
        if not _wait(lock, LOCK_WAIT_S):
            raise InputError(
                f"{folder}: another {what} is at work there (process {_owner(lock)}): wait for "
                "its end, or choose another folder for --out"
            )
        _sign(lock)
        yield lock


@contextlib.contextmanager
def in_turn(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path`, however long another process has it, which is said."""
    with path.open("a+") as lock:
        if not _wait(lock, 0):
            say(f"waiting for process {_owner(lock)}, which is at work on {path.with_suffix('')}")
            _wait(lock, None)
        _sign(lock)
        yield


def _wait(lock: IO[str], longest_s: float | None) -> bool:
    """Take the lock; False when another holds it after `longest_s` (None: for ever)."""
    try:
        import fcntl
    except ImportError:
        return True
    deadline = None if longest_s is None else time.monotonic() + longest_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.1)


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip()


def _sign(lock: IO[str]) -> None:
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
