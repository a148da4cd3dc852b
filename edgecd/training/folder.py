"""A run folder while it is trained: begun, gone on with, and its log kept true."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from edgecd.config import to_toml
from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.files import clear_dead_work, read_json, read_toml, write_text
from edgecd.formats.run import RUN
from edgecd.host.folders import forget_aside, refuse_existing, set_aside, whole_folder, write_mark
from edgecd.host.lock import locked

CONFIG, METRICS = "config.toml", "metrics.jsonl"


# All that a training writes into its folder.
HOLDS = (
    *(CONFIG, METRICS, RUN, "demonstrations.jsonl", "heldout.jsonl", "scores", "state"),
    *("checkpoint", "adapter", "context.safetensors", "distiller.safetensors"),
)


@contextmanager
def open_run(
    out: Path, config: Any, reporter: Reporter, resume: bool, force: bool, data: Iterable[str] = ()
) -> Iterator[dict[str, Any] | None]:
    """Create or reopen the run folder and hold it; yields the run.json of a complete run, or None.

    A complete run that is replaced (`force`) goes when the new one is complete; until then it is
    the hidden folder beside it. Raises InputError for a resumed run that is asked for other things,
    and for a folder that is another process's, holds inputs of this training (the paths in `config`
    and `data`) or was not written by edgecd.
    """
    going_on = resume and (out / CONFIG).exists()
    if not going_on:
        refuse_existing(out, force, [*_paths(config), *map(Path, data)])
        with locked(out, "training") if out.exists() else nullcontext():
            _begin(out, config)
    with locked(out, "training"):
        if going_on:
            _check_asked(out, config)
        clear_dead_work(out)
        done = _finished(out)
        if done is not None:
            reporter.say(f"{out} is complete already")
        yield done
        if _finished(out) is not None:
            forget_aside(out)


def _begin(out: Path, config: Any) -> None:
    if (out / RUN).exists():
        set_aside(out)
    with whole_folder(out) as part:
        write_text(part / CONFIG, to_toml(config))
        write_mark(part, HOLDS)


def _check_asked(out: Path, config: Any) -> None:
    kept = read_toml(out / CONFIG)
    try:
        # As options, not as text: a run goes on although an option was added since
        same = type(config)(**kept) == config
    except TypeError:  # of another method, or damaged
        same = False
    if not same:
        raise InputError(
            f"{out} was started with other options (see {out / CONFIG}): repeat those, "
            "or choose another folder"
        )


def _finished(out: Path) -> dict[str, Any] | None:
    if not (out / RUN).exists():
        return None
    run = read_json(out / RUN)
    if not isinstance(run, dict):
        raise InputError(f"{out / RUN} is damaged: delete it and go on with --resume")
    return run if run.get("status") == "done" else None


def _paths(config: Any) -> list[Path]:
    """What a configuration names that is there: models, data, earlier runs."""
    values = [getattr(config, field.name) for field in dataclasses.fields(config)]
    many = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return [Path(one) for one in many if isinstance(one, (str, Path)) and _exists(one)]


def _exists(name: str | Path) -> bool:
    try:
        return str(name) != "" and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no name of a file at all
        return False


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
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if _is_kept(line, done)))


def _is_kept(line: str, done: Mapping[str, int]) -> bool:
    """Whether a line of the log is whole, and of a step that need not be done again."""
    try:
        row = json.loads(line)
        return line.endswith("\n") and bool(row["step"] <= done[row.get("stage", "")])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
