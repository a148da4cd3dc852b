"""Measures one system in a fresh process of its own, so that none warms or burdens another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.errors import InputError
from edgecd.files import read_json, write_json

WORKER = (sys.executable, "-m", "edgecd.bench.worker")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 8


def measure(
    name: str, spec: Mapping[str, Any], threads: int, worker: Sequence[str] = WORKER
) -> dict[str, Any]:
    """Run the worker on `spec` (see `worker.measure_system`) and return its result.

    The parent sleeps until the worker ends, so it takes no processor time from it. Raises
    InputError, naming the system and the worker's last words, when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgecd-bench-") as name_of_folder:
        folder = Path(name_of_folder)
        ask, answer, log = folder / "spec.json", folder / "result.json", folder / "stderr.txt"
        write_json(ask, spec)
        environment = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            "TOKENIZERS_PARALLELISM": "false",
        }
        with log.open("wb") as stream:
            code = subprocess.run(
                [*worker, str(ask), str(answer)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                check=False,
            ).returncode
        if code == 0 and answer.is_file():
            result: dict[str, Any] = read_json(answer)
            return result
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = "\n".join(f"  {line}" for line in said[-_LAST_LINES:])
    raise InputError(
        f"system {name!r} could not be measured: its process {_ending(code)}"
        + (f", saying\n{last}\n" if last else "; ")
        + "finished systems are kept: cure it and run the same command again, or name the "
        "baselines to keep with --baselines"
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}" if code else "left no result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
