"""`edgecd demo`: distil, export and bench the embedded task, with the embedded model.

It runs the commands that a user would, each in a process of its own, so that memory of one step
is gone before the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgecd.bench.report.markdown import table
from edgecd.bench.report.record import parse_report
from edgecd.bench.report.write import REPORT_PAGE
from edgecd.bench.systems.base import TORCH
from edgecd.console import Console
from edgecd.demo.model import demo_student, demo_teacher
from edgecd.errors import EdgecdError
from edgecd.host.folders import claim, forget_aside, refuse_existing, set_aside
from edgecd.host.memory import peak_child_rss_bytes, peak_rss_bytes
from edgecd.host.processes import own_code_only
from edgecd.plotting.roles import TEACHER

TRAIN = {
    "task": "tickets",
    "shots": 60,
    "context-shots": 10,
    "context-draws": 6,
    "transfer": 600,
    "heldout": 150,
    "max-length": 128,
}
HOLDS = ("run", "bundle-int8", "bundle-fp32", "report")
MAX_FLIPS = {"fp32": 0, "int8": 2}
BENCH = {
    "task": "tickets",
    "ood": "tickets-ood",
    "limit": 300,
    "baselines": TEACHER,
    "rivals": "majority,tfidf,embeddings",
    # What answers the question in a few minutes.
    "prompt-runtimes": TORCH,
    "few-shots": "none",
    "draws": 1,
    "rounds": 2,
}


def run_demo(out: Path, force: bool, quiet: bool, console: Console) -> dict[str, Any]:
    """Write `out`/run, two bundles and a report; returns their paths and the main numbers.

    The teacher, SmolLM2-135M, reads ten of sixty labelled messages before every one, and a linear
    classifier over the student's embeddings seconds it; the student, the encoder MiniLM of a sixth
    of the size, reads none. Raises InputError when `out` exists, unless `force`.
    """
    began = time.monotonic()
    refuse_existing(out, force)
    models = {"teacher": demo_teacher(console.say), "student": demo_student()}
    set_aside(out)
    claim(out, HOLDS, force)
    run, report = out / "run", out / "report"
    bundles = {precision: out / f"bundle-{precision}" for precision in ("int8", "fp32")}
    console.say("1/3 train: a teacher with demonstrations, a student without")
    trained = _edgecd(out, "train", quiet, out=run, **models, **TRAIN)
    console.say("2/3 export")
    for precision, bundle in bundles.items():
        limits = {"out": bundle, "max-flips": MAX_FLIPS[precision]}
        _edgecd(out, "export", quiet, run, f"--{precision}", **limits)
    console.say("3/3 bench")
    measured = parse_report(
        _edgecd(
            out,
            "bench",
            quiet,
            *bundles.values(),
            run=run,
            out=report,
            teacher=models["teacher"],
            **BENCH,
        )
    )
    console.show(
        table(measured),
        measured.verdict,
        f"report: {report / REPORT_PAGE}",
        f'try: edgecd predict {bundles["int8"]} "My new jacket broke, can I send it back?"',
    )
    forget_aside(out)
    return {
        "run": str(run),
        "bundles": [str(bundle) for bundle in bundles.values()],
        "report": str(report / REPORT_PAGE),
        "metrics": trained["metrics"],
        "seconds": time.monotonic() - began,
        "peak_rss_bytes": max(peak_rss_bytes(), peak_child_rss_bytes()),
    }


def _edgecd(
    folder: Path, command: str, quiet: bool, *arguments: object, **options: object
) -> dict[str, Any]:
    """Run one edgecd command, with its progress shown, and return its JSON.

    It runs in `folder`: a project of the user's own has no say in the demo.
    """
    words = [command, *map(_absolute, arguments), "--json", *(["--quiet"] if quiet else [])]
    for name, value in options.items():
        words += [f"--{name}", _absolute(value)]
    program = [sys.executable, "-m", "edgecd", *words]
    done = subprocess.run(program, stdout=subprocess.PIPE, cwd=folder, env=own_code_only())
    if done.returncode:
        error = EdgecdError(f"the demo stopped at: edgecd {' '.join(words)}")
        error.exit_code = done.returncode
        raise error
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _absolute(value: object) -> str:
    return str(value.absolute() if isinstance(value, Path) else value)
