"""`edgecd sweep`: run every cell of a suite in a process of its own, and keep the tables fresh."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from edgecd.errors import InputError, MissingExtra
from edgecd.files import public, read_json, write_json, write_text
from edgecd.host import lock as process
from edgecd.host.machine import describe_machine, usable_cores
from edgecd.host.processes import ending, last_words
from edgecd.sweep.suite import Cell, Suite, expand
from edgecd.sweep.table import aggregate, render
from edgecd.tasks.evaluation import evaluation_sets
from edgecd.tasks.task import load_task

SWEEP, TABLE = "sweep.json", "table.md"
LEFTOVERS = ("checkpoint", "adapter", "state")


def run_sweep(
    suite: Suite,
    out: Path,
    say: Callable[[str], None],
    threads: int | None = None,
    force: bool = False,
    keep_checkpoints: bool = False,
) -> dict[str, Any]:
    """Run the cells of `suite` that are not done yet; returns what is in `out`/sweep.json.

    A finished cell is never run again; one that was cut off goes on; one that failed is tried
    again, and stands in `failed` of the result if it fails once more. Raises InputError when a
    cell was started with other options (unless `force`: then that cell is made anew), when
    another sweep works on `out`, or when `out` is a folder of something else.
    """
    cells = expand(suite)
    task = load_task(suite.task, suite.train.get("pattern"))
    evaluation_sets(task, [load_task(name) for name in suite.ood], suite.split, suite.limit)
    if out.exists() and not (out / "cells").is_dir() and any(out.iterdir()):
        raise InputError(f"{out} exists and is not a sweep: choose another folder for --out")
    (out / "cells").mkdir(parents=True, exist_ok=True)
    with process.locked(out) as lock:
        _check_changes(cells, out, force)
        machine = describe_machine()

        def refresh() -> dict[str, Any]:
            return _write_tables(suite, cells, out, machine)

        refresh()
        for number, cell in enumerate(cells, start=1):
            folder = out / "cells" / cell.name
            if not (folder / "result.json").exists():
                say(f"cell {number}/{len(cells)} {cell.name}")
                began = time.monotonic()
                where = {
                    "threads": threads or usable_cores(),
                    "scores_folder": str((out / "scores").resolve()),
                    "keep_checkpoint": keep_checkpoints,
                }
                _run_cell(cell, folder, where, lock)
                say(f"  {_outcome(folder)} ({time.monotonic() - began:.0f} s)")
            _tidy(folder)
            result = refresh()
        _draw(result, out / "figures", say)
    return result


def _check_changes(cells: Sequence[Cell], out: Path, force: bool) -> None:
    for cell in cells:
        folder = out / "cells" / cell.name
        spec = folder / "spec.json"
        if not spec.exists() or read_json(spec)["fingerprint"] == cell.fingerprint:
            continue
        if not force:
            raise InputError(
                f"{out}: the cell {cell.name!r} was started with other options (see {spec}): "
                "choose another folder for the changed suite, or pass --force to run that cell anew"
            )
        shutil.rmtree(folder)


def _run_cell(cell: Cell, folder: Path, where: dict[str, Any], lock: IO[str]) -> None:
    """Run one cell to its end; leaves result.json, or failure.json with its last words."""
    folder.mkdir(exist_ok=True)
    (folder / "failure.json").unlink(missing_ok=True)
    spec = {**dataclasses.asdict(cell), "fingerprint": cell.fingerprint, **where}
    write_json(folder / "spec.json", spec)
    code = process.run_child(folder, where["threads"], lock)
    if not (folder / "result.json").exists():
        said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip()
        write_json(
            folder / "failure.json", {"ending": ending(code), "last_words": last_words(said)}
        )


def _draw(result: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    from edgecd.sweep.figures import draw_figures

    try:
        drawn = draw_figures(result, folder)
    except MissingExtra as missing:
        say(f"no figures: {missing}")
    else:
        say(f"figures: {', '.join(drawn) or 'none'}")


def _tidy(folder: Path) -> None:
    """Delete the large files of a finished cell that were not asked for."""
    done = (folder / "result.json").exists()
    if done and not read_json(folder / "spec.json")["keep_checkpoint"]:
        for name in LEFTOVERS:
            shutil.rmtree(folder / "run" / name, ignore_errors=True)


def _write_tables(
    suite: Suite, cells: Sequence[Cell], out: Path, machine: dict[str, Any]
) -> dict[str, Any]:
    records = [_record(cell, out / "cells" / cell.name) for cell in cells]
    aggregates = aggregate(records)
    for record in records:
        for key in ("sets", "sets_uncalibrated"):
            for figures in record.get(key, {}).values():
                del figures["predictions"], figures["expected"]  # they stay in the cell's result
    result = {
        "format": 1,
        "suite": {key: public(value) for key, value in dataclasses.asdict(suite).items()},
        "machine": machine,
        "cells": records,
        "failed": [record["name"] for record in records if record["status"] == "failed"],
        "aggregates": aggregates,
    }
    write_json(out / SWEEP, result)
    write_text(out / TABLE, render(result))
    written: dict[str, Any] = read_json(out / SWEEP)
    return written


def _record(cell: Cell, folder: Path) -> dict[str, Any]:
    """What is known of a cell: who it is, how it stands, and its result where there is one."""
    record: dict[str, Any] = {
        "name": cell.name,
        "kind": cell.kind,
        "model": cell.model,
        "adapter": cell.config.adapter if cell.kind in ("cd", "pbft") else None,
        "head": cell.config.head if cell.kind == "pbft" else None,
        "shots": cell.config.shots,
        "seed": cell.config.seed,
        "scores": cell.scores,
        "status": "waiting",
    }
    if (folder / "result.json").exists():
        result = read_json(folder / "result.json")
        result.pop("fingerprint")
        record |= {"status": "skipped" if "skipped" in result else "done", **result}
    elif (folder / "failure.json").exists():
        record |= {"status": "failed", **read_json(folder / "failure.json")}
    return record


def _outcome(folder: Path) -> str:
    if not (folder / "result.json").exists():
        failure = read_json(folder / "failure.json")
        return f"failed, its process {failure['ending']}: {' '.join(failure['last_words'][-1:])}"
    result = read_json(folder / "result.json")
    if "skipped" in result:
        return f"skipped: {result['skipped']}"
    figures = result.get("sets", {})
    return ", ".join(f"{name} {one['accuracy']:.3f}" for name, one in figures.items()) or "done"
