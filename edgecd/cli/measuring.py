"""The command that compares: `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.options import (
    Force,
    Json,
    Provider,
    Quiet,
    Threads,
    app,
    print_result,
)
from edgecd.errors import InputError


@app.command()
def bench(
    bundles: Annotated[list[Path] | None, typer.Argument(help="Bundles to compare.")] = None,
    out: Annotated[Path | None, typer.Option(help="The report folder to write.")] = None,
    task: Annotated[str | None, typer.Option(help="Built-in name or TOML file.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Measure nothing: two reports, A and B, side by side."),
    ] = None,
    ood: Annotated[list[str] | None, typer.Option(help="Out-of-domain tasks.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Teacher model; by default the bundle's own.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Same-size model; by default the bundle's own.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder, for its exact demonstrations.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations of the ICL rows.")] = None,
    few_shots: Annotated[
        str | None,
        typer.Option(help="Fewer demonstrations to try the teacher with, or 'none' (4,8)."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="Draws of demonstrations, for the spread of accuracy.")
    ] = 3,
    seed: Annotated[int | None, typer.Option(help="Of the demonstrations.")] = None,
    baselines: Annotated[
        str | None,
        typer.Option(help="Comma-separated ICL rows, 'all' or 'none' (default: all)."),
    ] = None,
    prompt_runtimes: Annotated[
        str | None,
        typer.Option(help="What runs the ICL rows: onnxruntime,torch (default: both)."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help="Other runtimes for the run's checkpoint, or 'all' that are installed."),
    ] = None,
    context: Annotated[
        list[Path] | None, typer.Option(help="Context files for a language model's bundle.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Times that each row is timed, in turn with the others.")
    ] = 3,
    provider: Provider = "cpu",
    threads: Threads = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples of each data set.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the task (default: validation, else test).")
    ] = None,
    latency_queries: Annotated[
        int | None, typer.Option(min=1, help="Timed single queries of each row.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare bundles with prompting, on this machine: accuracy, latency, footprint."""
    from edgecd.bench.report.markdown import comparison_notes, comparison_table, table
    from edgecd.console import Console

    if compare is not None:
        if bundles or out or task:
            raise InputError("--compare only reads two reports: leave out BUNDLES, --task, --out")
        from edgecd.bench.report.compare import compare_reports, write_comparison

        changes = compare_reports(*compare)
        shown = (comparison_table(changes), *comparison_notes(changes))
        print_result(as_json, write_comparison(changes), lambda: Console(quiet).show(*shown))
        return
    if not bundles or task is None or out is None:
        raise InputError(
            "bench needs bundles, --task and --out to measure, or two reports with --compare A B"
        )
    from edgecd.bench.config import BenchConfig
    from edgecd.bench.report.record import write_report
    from edgecd.bench.report.write import REPORT_PAGE
    from edgecd.bench.run import bench as run_bench

    config = BenchConfig(
        task=task,
        ood=tuple(ood or ()),
        limit=limit,
        split=split,
        run=None if run is None else str(run),
        teacher=teacher,
        student=student,
        shots=shots,
        few_shots=few_shots,
        draws=draws,
        seed=seed,
        baselines=baselines,
        prompt_runtimes=prompt_runtimes,
        peers=peers,
        context=tuple(map(str, context or ())),
        rounds=rounds,
        latency_queries=latency_queries,
        provider=provider,
        threads=threads,
    )
    with Console(quiet) as console:
        report = run_bench(bundles, config, out, force, console.say)
    print_result(
        as_json,
        write_report(report),
        lambda: console.show(table(report), report.verdict, f"report: {out / REPORT_PAGE}"),
    )
