"""The process of one system: `worker.py prepare|serve SPEC`, SPEC being JSON.

`serve` imports, loads, answers once, says what that took, and then waits for commands, a line of
JSON each: `{"time": [ids, ...]}` and `{"answer": [ids, ...]}`; the end of the input ends it. It
blocks while it waits. Exit code 3: a package is missing, or the system cannot take the model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecd.bench.systems.peer import import_runtime, runtime_version
from edgecd.errors import EdgecdError
from edgecd.host.memory import peak_rss_bytes

UNAVAILABLE = 3


def prepare(spec: dict[str, Any]) -> None:
    """Write the files that the system loads."""
    folder = Path(spec["folder"])
    module = import_runtime(spec["module"])  # before minutes of converting for one that is missing
    # Beside it: what conversions of the same checkpoint share.
    module.prepare(Path(spec["checkpoint"]), folder, spec["variant"], folder.parent)


def serve(spec: dict[str, Any]) -> None:
    """Load and answer until the input ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=channel, flush=True)

    started = time.perf_counter()
    module = import_runtime(spec["module"])
    imported = time.perf_counter()
    answer = module.load(Path(spec["folder"]), spec["variant"], spec["threads"], spec["max_tokens"])
    loaded = time.perf_counter()
    answer(spec["first"])
    answered = time.perf_counter()
    say(
        {
            "package": module.PACKAGE,
            "version": runtime_version(module),
            "import_ms": (imported - started) * 1e3,
            "load_ms": (answered - imported) * 1e3,
            "first_call_ms": (answered - loaded) * 1e3,
            "peak_rss_loaded_bytes": peak_rss_bytes(),
        }
    )
    for line in sys.stdin:
        command = json.loads(line)
        if "time" in command:
            say({"ms": timed(answer, command["time"]), "peak_rss_bytes": peak_rss_bytes()})
        else:
            say({"logits": [np.asarray(answer(ids)).tolist() for ids in command["answer"]]})


def timed(answer: Callable[[list[int]], np.ndarray], prompts: list[list[int]]) -> list[float]:
    """Milliseconds of each call, after one that is not counted: others have run in between."""
    answer(prompts[-1])
    took_ms = []
    for ids in prompts:
        began = time.perf_counter()
        answer(ids)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


def main(what: str, text: str) -> int:
    """Do what the command line says; returns the exit code."""
    try:
        {"prepare": prepare, "serve": serve}[what](json.loads(text))
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed: see requirements.txt", file=sys.stderr)
        return UNAVAILABLE
    except EdgecdError as why:
        print(why, file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
