"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.asked import Asked
from edgecd.cli.options import Force, Json, Quiet, print_result
from edgecd.cli.requests import command
from edgecd.export.config import ExportConfig


@command(ExportConfig)
def export(
    asked: Asked,
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder that train wrote (the newest in runs/), or a model."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The bundle folder to write (bundles/RUN-PRECISION).")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run, or a frozen language model, as an ONNX bundle, checked on held-out examples.

    What is not given here comes from [export] of edgecd.toml, where there is one.
    """
    from edgecd.cli.choices import choose_export
    from edgecd.errors import require

    chosen = choose_export(asked, run, out)
    run, out, request = chosen.run, chosen.out, chosen.request
    require("torch", "train")
    require("onnx", "export")
    from edgecd.console import Console
    from edgecd.export.convert import export_run
    from edgecd.export.run_folder import is_distiller

    with Console(quiet) as console:
        console.say(chosen.line)
        if request.of_language_model:
            from edgecd.export.language_model import export_language_model
            from edgecd.tasks.task import load_task

            task = load_task(str(request.task))
            result = export_language_model(str(run), task, out, request, force, console.reporter)
        elif is_distiller(run):
            from edgecd.export.compressor import export_compressor

            result = export_compressor(run, out, request, force, console.reporter)
        else:
            result = export_run(run, out, request, force, console.reporter)
    kind = "compressor" if "compressor" in result else "bundle"
    print_result(as_json, result, lambda: console.show(f"{kind}: {out}"))
