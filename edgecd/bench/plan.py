"""What a benchmark is going to measure: systems, and what each is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecd.bench.systems.choose import ONNX, TORCH, ZERO_SHOT, Prompts, System
from edgecd.errors import InputError
from edgecd.files import read_json
from edgecd.formats.bundle import read_manifest
from edgecd.tasks.demonstrations import (
    Demonstrations,
    calibration_inputs,
    draw_demonstrations,
    read_demonstrations,
)
from edgecd.tasks.evaluation import EvalSet
from edgecd.tasks.task import Task, read_split

WARMUP_CALLS = {True: 1, False: 3}  # by whether the demonstrations are read for each query
TIMED_CALLS = {True: 24, False: 90}
FEW_SHOTS = (4, 8)
# Accuracy after other demonstrations: on the first examples, calibrated on the first inputs.
DRAW_EXAMPLES, DRAW_CALIBRATION = 100, 50
# Of the task's own set, for prompts in PyTorch that onnxruntime has answered whole: they show that
# both say the same, and what PyTorch costs.
TORCH_EXAMPLES = 100


@dataclass(frozen=True)
class Shown:
    """The prompts' demonstrations: by number, the main ones among them, and other draws of those.

    `calibration` are inputs without labels; `notes` say where all of it came from.
    """

    main: Demonstrations
    by_number: Mapping[int, Demonstrations]
    draws: tuple[Demonstrations, ...]
    calibration: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]


def choose_demonstrations(
    task: Task,
    bundle: Path,
    run: Path | None,
    given: Demonstrations | None,
    shots: int | None,
    few_shots: Sequence[int],
    seed: int | None,
    draws: int,
) -> Shown:
    """The run's own demonstrations, or a draw from the train split, and fewer of them.

    Raises InputError for a task without a train split to draw from.
    """
    made = read_manifest(bundle).provenance if run is None else read_json(run / "run.json")
    seed = int(made.get("seed") or 0) if seed is None else seed
    train = read_split(task, "train").examples if "train" in task.splits else ()
    notes = []
    main = given
    if main is None and shots is None and run is not None:
        main = read_demonstrations(run)
    if main is None:
        shots = int(made.get("shots") or 0) if shots is None else shots
        main = draw_demonstrations(train, task.labels, shots, seed)
        notes.append(
            f"The {shots} demonstrations were drawn from the train split with seed {seed}: no run "
            "folder (--run) with its own was given."
        )
    fewer = {
        number: draw_demonstrations(train, task.labels, number, seed)
        for number in few_shots
        if number < len(main)
    }
    others = [
        draw_demonstrations(train, task.labels, len(main), seed, draw)
        for draw in range(1, draws if main else 1)
    ]
    calibration = calibration_inputs(
        train, [*main, *(one for few in fewer.values() for one in few)], seed
    )
    if not calibration:
        notes.append("Prompts are not calibrated: the task has no train split to do it on.")
    return Shown(
        main,
        {len(main): main, 0: Demonstrations(), **fewer},
        tuple(others),
        calibration,
        tuple(notes),
    )


def refuse_empty_prompts(prompts: Prompts) -> None:
    """Raise InputError when prompts are to be compared and there is nothing to show."""
    if prompts.shots == 0 and any(role != ZERO_SHOT for role in prompts.roles):
        raise InputError(
            "the prompts to compare with need demonstrations, and there are none: give --shots, "
            f"or leave them out with --baselines {ZERO_SHOT}"
        )


def make_specs(
    systems: Sequence[System],
    task: Task,
    sets: Sequence[EvalSet],
    shown: Shown,
    common: Mapping[str, Any],
    rounds: int,
    latency_queries: int | None,
) -> dict[str, dict[str, Any]]:
    """What each system's processes are asked (see `worker.work`), but for `do` and `folder`.

    `common` holds `max_length`, `provider`, `threads` and `dtype`. Prompts with fewer shots are
    evaluated on the task's own set alone, and those in PyTorch where onnxruntime has them, too, on
    its first TORCH_EXAMPLES and with half the timed calls: they are there for their cost, and big
    models are slow.
    """
    elsewhere = any(system.kind == "icl" and system.runtime == ONNX for system in systems)
    inputs = {one.name: [dict(fields) for fields in one.inputs] for one in sets}
    main = inputs[sets[0].name]
    specs = {}
    for system in systems:
        naive = system.accuracy_from is not None
        few = system.kind == "icl" and system.shots not in (0, len(shown.main))
        again = elsewhere and system.kind == "icl" and system.runtime == TORCH
        calls = latency_queries or TIMED_CALLS[naive] // (2 if again else 1)
        calibration = shown.calibration[: len(shown.calibration) // (2 if few or again else 1)]
        own = {sets[0].name: main[:TORCH_EXAMPLES] if again else main}
        specs[system.name] = {
            **common,
            "system": asdict(system),
            "template": task.template.text,
            "verbalizer": dict(task.template.verbalizer),
            "shots": shown.by_number[system.shots].plain if system.kind == "icl" else [],
            "queries": main[: max(1, -(-calls // rounds))],
            "warmup": WARMUP_CALLS[naive],
            "timed_calls": -(-calls // rounds),
            "sets": own if few or again else inputs,
            "calibration": [dict(fields) for fields in calibration] if system.kind == "icl" else [],
            "draws": [] if few else [draw.plain for draw in shown.draws],
            "draw_queries": main[:DRAW_EXAMPLES],
            "draw_calibration": [dict(fields) for fields in shown.calibration[:DRAW_CALIBRATION]],
        }
    return specs


def conversion_specs(
    systems: Sequence[System], specs: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """A `prompt_models` spec for each language model whose prompts onnxruntime is to run.

    And one more for no demonstrations: each takes memory for several copies of the weights.
    """
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for system in systems:
        if system.kind != "icl" or not system.converted:
            continue
        spec = specs[system.name]
        keys = ("template", "verbalizer", "max_length", "calibration")
        one = found.setdefault(
            (system.model, system.shots > 0),
            {
                **{key: spec[key] for key in keys},
                "model": system.model,
                "precision": system.precision,
                "folder": str(folder),
                "systems": {},
            },
        )
        one["systems"][system.name] = {"shots": spec["shots"], "cached": system.cached}
    return list(found.values())
