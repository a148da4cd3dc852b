"""The command line: parses, calls one function, prints for people or as JSON.

Heavy modules are imported inside each command, so that `--help` answers at once.
"""

from __future__ import annotations

import typer

# A module's import registers its commands: in the order of `--help`.
# isort: off
from edgecd.cli import training  # noqa: F401
from edgecd.cli import exporting  # noqa: F401
from edgecd.cli import predicting  # noqa: F401
from edgecd.cli import bundles  # noqa: F401
from edgecd.cli import serving  # noqa: F401
from edgecd.cli import measuring  # noqa: F401
from edgecd.cli import contexts  # noqa: F401
from edgecd.cli import about  # noqa: F401

# isort: on
from edgecd.cli.options import app
from edgecd.errors import EdgecdError
from edgecd.host.faults import system_fault

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: one line for an error that a person can mend, and its exit code."""
    try:
        app(standalone_mode=True)
    except EdgecdError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; --resume goes on from the last saved state", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
    except Exception as error:
        if (said := system_fault(error)) is None:
            raise
        typer.echo(f"error: {said}", err=True)
        raise SystemExit(2) from None
