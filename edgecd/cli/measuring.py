"""The command that compares: `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd.bench.config import BenchConfig
from edgecd.cli.options import Force, Json, Quiet, print_result
from edgecd.cli.requests import command
from edgecd.errors import InputError


@command(BenchConfig)
def bench(
    request: BenchConfig | None,
    bundles: Annotated[list[Path] | None, typer.Argument(help="Bundles to compare.")] = None,
    out: Annotated[Path | None, typer.Option(help="The report folder to write.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Measure nothing: two reports, A and B, side by side."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare bundles with prompting, on this machine: accuracy, latency, footprint."""
    from edgecd.bench.report.markdown import comparison_notes, comparison_table, table
    from edgecd.console import Console

    if compare is not None:
        if bundles or out or request is not None:
            raise InputError("--compare only reads two reports: leave out BUNDLES, --task, --out")
        from edgecd.bench.report.compare import compare_reports, write_comparison

        changes = compare_reports(*compare)
        shown = (comparison_table(changes), *comparison_notes(changes))
        print_result(as_json, write_comparison(changes), lambda: Console(quiet).show(*shown))
        return
    if not bundles or request is None or out is None:
        raise InputError(
            "bench needs bundles, --task and --out to measure, or two reports with --compare A B"
        )
    from edgecd.bench.report.record import write_report
    from edgecd.bench.report.write import REPORT_PAGE
    from edgecd.bench.run import bench as run_bench

    with Console(quiet) as console:
        report = run_bench(bundles, request, out, force, console.say)
    print_result(
        as_json,
        write_report(report),
        lambda: console.show(table(report), report.verdict, f"report: {out / REPORT_PAGE}"),
    )
