"""`edgecd bench`: convert, evaluate, then time every system in turn, and write the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecd.bench import peers as other_runtimes
from edgecd.bench.ledger import open_kept
from edgecd.bench.passes import convert, measure_all
from edgecd.bench.plan import (
    FEW_SHOTS,
    choose_demonstrations,
    make_specs,
    refuse_empty_prompts,
)
from edgecd.bench.report.markdown import verdict
from edgecd.bench.report.rows import Measured, find_reference, make_rows, noise
from edgecd.bench.report.write import write_reports
from edgecd.bench.systems.choose import (
    Prompts,
    choose_roles,
    choose_runtimes,
    known_models,
    list_systems,
)
from edgecd.errors import InputError
from edgecd.files import fingerprint
from edgecd.formats.bundle import read_manifest
from edgecd.formats.fit import check_bundle, check_context
from edgecd.host.machine import describe_machine, fast_dtype, usable_cores
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.evaluation import EvalSet, evaluation_sets
from edgecd.tasks.task import Task

SCHEMA = 1
ROUNDS, DRAWS = 3, 3
MODELS = "models"


def bench(
    bundles: Sequence[Path],
    task: Task,
    out: Path,
    ood: Sequence[Task] = (),
    teacher: str | None = None,
    student_base: str | None = None,
    shots: int | None = None,
    few_shots: Sequence[int] = FEW_SHOTS,
    seed: int | None = None,
    demonstrations: Demonstrations | None = None,
    draws: int = DRAWS,
    run: Path | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    limit: int | None = None,
    split: str | None = None,
    dtype: str = "auto",
    latency_queries: int | None = None,
    rounds: int = ROUNDS,
    baselines: Sequence[str] | None = None,
    prompt_runtimes: Sequence[str] | None = None,
    peers: Sequence[str] = (),
    contexts: Sequence[Path] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure bundles and the prompts they replace; write the report to OUT and return it.

    `teacher`, `student_base`, `shots` and `seed` come from `run` (a run folder) or from the
    first bundle's provenance when not given; the demonstrations from `run`, or are drawn anew.
    Prompts run in PyTorch, in `dtype`, and on onnxruntime, in the first bundle's precision;
    `few_shots` and `draws` are fewer and other demonstrations, `peers` other runtimes for the
    run's checkpoint, `contexts` files for the bundles of language models. Each system is evaluated
    once, then timed in `rounds`, so that a noisy machine hurts all alike, each time in a fresh
    process. Results are kept in OUT/systems, so the same command goes on where it stopped, and
    more bundles can join.

    Raises InputError for what cannot be compared or measured, and for an OUT that holds
    something else unless `force`, which measures everything anew.
    """
    if not bundles:
        raise InputError("name at least one bundle to measure")
    for name, value in (("limit", limit), ("rounds", rounds), ("draws", draws)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: at least one is needed")
    for folder in bundles:
        check_bundle(folder, task)
    for file in contexts:
        check_context(file, task)
    # A run may have chosen another pattern than the task's own: prompts are compared in its form.
    task = replace(task, template=read_manifest(bundles[0]).prompt)
    machine = describe_machine()
    models = known_models(bundles, run, teacher, student_base)
    roles = choose_roles(models, baselines)
    sets = evaluation_sets(task, ood, split, limit)
    shown = choose_demonstrations(
        task, bundles[0], run, demonstrations, shots, few_shots if roles else (), seed, draws
    )
    prompts = Prompts(
        roles,
        len(shown.main),
        tuple(number for number in shown.by_number if 0 < number < len(shown.main)),
        choose_runtimes(prompt_runtimes) if roles else (),
        read_manifest(bundles[0]).precision,
    )
    refuse_empty_prompts(prompts)
    notes = list(shown.notes) if roles else []
    if baselines is None and not roles:
        notes.append(
            "No prompt was measured: it needs PyTorch and transformers (pip install "
            "'edgecd[train]') and a teacher (--teacher)."
        )
    chosen, absent = _choose_peers(peers)
    notes += absent
    checkpoint = None if run is None else run / "checkpoint"
    systems = list_systems(bundles, models, prompts, chosen, checkpoint, contexts)
    common = {
        "max_length": max(read_manifest(folder).max_length for folder in bundles),
        "provider": provider,
        "threads": threads or usable_cores(),
        "dtype": dtype
        if dtype != "auto"
        else fast_dtype(machine["isa"], machine["gpu"] is not None and provider != "cpu"),
    }
    specs = make_specs(systems, task, sets, shown, common, rounds, latency_queries)
    conditions = {key: value for key, value in machine.items() if key != "ram_bytes"}
    marks = {name: fingerprint(spec, conditions) for name, spec in specs.items()}
    kept = open_kept(out, marks, force)
    convert(systems, specs, kept, out / MODELS, rounds, progress)
    measured, left_out = measure_all(systems, specs, kept, out / MODELS, rounds, progress)
    report = _report(measured, sets, task, machine, rounds, notes + left_out + _limited(sets))
    report["shots"] = len(shown.main) if roles else 0
    _add_training(report["rows"], bundles)
    report["verdict"] = verdict(report)
    write_reports(report, out)
    shutil.rmtree(out / MODELS, ignore_errors=True)  # gigabytes, and made again in minutes
    return report


def _choose_peers(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(peers to measure, why others are not); `all` stands for what is installed."""
    if list(names) == ["all"]:
        return list(other_runtimes.installed()), []
    for name in names:
        other_runtimes.find(name)
    reasons = {name: other_runtimes.missing_reason(name) for name in names}
    absent = [f"{name} was left out: {reason}." for name, reason in reasons.items() if reason]
    return [name for name in names if not reasons[name]], absent


def _report(
    measured: Sequence[Measured],
    sets: Sequence[EvalSet],
    task: Task,
    machine: Mapping[str, Any],
    rounds: int,
    notes: list[str],
) -> dict[str, Any]:
    reference = find_reference(measured)
    return {
        "schema": SCHEMA,
        "task": task.name,
        "split": sets[0].split,
        "ood": [one.name for one in sets[1:]],
        "shots": 0,
        "machine": dict(machine),
        "verdict": "",
        "reference": reference,
        "rounds": rounds,
        "noise": noise(measured),
        "rows": make_rows(measured, sets, task.labels, reference),
        "notes": notes,
    }


def _add_training(rows: Sequence[dict[str, Any]], bundles: Sequence[Path]) -> None:
    """What it took to train each bundle, as its manifest says."""
    known = {folder.resolve().name: read_manifest(folder).provenance for folder in bundles}
    for row in rows:
        made = known.get(row["system"], {}) if row["kind"] == "bundle" else {}
        seconds = made.get("timings_s") or {}
        row["training"] = None
        if {"scoring", "training"} <= seconds.keys():
            row["training"] = {
                "seconds": seconds["scoring"] + seconds["training"],
                "peak_rss_bytes": made.get("peak_rss_bytes"),
            }


def _limited(sets: Sequence[EvalSet]) -> list[str]:
    return [
        f"{one.name}: {len(one.inputs)} of the {one.available} labelled examples of its "
        f"{one.split} split, sampled (--limit)."
        for one in sets
        if len(one.inputs) < one.available
    ]
