"""The commands about bundles: `export`, `predict`, `inspect` and `verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.asked import Asked
from edgecd.cli.options import Force, Json, Quiet, app, named_fields, print_result
from edgecd.cli.requests import command
from edgecd.contexts.config import AttentionConfig
from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.runtime.config import PredictConfig


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
            result = export_language_model(str(run), task, out, request, force, console.say)
        elif is_distiller(run):
            from edgecd.export.compressor import export_compressor

            result = export_compressor(run, out, request, force, console.say)
        else:
            result = export_run(run, out, request, force, console.say)
    kind = "compressor" if "compressor" in result else "bundle"
    print_result(as_json, result, lambda: console.show(f"{kind}: {out}"))


@command(PredictConfig)
def predict(
    request: PredictConfig,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    text: Annotated[str | None, typer.Argument(help="The input, or - for JSONL on stdin.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="name=value, once for each field of the template.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Label one input, or JSON lines from stdin with '-'."""
    from edgecd.runtime.predictor import Predictor
    from edgecd.runtime.stream import predict_stream

    if (text is None) == (not field):
        raise InputError("give a TEXT, or --field name=value for each field, or - for stdin")
    predictor = Predictor.load(
        bundle, request.provider, request.threads, request.context, request.threshold
    )
    if text == "-":
        for line in predict_stream(predictor, sys.stdin):
            typer.echo(line)
        return
    given: str | dict[str, str] = text if text is not None else named_fields(field or [])
    prediction = predictor.predict(given)
    result = {
        "label": prediction.label,
        "unsure": prediction.unsure,
        "probabilities": dict(prediction.probabilities),
        "shortened": prediction.shortened,
    }

    def show() -> None:
        best = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        typer.echo(prediction.label or "unsure")
        typer.echo("  ".join(f"{name} {share:.3f}" for name, share in best), err=True)
        if prediction.shortened:
            typer.echo("note: the input was too long; its longest field was shortened", err=True)

    print_result(as_json, result, show)


@command(AttentionConfig)
def inspect(
    request: AttentionConfig,
    bundle: Annotated[
        Path, typer.Argument(help="A bundle folder, a context file, or a distiller's run.")
    ],
    attention: Annotated[
        bool, typer.Option("--attention", help="Of a run: what its vectors attend to.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The drawing's name without ending.")] = Path(
        "attention"
    ),
    as_json: Json = False,
) -> None:
    """What a bundle or a context is, how it was made, and its figures."""
    from edgecd.console import Console

    if attention:
        if request.task is None:
            raise InputError("--attention reads demonstrations: say of which --task")
        from edgecd.errors import require

        for module, extra in (("torch", "train"), ("matplotlib", "report")):
            require(module, extra)
        from edgecd.contexts.attention import show_attention
        from edgecd.tasks.task import load_task

        task = load_task(request.task)
        seen = show_attention(bundle, task, out, request.shots, request.seed)
        print_result(as_json, seen, lambda: Console(False).listing(seen))
        return
    if bundle.is_file():
        from edgecd.formats.context import describe_context

        context = describe_context(bundle)
        print_result(as_json, context, lambda: Console(False).listing(context))
        return
    from edgecd.runtime.inspect import describe, render

    result = describe(bundle)
    print_result(as_json, result, lambda: Console(False).show(render(result)))


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")], as_json: Json = False
) -> None:
    """Check a bundle's hashes, graph and parity samples; exit 1 on any mismatch."""
    from edgecd.runtime.verify import verify as check

    result = check(bundle)
    print_result(as_json, result, lambda: typer.echo(f"{bundle}: ok"))
