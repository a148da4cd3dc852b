"""The command that compares: `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd.bench.config import BenchConfig
from edgecd.cli.asked import Asked
from edgecd.cli.options import Force, Json, Quiet, print_result
from edgecd.cli.requests import command
from edgecd.errors import InputError


@command(BenchConfig)
def bench(
    asked: Asked,
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles to compare (those of the newest run).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The report folder to write (reports/RUN).")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Measure nothing: two reports, A and B, side by side."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare bundles with prompting, on this machine: accuracy, latency, footprint.

    What is not given here comes from [bench] of edgecd.toml, from the bundles' run, or from its
    task. The same command goes on where it stopped.
    """
    from edgecd.bench.report.markdown import comparison_notes, comparison_table, table
    from edgecd.console import Console

    if compare is not None:
        if bundles or out or asked.options:
            raise InputError("--compare only reads two reports: leave out BUNDLES, --task, --out")
        from edgecd.bench.report.compare import compare_reports, write_comparison

        changes = compare_reports(*compare)
        shown = (comparison_table(changes), *comparison_notes(changes))
        print_result(as_json, write_comparison(changes), lambda: Console(quiet).show(*shown))
        return
    from edgecd.cli.choices import choose_bench

    chosen = choose_bench(asked, bundles or [], out)
    from edgecd.bench.report.record import write_report
    from edgecd.bench.report.write import REPORT_PAGE
    from edgecd.bench.run import bench as run_bench

    with Console(quiet) as console:
        console.say(chosen.line)
        report = run_bench(chosen.bundles, chosen.request, chosen.out, force, console.reporter)
    print_result(
        as_json,
        write_report(report),
        lambda: console.show(table(report), report.verdict, f"report: {chosen.out / REPORT_PAGE}"),
    )
