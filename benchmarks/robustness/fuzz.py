"""Give readers of files hostile ones, many times: is there an answer, or a line that says why?

    python -m benchmarks.robustness.fuzz --cases 20000 --out benchmarks/robustness/results.json

A case is made from a seed, so that any can be made again (--again READER SEED). Cases are read in
child processes of at most 4 GB, a batch each; a case that takes over 10 seconds of processor time
is a hang, one that ends its process an abort. Counts are written after each batch, and the same
command goes on where it stopped. The exit code is 1 when there is any fault.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from edgecd.errors import EdgecdError
from edgecd.files import read_json, write_json
from tests.hostile.readers import READERS
from tests.hostile.values import WrongError

MODULE = "benchmarks.robustness.fuzz"
MEMORY_BYTES = 4 << 30
SECONDS = 10
BATCH = 400  # a child takes seconds to start
REFUSED, ACCEPTED, TRACEBACK, WRONG, HANG, ABORT = OUTCOMES = (
    "refused",
    "accepted",
    "tracebacks",
    "wrong",
    "hangs",
    "aborts",
)
FAULTS = OUTCOMES[2:]
_SHOWN = 200


def main() -> None:
    """Read the options; count cases, or make one again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="in all")
    parser.add_argument("--out", type=Path, help="where the counts go, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the first case of each reader")
    parser.add_argument("--only", default="", help="a part of the readers' names")
    parser.add_argument("--again", nargs=2, metavar=("READER", "SEED"), help="one case, here")
    parser.add_argument("--batch", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.again:
        print(try_case(asked.again[0], int(asked.again[1]), show=True))
    elif asked.batch:
        read_batch(asked.batch[0], int(asked.batch[1]), int(asked.batch[2]))
    elif asked.out is None:
        parser.error("--out is needed")
    else:
        sys.exit(count_all(asked.cases, asked.seed, asked.only, asked.out))


def count_all(cases: int, seed: int, only: str, out: Path) -> int:
    """Count the outcomes of so many cases; returns the exit code."""
    names = [name for name in READERS if only in name]
    each = -(-cases // len(names))
    counts: dict[str, dict[str, int]] = {}
    faults: list[dict[str, Any]] = []
    if out.exists():
        before = read_json(out)
        if before["seed"] == seed:
            counts, faults = before["readers"], before["faults"]
    for done in range(0, each, BATCH):
        for name in names:
            known = counts.setdefault(name, dict.fromkeys(OUTCOMES, 0))
            if sum(known.values()) > done:
                continue
            found = Counter[str]()
            for number, outcome, words in batch(name, seed + done, min(BATCH, each - done)):
                found[outcome] += 1
                if outcome in FAULTS:
                    faults.append({"reader": name, "seed": number, outcome: words})
                    print(name, number, outcome, words, flush=True)
            counts[name] = {key: known[key] + found[key] for key in OUTCOMES}
            write_json(out, summary(seed, counts, faults))
        print(f"{min(done + BATCH, each)} of {each} cases of each reader", flush=True)
    return int(bool(faults))


def summary(
    seed: int, counts: dict[str, dict[str, int]], faults: list[dict[str, Any]]
) -> dict[str, Any]:
    """The counts as they are written."""
    total = {key: sum(one[key] for one in counts.values()) for key in OUTCOMES}
    limits = {"memory_bytes": MEMORY_BYTES, "seconds_a_case": SECONDS}
    cases = sum(total.values())
    return {
        "seed": seed,
        "cases": cases,
        **limits,
        "total": total,
        "readers": counts,
        "faults": faults,
    }


def batch(name: str, first: int, count: int) -> Iterator[tuple[int, str, str]]:
    """Yield (seed, outcome, words) of so many cases, each read in some child process."""
    done = 0
    while done < count:
        asked = ["--batch", name, str(first + done), str(count - done)]
        child = subprocess.run([sys.executable, "-m", MODULE, *asked], capture_output=True)
        lines = child.stdout.decode(errors="replace").splitlines()
        for line in lines:
            outcome, _, words = line.partition(" ")
            yield first + done, outcome, words
            done += 1
        if done < count:
            slow = child.returncode in (-signal.SIGPROF, -signal.SIGALRM)
            said = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
            words = f"exit code {child.returncode} {' '.join(said)[:_SHOWN]}"
            yield first + done, HANG if slow else ABORT, words
            done += 1


def read_batch(name: str, first: int, count: int) -> None:
    """In a child process: read cases, a line on stdout for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library says is no answer
    for seed in range(first, first + count):
        # What hangs in a library's own code is ended by the system alone.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, SECONDS * 12)
        os.write(answers, f"{try_case(name, seed)}\n".encode(errors="replace"))


def try_case(name: str, seed: int, show: bool = False) -> str:
    """Make and read one case; returns its outcome, and what went wrong."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory(prefix="edgecd-fuzz-") as folder:
        try:
            reader.make(Random(f"{name} {seed}"), Path(folder))
            reader.read(Path(folder))
        except EdgecdError as refused:
            if show:
                print(refused)
            return REFUSED
        except WrongError as wrong:
            return f"{WRONG} {wrong}"
        except BaseException as bad:
            if show:
                with contextlib.suppress(Exception):
                    traceback.print_exc()
            last = traceback.extract_tb(bad.__traceback__)[-1]
            words = f"{type(bad).__name__} in {last.name} ({Path(last.filename).name}): {bad}"
            return f"{TRACEBACK} {' '.join(words.split())[:_SHOWN]}"
    return ACCEPTED


if __name__ == "__main__":
    main()
