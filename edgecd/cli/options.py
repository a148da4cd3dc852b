"""What the commands share: the app, options that mean the same everywhere, and their values."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from edgecd.errors import MOST_SHOWN, InputError, for_terminal
from edgecd.files import json_line

# How a command goes on that was interrupted.
_GOES_ON = {
    "train": "the same command with --resume goes on from the last saved state",
    **dict.fromkeys(("bench", "sweep", "meta-test"), "the same command goes on where it stopped"),
}
INTERRUPTED = 130


class _Commands(typer.core.TyperGroup):
    """All commands: an interrupt is one line, and a reader who has read enough is no error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            with contextlib.suppress(OSError):  # what is left to write goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            goes_on = _GOES_ON.get(str(ctx.invoked_subcommand))
            typer.echo(f"interrupted: {goes_on}" if goes_on else "interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="Turn a prompt into a small on-device model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no remarks.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output folder.")]
Provider = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime.")]


def print_result(as_json: bool, result: dict[str, Any], show: Callable[[], None]) -> None:
    """The result as one JSON object, or as `show` prints it."""
    if as_json:
        typer.echo(json_line(result))
    else:
        show()


def say(text: str, err: bool = False, most: int = MOST_SHOWN) -> None:
    """A text for people, on stdout or stderr, in which nothing moves or colours a terminal."""
    typer.echo(for_terminal(text, most), err=err)


def named_fields(given: list[str]) -> dict[str, str]:
    """`name=value` pairs as a mapping; InputError for one without `=`."""
    fields = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--field {pair}: write name=value")
        fields[name] = value
    return fields


def names(text: str | None) -> list[str]:
    """Names with commas between; none for nothing and for `none`."""
    return [name.strip() for name in (text or "").split(",") if name.strip() not in ("", "none")]


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers with commas between; InputError, naming the option, for others."""
    found = names(text)
    if not all(name.isdecimal() for name in found):
        raise InputError(f"--{option} {text}: write whole numbers with commas between, or none")
    return [int(name) for name in found]
