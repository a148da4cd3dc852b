"""`edgecd bench`: convert, evaluate, then time every system in turn, and write the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecd.bench.config import BenchConfig
from edgecd.bench.ledger import open_ledger
from edgecd.bench.others import choose_others, rival_notes
from edgecd.bench.passes import Work, convert, measure_all
from edgecd.bench.plan import (
    Conditions,
    Shown,
    choose_demonstrations,
    make_specs,
    refuse_empty_prompts,
)
from edgecd.bench.report.beside import with_peers
from edgecd.bench.report.mistakes import with_texts
from edgecd.bench.report.record import SCHEMA, Machine, Report, Row, Training
from edgecd.bench.report.rows import find_reference, make_rows, noise
from edgecd.bench.report.verdict import judge, sentence
from edgecd.bench.report.write import write_reports
from edgecd.bench.systems.choose import (
    Prompts,
    choose_roles,
    choose_runtimes,
    list_systems,
)
from edgecd.bench.systems.given import Bundle, GivenContext, Models, bundle_of_run, known_models
from edgecd.console import SILENT, Reporter
from edgecd.errors import InputError
from edgecd.files import fingerprint, read_json
from edgecd.formats.bundle import read_manifest
from edgecd.formats.context import read_context
from edgecd.formats.fit import check_bundle, check_context
from edgecd.formats.record import from_json, to_json
from edgecd.host.machine import describe_machine, fast_dtype, usable_cores
from edgecd.tasks.evaluation import EvalSet, evaluation_sets
from edgecd.tasks.task import Task, load_task

MODELS, RUN = "models", "run.json"


def bench(
    bundles: Sequence[Path],
    config: BenchConfig,
    out: Path,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Report:
    """Measure bundles and the prompts they replace; write the report to OUT and return it.

    Prompts run in PyTorch, in the config's `dtype`, and on onnxruntime, in the first bundle's
    precision; beside them fewer and other demonstrations, simple classifiers that learn from the
    demonstrations (`rivals`), other runtimes for the run's checkpoint (`peers`), and contexts for
    the bundles of language models. Each system is evaluated once, then
    timed in `rounds`, so that a noisy machine hurts all alike, each time in a fresh process.
    Results are kept in OUT/systems, so the same command goes on where it stopped, and more bundles
    can join.

    Raises InputError for what cannot be compared or measured, and for an OUT that holds
    something else unless `force`, which measures everything anew.
    """
    if not bundles:
        raise InputError("name at least one bundle to measure")
    task, ood = load_task(config.task), [load_task(name) for name in config.ood]
    given = [_bundle(folder, task) for folder in bundles]
    contexts = [_context(file, task) for file in config.context]
    first = given[0].manifest
    _check_lengths(config.lengths, given)
    # A run may have chosen another pattern than the task's own: prompts are compared in its form.
    task = replace(task, template=replace(first.prompt, form="prompt"))
    run = None if config.run is None else read_json(config.run / RUN)
    made = first.provenance if run is None else run
    of_run = given[0] if run is None else bundle_of_run(given, run)
    machine = from_json(Machine, describe_machine(), "machine", lenient=True)
    models = known_models(given, run, config.teacher, config.student)
    roles = choose_roles(models, config.roles)
    sets = evaluation_sets(task, ood, config.split, config.limit)
    shown = choose_demonstrations(task, config, made, config.few_shots if roles else ())
    prompts = Prompts(
        roles,
        len(shown.main),
        tuple(number for number in shown.by_number if 0 < number < len(shown.main)),
        choose_runtimes(config.prompt_runtimes) if roles else (),
        first.precision,
    )
    refuse_empty_prompts(prompts)
    others, absent = choose_others(config, of_run, models, len(shown.labelled))
    systems = list_systems(given, models, prompts, others, contexts)
    specs = make_specs(systems, task, sets, shown, _conditions(config, given, machine))
    described = {name: one for name, one in to_json(machine).items() if name != "ram_bytes"}
    marks = {name: fingerprint(to_json(spec), described) for name, spec in specs.items()}
    ledger = open_ledger(out, marks, force)
    work = Work(systems, specs, ledger, out / MODELS, config.rounds, reporter)
    convert(work)
    measured, left_out = measure_all(work)
    notes = [
        *_prompt_notes(config, models, prompts, shown),
        *rival_notes(systems, len(shown.labelled), made),
    ]
    notes += [*absent, *left_out, *_limited(sets)]
    reference = find_reference(measured)
    rows = make_rows(measured, sets, task.labels, reference)
    siblings = {one.name for one in given if of_run and _made_as(one) == _made_as(of_run)}
    rows = with_peers(rows, measured, sets[0].name, siblings)
    if config.with_texts:
        rows = tuple(with_texts(row, sets[0]) for row in rows)
    report = Report(
        schema=SCHEMA,
        task=task.name,
        labels=task.labels,
        split=sets[0].split,
        ood=tuple(one.name for one in sets[1:]),
        shots=len(shown.main) if roles else 0,
        machine=machine,
        reference=reference,
        rounds=config.rounds,
        noise=noise(measured),
        rows=_with_training(rows, given),
        notes=tuple(notes),
        asked={"bundles": [one.name for one in given], **config.published()},
    )
    report = replace(report, verdict=sentence(judge(report)))
    write_reports(report, out)
    shutil.rmtree(out / MODELS, ignore_errors=True)  # gigabytes, and made again in minutes
    return report


def _bundle(folder: Path, task: Task) -> Bundle:
    manifest = read_manifest(folder)
    check_bundle(folder, manifest, task)
    return Bundle(folder, manifest)


def _context(file: Path, task: Task) -> GivenContext:
    metadata = read_context(file).facts
    check_context(file, metadata, task)
    return GivenContext(file, metadata)


def _check_lengths(lengths: Sequence[int], bundles: Sequence[Bundle]) -> None:
    for length in lengths:
        for one in bundles:
            if not 1 <= length <= one.manifest.max_length:
                raise InputError(
                    f"--lengths {length}: {one.folder} reads from 1 to {one.manifest.max_length} "
                    "tokens of a query"
                )


def _conditions(config: BenchConfig, bundles: Sequence[Bundle], machine: Machine) -> Conditions:
    dtype = config.dtype
    if dtype == "auto":
        dtype = fast_dtype(machine.isa, machine.gpu is not None and config.provider != "cpu")
    return Conditions(
        max_length=max(one.manifest.max_length for one in bundles),
        provider=config.provider,
        threads=config.threads or usable_cores(),
        dtype=dtype,
        rounds=config.rounds,
        latency_queries=config.latency_queries,
        lengths=config.lengths,
    )


def _prompt_notes(
    config: BenchConfig, models: Models, prompts: Prompts, shown: Shown
) -> tuple[str, ...]:
    told: tuple[str, ...] = ()
    if models.unfetched and config.roles is None:
        told = (
            f"{', '.join(models.unfetched)} is what a bundle names, and is not on this machine. "
            "What only a bundle names is not fetched: name it with --teacher or --student, or give "
            "the run (--run), to measure it.",
        )
    return (*told, *_notes_of_prompts(config, models, prompts, shown))


def _notes_of_prompts(
    config: BenchConfig, models: Models, prompts: Prompts, shown: Shown
) -> tuple[str, ...]:
    if config.roles is not None:
        return shown.notes if prompts.roles else ()
    if not prompts.roles:
        return (
            "No prompt was measured: it needs PyTorch and transformers (pip install "
            "'edgecd[train]') and a teacher (--teacher).",
        )
    if models.encoder is None or models.student_base is not None:
        return shown.notes
    return (
        *shown.notes,
        f"No prompt of the student's size was measured: {Path(models.encoder).name} is an encoder, "
        "which cannot be prompted. --student names a decoder to prompt instead.",
    )


def _made_as(bundle: Bundle) -> dict[str, Any]:
    """How a bundle's checkpoint was made; what its export adds is left out."""
    made = bundle.manifest.provenance
    return {name: value for name, value in made.items() if name not in ("export", "vocabulary")}


def _with_training(rows: Sequence[Row], bundles: Sequence[Bundle]) -> tuple[Row, ...]:
    """What it took to train each bundle, as its manifest says."""
    known = {one.name: _training(one.manifest.provenance) for one in bundles}
    return tuple(
        replace(row, training=known.get(row.system) if row.kind == "bundle" else None)
        for row in rows
    )


def _training(made: Mapping[str, Any]) -> Training | None:
    seconds = made.get("timings_s") or {}
    if not {"scoring", "training"} <= seconds.keys():
        return None
    return Training(seconds["scoring"] + seconds["training"], made.get("peak_rss_bytes"))


def _limited(sets: Sequence[EvalSet]) -> list[str]:
    return [
        f"{one.name}: {len(one.inputs)} of the {one.available} labelled examples of its "
        f"{one.split} split, sampled (--limit)."
        for one in sets
        if len(one.inputs) < one.available
    ]
