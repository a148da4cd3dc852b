"""What a sweep writes: a cell's spec and result, its record, the aggregates and the whole result.

The classes declare the JSON; nothing else reads or writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.files import read_json
from edgecd.formats.record import Inline, LeftOut, from_json, to_json
from edgecd.host.cost import Memory, Seconds
from edgecd.host.processes import ANSWER, Failure
from edgecd.sweep.suite import Cell, Suite
from edgecd.tasks.metrics import Difference, Spread

FORMAT = 1
_NO_TIME, _NO_MEMORY = Seconds(), Memory()
WAITING, DONE, SKIPPED, FAILED = "waiting", "done", "skipped", "failed"

_PEAKS = ("peak_rss_bytes", "peak_gpu_bytes")
_SCORING = ("scoring_peak_rss_bytes", "scoring_peak_gpu_bytes")
_EVALUATION = ("evaluation_peak_rss_bytes", "evaluation_peak_gpu_bytes")
_LOADED = ("loaded_rss_bytes", "loaded_gpu_bytes")
_TRAINING = ("training_peak_rss_bytes", "training_peak_gpu_bytes")
_PROMPTED_COST = (("evaluation", "total"), (*_LOADED[:1], *_EVALUATION, *_PEAKS))
_TRAINED_COST = (
    ("scoring", "training", "total", "evaluation"),
    (*_LOADED, *_TRAINING, *_SCORING, *_PEAKS),
)
# By kind of cell, the keys of `seconds` and of `memory`: its own phases, in this order.
_COST_KEYS = {
    "scores": (("scoring", "total"), (*_SCORING, *_PEAKS)),
    "zero-shot": _PROMPTED_COST,
    "icl": _PROMPTED_COST,
    "cd": _TRAINED_COST,
    "pbft": _TRAINED_COST,
}


@dataclass(frozen=True)
class CellSpec:
    """What the process of a cell is asked: the cell, where the teacher's scores are kept, and how
    it runs. `fingerprint` is the cell's."""

    cell: Inline[Cell]
    fingerprint: str
    threads: int
    scores_folder: str
    keep_checkpoint: bool


@dataclass(frozen=True)
class SetAnswers:
    """The answers to one evaluation set, and how good they are.

    `predictions` and `expected` are places of labels in the task's order, one for each example;
    None in the sweep's own record, as they stay in the cell's result.
    """

    split: str
    examples: int
    accuracy: float
    macro_f1: float
    predictions: LeftOut[tuple[int, ...] | None] = None
    expected: LeftOut[tuple[int, ...] | None] = None


@dataclass(frozen=True)
class CellResult:
    """What a cell came to; what its kind does not have is None, or empty.

    `skipped` is why its model cannot do this at all. `sets` are the answers by evaluation set,
    `sets_uncalibrated` those of a prompt without label calibration. `examples` counts what a
    teacher scored; the rest is of a training: optimizer steps, the step that was kept, and the
    measures on held-out examples by name.
    """

    skipped: LeftOut[str | None] = None
    sets: LeftOut[Mapping[str, SetAnswers] | None] = None
    sets_uncalibrated: LeftOut[Mapping[str, SetAnswers] | None] = None
    seconds: LeftOut[Seconds] = _NO_TIME
    memory: LeftOut[Memory] = _NO_MEMORY
    examples: LeftOut[int | None] = None
    steps: LeftOut[int | None] = None
    best_step: LeftOut[int | None] = None
    trainable_parameters: LeftOut[int | None] = None
    epochs: LeftOut[float | None] = None
    lr: LeftOut[float | None] = None
    heldout: LeftOut[Mapping[str, Any] | None] = None


@dataclass(frozen=True)
class CellRecord:
    """A cell as the sweep's result tells it: who it is, how it stands, and what it came to.

    `model` is that of a prompt, `adapter` that of a training, `head` that of PBFT, `scores` the
    cell whose scores it learns from; `shots` counts demonstrations. `failure` is there when
    `status` is `failed`.
    """

    name: str
    kind: str
    model: str | None
    adapter: str | None
    head: str | None
    shots: int
    seed: int
    scores: str | None
    status: str
    result: Inline[CellResult] = CellResult()
    failure: Inline[Failure | None] = None


@dataclass(frozen=True)
class SetSpread:
    """Accuracy on one set over seeds, the mean macro-F1, and the number of examples."""

    accuracy: Inline[Spread]
    macro_f1_mean: float
    examples: int


@dataclass(frozen=True)
class AccuracyRow:
    """A system after `shots` demonstrations: its accuracy by evaluation set, over its seeds.

    `calibrated` is false for a prompt's answers without label calibration.
    """

    system: str
    kind: str
    model: str | None
    adapter: str | None
    head: str | None
    calibrated: bool
    shots: int
    sets: Mapping[str, SetSpread]


@dataclass(frozen=True)
class SetDifference:
    """A difference of accuracies on one set, over the `seeds` that both systems have."""

    accuracy: Inline[Difference]
    seeds: int
    examples: int


@dataclass(frozen=True)
class DifferenceRow:
    """`system` less `against`, both after `shots` demonstrations, by evaluation set."""

    system: str
    against: str
    shots: int
    sets: Mapping[str, SetDifference]


@dataclass(frozen=True)
class CostRow:
    """What a training costs, as means over its `n` seeds; None where nothing is known.

    `training_s` and `scoring_s` are wall-clock seconds; `above_loaded` is the peak of the training
    less what was resident with the model loaded, `peak` that of the whole process, in bytes. The
    scoring is that of the cells whose scores it learns from.
    """

    system: str
    kind: str
    adapter: str | None
    head: str | None
    shots: int
    n: int
    steps: float | None
    trainable_parameters: int | None
    training_s: float | None
    scoring_s: float | None
    above_loaded_bytes: float | None
    peak_rss_bytes: float | None
    scoring_peak_rss_bytes: float | None
    above_loaded_gpu_bytes: float | None
    training_peak_gpu_bytes: float | None


@dataclass(frozen=True)
class Aggregates:
    """The cells that are done, over their seeds."""

    accuracy: tuple[AccuracyRow, ...]
    differences: tuple[DifferenceRow, ...]
    cost: tuple[CostRow, ...]


@dataclass(frozen=True)
class SweepResult:
    """A whole sweep as it stands: sweep.json. `failed` holds the names of the cells that failed."""

    format: int
    suite: Suite
    machine: Mapping[str, Any]
    cells: tuple[CellRecord, ...]
    failed: tuple[str, ...]
    aggregates: Aggregates


def read_spec(path: Path) -> CellSpec:
    """The spec of a cell; InputError for a file that is none of this version."""
    return from_json(CellSpec, read_json(path), str(path))


def read_result(folder: Path) -> CellResult | None:
    """The result in a cell's folder, None when there is none; InputError for one that is bad."""
    path = folder / ANSWER
    if not path.exists():
        return None
    raw = {key: value for key, value in read_json(path).items() if key != "fingerprint"}
    return from_json(CellResult, raw, str(path))


def result_json(result: CellResult, kind: str, fingerprint: str) -> dict[str, Any]:
    """The result of a cell of this kind, as its file holds it."""
    return {"fingerprint": fingerprint, **_own_phases(to_json(result), kind)}


def read_sweep(path: Path) -> SweepResult:
    """What a sweep.json holds; InputError when it is missing or bad."""
    return from_json(SweepResult, read_json(path), str(path))


def sweep_json(result: SweepResult) -> dict[str, Any]:
    """A sweep's result as its file holds it."""
    cells = [_own_phases(to_json(one), one.kind) for one in result.cells]
    return {**to_json(result), "cells": cells}


def without_answers(record: CellRecord) -> CellRecord:
    """The record of a cell with its measures alone, not its answer to each example."""

    def measures(sets: Mapping[str, SetAnswers] | None) -> dict[str, SetAnswers] | None:
        if sets is None:
            return None
        return {
            name: dataclasses.replace(one, predictions=None, expected=None)
            for name, one in sets.items()
        }

    result = record.result
    both = (measures(result.sets), measures(result.sets_uncalibrated))
    result = dataclasses.replace(result, sets=both[0], sets_uncalibrated=both[1])
    return dataclasses.replace(record, result=result)


def _own_phases(raw: dict[str, Any], kind: str) -> dict[str, Any]:
    """JSON of a cell with the costs of those phases that its kind has."""
    own = {
        name: {key: raw[name][key] for key in keys}
        for name, keys in zip(("seconds", "memory"), _COST_KEYS[kind], strict=True)
        if name in raw
    }
    return raw | own
