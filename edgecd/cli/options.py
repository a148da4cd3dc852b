"""What the commands share: the app, options that mean the same everywhere, and their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from edgecd.errors import InputError

app = typer.Typer(
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
        typer.echo(json.dumps(result, ensure_ascii=False))
    else:
        show()


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
