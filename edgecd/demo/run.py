"""`edgecd demo`: distil, export and bench the embedded task, with the embedded model."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from edgecd.bench.report import table
from edgecd.bench.run import REPORT_TEXT, bench
from edgecd.config import TrainConfig
from edgecd.console import Console
from edgecd.demo.model import demo_model
from edgecd.distill.train import Reporter, train
from edgecd.export.convert import export_run
from edgecd.files import refuse_existing
from edgecd.memory import peak_rss_bytes
from edgecd.tasks import load_task

SHOTS = 6
CONTEXT_DRAWS = 4
TRANSFER = 480
HELDOUT = 150
BENCH_EXAMPLES = 150


def run_demo(out: Path, force: bool, console: Console) -> dict[str, Any]:
    """Write `out`/run, two bundles and a report; returns their paths and the main figures.

    The same model is teacher and student: the teacher reads six demonstrations before every
    message (its answers averaged over four such sets), the student reads none. Raises
    InputError when `out` exists, unless `force`.
    """
    began = time.monotonic()
    refuse_existing(out, force)
    model = str(demo_model(console.say))
    shutil.rmtree(out, ignore_errors=True)
    config = TrainConfig(
        task="tickets",
        teacher=model,
        student=model,
        shots=SHOTS,
        context_draws=CONTEXT_DRAWS,
        transfer=TRANSFER,
        heldout=HELDOUT,
        max_length=128,
    )
    console.say("1/3 train: teacher with demonstrations -> student without")
    run = train(config, out / "run", Reporter(console.say, console.progress))
    console.say("2/3 export")
    bundles = [out / "bundle-fp32", out / "bundle-int8"]
    for bundle, precision in zip(bundles, ("fp32", "int8"), strict=True):
        export_run(out / "run", bundle, precision, 2.0, "auto", False, console.say)
    console.say("3/3 bench, a fresh process for each system")
    report = bench(
        bundles=bundles,
        task=load_task("tickets"),
        ood=[load_task("tickets-ood")],
        run=out / "run",
        limit=BENCH_EXAMPLES,
        out=out / "report",
        progress=console.say,
    )
    console.show(
        table(report),
        report["verdict"],
        f"report: {out / 'report' / REPORT_TEXT}",
        f'try: edgecd predict {bundles[1]} "The zip of my new jacket broke, can I send it back?"',
    )
    return {
        "run": str(out / "run"),
        "bundles": [str(bundle) for bundle in bundles],
        "report": str(out / "report" / REPORT_TEXT),
        "metrics": run["metrics"],
        "seconds": time.monotonic() - began,
        "peak_rss_bytes": peak_rss_bytes(),
    }
