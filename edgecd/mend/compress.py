"""`edgecd compress`: a task's demonstrations as a context file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.context import Context, describe_context, with_calibration, write_context
from edgecd.demonstrations import calibration_inputs, draw_demonstrations
from edgecd.distill.contexts import make_context, past_array, prefix_of, remember_tokens, start_ids
from edgecd.distill.models import (
    LanguageModel,
    check_context_fits,
    load_language_model,
    pick_device,
    pick_dtype,
)
from edgecd.distill.teacher import Scorer, make_scorer, score_queries
from edgecd.encoding import demonstration_ids, encode_prompt
from edgecd.errors import InputError
from edgecd.files import refuse_existing
from edgecd.mend.language import Front
from edgecd.mend.tasks import pair_of
from edgecd.mend.train import load_distiller
from edgecd.tasks import Task, read_split

BATCH = 8


@dataclass(frozen=True)
class Maker:
    """What makes the context: a distiller's run, or a language model that keeps all of it."""

    lm: LanguageModel
    method: str
    network: Any = None
    max_context: int | None = None


def compress(
    task: Task,
    out: Path,
    distiller: Path | None = None,
    model: str | None = None,
    shots: int = 16,
    seed: int = 0,
    max_length: int = 256,
    calibrate: bool = True,
    precision: str = "int8",
    device: str = "auto",
    force: bool = False,
) -> dict[str, Any]:
    """Write a task's demonstrations as the context file `out`; returns its facts.

    `distiller` is the run folder of one; with `model` alone the demonstrations stay as they are
    (method `none`), and with no shots the context is a start token (zero-shot). Demonstrations are
    drawn as a distillation with that seed draws them; unlabelled inputs of the train split
    calibrate. Raises InputError for what does not fit together.
    """
    if (distiller is None) == (model is None):
        raise InputError("say what compresses: --distiller RUN, or --model M to keep all tokens")
    refuse_existing(out, force)
    began = time.monotonic()
    maker = _maker(distiller, model, device)
    scorer = make_scorer(maker.lm, task.template)
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, shots, seed)
    texts = [pair_of(task.template, example).text for example in demonstrations]
    limit = maker.max_context or maker.lm.max_positions
    ids = demonstration_ids(maker.lm.text_tokenizer, texts, limit) or start_ids(maker.lm)
    if maker.network is None:
        check_context_fits(maker.lm, len(ids), max_length)
    started = time.monotonic()
    past = _past(maker, ids)
    context = make_context(
        scorer,
        past,
        maker.method,
        task.name,
        max_length,
        shots,
        len(ids),
        seed=seed,
        distiller=distiller.name if distiller else None,
        compress_s=round(time.monotonic() - started, 3),
    )
    if calibrate:
        inputs = calibration_inputs(train, [(e.fields, str(e.label)) for e in demonstrations], seed)
        context = calibrated(context, scorer, inputs)
    write_context(out, context, precision)
    return {**describe_context(out), "seconds": round(time.monotonic() - began, 1)}


def calibrated(context: Context, scorer: Scorer, inputs: Sequence[Mapping[str, str]]) -> Context:
    """The context with each label's mean log-probability over unlabelled inputs to be taken off.

    As it is when there are none.
    """
    if not inputs:
        return context
    tokenizer, facts = scorer.lm.text_tokenizer, context.facts
    queries = [
        encode_prompt(tokenizer, facts.prompt, fields, facts.max_length, True).ids
        for fields in inputs
    ]
    prefix = prefix_of(context.past, scorer.lm)
    rows = [rows for _, rows in score_queries(scorer, queries, prefix, BATCH)]
    return with_calibration(context, np.concatenate(rows).mean(axis=0))


def past_of(front: Front) -> NDArray[np.float32]:
    """A front as a context keeps it, [layers, 2, kv_heads, positions, head_size].

    Raises InputError for an encoder-decoder's, which has no keys and values to keep.
    """
    if isinstance(front, torch.Tensor):
        raise InputError(
            "the context of an encoder-decoder cannot be kept apart from the query: train and "
            "test it, and compress for a decoder-only model"
        )
    return past_array(front)


def _maker(distiller: Path | None, model: str | None, device: str) -> Maker:
    place = pick_device(device)
    if distiller is not None:
        trained = load_distiller(distiller, place, pick_dtype("float32", place))
        facts = trained.run
        return Maker(trained.lm, facts["method"], trained.network, int(facts["max_context"]))
    return Maker(load_language_model(str(model), place, torch.float32), "none")


@torch.no_grad()
def _past(maker: Maker, ids: Sequence[int]) -> NDArray[np.float32]:
    if maker.network is None:
        return past_array(remember_tokens(maker.lm, ids))
    return past_of(maker.network.front(maker.lm, ids))
