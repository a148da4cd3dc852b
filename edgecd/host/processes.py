"""Processes of their own: with fixed threads, alone in what they load, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from edgecd.errors import EdgecdError
from edgecd.files import read_json, write_json

PARENT_GONE = 3
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 8


def run_module(
    module: str, arguments: Sequence[str], threads: int, log: IO[bytes], keep: Sequence[int] = ()
) -> int:
    """Run `python -m module arguments` to its end; returns its exit code.

    This process sleeps meanwhile, so it takes no processor time from the other. What that one
    says goes to `log`. Its standard input is a pipe from here, which ends when this process does,
    even by SIGKILL (see `end_with_parent`). `keep` are file descriptors that it gets, too.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment(threads),
        pass_fds=tuple(keep),
    ) as child:
        try:
            return child.wait()
        finally:
            child.kill()


def end_with_parent() -> None:
    """End this process when the pipe on standard input does: nobody waits for the result."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(PARENT_GONE)

    threading.Thread(target=wait, daemon=True).start()


def run_spec(work: Callable[[Any], Any], spec_path: str, result_path: str) -> int:
    """Do `work` on a spec file's JSON and write what it returns; returns the exit code.

    An error that a person can mend becomes its message on standard error.
    """
    try:
        write_json(Path(result_path), work(read_json(Path(spec_path))))
    except EdgecdError as bad:
        print(bad, file=sys.stderr)
        return bad.exit_code
    return 0


def environment(threads: int) -> dict[str, str]:
    """The variables of a process with so many threads."""
    return {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }


def ending(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"ended with code {code}" if code else "left no result"
    names = {one.value: one.name for one in signal.Signals}
    name = names.get(-code, str(-code))
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def last_words(said: str) -> list[str]:
    """The last lines of what a process said."""
    return said.strip().splitlines()[-_LAST_LINES:]
