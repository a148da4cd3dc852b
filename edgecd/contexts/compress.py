"""`edgecd compress`: a task's demonstrations as a context."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.contexts.config import CompressConfig
from edgecd.contexts.language import Front
from edgecd.contexts.matching import match_attention
from edgecd.contexts.train import load_distiller
from edgecd.errors import InputError
from edgecd.formats.context import Context, with_calibration
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
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

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


def compress(config: CompressConfig) -> Context:
    """A task's demonstrations as a context, made as `config` says, in PyTorch.

    Without shots it is a start token (zero-shot). Demonstrations are drawn as a distillation with
    that seed draws them; unlabelled inputs of the train split are what is fitted to, and calibrate.
    Raises InputError for a task, model or run at fault, or that do not fit together.
    """
    task = load_task(config.task)
    maker = _maker(config)
    scorer = make_scorer(maker.lm, task.template)
    train = read_split(task, "train").examples
    demonstrations = draw_demonstrations(train, task.labels, config.shots, config.seed)
    limit = maker.max_context or maker.lm.max_positions
    ids = demonstrations.ids(maker.lm.text_tokenizer, task.template, limit) or start_ids(maker.lm)
    if maker.network is None:
        check_context_fits(maker.lm, len(ids), config.max_length)
    inputs = calibration_inputs(train, demonstrations, config.seed)
    started = time.monotonic()
    past = _past(maker, ids, scorer, inputs, config.max_length)
    context = make_context(
        scorer,
        past,
        maker.method,
        task.name,
        config.max_length,
        config.shots,
        len(ids),
        seed=config.seed,
        distiller=config.distiller.name if config.distiller else None,
        compress_s=round(time.monotonic() - started, 3),
    )
    return calibrated(context, scorer, inputs) if config.calibrate else context


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


def _maker(config: CompressConfig) -> Maker:
    place = pick_device(config.device)
    if config.distiller is not None:
        trained = load_distiller(config.distiller, place, pick_dtype("float32", place))
        asked = trained.config
        return Maker(trained.lm, asked.method, trained.network, asked.max_context)
    lm = load_language_model(str(config.model), place, torch.float32)
    method = "none" if config.positions is None else "matching"
    return Maker(lm, method, positions=config.positions)


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
