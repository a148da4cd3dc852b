"""How long scoring and training will take on this machine, before any of it is done.

Two models of one and two layers, with the real ones' configuration and random weights, are timed on
inputs of the usual length; layers are alike, so the rest follows.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from edgecd.formats.kinds import is_encoder
from edgecd.lm.models import LanguageModel, load_model_config, pick_device, pick_dtype
from edgecd.lm.rows import classifier_inputs
from edgecd.lm.scorer import Scorer, label_logits, read_prefix
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.prompts import PromptTemplate
from edgecd.training.check_record import Estimate, Work
from edgecd.training.config import TrainConfig
from edgecd.training.examples import MONITOR
from edgecd.training.layers import config_of, layers_of
from edgecd.training.student import add_adapter
from edgecd.training.targets import SCORING_BATCH

_REPEATS = 2
_TOKEN, _FEW_WORDS = 7, 1024
# Bytes of the largest two layers that are made just to be timed.
_MOST_BYTES = 4 << 30


def estimate(config: TrainConfig, template: PromptTemplate, work: Work) -> Estimate:
    """Time a batch of each, which takes seconds; `config` is settled (see `check_student`).

    Raises InputError for models that are not there.
    """
    device = pick_device(config.device)
    scoring = None
    if config.method == "cd":
        rows = SCORING_BATCH[device.type]
        batch = _of_all_layers(config.teacher, lambda n: _scoring(config, work, rows, n))
        scoring = None if batch is None else batch * work.scored / rows
    assert config.epochs and config.batch_size
    step = _of_all_layers(
        config.student, lambda n: _training(config, template, work, n), config.layers
    )
    training = None
    if step is not None:
        steps = config.epochs * work.trained / config.batch_size
        # Four times in a pass some inputs are looked at, which is a third of a step's work.
        looks = 4 * config.epochs * MONITOR / config.batch_size / 3
        training = step * (steps + looks)
    return Estimate(scoring, training)


def _of_all_layers(
    name: str, seconds: Callable[[int], float], layers: int | None = None
) -> float | None:
    """What a model of all layers (or so many) takes, from one of one layer and one of two."""
    known = load_model_config(name).get_text_config()
    width, total = int(known.hidden_size), layers or layers_of(known)
    # A layer has some 12 times its width squared of weights, and the training three copies.
    if 4 * (2 * 12 * width**2 + int(known.vocab_size) * width) * 4 > _MOST_BYTES:
        return None
    one = seconds(1)
    if total == 1:
        return one
    return one + max(0.0, seconds(2) - one) * (total - 1)


def _scoring(config: TrainConfig, work: Work, rows: int, layers: int) -> float:
    device = pick_device(config.device)
    small = _small(config.teacher, layers, few_words=True)
    model = AutoModelForCausalLM.from_config(small).to(pick_dtype(config.dtype, device))
    lm = LanguageModel(config.teacher, model.to(device).eval(), None, "")
    head = torch.zeros(2, int(small.get_text_config().hidden_size), device=device)
    scorer = Scorer(lm, PromptTemplate("{x}", {"a": "a", "b": "b"}), head)
    prefix = read_prefix(scorer, [_TOKEN] * work.context_tokens) if work.context_tokens else None
    query = [_TOKEN] * max(1, work.teacher_tokens)
    return _timed(lambda: label_logits(scorer, [query] * rows, prefix), device)


def _training(config: TrainConfig, template: PromptTemplate, work: Work, layers: int) -> float:
    device = pick_device(config.device)
    small = _small(config.student, layers, few_words=config.adapter != "full")
    small.num_labels = len(template.labels)
    small.pad_token_id = 0
    model: Any = AutoModelForSequenceClassification.from_config(small).float().to(device)
    model = add_adapter(model, str(config.adapter), config.lora_rank).train()
    assert config.batch_size
    tokens = [_TOKEN] * max(1, min(work.student_tokens, config.max_length))
    types = [0] * len(tokens) if is_encoder(small) else None
    batch = [Encoded(tokens, False, types)] * config.batch_size
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-9)
    wide = pick_dtype(config.dtype, device) == torch.bfloat16

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16) if wide else nullcontext():
            logits = model(**classifier_inputs(model, batch)).logits
        torch.log_softmax(logits.float(), -1).square().sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _timed(step, device)


def _small(name: str, layers: int, few_words: bool) -> Any:
    """A model's configuration with so many of its layers, and maybe a small vocabulary.

    Looking a token up takes as long in any vocabulary; only training it does not.
    """
    small = copy.deepcopy(config_of(load_model_config(name), tuple(range(layers))))
    if hasattr(small, "quantization_config"):
        del small.quantization_config
    if few_words:
        small.get_text_config().vocab_size = _FEW_WORDS
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(small.get_text_config(), key, 0)
    return small


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call: the fastest of a few, after one that only warms up."""
    found = []
    for _ in range(1 + _REPEATS):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])
