"""The commands that train: `train` and `sweep`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.asked import Asked
from edgecd.cli.options import Force, Json, Quiet, print_result, say
from edgecd.cli.requests import command
from edgecd.contexts.methods import config_classes, find_method
from edgecd.sweep.config import SweepConfig


@command(*config_classes())
def train(
    asked: Asked,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to write (runs/NAME of the task).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Distil demonstrations into a student, fine-tune one, or learn to compress demonstrations.

    What is not given here comes from edgecd.toml in the working directory, where there is one.
    """
    from edgecd.cli.choices import choose_training
    from edgecd.errors import require

    chosen = choose_training(asked, out, resume, force)
    for module in ("torch", "transformers", "peft"):
        require(module, "train")
    from edgecd.cli.summary import show_run
    from edgecd.console import Console

    with Console(quiet) as console:
        console.say(chosen.line)
        method = find_method(chosen.request.method)
        run = method.train(chosen.request, chosen.out, console.reporter, resume, force)
    next_step = method.next_step.format(out=chosen.out)
    print_result(as_json, run, lambda: show_run(console, run, chosen.out, next_step))


@command(SweepConfig)
def sweep(
    request: SweepConfig,
    suite: Annotated[Path, typer.Argument(help="A suite: what to run, as TOML.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    force: Annotated[
        bool, typer.Option("--force", help="Run cells anew that the suite has changed.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a suite, methods x adapters x shots x seeds, a process each; goes on where it stopped."""
    from edgecd.sweep.suite import load_suite

    chosen = load_suite(suite, request)
    from edgecd.errors import CheckFailed, require

    for module in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(module) is None:  # the cells import them, not this process
            require(module, "train")
    from edgecd.console import Console
    from edgecd.sweep.record import sweep_json
    from edgecd.sweep.run import TABLE, run_sweep

    with Console(quiet) as console:
        result = run_sweep(chosen, out, request, console.reporter, force)
    table = out / TABLE
    show = sweep_json(result)
    print_result(as_json, show, lambda: say(table.read_text(encoding="utf-8"), most=1 << 20))
    if result.failed:
        raise CheckFailed(
            f"these cells failed: {', '.join(result.failed)} (their last words are in "
            f"{out / TABLE}); the same command tries them again"
        )
