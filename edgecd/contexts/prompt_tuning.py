"""`edgecd train --method prompt-tuning`: vectors trained on one task's demonstrations alone."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgecd.console import Reporter
from edgecd.contexts.compress import calibrated, past_of
from edgecd.contexts.config import PromptTuningConfig
from edgecd.contexts.episodes import query_ids
from edgecd.contexts.loop import Stage, fit_network
from edgecd.contexts.loss import Episode, LossWeights
from edgecd.contexts.networks import make_network
from edgecd.files import write_json
from edgecd.formats.context import write_context
from edgecd.formats.manifest import CONTEXT
from edgecd.formats.run import RUN
from edgecd.host.memory import peak_rss_bytes
from edgecd.lm.models import LanguageModel, load_language_model, pick_device
from edgecd.lm.past import make_context
from edgecd.lm.scorer import make_scorer
from edgecd.tasks.demonstrations import Demonstrations, calibration_inputs, draw_demonstrations
from edgecd.tasks.partition import TextExample, text_example
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Example, Task, load_task
from edgecd.training.folder import forget_lost_steps, open_log, open_run
from edgecd.training.record import FrozenModel, PromptRecord, run_json
from edgecd.training.state import saved_step

STAGE = "prompt-tuning"


def train_prompt(
    config: PromptTuningConfig,
    out: Path,
    reporter: Reporter,
    resume: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Train a task's vectors (arXiv 2104.08691) into OUT/context.safetensors; returns run.json.

    Cross-entropy on the demonstrations' answers, over the whole vocabulary. Raises InputError for
    anything wrong with task, data, model or options.
    """
    began = time.monotonic()
    task = load_task(config.task)
    device = pick_device(config.device)
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, config.shots, config.seed)
    with open_run(out, config, reporter, resume, force, task.files) as done:
        if done is not None:
            return done
        lm = load_language_model(config.student, device, torch.float32)
        return _train(lm, task, config, train, demonstrations, out, reporter, began)


def _train(
    lm: LanguageModel,
    task: Task,
    config: PromptTuningConfig,
    train: Sequence[Example],
    demonstrations: Demonstrations,
    out: Path,
    reporter: Reporter,
    began: float,
) -> dict[str, Any]:
    """Tune, measure and write the context in the run folder `out`; returns its run.json."""
    scorer = make_scorer(lm, task.template)
    forget_lost_steps(out, {STAGE: saved_step(out / "state")})
    pairs = [text_example(task.template, example) for example in demonstrations]
    with open_log(out) as log:
        network = tune(
            lm,
            pairs,
            config,
            out / "state",
            log,
            lambda done, total: reporter.progress(STAGE, done, total),
        )
    with torch.no_grad():
        past = past_of(network.front(lm, ()))
    context = make_context(
        scorer, past, STAGE, task.name, config.max_length, config.shots, config.vectors,
        seed=config.seed, steps=config.steps, lr=config.lr,
    )  # fmt: skip
    inputs = calibration_inputs(train, demonstrations, config.seed)
    context = calibrated(context, scorer, inputs)
    write_context(out / CONTEXT, context, "fp16")
    record = PromptRecord(
        context=CONTEXT,
        language_model=FrozenModel(lm.name, context.facts.fingerprint),
        timings_s={"total": time.monotonic() - began},
        peak_rss_bytes=peak_rss_bytes(),
    )
    run = run_json(config, record)
    write_json(out / RUN, run)
    shutil.rmtree(out / "state", ignore_errors=True)
    return run


def tune(
    lm: LanguageModel,
    pairs: Sequence[TextExample],
    config: PromptTuningConfig,
    folder: Path,
    log: Any = lambda line: None,
    progress: Any = lambda done, total: None,
) -> Any:
    """Vectors trained on these examples; the trained network."""
    continuations = [query_ids(lm.text_tokenizer, pair, config.max_length) for pair in pairs]

    def batch(number: int) -> Episode:
        chance = random.Random(f"edgecd prompt tuning {config.seed} {number}")
        size = min(config.batch_size, len(continuations))
        return Episode((), tuple(chance.sample(continuations, size)))

    network = make_network(STAGE, lm, None, config.vectors, config.seed).to(lm.model.device)
    stage = Stage(STAGE, batch, LossWeights(1.0, 0.0), config.steps, config.lr, 1)
    fit_network(network, lm, stage, config.seed, False, folder, log, progress)
    return network
