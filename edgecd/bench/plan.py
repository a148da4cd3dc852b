"""What a benchmark is going to measure: systems, and what each is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.bench.config import BenchConfig
from edgecd.bench.exchange import Conversion, ConvertedPrompt, Lesson, Spec
from edgecd.bench.lengths import long_texts
from edgecd.bench.systems.base import ONNX, TORCH, Demonstration, System
from edgecd.bench.systems.choose import Prompts
from edgecd.errors import InputError
from edgecd.plotting.roles import ZERO_SHOT
from edgecd.tasks.demonstrations import (
    Demonstrations,
    calibration_inputs,
    draw_demonstrations,
    read_demonstrations,
    read_labelled,
)
from edgecd.tasks.evaluation import EvalSet
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Task

WARMUP_CALLS = {True: 1, False: 3}  # by whether the demonstrations are read for each query
TIMED_CALLS = {True: 24, False: 90}
# Accuracy after other demonstrations: on the first examples, calibrated on the first inputs.
DRAW_EXAMPLES, DRAW_CALIBRATION = 100, 50
# Of the task's own set, for prompts in PyTorch that onnxruntime has answered whole: they show that
# both say the same, and what PyTorch costs.
TORCH_EXAMPLES = 100


@dataclass(frozen=True)
class Shown:
    """The prompts' demonstrations: by number, the main ones among them, and other draws of those.

    `labelled` is what rivals learn from: all examples whose labels the run was shown, where there
    is a run, else the main demonstrations. `calibration` are inputs without labels; `notes` say
    where all of it came from, `seed` what it was drawn with.
    """

    main: Demonstrations
    by_number: Mapping[int, Demonstrations]
    draws: tuple[Demonstrations, ...]
    calibration: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]
    labelled: Demonstrations
    seed: int


@dataclass(frozen=True)
class Conditions:
    """What is the same for every system: tokens of a query at most, runtime options, rounds.

    `lengths` are those, in tokens, that bundles and peers are timed on besides.
    """

    max_length: int
    provider: str
    threads: int
    dtype: str
    rounds: int
    latency_queries: int | None
    lengths: tuple[int, ...] = ()


def choose_demonstrations(
    task: Task, config: BenchConfig, made: Mapping[str, Any], fewer: Sequence[int]
) -> Shown:
    """The run's own demonstrations, or a draw from the train split, and fewer of them.

    `made` is the run's `run.json` or the first bundle's provenance: its number of demonstrations
    and its seed stand in for options that were not given. Raises InputError for a task without a
    train split to draw from.
    """
    seed = int(made.get("seed") or 0) if config.seed is None else config.seed
    train = read_split(task, "train").examples if "train" in task.splits else ()
    notes, main, shots = [], None, config.shots
    labelled = None if config.run is None else read_labelled(config.run)
    if shots is None and config.run is not None:
        main = read_demonstrations(config.run)
    if main is None:
        shots = int(made.get("shots") or 0) if shots is None else shots
        main = draw_demonstrations(train, task.labels, shots, seed)
        notes.append(
            f"The {shots} demonstrations were drawn from the train split with seed {seed}: no run "
            "folder (--run) with its own was given."
        )
    some = {
        number: draw_demonstrations(train, task.labels, number, seed)
        for number in fewer
        if number < len(main)
    }
    others = [
        draw_demonstrations(train, task.labels, len(main), seed, draw)
        for draw in range(1, config.draws if main else 1)
    ]
    shown = [*main, *(one for few in some.values() for one in few)]
    calibration = calibration_inputs(train, shown, seed)
    if not calibration:
        notes.append("Prompts are not calibrated: the task has no train split to do it on.")
    by_number = {len(main): main, 0: Demonstrations(), **some}
    return Shown(main, by_number, tuple(others), calibration, tuple(notes), labelled or main, seed)


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
    conditions: Conditions,
) -> dict[str, Spec]:
    """What each system's processes are asked, but for `do` and `folder`.

    Prompts with fewer demonstrations are evaluated on the task's own set alone, and those in
    PyTorch where onnxruntime has them, too, on its first TORCH_EXAMPLES and with half the timed
    calls: they are there for their cost, and big models are slow.
    """
    elsewhere = any(system.kind == "icl" and system.runtime == ONNX for system in systems)
    inputs = {one.name: one.inputs for one in sets}
    main = inputs[sets[0].name]
    long = long_texts(main, max(conditions.lengths)) if conditions.lengths else ()
    specs = {}
    for system in systems:
        naive, prompt = system.accuracy_from is not None, system.kind == "icl"
        rival = system.kind == "rival"
        few = prompt and system.shots not in (0, len(shown.main))
        again = elsewhere and prompt and system.runtime == TORCH
        calls = conditions.latency_queries or TIMED_CALLS[naive] // (2 if again else 1)
        each = -(-calls // conditions.rounds)
        calibration = shown.calibration[: len(shown.calibration) // (2 if few or again else 1)]
        own = {sets[0].name: main[:TORCH_EXAMPLES] if again else main}
        specs[system.name] = Spec(
            system=system,
            template=task.template.text,
            verbalizer=task.template.verbalizer,
            demonstrations=_labelled(system, shown),
            max_length=conditions.max_length,
            provider=conditions.provider,
            threads=conditions.threads,
            dtype=conditions.dtype,
            queries=main[: max(1, each)],
            warmup=WARMUP_CALLS[naive],
            timed_calls=each,
            sets=own if few or again else inputs,
            calibration=calibration if prompt else (),
            # Other draws have labels that a rival may not see.
            draws=() if few or rival else tuple(map(_plain, shown.draws)),
            draw_queries=main[:DRAW_EXAMPLES],
            draw_calibration=shown.calibration[:DRAW_CALIBRATION],
            lengths=() if prompt or rival else conditions.lengths,
            long_texts=() if prompt or rival else long,
            seed=shown.seed if rival else 0,
        )
    return specs


def conversions(
    systems: Sequence[System], specs: Mapping[str, Spec], folder: Path
) -> list[Conversion]:
    """What to make for the prompts that onnxruntime is to run: one conversion a language model.

    And one more for no demonstrations: each takes memory for several copies of the weights.
    """
    together: dict[tuple[str, bool], list[System]] = {}
    for system in systems:
        if system.kind == "icl" and system.converted:
            together.setdefault((system.model, system.shots > 0), []).append(system)
    found = []
    for some in together.values():
        spec = specs[some[0].name]
        found.append(
            Conversion(
                model=some[0].model,
                precision=str(some[0].precision),
                template=spec.template,
                verbalizer=spec.verbalizer,
                max_length=spec.max_length,
                calibration=spec.calibration,
                folder=str(folder),
                systems={
                    system.name: ConvertedPrompt(specs[system.name].demonstrations, system.cached)
                    for system in some
                },
            )
        )
    return found


def lesson(spec: Spec, folder: Path) -> Lesson:
    """What a rival's training is told of its spec: the labelled examples, and nothing to answer."""
    system = spec.system
    return Lesson(
        rival=str(system.rival),
        labelled=spec.demonstrations,
        template=spec.template,
        verbalizer=spec.verbalizer,
        encoder=system.model,
        max_length=spec.max_length,
        seed=spec.seed,
        folder=str(folder / system.name),
    )


def _labelled(system: System, shown: Shown) -> tuple[Demonstration, ...]:
    if system.kind == "rival":
        return _plain(shown.labelled)
    return _plain(shown.by_number[system.shots]) if system.kind == "icl" else ()


def _plain(demonstrations: Demonstrations) -> tuple[Demonstration, ...]:
    return tuple(demonstrations.plain)
