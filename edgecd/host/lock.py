"""The lock that keeps a second process out of a folder which one is at work on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgecd.errors import InputError

LOCK_WAIT_S = 10.0


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[IO[str]]:
    """Hold `folder`/.lock, where the system has flock; yields the open file.

    A child process that is given the file's descriptor holds the lock, too, so that it is waited
    for a moment when its parent was killed. Raises InputError, which calls the work `what`, when
    another process goes on holding it.
    """
    with (folder / ".lock").open("a+") as lock:
        try:
            import fcntl
        except ImportError:
            yield lock
            return
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    owner = lock.read().strip()
                    raise InputError(
                        f"{folder}: another {what} is at work there (process {owner}): wait for "
                        "its end, or choose another folder for --out"
                    ) from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock
