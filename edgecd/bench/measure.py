"""Measures one system in a fresh process of its own, so that none warms or burdens another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.errors import InputError
from edgecd.files import read_json, write_json
from edgecd.host.processes import ending, last_words, run_module

WORKER, PROMPT_MODELS = "edgecd.bench.worker", "edgecd.bench.systems.prompt_models"


def measure(
    name: str, spec: Mapping[str, Any], threads: int, program: str = WORKER
) -> dict[str, Any]:
    """Run a program of this package, which takes SPEC and RESULT, and return its result.

    Raises InputError, naming the system and the program's last words, when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgecd-bench-") as name_of_folder:
        ask, answer = (Path(name_of_folder) / file for file in ("spec.json", "result.json"))
        write_json(ask, spec)
        failure = run(program, [str(ask), str(answer)], threads)
        if failure is None and answer.is_file():
            result: dict[str, Any] = read_json(answer)
            return result
    raise InputError(
        f"system {name!r} could not be measured: its process {failure or ending(0)}\n"
        "finished systems are kept: cure it and run the same command again, or name the "
        "baselines to keep with --baselines"
    )


def run(program: str, arguments: Sequence[str], threads: int) -> str | None:
    """Run a program to its end; None, or how it failed and what it said last."""
    with tempfile.TemporaryFile() as log:
        code = run_module(program, arguments, threads, log)
        log.seek(0)
        said = last_words(log.read().decode("utf-8", errors="replace"))
    if code == 0:
        return None
    return ending(code) + "".join(f"\n  {line}" for line in said)
