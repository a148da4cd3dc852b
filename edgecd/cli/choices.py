"""What `train`, `export` and `bench` choose where they are not told, and the line that says so.

Imported when a command runs, not for `--help`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.bench.config import BenchConfig
from edgecd.cli.asked import Asked
from edgecd.cli.places import (
    Run,
    new_bundle,
    new_report,
    new_run,
    newest_bundles,
    newest_run,
    run_of,
)
from edgecd.cli.project import MODELS, Project, read_project
from edgecd.config import PROJECT
from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.tasks.task import load_task


@dataclass(frozen=True)
class Training:
    """What to train and where; `line` says what was chosen."""

    request: Any  # of one of the methods' configurations
    out: Path
    line: str


@dataclass(frozen=True)
class Export:
    """What to export and where; `line` says what was chosen."""

    request: ExportConfig
    run: Path
    out: Path
    line: str


@dataclass(frozen=True)
class Measuring:
    """Which bundles to measure, how and where; `line` says what was chosen."""

    request: BenchConfig
    bundles: Sequence[Path]
    out: Path
    line: str


def choose_training(asked: Asked, out: Path | None, resume: bool, force: bool) -> Training:
    """The request as given, by edgecd.toml and by default; a folder in runs/ unless given.

    Raises InputError for what cannot be read or makes no sense, and where the newest run of that
    name was not finished.
    """
    project = read_project()
    request = asked.request(project.training())
    task = getattr(request, "task", None)
    if out is None:
        name = project.name or (request.method if task is None else load_task(task).name)
        out = new_run(name, resume, force)
    said = ", ".join(
        f"{name} {value}" for name in MODELS if (value := getattr(request, name, None)) is not None
    )
    return Training(request, out, f"{_origin(asked, project)}{said} -> {out}")


def choose_export(asked: Asked, run: Path | None, out: Path | None) -> Export:
    """The newest finished run unless given, and a folder in bundles/ unless given.

    Raises InputError for what makes no sense, and where there is no finished run.
    """
    request: ExportConfig = asked.request(read_project().exporting(asked.options))
    if run is None:
        if request.of_language_model:
            raise InputError("--task is for the export of a language model: name its folder or id")
        run = newest_run()
    if out is None:
        out = new_bundle(run, request.target or request.goal.precision)
    return Export(request, run, out, f"{run} ({request.goal.precision}) -> {out}")


def choose_bench(asked: Asked, bundles: Sequence[Path], out: Path | None) -> Measuring:
    """The newest bundles, their run and its task, and a folder in reports/, unless given.

    Raises InputError for what makes no sense, and where there is no bundle, or nobody says which
    task it is of.
    """
    project = read_project()
    options = project.measuring()
    known = {**options, **asked.options}
    run: Run | None = None
    if not bundles:
        bundles, run = newest_bundles()
    elif "task" not in known or out is None:
        run = run_of(bundles[0])
    if run is not None:
        options = {"run": str(run.folder), **options}
    if "task" not in known:
        task = run.task(project.task) if run is not None else project.task
        if task is None:
            raise InputError(
                f"nobody says of which task {bundles[0]} is: give --task T, or --run RUN and "
                f"--task, or task = ... in {PROJECT}"
            )
        options["task"] = task
    request: BenchConfig = asked.request(options)
    if out is None:
        out = new_report(bundles, run)
    names = ", ".join(map(str, bundles))
    of = f" of {request.run}" if request.run is not None else ""
    return Measuring(request, bundles, out, f"{names}{of}, task {request.task} -> {out}")


def _origin(asked: Asked, project: Project) -> str:
    """Where the task and the models come from that were not given here."""
    if all(name in asked.options for name in MODELS):
        return ""
    if project.is_there:
        return f"{PROJECT}: "
    return f"no {PROJECT} here, so by default: "
