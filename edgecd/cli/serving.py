"""The command that serves a bundle: `serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgecd.cli.options import Json
from edgecd.cli.requests import command
from edgecd.serve.config import ServeConfig


@command(ServeConfig)
def serve(
    request: ServeConfig,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    as_json: Json = False,
) -> None:
    """A page to try a bundle, and an HTTP endpoint, on this computer; Ctrl-C stops it."""
    from edgecd.serve.run import serve as run

    def ready(address: str) -> None:
        if as_json:
            typer.echo(json.dumps({"address": address}))
        else:
            typer.echo(f"{bundle}: {address} (Ctrl-C stops)")

    run(bundle, request, ready)
