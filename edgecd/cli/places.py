"""Where a command reads and writes when nobody says: runs/, bundles/ and reports/ from here.

Imported when a command runs, not for `--help`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.contexts.methods import METHODS
from edgecd.errors import InputError
from edgecd.formats.bundle import read_manifest
from edgecd.formats.manifest import MANIFEST
from edgecd.formats.run import RUN
from edgecd.training.folder import CONFIG

RUNS, BUNDLES, REPORTS = Path("runs"), Path("bundles"), Path("reports")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and its run.json."""

    folder: Path
    made: dict[str, Any]

    def task(self, otherwise: str | None) -> str | None:
        """The task that it was trained on, by name or file; `otherwise` for a file that is gone."""
        told = self.made.get("task")
        source = told.get("source") if isinstance(told, dict) else None
        if not isinstance(source, str) or not Path(source).is_absolute():
            return source if isinstance(source, str) else otherwise
        path, here = Path(source), Path.cwd()
        if not _is_file(path):
            return otherwise
        return str(path.relative_to(here) if path.is_relative_to(here) else path)


def new_run(name: str, resume: bool, force: bool) -> Path:
    """The folder of a training called `name`: runs/NAME, or the next free runs/NAME-N.

    With `resume` or `force` the newest one that there is. Raises InputError for a name that no
    folder can have, and where the newest one was not finished.
    """
    if Path(name).name != name:
        raise InputError(f"{name!r} cannot name a folder: give name = ... in edgecd.toml, or --out")
    number = max(_numbers(name), default=0)
    if number == 0:
        return RUNS / name
    newest = _numbered(name, number)
    if resume or force:
        return newest
    if (newest / CONFIG).exists() and not _is_finished(newest):
        raise InputError(
            f"{newest} was not finished: --resume goes on with it, --force begins it anew"
        )
    return _numbered(name, number + 1)


def finished_runs() -> list[Run]:
    """The finished runs in runs/, the newest first."""
    found = [path for path in _in(RUNS, RUN) if _is_finished(path.parent)]
    return [Run(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in found]


def newest_run() -> Path:
    """The newest finished run that can be exported; InputError when there is none."""
    for run in finished_runs():
        method = METHODS.get(str(run.made.get("method")))
        if method is None or method.graphs:
            return run.folder
    if unfinished := _in(RUNS, CONFIG):
        raise InputError(
            f"{unfinished[0].parent} was not finished: `edgecd train --resume` goes on with it "
            "(or name a finished run folder)"
        )
    raise InputError(f"no run in {RUNS}/ here: `edgecd train` makes one (or name a run folder)")


def new_bundle(run: Path, precision: str) -> Path:
    """The folder of a run's bundle: bundles/RUN-PRECISION."""
    return BUNDLES / f"{run.resolve().name}-{precision}"


def newest_bundles() -> tuple[list[Path], Run | None]:
    """The newest bundle, and all others of its run, newest first, with the run where it is here.

    Raises InputError when there is none.
    """
    folders = [path.parent for path in _in(BUNDLES, MANIFEST)]
    for folder in folders:
        run = run_of(folder)
        if run is not None:
            return [one for one in folders if _is_of(one, run)], run
    if not folders:
        raise InputError(
            f"no bundle in {BUNDLES}/ here: `edgecd export --int8` makes one of the newest run "
            "(or name bundle folders)"
        )
    return folders[:1], None


def run_of(bundle: Path) -> Run | None:
    """The run in runs/ that a bundle was exported from; None when it is not there."""
    return next((run for run in finished_runs() if _is_of(bundle, run)), None)


def new_report(bundles: Sequence[Path], run: Run | None) -> Path:
    """The folder of a report: reports/ and the run's name, or that of the first bundle."""
    return REPORTS / (run.folder if run is not None else bundles[0]).resolve().name


def _is_of(bundle: Path, run: Run) -> bool:
    from edgecd.bench.systems.given import is_made_as

    try:
        return is_made_as(read_manifest(bundle), run.made)
    except InputError:
        return False


def _numbers(name: str) -> list[int]:
    """The numbers of the runs of that name; 1 for the one without."""
    pattern = re.compile(re.escape(name) + r"(?:-([1-9]\d{0,8}))?")
    folders = [path.name for path in RUNS.iterdir()] if RUNS.is_dir() else []
    found = [match for folder in folders if (match := pattern.fullmatch(folder))]
    return [int(match[1] or 1) for match in found]


def _numbered(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


def _is_finished(run: Path) -> bool:
    try:
        made = json.loads((run / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(made, dict) and made.get("status") == "done"


def _in(folder: Path, name: str) -> list[Path]:
    """The files of this name in the folders of a folder, the newest first; hidden ones are work."""
    found = [path for path in folder.glob(f"*/{name}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
