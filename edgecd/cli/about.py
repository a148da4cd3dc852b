"""The commands about edgecd itself: `--version`, `demo`, `tasks` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecd import __version__
from edgecd.cli.options import Force, Json, Quiet, app, print_result


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("edgecd-demo"),
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole path on an embedded task and model; no network after install."""
    from edgecd.errors import require

    for module, extra in (("torch", "train"), ("onnx", "export"), ("onnxruntime", "cpu")):
        require(module, extra)
    from edgecd.console import Console
    from edgecd.demo.run import run_demo

    result = run_demo(out, force, quiet, Console(quiet, results=not as_json))
    print_result(as_json, result, lambda: None)


@app.command()
def tasks(as_json: Json = False) -> None:
    """The built-in tasks, and what each needs."""
    from edgecd.console import Console
    from edgecd.tasks.task import builtin_tasks

    rows = [
        {
            "task": name,
            "labels": list(task.labels),
            "fields": list(task.template.fields),
            "splits": list(task.splits),
            "needs": f"hub data set {task.hub}" if task.hub else "nothing",
        }
        for name, task in builtin_tasks().items()
    ]
    print_result(as_json, {"tasks": rows}, lambda: Console(False).table("built-in tasks", rows))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has: processor, memory, providers, versions."""
    from edgecd.console import Console
    from edgecd.host.machine import describe_machine

    result = describe_machine()
    print_result(as_json, result, lambda: Console(False).listing(result))
