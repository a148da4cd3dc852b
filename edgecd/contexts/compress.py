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

from edgecd.contexts.language import Front
from edgecd.contexts.matching import match_attention
from edgecd.contexts.train import load_distiller
from edgecd.errors import InputError
from edgecd.files import refuse_existing
from edgecd.formats.context import Context, describe_context, with_calibration, write_context
from edgecd.lm.models import (
    LanguageModel,
    check_context_fits,
    load_language_model,
    pick_device,
    pick_dtype,
)
from edgecd.lm.past import make_context, past_array, prefix_of, remember_tokens, start_ids
from edgecd.lm.prompted import Prompted
from edgecd.lm.scorer import Scorer, make_scorer
from edgecd.tasks.demonstrations import calibration_inputs, draw_demonstrations
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.metrics import label_calibration, log_softmax
from edgecd.tasks.task import Task, read_split

FITTED_INPUTS = 64


@dataclass(frozen=True)
class Maker:
    """What makes the context: a distiller's run, or a language model that keeps all of it or fits
    it into so many `positions`."""

    lm: LanguageModel
    method: str
    network: Any = None
    max_context: int | None = None
    positions: int | None = None


def compress(
    task: Task,
    out: Path,
    distiller: Path | None = None,
    model: str | None = None,
    positions: int | None = None,
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
    (method `none`), or are fitted into `positions` (method `matching`), and with no shots the
    context is a start token (zero-shot). Demonstrations are drawn as a distillation with that seed
    draws them; unlabelled inputs of the train split are what is fitted to, and calibrate. Raises
    InputError for what does not fit together.
    """
    if (distiller is None) == (model is None):
        raise InputError("say what compresses: --distiller RUN, or --model M to keep all tokens")
    if positions is not None and model is None:
        raise InputError(
            "a distiller has its own number of positions: --positions is for --model M"
        )
    refuse_existing(out, force)
    began = time.monotonic()
    maker = _maker(distiller, model, positions, device)
    scorer = make_scorer(maker.lm, task.template)
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, shots, seed)
    limit = maker.max_context or maker.lm.max_positions
    ids = demonstrations.ids(maker.lm.text_tokenizer, task.template, limit) or start_ids(maker.lm)
    if maker.network is None:
        check_context_fits(maker.lm, len(ids), max_length)
    inputs = calibration_inputs(train, demonstrations, seed)
    started = time.monotonic()
    past = _past(maker, ids, scorer, inputs, max_length)
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
        context = calibrated(context, scorer, inputs)
    write_context(out, context, precision)
    return {**describe_context(out), "seconds": round(time.monotonic() - began, 1)}


def calibrated(context: Context, scorer: Scorer, inputs: Sequence[Mapping[str, str]]) -> Context:
    """The context with each label's mean log-probability over unlabelled inputs to be taken off.

    As it is when there are none.
    """
    if not inputs:
        return context
    prefix = prefix_of(context.past, scorer.lm)
    answerer = Prompted(scorer, context.facts.max_length, prefix=prefix)
    return with_calibration(context, label_calibration(log_softmax(answerer.logits(inputs))))


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


def _maker(distiller: Path | None, model: str | None, positions: int | None, device: str) -> Maker:
    place = pick_device(device)
    if distiller is not None:
        trained = load_distiller(distiller, place, pick_dtype("float32", place))
        facts = trained.run
        return Maker(trained.lm, facts["method"], trained.network, int(facts["max_context"]))
    lm = load_language_model(str(model), place, torch.float32)
    return Maker(lm, "none" if positions is None else "matching", positions=positions)


@torch.no_grad()
def _past(
    maker: Maker,
    ids: Sequence[int],
    scorer: Scorer,
    inputs: Sequence[Mapping[str, str]],
    max_length: int,
) -> NDArray[np.float32]:
    if maker.network is not None:
        return past_of(maker.network.front(maker.lm, ids))
    if maker.positions is None:
        return past_array(remember_tokens(maker.lm, ids))
    if not inputs:
        raise InputError(
            "--positions fits to unlabelled inputs, and the train split has none beside the "
            "demonstrations: add some, or leave it out"
        )
    tokenizer = scorer.lm.text_tokenizer
    queries = [
        encode_prompt(tokenizer, scorer.template, fields, max_length, True).ids
        for fields in inputs[:FITTED_INPUTS]
    ]
    return past_array(match_attention(maker.lm, ids, queries, maker.positions))
