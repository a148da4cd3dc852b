"""`edgecd train`: from a task and two models to a run folder with a merged checkpoint."""

from __future__ import annotations

import dataclasses
import gc
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.errors import InputError
from edgecd.files import fingerprint, write_json
from edgecd.host.memory import rss_bytes
from edgecd.lm.fold import fold
from edgecd.lm.models import (
    check_words,
    find_model,
    load_language_model,
    pick_device,
    pick_dtype,
)
from edgecd.lm.rows import classifier_logits
from edgecd.lm.scorer import DeferredScorer
from edgecd.lm.scores import average, score_examples
from edgecd.tasks import metrics
from edgecd.tasks.demonstrations import (
    Demonstrations,
    draw_demonstrations,
    example_line,
    write_demonstrations,
    write_lines,
)
from edgecd.tasks.encoding import encode_prompt, label_token_ids
from edgecd.tasks.task import Example, Task, load_task, read_split
from edgecd.training import student as students
from edgecd.training.account import Account
from edgecd.training.config import TrainConfig
from edgecd.training.folder import RUN, finished, forget_lost_steps, open_log, open_run
from edgecd.training.loop import Item, Outcome, Schedule, divergence, fit
from edgecd.training.run import Reporter
from edgecd.training.state import saved_step

HELDOUT = "heldout.jsonl"
PACKAGES = ("edgecd", "torch", "transformers", "peft", "tokenizers", "numpy")
MONITOR = 128
SCORING_BATCH = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True)
class Examples:
    """The task's examples in their roles; no example has two roles.

    `draws` are demonstration sets; `transfer` is what the student trains on, `monitor` decides
    when to stop (neither needs labels), `heldout` is for evaluation and the export's gate.
    """

    draws: tuple[Demonstrations, ...]
    transfer: tuple[Example, ...]
    monitor: tuple[Example, ...]
    heldout: tuple[Example, ...]


@dataclass(frozen=True)
class Trained:
    """A trained and merged student, and what it came to."""

    model: Any
    tokenizer: Any
    outcome: Outcome
    trainable: int
    loaded: dict[str, int | None]  # memory with the student loaded and nothing trained yet
    figures: dict[str, Any]


@dataclass(frozen=True)
class Targets:
    """The teacher's label log-probabilities [examples, labels] for each role, by id."""

    by_id: dict[str, NDArray[np.float32]]
    heldout: NDArray[np.float32]
    heldout_uncalibrated: NDArray[np.float32]
    fingerprints: tuple[str, ...]


def train(
    config: TrainConfig, out: Path, reporter: Reporter, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Distil (or fine-tune) a student into the run folder `out`; returns its run.json.

    Raises InputError for anything wrong with task, data, models or options, before the long
    work starts wherever that can be known.
    """
    began = time.monotonic()
    task = load_task(config.task, config.pattern)
    device = pick_device(config.device)
    students.check_student(config.student, task.template, config.adapter)
    if config.method == "cd":
        check_words(config.teacher, task.template)
    examples = choose_examples(task, config, reporter.say)
    open_run(out, config, resume, force)
    done = finished(out, reporter.say)
    if done is not None:
        return done
    _write_examples(out, examples)
    (out / "state").mkdir(exist_ok=True)
    account = Account(out / "state" / "account.json", device, began)
    targets = None
    if config.method == "cd":
        targets = score_all(task, config, examples, device, out, reporter, account)
    trained = train_student(task, config, examples, targets, device, out, reporter, account)
    students.save_checkpoint(trained.model, trained.tokenizer, out / "checkpoint")
    scoring, training = account.phases.get("scoring", {}), account.phases["training"]
    run = {
        "format": 1,
        "status": "done",
        **dataclasses.asdict(config),
        "task": {
            "name": task.name,
            "template": task.template.text,
            "labels": dict(task.template.verbalizer),
            "source": task.source,
        },
        "epochs": config.resolved_epochs,
        "lr": config.resolved_lr,
        "fingerprints": {
            "demonstrations": fingerprint([[e.id, dict(e.fields)] for e in examples.draws[0]]),
            "data": fingerprint([[e.id, dict(e.fields)] for e in examples.transfer]),
            "scores": list(targets.fingerprints) if targets else [],
        },
        "examples": {
            "transfer": len(examples.transfer),
            "monitor": len(examples.monitor),
            "heldout": len(examples.heldout),
        },
        "metrics": trained.figures,
        "steps": trained.outcome.steps,
        "best_step": trained.outcome.best_step,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "trainable_parameters": trained.trainable,
        "timings_s": {
            "scoring": scoring.get("seconds", 0.0),
            "training": training["seconds"],
            "total": account.seconds,
        },
        "memory": {
            **trained.loaded,
            "training_peak_rss_bytes": training["peak_rss_bytes"],
            "training_peak_gpu_bytes": training["peak_gpu_bytes"],
            "scoring_peak_rss_bytes": scoring.get("peak_rss_bytes"),
            "scoring_peak_gpu_bytes": scoring.get("peak_gpu_bytes"),
        },
        **account.highest(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    write_json(out / RUN, run)
    shutil.rmtree(out / "state", ignore_errors=True)
    return run


def choose_examples(task: Task, config: TrainConfig, say: Callable[[str], None]) -> Examples:
    """Draw demonstrations, transfer, monitor and held-out examples, seeded, without overlap."""
    train_split = read_split(task, "train")
    say(train_split.say("train"))
    held_name = next((name for name in ("validation", "test") if name in task.data), None)
    if held_name is None:
        raise InputError(
            f"task {task.name!r} has neither a validation nor a test split: add one to [data] in "
            f"{task.source}, so that the student can be checked"
        )
    held = read_split(task, held_name, config.heldout)
    say(held.say(held_name))
    draws = tuple(
        draw_demonstrations(train_split.examples, task.labels, config.shots, config.seed, draw)
        for draw in range(config.context_draws)
    )
    shown = {example.id for draw in draws for example in draw}
    rest = [example for example in train_split.examples if example.id not in shown]
    random.Random(f"edgecd transfer {config.seed}").shuffle(rest)
    monitor_size = min(MONITOR, len(rest) // 8)
    transfer = rest[: max(0, min(config.transfer, len(rest) - monitor_size))]
    monitor = rest[len(transfer) : len(transfer) + monitor_size]
    if config.method == "cd" and not transfer:
        raise InputError(
            f"no examples are left to distil on: the train split has {len(train_split.examples)} "
            f"and {len(shown)} are demonstrations"
        )
    return Examples(draws, tuple(transfer), tuple(monitor), held.examples)


def score_all(
    task: Task,
    config: TrainConfig,
    examples: Examples,
    device: torch.device,
    out: Path,
    reporter: Reporter,
    account: Account,
) -> Targets:
    """Score every role under every demonstration draw; the teacher is loaded if scores are missing.

    Its time and memory are the phase `scoring` of the account, which is not there when every
    score was cached.
    """
    files = find_model(config.teacher, device, pick_dtype(config.dtype, device))
    scorer = DeferredScorer(files, task.template)
    folder = Path(config.scores) if config.scores else out / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    # Ids are unique within a split only: held-out ones get a mark of their own.
    held = [dataclasses.replace(e, id=f"heldout/{e.id}") for e in examples.heldout]
    everything = (*examples.transfer, *examples.monitor, *held)
    split_at = len(examples.transfer) + len(examples.monitor)
    calibrated, plain, marks = [], [], []
    with account.phase("scoring", counts=lambda: scorer.is_loaded):
        for number, shots in enumerate(examples.draws, start=1):
            what = f"teacher scores ({number}/{len(examples.draws)})"

            def progress(done: int, total: int, what: str = what) -> None:
                account.tick()
                reporter.progress(what, done, total)

            scores, shortened = score_examples(
                scorer,
                shots,
                everything,
                config.max_length,
                folder,
                SCORING_BATCH[device.type],
                progress,
            )
            if shortened and number == 1:
                reporter.say(f"{shortened} of {len(everything)} inputs were shortened to fit")
            table = scores.log_probabilities
            plain.append(table)
            if config.calibrate:
                head_start = metrics.label_calibration(table[:split_at])
                table = metrics.calibrate_labels(table, head_start).astype(np.float32)
            calibrated.append(table)
            marks.append(scores.fingerprint)
    table = average(calibrated)
    by_id = {
        example.id: row
        for example, row in zip(everything[:split_at], table[:split_at], strict=True)
    }
    return Targets(by_id, table[split_at:], average(plain)[split_at:], tuple(marks))


def train_student(
    task: Task,
    config: TrainConfig,
    examples: Examples,
    targets: Targets | None,
    device: torch.device,
    out: Path,
    reporter: Reporter,
    account: Account,
) -> Trained:
    """Fold, adapt, train, merge and evaluate; with `head = "vocabulary"` fold last, as others do.

    The training alone is the phase `training` of the account.
    """
    lm = load_language_model(config.student, device, torch.float32)
    over_vocabulary = config.head == "vocabulary"
    classifier = fold(lm, task.template)
    students.add_start(lm)
    pad_id = classifier.config.pad_token_id
    tokenizer = lm.text_tokenizer
    label_tokens = tuple(label_token_ids(tokenizer, task.template, lm.name).values())
    gc.collect()  # of the teacher, too
    loaded = {
        "loaded_rss_bytes": rss_bytes(),
        "loaded_gpu_bytes": torch.cuda.memory_allocated() if device.type == "cuda" else None,
    }

    def ids(example: Example) -> list[int]:
        return encode_prompt(tokenizer, task.template, example.fields, config.max_length).ids

    def item(example: Example, label_is_known: bool) -> Item:
        target = targets.by_id.get(example.id) if targets else None
        label = task.labels.index(str(example.label)) if label_is_known else None
        return Item(ids(example), None if target is None else target.tolist(), label)

    shots = [item(example, True) for draw in examples.draws for example in draw]
    transfer: list[Item] = []
    if config.method == "cd" or config.use_labels:
        transfer = [
            item(example, config.use_labels and example.label is not None)
            for example in examples.transfer
        ]
    # The demonstrations are the labels that are known: they join in with cross-entropy alone.
    with_labels = config.method == "pbft" or config.alpha < 1
    items = transfer + (shots if with_labels else [])
    if config.method == "pbft":
        items = [entry for entry in items if entry.label is not None]
    monitor = [item(example, False) for example in examples.monitor] if targets else []
    torch.manual_seed(config.seed)  # LoRA starts from random matrices
    untrained = lm.model if over_vocabulary else classifier
    training = students.add_adapter(untrained, config.adapter, config.lora_rank)
    trainable = sum(p.numel() for p in training.parameters() if p.requires_grad)
    reporter.say(
        f"student: {trainable:,} of {sum(p.numel() for p in training.parameters()):,} parameters "
        f"train ({config.adapter}) on {len(items)} examples"
    )
    schedule = Schedule(
        epochs=config.resolved_epochs,
        lr=config.resolved_lr,
        batch_size=config.batch_size,
        alpha=config.alpha if config.method == "cd" else 0.0,
        temperature=config.temperature,
        patience=config.patience,
        seed=config.seed,
        autocast=pick_dtype(config.dtype, device) == torch.bfloat16,
        label_tokens=label_tokens if over_vocabulary else (),
    )
    forget_lost_steps(out, {"": saved_step(out / "state")})
    with open_log(out) as log:

        def progress(done: int, total: int) -> None:
            account.tick()
            reporter.progress("training", done, total)

        with account.phase("training"):
            outcome = fit(training, items, monitor, schedule, pad_id, out / "state", log, progress)
        if config.adapter == "lora":
            training.save_pretrained(out / "adapter")
        model = students.merge(training)
        if over_vocabulary:
            model = fold(replace(lm, model=model), task.template)
        figures = evaluate(
            model, [ids(e) for e in examples.heldout], examples.heldout, task, targets
        )
        log({"step": outcome.steps, "heldout": figures})
    return Trained(model, lm.tokenizer, outcome, trainable, loaded, figures)


def evaluate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    heldout: Sequence[Example],
    task: Task,
    targets: Targets | None,
) -> dict[str, Any]:
    """The held-out figures: student and teacher accuracy where labels are known, agreement."""
    logits = classifier_logits(model, prompts)
    known = [place for place, example in enumerate(heldout) if example.label is not None]
    truth = np.array([task.labels.index(str(heldout[place].label)) for place in known], dtype=int)
    figures: dict[str, Any] = {"heldout_examples": len(heldout), "labelled": len(known)}

    def accuracy(name: str, table: NDArray[np.float32]) -> None:
        if known:
            figures[name] = metrics.accuracy(table.argmax(-1)[known], truth)

    accuracy("student_accuracy", logits)
    if targets is not None:
        accuracy("teacher_accuracy", targets.heldout)
        accuracy("teacher_accuracy_uncalibrated", targets.heldout_uncalibrated)
        figures["agreement"] = metrics.agreement(logits.argmax(-1), targets.heldout.argmax(-1))
        figures["heldout_kl"] = divergence(logits, targets.heldout.tolist())
    return figures


def _write_examples(out: Path, examples: Examples) -> None:
    write_demonstrations(out, examples.draws)
    write_lines(out / HELDOUT, [example_line(example) for example in examples.heldout])
