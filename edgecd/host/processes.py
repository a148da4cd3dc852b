"""Processes of their own: with fixed threads, alone in what they load, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import IO, Any

from edgecd.errors import EdgecdError
from edgecd.files import read_json, write_json
from edgecd.host.faults import system_fault

PARENT_GONE = 3
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 8
SPEC, ANSWER, LOG = "spec.json", "result.json", "log.txt"


@dataclass(frozen=True)
class Failure:
    """How a process ended that did not do its work, and the last lines that it said."""

    ending: str
    last_words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.ending + "".join(f"\n  {line}" for line in self.last_words)


def ask(
    module: str, spec: Any, threads: int, folder: Path | None = None, keep: Sequence[int] = ()
) -> dict[str, Any] | Failure:
    """Run `python -m module SPEC RESULT` in a fresh process, which ends when this one does.

    `spec` is what the module is asked, as JSON can hold it; returned is the JSON object that it
    writes at its end (see `run_spec`), or how it failed. Both files and what it said stay in
    `folder`, as spec.json, result.json and log.txt; without one they are gone afterwards. `keep`
    are file descriptors that the process gets, too.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgecd-")))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ANSWER).unlink(missing_ok=True)
        write_json(folder / SPEC, spec)
        with (folder / LOG).open("w+b") as log:
            files = [str(folder / SPEC), str(folder / ANSWER)]
            code = run_module(module, files, threads, log, keep)
            # It is written at once and at the very end: where it is, the work was done.
            if not (folder / ANSWER).exists():
                return _failure(code, log)
        answer: dict[str, Any] = read_json(folder / ANSWER)
        return answer


def run_to_end(module: str, arguments: Sequence[str], threads: int) -> Failure | None:
    """Run `python -m module arguments` in a fresh process; None, or how it failed."""
    with tempfile.TemporaryFile() as log:
        code = run_module(module, arguments, threads, log)
        return _failure(code, log) if code else None


def _failure(code: int, log: IO[bytes]) -> Failure:
    log.seek(0)
    return Failure(ending(code), last_words(log.read().decode("utf-8", errors="replace")))


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

    An error that a person can mend, and what the system refused, becomes one line on stderr.
    """
    try:
        write_json(Path(result_path), work(read_json(Path(spec_path))))
    except EdgecdError as bad:
        print(bad, file=sys.stderr)
        return bad.exit_code
    except Exception as bad:
        if (said := system_fault(bad)) is None:
            raise
        print(said, file=sys.stderr)
        return EdgecdError.exit_code
    return 0


def environment(threads: int) -> dict[str, str]:
    """The variables of a process with so many threads; see `own_code_only`."""
    return {
        **own_code_only(),
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }


def own_code_only() -> dict[str, str]:
    """The variables of a Python that imports nothing from the working directory.

    Who works in a folder of somebody else's, with a numpy.py in it, does not mean to run that. Only
    where edgecd itself lies there is its folder searched, as it is in this process.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [path for path in given if Path(path).is_absolute()]
    home, here = Path(__file__).resolve().parents[2], Path.cwd()
    elsewhere = [path for path in sys.path if path and Path(path).resolve() != here]
    if home == here and PathFinder.find_spec("edgecd", elsewhere) is None:
        paths.append(str(home))
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def ending(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"ended with code {code}" if code else "left no result"
    names = {one.value: one.name for one in signal.Signals}
    name = names.get(-code, str(-code))
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def last_words(said: str) -> tuple[str, ...]:
    """The last lines of what a process said."""
    return tuple(said.strip().splitlines()[-_LAST_LINES:])
