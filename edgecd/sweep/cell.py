"""The process of one cell: `python -m edgecd.sweep.cell SPEC RESULT`.

Its standard input is a pipe from the sweep: when that ends, however it does, so does the cell.
Everything is kept in the folder of SPEC, so that a cell that was cut off goes on.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.contexts.methods import METHODS
from edgecd.formats.record import from_json
from edgecd.host.cost import Memory, Seconds
from edgecd.host.processes import end_with_parent, run_spec
from edgecd.sweep.record import CellResult, CellSpec, SetAnswers, result_json
from edgecd.sweep.suite import PROMPTED, TRAINED, Cell
from edgecd.tasks import metrics
from edgecd.training.config import TrainConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecd.console import Reporter
    from edgecd.lm.scorer import DeferredScorer
    from edgecd.tasks.answerer import Fields
    from edgecd.tasks.demonstrations import Demonstrations
    from edgecd.tasks.evaluation import EvalSet
    from edgecd.tasks.task import Task


def run_cell(spec: CellSpec, folder: Path) -> CellResult:
    """Do what a spec says, and keep in `folder` what is needed to go on after an interruption.

    A model that cannot do this at all gives a result that says why it was skipped.
    """
    import torch

    from edgecd.lm.models import Unsupported

    torch.set_num_threads(spec.threads)
    config = dataclasses.replace(spec.cell.config, scores=spec.scores_folder)
    kinds = {"scores": _score, **dict.fromkeys(PROMPTED, _prompt), **dict.fromkeys(TRAINED, _train)}
    try:
        return kinds[spec.cell.kind](spec.cell, config, folder)
    except Unsupported as why:
        return CellResult(skipped=str(why))


def _score(cell: Cell, config: TrainConfig, folder: Path) -> CellResult:
    """The teacher's scores of everything that distillation needs, into the shared folder."""
    from edgecd.lm.models import pick_device
    from edgecd.tasks.task import load_task
    from edgecd.training.account import Account
    from edgecd.training.examples import choose_examples
    from edgecd.training.run import Session
    from edgecd.training.targets import score_all

    task = load_task(config.task, config.pattern)
    device = pick_device(config.device)
    account = Account(folder / "account.json", device, time.monotonic())
    reporter = _reporter()
    examples = choose_examples(task, config, reporter.say)
    targets = score_all(Session(task, config, device, folder, reporter, account), examples)
    scoring = account.phase_cost("scoring")
    return CellResult(
        seconds=Seconds(scoring=scoring.seconds, total=account.seconds),
        memory=Memory(
            scoring_peak_rss_bytes=scoring.peak_rss_bytes,
            scoring_peak_gpu_bytes=scoring.peak_gpu_bytes,
            **dataclasses.asdict(account.highest()),
        ),
        examples=len(targets.by_id) + len(targets.heldout),
    )


def _prompt(cell: Cell, config: TrainConfig, folder: Path) -> CellResult:
    """In-context learning (or, with no shots, zero-shot) of one model on the evaluation sets."""
    from edgecd.host.memory import rss_bytes
    from edgecd.lm.models import find_model, pick_device, pick_dtype
    from edgecd.lm.scorer import DeferredScorer
    from edgecd.tasks.demonstrations import calibration_inputs, draw_demonstrations
    from edgecd.tasks.splits import read_split
    from edgecd.tasks.task import load_task
    from edgecd.training.account import Account

    task = load_task(config.task, config.pattern)
    sets = _evaluation_sets(cell, task)
    device = pick_device(config.device)
    account = Account(folder / "account.json", device, time.monotonic())
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, config.shots or 0, config.seed)
    pool = calibration_inputs(train, demonstrations, config.seed)
    model = config.teacher if cell.model == "teacher" else config.student
    scorer = DeferredScorer(
        find_model(model, device, pick_dtype(config.dtype, device)), task.template
    )
    scorer.ready()
    loaded = rss_bytes()
    inputs = {"calibration": pool, **{f"set/{one.name}": one.inputs for one in sets}}
    with account.phase("evaluation"):
        scores = _prompted_scores(
            scorer, demonstrations, inputs, config.max_length, folder / "answers", account.tick
        )
    reference, plain = scores[: len(pool)], scores[len(pool) :]
    head_start = metrics.label_calibration(reference if len(pool) else plain)
    calibrated = metrics.calibrate_labels(plain, head_start)
    evaluation = account.phase_cost("evaluation")
    return CellResult(
        sets=_answers(sets, calibrated, task.labels),
        sets_uncalibrated=_answers(sets, plain, task.labels),
        seconds=Seconds(evaluation=evaluation.seconds, total=account.seconds),
        memory=Memory(
            loaded_rss_bytes=loaded,
            evaluation_peak_rss_bytes=evaluation.peak_rss_bytes,
            evaluation_peak_gpu_bytes=evaluation.peak_gpu_bytes,
            **dataclasses.asdict(account.highest()),
        ),
    )


def _train(cell: Cell, config: TrainConfig, folder: Path) -> CellResult:
    """Train a student, then evaluate its merged checkpoint."""
    from edgecd.tasks.task import load_task

    task = load_task(config.task, config.pattern)
    sets = _evaluation_sets(cell, task)
    run = METHODS[cell.kind].train(config, folder / "run", _reporter(), resume=True, force=True)
    began = time.monotonic()
    inputs = [fields for one in sets for fields in one.inputs]
    logits = _checkpoint_logits(folder / "run" / "checkpoint", task, inputs, config)
    return CellResult(
        sets=_answers(sets, logits, task.labels),
        seconds=Seconds(**run["timings_s"], evaluation=time.monotonic() - began),
        memory=Memory(
            **run["memory"],
            peak_rss_bytes=run["peak_rss_bytes"],
            peak_gpu_bytes=run["peak_gpu_bytes"],
        ),
        steps=run["steps"],
        best_step=run["best_step"],
        trainable_parameters=run["trainable_parameters"],
        epochs=run["epochs"],
        lr=run["lr"],
        heldout=run["metrics"],
    )


def _prompted_scores(
    scorer: DeferredScorer,
    demonstrations: Demonstrations,
    inputs: Mapping[str, Sequence[Fields]],
    max_length: int,
    folder: Path,
    tick: Callable[[], None],
) -> NDArray[np.float32]:
    """Label log-probabilities of all inputs after the demonstrations, float32 [inputs, labels].

    The groups of `inputs` come one after another. Scores are kept in `folder` as they come, under
    the group's name and the place in it, so that a prompt that was cut off goes on.
    """
    from edgecd.lm.scores import score_examples
    from edgecd.tasks.task import Example
    from edgecd.training.targets import SCORING_BATCH

    scores, _ = score_examples(
        scorer,
        demonstrations,
        [
            Example(f"{group}/{place}", fields, None)
            for group, many in inputs.items()
            for place, fields in enumerate(many)
        ],
        max_length,
        folder,
        SCORING_BATCH[scorer.lm.device.type],
        lambda done, total: tick(),
    )
    return scores.log_probabilities


def _checkpoint_logits(
    checkpoint: Path, task: Task, inputs: Sequence[Fields], config: TrainConfig
) -> NDArray[np.float32]:
    """Label logits of a merged checkpoint, which runs in float32: [inputs, labels]."""
    from edgecd.lm.checkpoint import open_checkpoint
    from edgecd.lm.models import pick_device

    device = pick_device(config.device)
    return open_checkpoint(checkpoint, task.template, config.max_length, device).logits(inputs)


def _evaluation_sets(cell: Cell, task: Task) -> Sequence[EvalSet]:
    from edgecd.tasks.evaluation import evaluation_sets
    from edgecd.tasks.task import load_task

    return evaluation_sets(task, [load_task(name) for name in cell.ood], cell.split, cell.limit)


def _answers(
    sets: Sequence[EvalSet], scores: NDArray[np.floating[Any]], labels: Sequence[str]
) -> dict[str, SetAnswers]:
    """Each set's answers from `scores` [examples of all sets, labels], set after set."""
    answers = {}
    start = 0
    for one in sets:
        predicted = scores[start : start + len(one.inputs)].argmax(-1)
        start += len(one.inputs)
        expected = [labels.index(label) for label in one.labels]
        answers[one.name] = SetAnswers(
            one.split,
            len(expected),
            metrics.accuracy(predicted, expected),
            metrics.macro_f1(predicted, expected),
            tuple(predicted.tolist()),
            tuple(expected),
        )
    return answers


def _reporter() -> Reporter:
    from edgecd.console import Reporter

    return Reporter(lambda line: print(line, file=sys.stderr), lambda what, done, total: None)


def answer_spec(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`run_cell` from the JSON of a spec to the JSON of a result."""
    spec = from_json(CellSpec, raw, "the cell's spec")
    return result_json(run_cell(spec, folder), spec.cell.kind, spec.fingerprint)


def main(spec_path: str, result_path: str) -> int:
    """Run the cell of a spec file; returns the exit code."""
    end_with_parent()
    folder = Path(spec_path).parent
    return run_spec(lambda raw: answer_spec(raw, folder), spec_path, result_path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
