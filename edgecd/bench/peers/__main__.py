"""Convert for one peer in a process of its own: `python -m edgecd.bench.peers`, see USAGE."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

from edgecd.bench.systems.peer import prepare
from edgecd.errors import EdgecdError, InputError
from edgecd.host.processes import end_with_parent

USAGE = "usage: python -m edgecd.bench.peers NAME CHECKPOINT FOLDER THREADS [WORK]"


def main(*arguments: str) -> int:
    """Convert, or say in one line why not; returns the exit code."""
    chatter = io.StringIO()  # converters' progress and advice, which would bury that line
    try:
        if len(arguments) not in (4, 5) or not arguments[3].isdecimal():
            raise InputError(USAGE)
        name, checkpoint, folder, threads, *work = arguments
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            prepare(name, Path(checkpoint), Path(folder), int(threads), *map(Path, work))
    except EdgecdError as bad:
        print(bad, file=sys.stderr)
        return bad.exit_code
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(*sys.argv[1:]))
