"""A run folder while it is trained: begun, gone on with, and its log kept true."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecd.config import to_toml
from edgecd.errors import InputError
from edgecd.files import read_json, refuse_existing, write_text
from edgecd.formats.run import RUN

CONFIG, METRICS = "config.toml", "metrics.jsonl"


def open_run(out: Path, config: Any, resume: bool, force: bool) -> None:
    """Create or reopen the run folder; a resumed run must be asked for the same thing."""
    if resume and (out / CONFIG).exists():
        # As options, not as text: a run goes on although an option was added since
        kept = tomllib.loads((out / CONFIG).read_text(encoding="utf-8"))
        if type(config)(**kept) != config:
            raise InputError(
                f"{out} was started with other options (see {out / CONFIG}): repeat those, "
                "or choose another folder"
            )
        return
    refuse_existing(out, force)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    write_text(out / CONFIG, to_toml(config))


def finished(out: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The run.json of a run that is complete, which is said; None for one to begin or go on."""
    if not (out / RUN).exists():
        return None
    run: dict[str, Any] = read_json(out / RUN)
    if run.get("status") != "done":
        return None
    say(f"{out} is complete already")
    return run


@contextmanager
def open_log(out: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes a line of the run's metrics.jsonl, flushed at once."""
    with (out / METRICS).open("a", encoding="utf-8") as lines:

        def log(line: Mapping[str, Any]) -> None:
            lines.write(json.dumps(line) + "\n")
            lines.flush()

        yield log


def forget_lost_steps(out: Path, done: Mapping[str, int]) -> None:
    """Drop the log's lines of steps after the last saved one: they will be done again.

    `done` holds the last saved step of each stage ("" where a training has one stage only).
    """
    path = out / METRICS
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [(line, json.loads(line)) for line in lines if line.endswith("\n")]
    write_text(
        path, "".join(line for line, row in rows if row["step"] <= done[row.get("stage", "")])
    )
