"""`python -m tests.sweep_in_forks SUITE OPTIONS OUT`: a sweep left alone, and one killed thrice.

The cells are forks of this process instead of fresh interpreters, because importing PyTorch for
each would take most of the test's time; all else is as in a real sweep. Prints both results.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgecd.console import SILENT
from edgecd.host import processes
from edgecd.sweep import cell, run
from edgecd.sweep.config import SweepConfig
from edgecd.sweep.suite import Suite, load_suite
from edgecd.training import distil as train  # noqa: F401  (imported once, before any fork)
from edgecd.training import loop as training


def run_module(
    module: str, arguments: Sequence[str], threads: int, log: IO[bytes], keep: Sequence[int]
) -> int:
    """As `processes.run_module`, in a fork (which inherits the lock)."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.dup2(theirs, 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os._exit(cell.main(*arguments))
    os.close(theirs)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(ours)


def sweep(suite: Suite, out: Path) -> int:
    """Start a sweep in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        run.run_sweep(suite, out, SweepConfig(threads=1), SILENT)
        os._exit(0)
    return child


def main(suite_path: str, options: str, out_path: str) -> None:
    out = Path(out_path)
    suite = load_suite(Path(suite_path), SweepConfig(**json.loads(options)))
    processes.run_module = run_module  # type: ignore[assignment]
    training.SAVE_EVERY_S = 0.0  # tiny trainings last a second
    began = time.monotonic()
    assert os.waitpid(sweep(suite, out / "whole"), 0)[1] == 0
    took = time.monotonic() - began
    chance = random.Random(0)
    finished = []
    for _ in range(3):
        child = sweep(suite, out / "cut")
        time.sleep(chance.uniform(0.1, 0.45) * took)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        finished.append(sorted(str(one) for one in out.glob("cut/cells/*/result.json")))
    kept = {name: Path(name).stat().st_mtime_ns for name in finished[-1]}
    assert os.waitpid(sweep(suite, out / "cut"), 0)[1] == 0
    again = [name for name, when in kept.items() if Path(name).stat().st_mtime_ns != when]
    counts = [len(names) for names in finished]
    print(json.dumps({"finished_before_each_kill": counts, "run_again": again}))


if __name__ == "__main__":
    main(*sys.argv[1:])
