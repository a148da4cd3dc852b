"""A cell's process, and the lock that keeps a second sweep out: neither outlives its sweep."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgecd.errors import InputError
from edgecd.host.processes import run_module

LOCK_WAIT_S = 10.0


def run_child(folder: Path, threads: int, lock: IO[str]) -> int:
    """Run the cell of `folder`/spec.json in a fresh process; returns its exit code.

    It writes result.json; what it says goes to log.txt. It ends when this process does, even by
    SIGKILL, and holds the sweep's lock until then.
    """
    files = [str(folder / "spec.json"), str(folder / "result.json")]
    with (folder / "log.txt").open("wb") as log:
        return run_module("edgecd.sweep.cell", files, threads, log, keep=[lock.fileno()])


@contextlib.contextmanager
def locked(out: Path) -> Iterator[IO[str]]:
    """Hold `out`/.lock (where the system has flock); InputError when another sweep does.

    A killed sweep's cell holds it for a moment longer: then it is waited for.
    """
    with (out / ".lock").open("a+") as lock:
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
                        f"{out}: another sweep is at work there (process {owner}): wait for its "
                        "end, or choose another folder for --out"
                    ) from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock
