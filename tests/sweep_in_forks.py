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
from pathlib import Path

from edgecd.host import lock as process
from edgecd.sweep import cell, run
from edgecd.sweep.suite import Suite, load_suite
from edgecd.training import distil as train  # noqa: F401  (imported once, before any fork)
from edgecd.training import loop as training


def run_child(folder: Path, threads: int, lock: object) -> int:
    """As `process.run_child`, in a fork (which inherits the lock)."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.dup2(theirs, 0)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(cell.main(str(folder / "spec.json"), str(folder / "result.json")))
    os.close(theirs)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(ours)


def sweep(suite: Suite, out: Path) -> int:
    """Start a sweep in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        run.run_sweep(suite, out, lambda line: None, threads=1)
        os._exit(0)
    return child


def main(suite_path: str, options: str, out_path: str) -> None:
    out = Path(out_path)
    suite = load_suite(Path(suite_path), json.loads(options))
    process.run_child = run_child  # type: ignore[assignment]
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
