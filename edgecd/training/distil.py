"""`edgecd train`: from a task and two models to a run folder with a merged checkpoint."""

from __future__ import annotations

import gc
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgecd.console import Reporter
from edgecd.files import write_json
from edgecd.formats.record import to_json
from edgecd.formats.run import RUN
from edgecd.host.memory import rss_bytes
from edgecd.lm.checkpoint import Checkpoint
from edgecd.lm.fold import fold
from edgecd.lm.licences import stated_licence
from edgecd.lm.models import (
    check_words,
    pick_device,
    pick_dtype,
)
from edgecd.lm.rows import classifier_logits
from edgecd.tasks.encoding import encode_prompt, label_token_ids
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Example, load_task
from edgecd.training.account import Account
from edgecd.training.calibration import parse_shares
from edgecd.training.config import TrainConfig
from edgecd.training.examples import Examples, choose_examples, write_examples
from edgecd.training.folder import forget_lost_steps, open_log, open_run
from edgecd.training.heldout import HeldOut, evaluate, untrained_accuracy
from edgecd.training.loop import Item, Outcome, Schedule, fit, fit_temperature
from edgecd.training.record import (
    StudentMemory,
    StudentRecord,
    StudentSeconds,
    TaskRecord,
    run_json,
)
from edgecd.training.run import Session
from edgecd.training.state import saved_step
from edgecd.training.student import (
    add_adapter,
    check_student,
    load_student,
    merge,
    save_checkpoint,
    scale_logits,
)
from edgecd.training.targets import Targets, score_all


@dataclass(frozen=True)
class TrainedStudent:
    """A trained and merged student, and what it came to.

    `loaded_bytes` (resident, GPU) are those with the student loaded and nothing trained yet.
    """

    model: Any
    tokenizer: Any
    template: PromptTemplate
    outcome: Outcome
    trainable: int
    loaded_bytes: tuple[int | None, int | None]
    heldout: HeldOut


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
    config = check_student(config, task.template)
    if config.method == "cd":
        check_words(config.teacher, task.template)
        parse_shares(config.class_shares, len(task.labels))
    examples = choose_examples(task, config, reporter.say)
    config = replace(config, shots=len(examples.labelled))
    with open_run(out, config, reporter, resume, force, task.files) as done:
        if done is not None:
            return done
        (out / "state").mkdir(exist_ok=True)
        account = Account(out / "state" / "account.json", device, began)
        return _train(Session(task, config, device, out, reporter, account), examples)


def _train(session: Session, examples: Examples) -> dict[str, Any]:
    """Score, train and merge in the session's run folder; returns its run.json."""
    task, config, out, account = session.task, session.config, session.out, session.account
    write_examples(out, examples)
    targets = score_all(session, examples) if config.method == "cd" else None
    trained = train_student(session, examples, targets)
    save_checkpoint(trained.model, trained.tokenizer, out / "checkpoint")
    scoring, training = account.phase_cost("scoring"), account.phase_cost("training")
    record = StudentRecord(
        task=TaskRecord.of(task, trained.template),
        licences=_licences(config),
        fingerprints=examples.fingerprints(targets.fingerprints if targets else ()),
        examples=examples.counts,
        metrics=trained.heldout.metrics,
        answers=trained.heldout.answers,
        class_shares=targets.class_shares if targets else None,
        steps=trained.outcome.steps,
        best_step=trained.outcome.best_step,
        parameters=sum(p.numel() for p in trained.model.parameters()),
        trainable_parameters=trained.trainable,
        timings_s=StudentSeconds(scoring.seconds, training.seconds, account.seconds),
        memory=StudentMemory.of(trained.loaded_bytes, training, scoring),
        peaks=account.highest(),
    )
    for warning in record.answers.warnings:
        session.reporter.say(f"warning: {warning}")
    run = run_json(config, record)
    write_json(out / RUN, run)
    shutil.rmtree(out / "state", ignore_errors=True)
    return run


def _licences(config: TrainConfig) -> dict[str, str | None]:
    """What each model that was used states as its licence."""
    used = {"student": config.student}
    if config.method == "cd":
        used["teacher"] = config.teacher
    return {role: stated_licence(name) for role, name in used.items()}


def train_student(session: Session, examples: Examples, targets: Targets | None) -> TrainedStudent:
    """Fold, adapt, train, merge and evaluate; with `head = "vocabulary"` fold last, as others do.

    The training alone is the phase `training` of the account.
    """
    task, config, device, out = session.task, session.config, session.device, session.out
    assert config.epochs and config.lr and config.batch_size  # `settled` saw to it
    student = load_student(config, task.template, device)
    lm, template = student.base, student.template
    over_vocabulary = config.head == "vocabulary"
    tokenizer = lm.text_tokenizer
    label_tokens = label_token_ids(tokenizer, template, lm.name) if over_vocabulary else {}
    gc.collect()  # of the teacher, too
    gpu = torch.cuda.memory_allocated() if device.type == "cuda" else None
    loaded_bytes = (rss_bytes(), gpu)

    def item(example: Example, label_is_known: bool) -> Item:
        encoded = encode_prompt(tokenizer, template, example.fields, config.max_length)
        target = targets.by_id.get(example.id) if targets else None
        label = task.labels.index(str(example.label)) if label_is_known else None
        return Item(encoded, None if target is None else target.tolist(), label)

    shots = [item(example, True) for example in examples.labelled]
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
    before = None
    if template.form == "prompt" and not over_vocabulary:  # others have no head yet
        plain = Checkpoint(student.classifier, tokenizer, template, config.max_length)
        before = untrained_accuracy(plain, examples.heldout, session.progress("untrained student"))
    torch.manual_seed(config.seed)  # LoRA starts from random matrices
    untrained = lm.model if over_vocabulary else student.classifier
    training = add_adapter(untrained, str(config.adapter), config.lora_rank)
    trainable = sum(p.numel() for p in training.parameters() if p.requires_grad)
    session.reporter.say(
        f"student: {trainable:,} of {sum(p.numel() for p in training.parameters()):,} parameters "
        f"train ({config.adapter}) on {len(items)} examples"
    )
    schedule = Schedule(
        epochs=config.epochs,
        lr=config.lr,
        batch_size=config.batch_size,
        alpha=config.alpha if config.method == "cd" else 0.0,
        temperature=config.temperature,
        patience=config.patience,
        seed=config.seed,
        autocast=pick_dtype(config.dtype, device) == torch.bfloat16,
        label_tokens=tuple(label_tokens.values()),
    )
    forget_lost_steps(out, {"": saved_step(out / "state")})
    with open_log(out) as log:
        progress = session.progress("training")
        with session.account.phase("training"):
            outcome = fit(training, items, monitor, schedule, out / "state", log, progress)
        if config.adapter == "lora":
            training.save_pretrained(out / "adapter")
        model = merge(training)
        if over_vocabulary:
            model = fold(replace(lm, model=model), template)
        temperature = None
        if monitor:
            seen = classifier_logits(model, [entry.input for entry in monitor])
            temperature = fit_temperature(seen, [entry.target or () for entry in monitor])
            scale_logits(model, temperature)
        answerer = Checkpoint(model, tokenizer, template, config.max_length)
        progress = session.progress("held-out examples")
        labelled = examples.labelled.examples
        found = evaluate(answerer, examples.heldout, labelled, targets, progress)
        right, count = before or (None, None)
        told = replace(
            found.metrics,
            untrained_accuracy=right,
            untrained_examples=count,
            temperature=temperature,
        )
        found = replace(found, metrics=told)
        log({"step": outcome.steps, "heldout": to_json(told)})
    return TrainedStudent(model, lm.tokenizer, template, outcome, trainable, loaded_bytes, found)
