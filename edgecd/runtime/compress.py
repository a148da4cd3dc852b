"""`edgecd compress` without PyTorch: a task's demonstrations by an exported compressor."""

from __future__ import annotations

from pathlib import Path

from edgecd.formats.context import Context
from edgecd.runtime.compressor import Compressor, calibrated_here
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.demonstrations import calibration_inputs, draw_demonstrations
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Task


def compress_here(
    task: Task, compressor: Path, bundle: Path | None, shots: int, seed: int, max_length: int
) -> Context:
    """A task's demonstrations as a context, made by the exported compressor in a folder.

    They are drawn as a distillation with that seed draws them. `bundle`, of the language model,
    calibrates the context on unlabelled inputs; without it the context is not calibrated. Raises
    InputError for what does not fit together.
    """
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, shots, seed)
    made = Compressor.load(compressor).compress(
        task.template, demonstrations, task.name, max_length
    )
    if bundle is None:
        return made
    inputs = calibration_inputs(train, demonstrations, seed)
    return calibrated_here(Predictor.load(bundle), made, inputs)
