"""The process of one cell: `python -m edgecd.sweep.cell SPEC RESULT`.

Its standard input is a pipe from the sweep: when that ends, however it does, so does the cell.
Everything is kept in the folder of SPEC, so that a cell that was cut off goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.host.processes import end_with_parent, run_spec
from edgecd.tasks import metrics
from edgecd.training.config import TrainConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecd.tasks.evaluation import EvalSet
    from edgecd.training.run import Reporter


def run_cell(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do what a spec says (the fields of `suite.Cell`, `threads`, `scores_folder`).

    Returns the cell's result: `sets` (name -> accuracy, macro_f1, predictions, expected),
    `seconds`, `memory`; or only `skipped`, with the reason, when the model cannot do this.
    """
    import torch

    from edgecd.lm.models import Unsupported

    torch.set_num_threads(spec["threads"])
    config = TrainConfig(**{**spec["config"], "scores": spec["scores_folder"]})
    kinds = {"scores": _score, "icl": _prompt, "zero-shot": _prompt, "cd": _train, "pbft": _train}
    try:
        return kinds[spec["kind"]](spec, config, folder, _reporter())
    except Unsupported as why:
        return {"skipped": str(why)}


def _score(
    spec: dict[str, Any], config: TrainConfig, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """The teacher's scores of everything that distillation needs, into the shared folder."""
    from edgecd.lm.models import pick_device
    from edgecd.tasks.task import load_task
    from edgecd.training.account import Account
    from edgecd.training.distil import choose_examples, score_all

    task = load_task(config.task, config.pattern)
    device = pick_device(config.device)
    account = Account(folder / "account.json", device, time.monotonic())
    examples = choose_examples(task, config, reporter.say)
    targets = score_all(task, config, examples, device, folder, reporter, account)
    scoring = account.phases.get("scoring", {})
    return {
        "seconds": {"scoring": scoring.get("seconds", 0.0), "total": account.seconds},
        "memory": {
            "scoring_peak_rss_bytes": scoring.get("peak_rss_bytes"),
            "scoring_peak_gpu_bytes": scoring.get("peak_gpu_bytes"),
            **account.highest(),
        },
        "examples": len(targets.by_id) + len(targets.heldout),
    }


def _prompt(
    spec: dict[str, Any], config: TrainConfig, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """In-context learning (or, with no shots, zero-shot) of one model on the evaluation sets."""
    from edgecd.host.memory import rss_bytes
    from edgecd.lm.models import find_model, pick_device, pick_dtype
    from edgecd.lm.scorer import DeferredScorer
    from edgecd.lm.scores import score_examples
    from edgecd.tasks.demonstrations import calibration_inputs, draw_demonstrations
    from edgecd.tasks.task import Example, load_task, read_split
    from edgecd.training.account import Account
    from edgecd.training.distil import SCORING_BATCH

    task = load_task(config.task, config.pattern)
    sets = _evaluation_sets(spec, config)
    device = pick_device(config.device)
    account = Account(folder / "account.json", device, time.monotonic())
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, config.shots, config.seed)
    pool = calibration_inputs(train, demonstrations, config.seed)
    inputs = [("calibration", pool), *((f"set/{one.name}", one.inputs) for one in sets)]
    everything = [
        Example(f"{name}/{number}", fields, None)
        for name, many in inputs
        for number, fields in enumerate(many)
    ]
    model = getattr(config, spec["model"])
    files = find_model(model, device, pick_dtype(config.dtype, device))
    scorer = DeferredScorer(files, task.template)
    scorer.ready()
    loaded = rss_bytes()

    def progress(done: int, total: int) -> None:
        account.tick()

    with account.phase("evaluation"):
        scores, _ = score_examples(
            scorer,
            demonstrations,
            everything,
            config.max_length,
            folder / "answers",
            SCORING_BATCH[device.type],
            progress,
        )
    plain = scores.log_probabilities
    reference = plain[: len(pool)] if len(pool) else plain
    calibrated = metrics.calibrate_labels(plain, metrics.label_calibration(reference))
    tables = {"sets": calibrated, "sets_uncalibrated": plain.astype(float)}
    evaluation = account.phases["evaluation"]
    return {
        **{key: _figures(sets, table[len(pool) :], task.labels) for key, table in tables.items()},
        "seconds": {"evaluation": evaluation["seconds"], "total": account.seconds},
        "memory": {
            "loaded_rss_bytes": loaded,
            "evaluation_peak_rss_bytes": evaluation["peak_rss_bytes"],
            "evaluation_peak_gpu_bytes": evaluation["peak_gpu_bytes"],
            **account.highest(),
        },
    }


def _train(
    spec: dict[str, Any], config: TrainConfig, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Train a student, then evaluate its merged checkpoint."""
    from edgecd.tasks.task import load_task
    from edgecd.training.distil import train

    sets = _evaluation_sets(spec, config)
    task = load_task(config.task, config.pattern)
    run = train(config, folder / "run", reporter, resume=True, force=True)
    began = time.monotonic()
    logits = _classify(folder / "run" / "checkpoint", sets, config)
    return {
        "sets": _figures(sets, logits, task.labels),
        "seconds": {**run["timings_s"], "evaluation": time.monotonic() - began},
        "memory": {**run["memory"], **{k: run[k] for k in ("peak_rss_bytes", "peak_gpu_bytes")}},
        "steps": run["steps"],
        "best_step": run["best_step"],
        "trainable_parameters": run["trainable_parameters"],
        "epochs": run["epochs"],
        "lr": run["lr"],
        "heldout": run["metrics"],
    }


def _classify(
    checkpoint: Path, sets: Sequence[EvalSet], config: TrainConfig
) -> NDArray[np.float32]:
    """The logits of a checkpoint for all sets, one after another."""
    from edgecd.lm.checkpoint import open_checkpoint
    from edgecd.lm.models import pick_device
    from edgecd.tasks.task import load_task

    template = load_task(config.task, config.pattern).template
    device = pick_device(config.device)
    answerer = open_checkpoint(checkpoint, template, config.max_length, device)
    return answerer.logits([fields for one in sets for fields in one.inputs])


def _evaluation_sets(spec: dict[str, Any], config: TrainConfig) -> Sequence[EvalSet]:
    from edgecd.tasks.evaluation import evaluation_sets
    from edgecd.tasks.task import load_task

    task = load_task(config.task, config.pattern)
    ood = [load_task(name) for name in spec["ood"]]
    return evaluation_sets(task, ood, spec["split"], spec["limit"])


def _figures(
    sets: Sequence[EvalSet], table: NDArray[np.floating[Any]], labels: Sequence[str]
) -> dict[str, Any]:
    """Each set's figures from the rows of `table` [examples of all sets, labels]."""
    figures = {}
    start = 0
    for one in sets:
        rows = table[start : start + len(one.inputs)]
        start += len(one.inputs)
        predicted = rows.argmax(-1)
        expected = [labels.index(label) for label in one.labels]
        figures[one.name] = {
            "split": one.split,
            "examples": len(expected),
            "accuracy": metrics.accuracy(predicted, expected),
            "macro_f1": metrics.macro_f1(predicted, expected),
            "predictions": predicted.tolist(),
            "expected": expected,
        }
    return figures


def _reporter() -> Reporter:
    from edgecd.training.run import Reporter

    return Reporter(lambda line: print(line, file=sys.stderr), lambda what, done, total: None)


def main(spec_path: str, result_path: str) -> int:
    """Run the cell of a spec file; returns the exit code."""
    end_with_parent()

    def work(spec: dict[str, Any]) -> dict[str, Any]:
        return {"fingerprint": spec["fingerprint"], **run_cell(spec, Path(spec_path).parent)}

    return run_spec(work, spec_path, result_path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
