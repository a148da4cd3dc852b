"""`edgecd bench`: measure every system in turn, keep each result at once, write the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgecd.bench.data import (
    EvalSet,
    Shot,
    calibration_inputs,
    check_bundle,
    demonstrations_for,
    draw_shots,
    evaluation_sets,
)
from edgecd.bench.measure import measure
from edgecd.bench.report import markdown, verdict
from edgecd.bench.rows import make_rows
from edgecd.bench.systems import (
    BASELINES,
    System,
    known_models,
    list_systems,
)
from edgecd.bundle import read_manifest
from edgecd.errors import InputError
from edgecd.files import fingerprint, read_json, refuse_existing, write_json, write_text
from edgecd.machine import describe_machine, fast_dtype, load_average, usable_cores
from edgecd.tasks import Task, read_split

SCHEMA = 1
SYSTEMS, REPORT, REPORT_TEXT = "systems", "report.json", "report.md"
NAIVE_CALLS, OTHER_CALLS = 30, 100
WARMUP_CALLS = 3


def bench(
    bundles: Sequence[Path],
    task: Task,
    out: Path,
    ood: Sequence[Task] = (),
    teacher: str | None = None,
    student_base: str | None = None,
    shots: int | None = None,
    seed: int | None = None,
    demonstrations: Sequence[Shot] | None = None,
    run: Path | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    limit: int | None = None,
    split: str | None = None,
    dtype: str = "auto",
    latency_queries: int | None = None,
    baselines: Sequence[str] | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure bundles and the prompts they replace; write OUT/report.json and OUT/report.md.

    `teacher`, `student_base`, `shots` and `seed` come from `run` (a run folder) or from the
    first bundle's provenance when not given; the demonstrations from `run`, or are drawn anew.
    Each system's result is kept in OUT/systems, so the same command goes on where it stopped,
    and more bundles can join. `dtype` is that of the language models. Returns the report.

    Raises InputError for what cannot be compared or measured, and for an OUT that holds
    something else unless `force`, which measures everything anew.
    """
    if not bundles:
        raise InputError("name at least one bundle to measure")
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: at least one example is needed")
    for folder in bundles:
        check_bundle(folder, task)
    # A run may have chosen another pattern than the task's own: prompts are compared in its form.
    task = replace(task, template=read_manifest(bundles[0]).prompt)
    machine = describe_machine()
    models = known_models(bundles, run, teacher, student_base)
    systems = list_systems(bundles, models, baselines)
    notes: list[str] = []
    if baselines is None and len(systems) == len(bundles):
        notes.append(
            "No prompt was measured: it needs PyTorch and transformers (pip install "
            "'edgecd[train]') and a teacher (--teacher)."
        )
    sets = evaluation_sets(task, ood, split, limit)
    chosen, calibration, how = _prompt(task, systems, bundles[0], run, demonstrations, shots, seed)
    notes += how
    spec = {
        "template": task.template.text,
        "verbalizer": dict(task.template.verbalizer),
        "shots": [[dict(fields), label] for fields, label in chosen],
        "max_length": max(read_manifest(folder).max_length for folder in bundles),
        "provider": provider,
        "threads": threads or usable_cores(),
        "warmup": WARMUP_CALLS,
        "sets": {one.name: [dict(fields) for fields in one.inputs] for one in sets},
        "calibration": [dict(fields) for fields in calibration],
        "dtype": dtype
        if dtype != "auto"
        else fast_dtype(machine["isa"], machine["gpu"] is not None and provider != "cpu"),
    }
    specs = {
        system.name: {
            **spec,
            "system": asdict(system),
            "timed_calls": latency_queries
            or (NAIVE_CALLS if system.accuracy_from else OTHER_CALLS),
        }
        for system in systems
    }
    results = _measure_all(specs, machine, out, force, progress)
    notes += _left_out(systems, results)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "task": task.name,
        "split": sets[0].split,
        "ood": [one.name for one in sets[1:]],
        "shots": len(chosen),
        "machine": machine,
        "verdict": "",
        "rows": make_rows(systems, results, sets, task.labels, len(chosen)),
        "notes": notes + _limited(sets),
    }
    report["verdict"] = verdict(report["rows"])
    write_json(out / REPORT, report)
    write_text(out / REPORT_TEXT, markdown(report))
    return report


def _prompt(
    task: Task,
    systems: Sequence[System],
    bundle: Path,
    run: Path | None,
    demonstrations: Sequence[Shot] | None,
    shots: int | None,
    seed: int | None,
) -> tuple[tuple[Shot, ...], tuple[Any, ...], list[str]]:
    """(demonstrations, inputs to calibrate on, what to say of them); empty without a prompt row."""
    if all(system.kind == "bundle" for system in systems):
        return (), (), []
    made = read_manifest(bundle).provenance if run is None else read_json(run / "run.json")
    seed = int(made.get("seed") or 0) if seed is None else seed
    notes = []
    train = read_split(task, "train").examples if "train" in task.splits else ()
    chosen = tuple(demonstrations) if demonstrations is not None else None
    if chosen is None and shots is None and run is not None:
        chosen = demonstrations_for(run)
    if chosen is None:
        shots = int(made.get("shots") or 0) if shots is None else shots
        chosen = draw_shots(task, train, shots, seed)
        notes.append(
            f"The {shots} demonstrations were drawn from the train split with seed {seed}: no run "
            "folder (--run) with its own was given."
        )
    if not chosen and any(system.prompted for system in systems):
        raise InputError(
            "the prompts to compare with need demonstrations, and there are none: give --shots, "
            f"or leave them out with --baselines {BASELINES[-1]}"
        )
    calibration = calibration_inputs(train, chosen, seed)
    if not calibration:
        notes.append("Prompts are not calibrated: the task has no train split to do it on.")
    return chosen, calibration, notes


def _measure_all(
    specs: dict[str, dict[str, Any]],
    machine: dict[str, Any],
    out: Path,
    force: bool,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Every system's result, from OUT/systems where it was measured under the same conditions."""
    kept = out / SYSTEMS
    if force:
        shutil.rmtree(kept, ignore_errors=True)
    elif not kept.is_dir():
        refuse_existing(out, force)
    conditions = {key: value for key, value in machine.items() if key != "ram_bytes"}
    marks = {name: fingerprint(spec, conditions) for name, spec in specs.items()}
    results: dict[str, dict[str, Any]] = {}
    for name, mark in marks.items():
        path = kept / f"{name}.json"
        if path.exists():
            stored = read_json(path)
            if stored.get("fingerprint") != mark:
                raise InputError(
                    f"{path} was measured with other options, examples, models or versions: choose "
                    "another --out, or pass --force to measure everything anew"
                )
            results[name] = stored["result"]
    # Bundles first: they are quick, and what is wrong with them shows at once.
    todo = sorted(
        (name for name in specs if name not in results),
        key=lambda name: specs[name]["system"]["kind"] != "bundle",
    )
    for place, name in enumerate(todo, start=1):
        progress(f"{name} ({place} of {len(todo)} to measure)")
        before = load_average()
        results[name] = measure(name, specs[name], specs[name]["threads"])
        results[name]["load_average_before"] = before
        stored = {"fingerprint": marks[name], "system": specs[name]["system"]}
        write_json(kept / f"{name}.json", {**stored, "result": results[name]})
    return results


def _left_out(systems: Sequence[System], results: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{system.name} was left out: {results[system.name]['skipped']}."
        for system in systems
        if "skipped" in results[system.name]
    ]


def _limited(sets: Sequence[EvalSet]) -> list[str]:
    return [
        f"{one.name}: {len(one.inputs)} of the {one.available} labelled examples of its "
        f"{one.split} split, sampled (--limit)."
        for one in sets
        if len(one.inputs) < one.available
    ]
