"""The commands about contexts: `compress` and `meta-test`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.options import Force, Json, Quiet, print_result, say
from edgecd.cli.requests import command
from edgecd.contexts.config import CompressConfig, MetaTestConfig


@command(CompressConfig)
def compress(
    request: CompressConfig,
    out: Annotated[Path, typer.Option(help="The context file to write (.safetensors).")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a task's demonstrations into a context file, for a bundle of its language model."""
    from edgecd.console import Console
    from edgecd.errors import InputError, require
    from edgecd.formats.compressor import is_compressor
    from edgecd.formats.context import describe_context, write_context
    from edgecd.tasks.task import load_task

    if out.exists():
        if not force:
            raise InputError(f"{out} already exists: choose another file, or pass --force")
        describe_context(out)  # only a context is replaced
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


@command(MetaTestConfig)
def meta_test(
    request: MetaTestConfig,
    runs: Annotated[list[Path], typer.Argument(help="Runs of --method mend, gist or hypertuning.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test contexts on tasks that were never trained on, against prompts and prompt tuning."""
    from edgecd.errors import require

    for module in ("torch", "transformers"):
        require(module, "train")
    from edgecd.console import Console
    from edgecd.contexts.meta_test import TABLE
    from edgecd.contexts.meta_test import meta_test as run_test
    from edgecd.formats.record import to_json

    with Console(quiet) as console:
        result = to_json(run_test(runs, out, request, force, console.say))
    print_result(
        as_json, result, lambda: say((out / TABLE).read_text(encoding="utf-8"), most=1 << 20)
    )
