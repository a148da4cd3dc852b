"""The student: a decoder or an encoder as a classifier, an adapter, and its merge."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM, PreTrainedModel

from edgecd.files import read_json, write_json
from edgecd.formats.kinds import is_encoder
from edgecd.lm.encoders import (
    check_encoder,
    load_encoder,
    refuse_other_kinds,
    takes_types,
)
from edgecd.lm.fold import fold, start_tokens
from edgecd.lm.head import check_head
from edgecd.lm.models import (
    LanguageModel,
    Unsupported,
    check_words,
    find_model,
    load_fast_tokenizer,
    load_model_config,
)
from edgecd.tasks.control import as_text
from edgecd.tasks.encoding import added_tokens, token_ids
from edgecd.tasks.prompts import PromptTemplate
from edgecd.training.config import TrainConfig, settled
from edgecd.training.layers import check_layers, keep_layers, layers_of


@dataclass(frozen=True)
class Student:
    """A student before it is trained: a classifier over the labels, and what it was made of.

    `base` is the language model or the encoder; `template` has the form of the student's inputs.
    """

    base: LanguageModel
    classifier: PreTrainedModel
    template: PromptTemplate


def check_student(config: TrainConfig, template: PromptTemplate) -> TrainConfig:
    """Raise InputError early, before any scoring, for what would fail when training starts.

    Returns the configuration with what the student decides (see `settled`).
    """
    name = config.student
    known = load_model_config(name)
    refuse_other_kinds(name, known)
    if config.layers is not None:
        check_layers(name, known, config.layers)
    if is_encoder(known):
        load_fast_tokenizer(name)
        check_encoder(name, known, config.max_length)
        if config.head == "vocabulary":
            raise Unsupported(f"--head vocabulary: {name} is an encoder, and predicts no words")
        return settled(config, int(known.hidden_size))
    check_words(name, template)
    check_head(name, known)
    if config.adapter == "bitfit":
        with torch.device("meta"):
            _biases(AutoModelForCausalLM.from_config(known))
    loses_layers = config.layers is not None and config.layers < layers_of(known)
    return settled(config, None, loses_layers)


def load_student(config: TrainConfig, template: PromptTemplate, device: torch.device) -> Student:
    """A student in float32: a folded language model, or an encoder with a new head (by the seed).

    It has `config.layers` of its model's layers where that is given. Raises InputError as `fold`,
    `load_encoder` and `keep_layers` do.
    """
    name = config.student
    files = find_model(name, device, torch.float32)
    if is_encoder(load_model_config(name)):
        encoder = _with_layers(load_encoder(files, template.labels, config.seed), config.layers)
        return Student(encoder, encoder.model, template.without_pattern)
    lm = _with_layers(files.load(), config.layers)
    classifier = fold(lm, template)
    add_start(lm)
    lm.model.config.pad_token_id = classifier.config.pad_token_id
    return Student(lm, classifier, template)


def _with_layers(lm: LanguageModel, keep: int | None) -> LanguageModel:
    return lm if keep is None else keep_layers(lm, keep)


def add_start(lm: LanguageModel) -> None:
    """Make the tokenizer begin every prompt with a start token (where it does not) and a newline.

    The first token of a text draws activations a thousand times larger than any other's, which
    8-bit inputs cannot hold, and after a start token alone the second one sometimes does, too
    (https://arxiv.org/abs/2402.17762, https://arxiv.org/abs/2410.05265). When they are the same in
    every prompt, the export computes their keys and values once, in fp32, and never quantizes them.
    """
    backend = lm.text_tokenizer
    _, trail = added_tokens(backend)
    lead = [*start_tokens(lm), *token_ids(backend, "\n", special=False)]
    pieces = [(f"token{token}", token) for token in (*lead, *trail)]
    names = [name for name, _ in pieces]
    backend.post_processor = processors.TemplateProcessing(
        single=[*names[: len(lead)], "$A", *names[len(lead) :]],
        special_tokens=[
            {"id": name, "ids": [token], "tokens": [backend.id_to_token(token)]}
            for name, token in dict(pieces).items()
        ],
    )


def add_adapter(model: Any, adapter: str, rank: int) -> Any:
    """Make the adapter's parameters the only ones that train; returns the model to train.

    The model is a folded classifier, or a language model. `lora`: low-rank updates of every linear
    layer of the backbone, mergeable (no non-linearity inside), never of the output head. `bitfit`:
    bias terms only. `full`: everything. An encoder's head is new, so it always trains. Raises
    Unsupported for `bitfit` on a model without biases.
    """
    if adapter == "full":
        return model.requires_grad_(True)
    if adapter == "bitfit":
        model.requires_grad_(False)
        for bias in _biases(model):
            bias.requires_grad_(True)
        for name in new_heads(model):
            getattr(model, name).requires_grad_(True)
        return model
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    heads = new_heads(model)
    fixed = None if heads else getattr(model, "score", None) or model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not fixed
        and name.split(".")[0] not in heads
    ]
    fan_in_fan_out = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=linear,
        modules_to_save=heads or None,
        fan_in_fan_out=fan_in_fan_out,
    )
    with warnings.catch_warnings():  # peft asks transformers 5 by an old name; nothing to mend here
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def new_heads(model: PreTrainedModel) -> list[str]:
    """Names of the parts of an encoder's classifier that it had no weights for; else none."""
    if not is_encoder(model.config):
        return []
    return [
        name
        for name, part in model.named_children()
        if name != model.base_model_prefix and any(True for _ in part.parameters())
    ]


def merge(trained: Any) -> PreTrainedModel:
    """The plain classifier, with LoRA's updates added into its weights where there are any."""
    merged = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
    model: PreTrainedModel = merged.requires_grad_(True).eval()
    return model


def scale_logits(model: PreTrainedModel, temperature: float) -> None:
    """Divide a classifier's logits by a temperature, in the weights of its last layer."""
    last = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels
    ][-1]
    with torch.no_grad():
        for weights in (last.weight, last.bias):
            if weights is not None:
                weights.div_(temperature)


def trainable_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters of a model that require gradients, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def load_trainable(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy saved values into the parameters that require gradients; `state` holds each by name."""
    with torch.no_grad():
        for name, parameter in trainable_state(model).items():
            parameter.copy_(state[name])


def save_checkpoint(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save a merged classifier as an ordinary Hugging Face folder (safetensors)."""
    model.save_pretrained(folder, safe_serialization=True)
    _name_rope_theta(folder / "config.json")
    as_text(tokenizer.backend_tokenizer)
    # Many tokenizers also offer token types, which few models take.
    types = ["token_type_ids"] if takes_types(model.config) else []
    tokenizer.model_input_names = ["input_ids", *types, "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # what is saved
    tokenizer.split_special_tokens = tokenizer.init_kwargs["split_special_tokens"] = True
    tokenizer.save_pretrained(folder)


def _name_rope_theta(config: Path) -> None:
    """Write the rotary base where transformers 4 looks for it, which else takes its default."""
    values = read_json(config)
    theta = (values.get("rope_parameters") or {}).get("rope_theta")
    if theta is not None and "rope_theta" not in values:
        write_json(config, {**values, "rope_theta": theta})


def _biases(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    if not biases:
        raise Unsupported(
            f"--adapter bitfit trains bias terms, and a {model.config.model_type} model has "
            "none: use --adapter lora"
        )
    return biases
