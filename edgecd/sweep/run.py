"""`edgecd sweep`: run every cell of a suite in a process of its own, and keep the tables fresh."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edgecd.console import Reporter
from edgecd.errors import InputError, MissingExtra
from edgecd.files import public, read_json, write_json, write_text
from edgecd.formats.record import from_json, to_json
from edgecd.host.folders import claim
from edgecd.host.lock import locked
from edgecd.host.machine import describe_machine, usable_cores
from edgecd.host.processes import ANSWER, SPEC, Failure, ask
from edgecd.sweep.config import SweepConfig
from edgecd.sweep.record import (
    DONE,
    FAILED,
    SKIPPED,
    SWEEP_FORMAT,
    WAITING,
    CellRecord,
    CellResult,
    CellSpec,
    SweepResult,
    read_result,
    read_spec,
    sweep_json,
    without_answers,
)
from edgecd.sweep.suite import TRAINED, Cell, Suite, expand
from edgecd.sweep.table import aggregate, render_sweep
from edgecd.tasks.evaluation import evaluation_sets
from edgecd.tasks.task import load_task

SWEEP, TABLE, FAILURE = "sweep.json", "table.md", "failure.json"
# All that a sweep writes into its folder.
HOLDS = ("cells", "scores", "figures", SWEEP, TABLE)
CELL_MODULE = "edgecd.sweep.cell"
LEFTOVERS = ("checkpoint", "adapter", "state")


def run_sweep(
    suite: Suite,
    out: Path,
    config: SweepConfig,
    reporter: Reporter,
    force: bool = False,
) -> SweepResult:
    """Run the cells of `suite` that are not done yet; returns what is in `out`/sweep.json.

    A finished cell is never run again; one that was cut off goes on; one that failed is tried
    again, and stands in `failed` of the result if it fails once more. Raises InputError when a
    cell was started with other options (unless `force`: then that cell is made anew), when
    another sweep works on `out`, or when `out` is a folder of something else.
    """
    cells = expand(suite)
    task = load_task(suite.task, suite.train.get("pattern"))
    evaluation_sets(task, [load_task(name) for name in suite.ood], suite.split, suite.limit)
    claim(out, HOLDS, force)
    (out / "cells").mkdir(exist_ok=True)
    with locked(out, "sweep") as lock:
        _check_changes(cells, out, force)
        machine = describe_machine()
        result = _write_tables(suite, cells, out, machine)
        say, done = reporter.say, 0
        waiting = sum(not (out / "cells" / cell.name / ANSWER).exists() for cell in cells)
        for number, cell in enumerate(cells, start=1):
            folder = out / "cells" / cell.name
            if not (folder / ANSWER).exists():
                reporter.progress("cells", done, waiting)
                say(f"cell {number}/{len(cells)} {cell.name}")
                began = time.monotonic()
                _run_cell(_spec(cell, out, config), folder, lock)
                say(f"  {_outcome(folder)} ({time.monotonic() - began:.0f} s)")
                done += 1
                reporter.progress("cells", done, waiting)
            _tidy(folder)
            result = _write_tables(suite, cells, out, machine)
        _draw(result, out / "figures", say)
    return result


def _check_changes(cells: Sequence[Cell], out: Path, force: bool) -> None:
    for cell in cells:
        folder = out / "cells" / cell.name
        spec = folder / SPEC
        # Of another version's spec nothing else may be readable.
        if not spec.exists() or read_json(spec)["fingerprint"] == cell.fingerprint:
            continue
        if not force:
            raise InputError(
                f"{out}: the cell {cell.name!r} was started with other options (see {spec}): "
                "choose another folder for the changed suite, or pass --force to run that cell anew"
            )
        shutil.rmtree(folder)


def _spec(cell: Cell, out: Path, config: SweepConfig) -> CellSpec:
    scores = str((out / "scores").resolve())
    threads = config.threads or usable_cores()
    return CellSpec(cell, cell.fingerprint, threads, scores, config.keep_checkpoints)


def _run_cell(spec: CellSpec, folder: Path, lock: IO[str]) -> None:
    """Run one cell to its end; leaves result.json, or failure.json with its last words.

    The cell's process holds the sweep's lock, too, until it ends.
    """
    (folder / FAILURE).unlink(missing_ok=True)
    answer = ask(CELL_MODULE, to_json(spec), spec.threads, folder, keep=[lock.fileno()])
    if isinstance(answer, Failure):
        write_json(folder / FAILURE, to_json(answer))


def _draw(result: SweepResult, folder: Path, say: Callable[[str], None]) -> None:
    from edgecd.sweep.figures import draw_figures

    try:
        drawn = draw_figures(result, folder)
    except MissingExtra as missing:
        say(f"no figures: {missing}")
    else:
        say(f"figures: {', '.join(drawn) or 'none'}")


def _tidy(folder: Path) -> None:
    """Delete the large files of a finished cell that were not asked for."""
    if (folder / ANSWER).exists() and not read_spec(folder / SPEC).keep_checkpoint:
        for name in LEFTOVERS:
            shutil.rmtree(folder / "run" / name, ignore_errors=True)


def _write_tables(
    suite: Suite, cells: Sequence[Cell], out: Path, machine: Mapping[str, Any]
) -> SweepResult:
    records = [_record(cell, out / "cells" / cell.name) for cell in cells]
    shown = {key: public(value) for key, value in to_json(suite).items()}
    result = SweepResult(
        SWEEP_FORMAT,
        from_json(Suite, shown, suite.name),
        machine,
        tuple(without_answers(record) for record in records),
        tuple(record.name for record in records if record.status == FAILED),
        aggregate(records),
    )
    write_json(out / SWEEP, sweep_json(result))
    write_text(out / TABLE, render_sweep(result))
    return result


def _record(cell: Cell, folder: Path) -> CellRecord:
    """What is known of a cell: who it is, how it stands, and its result where there is one."""
    result, failure, status = read_result(folder), None, WAITING
    if result is not None:
        status = DONE if result.skipped is None else SKIPPED
    elif (folder / FAILURE).exists():
        failure, status = _failure(folder), FAILED
    return CellRecord(
        name=cell.name,
        kind=cell.kind,
        model=cell.model,
        adapter=cell.config.adapter if cell.kind in TRAINED else None,
        head=cell.config.head if cell.kind == "pbft" else None,
        shots=cell.config.shots or 0,
        seed=cell.config.seed,
        scores=cell.scores,
        status=status,
        result=result or CellResult(),
        failure=failure,
    )


def _failure(folder: Path) -> Failure:
    return from_json(Failure, read_json(folder / FAILURE), str(folder / FAILURE))


def _outcome(folder: Path) -> str:
    result = read_result(folder)
    if result is None:
        failure = _failure(folder)
        return f"failed, its process {failure.ending}: {' '.join(failure.last_words[-1:])}"
    if result.skipped is not None:
        return f"skipped: {result.skipped}"
    sets = result.sets or {}
    return ", ".join(f"{name} {one.accuracy:.3f}" for name, one in sets.items()) or "done"
