"""The commands about contexts: `compress` and `meta-test`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.options import Force, Json, Quiet, app, numbers, print_result
from edgecd.cli.requests import command
from edgecd.contexts.config import CompressConfig


@command(CompressConfig)
def compress(
    request: CompressConfig,
    out: Annotated[Path, typer.Option(help="The context file to write (.safetensors).")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a task's demonstrations into a context file, for a bundle of its language model."""
    from edgecd.console import Console
    from edgecd.errors import require
    from edgecd.files import refuse_existing
    from edgecd.formats.compressor import is_compressor
    from edgecd.formats.context import describe_context, write_context
    from edgecd.tasks.task import load_task

    refuse_existing(out, force)
    began = time.monotonic()
    if request.distiller is not None and is_compressor(request.distiller):
        from edgecd.runtime.compress import compress_here

        context = compress_here(
            load_task(request.task),
            request.distiller,
            request.bundle,
            request.shots,
            request.seed,
            request.max_length,
        )
    else:
        for module in ("torch", "transformers"):
            require(module, "train")
        from edgecd.contexts.compress import compress as run_compress

        context = run_compress(request)
    write_context(out, context, request.precision)
    made = {**describe_context(out), "seconds": round(time.monotonic() - began, 1)}
    print_result(as_json, made, lambda: Console(False).listing(made))


@app.command()
def meta_test(
    runs: Annotated[list[Path], typer.Argument(help="Runs of --method mend, gist or hypertuning.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    seeds: Annotated[str, typer.Option(help="Of demonstrations and queries.")] = "13,21,42,87,100",
    limit: Annotated[int, typer.Option(min=1, help="Queries of each task.")] = 100,
    shots: Annotated[
        str | None, typer.Option(help="Demonstrations: 16, or 4,8,16 (default: as trained).")
    ] = None,
    prompt_steps: Annotated[
        int, typer.Option(min=0, help="Steps of prompt tuning beside; 0 leaves it out.")
    ] = 100,
    matching: Annotated[
        str | None,
        typer.Option(help="Positions of contexts without training: 32,64 (default: as the runs)."),
    ] = None,
    partition: Annotated[Path | None, typer.Option(help="Instead of the run's.")] = None,
    split: Annotated[str | None, typer.Option(help="Instead of the run's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the partition's data.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test contexts on tasks that were never trained on, against prompts and prompt tuning."""
    from edgecd.errors import require

    for module in ("torch", "transformers"):
        require(module, "train")
    from edgecd.console import Console
    from edgecd.contexts.config import MetaTestConfig
    from edgecd.contexts.meta_test import TABLE
    from edgecd.contexts.meta_test import meta_test as run_test
    from edgecd.formats.record import to_json

    config = MetaTestConfig(
        seeds=tuple(numbers("seeds", seeds)),
        limit=limit,
        shots=tuple(numbers("shots", shots or "")),
        prompt_steps=prompt_steps,
        matching=tuple(numbers("matching", matching or "")),
        partition=None if partition is None else str(partition),
        split=split,
        data=None if data is None else str(data),
        device=device,
    )
    with Console(quiet) as console:
        result = to_json(run_test(runs, out, config, force, console.say))
    print_result(as_json, result, lambda: typer.echo((out / TABLE).read_text(encoding="utf-8")))
