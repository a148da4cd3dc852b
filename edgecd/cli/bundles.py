"""The commands about bundles: `export`, `predict`, `inspect` and `verify`."""

from __future__ import annotations

import sys
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
    named_fields,
    print_result,
)
from edgecd.errors import InputError


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(help="A run folder that train wrote, or a language model.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle folder to write.")],
    fp32: Annotated[bool, typer.Option("--fp32", help="Full precision (the default).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit, gated.")] = False,
    int4: Annotated[bool, typer.Option("--int4", help="4-bit weights: smaller, slower.")] = False,
    target: Annotated[
        str | None, typer.Option(help="laptop-cpu, cuda, web or size: precision and gate for it.")
    ] = None,
    max_flips: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Most labels, in percent, that may flip (2; int4: 10)."),
    ] = None,
    trim_vocab: Annotated[
        Path | None,
        typer.Option(help="Keep only tokens that these inputs use (.jsonl, or text by line)."),
    ] = None,
    exporter: Annotated[str, typer.Option(help="auto, fused, torch or optimum.")] = "auto",
    task: Annotated[
        str | None, typer.Option(help="Of a language model: whose examples check the bundle.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="Of a language model: the context to put in (zero-shot).")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run, or a frozen language model, as an ONNX bundle, checked on held-out examples."""
    from edgecd.errors import require
    from edgecd.export.config import ExportConfig

    config = ExportConfig(
        fp32=fp32,
        fp16=fp16,
        int8=int8,
        int4=int4,
        target=target,
        exporter=exporter,
        trim_vocab=str(trim_vocab) if trim_vocab else None,
        max_flips=max_flips,
        task=task,
        context=str(context) if context else None,
    )
    of_language_model = config.of_language_model
    require("torch", "train")
    require("onnx", "export")
    from edgecd.console import Console
    from edgecd.export.convert import export_run
    from edgecd.export.run_folder import is_distiller

    with Console(quiet) as console:
        if of_language_model:
            from edgecd.export.language_model import export_language_model
            from edgecd.tasks.task import load_task

            chosen = load_task(str(config.task))
            result = export_language_model(str(run), chosen, out, config, force, console.say)
        elif is_distiller(run):
            from edgecd.export.compressor import export_compressor

            result = export_compressor(run, out, config, force, console.say)
        else:
            result = export_run(run, out, config, force, console.say)
    kind = "compressor" if "compressor" in result else "bundle"
    print_result(as_json, result, lambda: console.show(f"{kind}: {out}"))


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    text: Annotated[str | None, typer.Argument(help="The input, or - for JSONL on stdin.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="name=value, once for each field of the template.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="A context file, for a language model's bundle.")
    ] = None,
    provider: Provider = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Label one input, or JSON lines from stdin with '-'."""
    from edgecd.runtime.predictor import Predictor
    from edgecd.runtime.stream import predict_stream

    if (text is None) == (not field):
        raise InputError("give a TEXT, or --field name=value for each field, or - for stdin")
    predictor = Predictor.load(bundle, provider, threads, context)
    if text == "-":
        for line in predict_stream(predictor, sys.stdin):
            typer.echo(line)
        return
    given: str | dict[str, str] = text if text is not None else named_fields(field or [])
    prediction = predictor.predict(given)
    result = {"label": prediction.label, "probabilities": dict(prediction.probabilities)}

    def show() -> None:
        best = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        typer.echo(prediction.label)
        typer.echo("  ".join(f"{name} {share:.3f}" for name, share in best), err=True)
        if prediction.shortened:
            typer.echo("note: the input was too long; its longest field was shortened", err=True)

    print_result(as_json, result, show)


@app.command()
def inspect(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle folder, a context file, or a distiller's run.")
    ],
    attention: Annotated[
        bool, typer.Option("--attention", help="Of a run: what its vectors attend to.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Whose demonstrations it reads.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Demonstrations that it reads.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the demonstrations.")] = 0,
    out: Annotated[Path, typer.Option(help="The figure's name without ending.")] = Path(
        "attention"
    ),
    as_json: Json = False,
) -> None:
    """What a bundle or a context is, how it was made, and its figures."""
    from edgecd.console import Console

    if attention:
        if task is None:
            raise InputError("--attention reads demonstrations: say of which --task")
        from edgecd.errors import require

        for module, extra in (("torch", "train"), ("matplotlib", "report")):
            require(module, extra)
        from edgecd.contexts.attention import show_attention
        from edgecd.tasks.task import load_task

        facts = show_attention(bundle, load_task(task), out, shots, seed)
        print_result(as_json, facts, lambda: Console(False).facts(facts))
        return
    if bundle.is_file():
        from edgecd.formats.context import describe_context

        facts = describe_context(bundle)
        print_result(as_json, facts, lambda: Console(False).facts(facts))
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
