"""The commands that look at a bundle: `inspect` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.options import Json, app, print_result, say
from edgecd.cli.requests import command
from edgecd.contexts.config import AttentionConfig
from edgecd.errors import InputError


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
    print_result(as_json, result, lambda: say(f"{bundle}: ok"))
