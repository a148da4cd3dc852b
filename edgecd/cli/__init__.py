"""The command line: parses, calls one function, prints for people or as JSON.

Heavy modules are imported inside each command, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import typer

# A module's import registers its commands: in the order of `--help`.
# isort: off
from edgecd.cli import starting  # noqa: F401
from edgecd.cli import checking  # noqa: F401
from edgecd.cli import training  # noqa: F401
from edgecd.cli import exporting  # noqa: F401
from edgecd.cli import predicting  # noqa: F401
from edgecd.cli import bundles  # noqa: F401
from edgecd.cli import serving  # noqa: F401
from edgecd.cli import measuring  # noqa: F401
from edgecd.cli import contexts  # noqa: F401
from edgecd.cli import about  # noqa: F401

# isort: on
from edgecd.cli.options import INTERRUPTED, app, say
from edgecd.errors import EdgecdError
from edgecd.host.faults import system_fault

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: one line for an error that a person can mend, and its exit code.

    To be terminated is to be interrupted: what goes on afterwards is said, and children end.
    """
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=True)
    except EdgecdError as error:
        say(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:  # before or after the command itself
        typer.echo("interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
    except Exception as error:
        if (said := system_fault(error)) is None:
            raise
        say(f"error: {said}", err=True)
        raise SystemExit(2) from None


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
