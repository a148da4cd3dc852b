"""The student: what its prompts begin with, an adapter, and its merge."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM, PreTrainedModel

from edgecd.files import read_json, write_json
from edgecd.lm.fold import start_tokens
from edgecd.lm.models import LanguageModel, Unsupported, check_words, load_model_config
from edgecd.tasks.encoding import added_tokens, token_ids
from edgecd.tasks.prompts import PromptTemplate


def check_student(name: str, template: PromptTemplate, adapter: str) -> None:
    """Raise InputError early, before any scoring, for what would fail when training starts."""
    check_words(name, template)
    if adapter == "bitfit":
        with torch.device("meta"):
            _biases(AutoModelForCausalLM.from_config(load_model_config(name)))


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
    bias terms only. `full`: everything. Raises Unsupported for `bitfit` on a model without biases.
    """
    if adapter == "full":
        return model.requires_grad_(True)
    if adapter == "bitfit":
        model.requires_grad_(False)
        for bias in _biases(model):
            bias.requires_grad_(True)
        return model
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    head = getattr(model, "score", None) or model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    ]
    fan_in_fan_out = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=linear,
        fan_in_fan_out=fan_in_fan_out,
    )
    with warnings.catch_warnings():  # peft asks transformers 5 by an old name; nothing to mend here
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def merge(trained: Any) -> PreTrainedModel:
    """The plain classifier, with LoRA's updates added into its weights where there are any."""
    merged = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
    model: PreTrainedModel = merged.requires_grad_(True).eval()
    return model


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
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    # Some tokenizers also offer token types, which no decoder takes.
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # what is saved
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
