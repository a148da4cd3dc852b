"""`edgecd compress` without PyTorch: a task's demonstrations by an exported compressor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgecd.files import refuse_existing
from edgecd.formats.context import describe_context, write_context
from edgecd.runtime.compressor import Compressor, calibrated
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.demonstrations import calibration_inputs, draw_demonstrations
from edgecd.tasks.task import Task, read_split


def compress_here(
    task: Task,
    out: Path,
    compressor: Path,
    bundle: Path | None,
    shots: int,
    seed: int,
    max_length: int,
    precision: str,
    force: bool,
) -> dict[str, Any]:
    """Write a task's demonstrations as the context file `out`; returns its facts.

    They are drawn as a distillation with that seed draws them. `bundle`, of the language model,
    calibrates the context on unlabelled inputs; without it the context is not calibrated. Raises
    InputError for what does not fit together.
    """
    refuse_existing(out, force)
    began = time.monotonic()
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, shots, seed)
    made = Compressor.load(compressor).compress(
        task.template, demonstrations, task.name, max_length
    )
    if bundle is not None:
        inputs = calibration_inputs(train, demonstrations, seed)
        made = calibrated(Predictor.load(bundle), made, inputs)
    write_context(out, made, precision)
    return {**describe_context(out), "seconds": round(time.monotonic() - began, 1)}
