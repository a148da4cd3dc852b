"""Encoders as students: the standard text classifier of their family, with a head to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from edgecd.errors import InputError
from edgecd.formats.kinds import ENCODERS, is_encoder
from edgecd.lm.models import LanguageModel, ModelFiles, Unsupported


def takes_types(config: Any) -> bool:
    """Whether a model tells an input's texts apart by `token_type_ids`."""
    return is_encoder(config) and int(getattr(config, "type_vocab_size", 0) or 0) > 1


def longest_input(config: Any) -> int:
    """Tokens of the longest input that an encoder was made for, its special tokens included."""
    positions = int(config.max_position_embeddings)
    # RoBERTa and its kin count positions from behind the padding token's
    counts_padding = ("roberta", "xlm-roberta", "camembert", "mpnet")
    return positions - 2 if config.model_type in counts_padding else positions


def check_encoder(name: str, config: Any, max_length: int) -> None:
    """Raise InputError for inputs that are longer than the encoder can read."""
    if max_length > longest_input(config):
        raise InputError(
            f"--max-length {max_length}: {name} reads {longest_input(config)} tokens at most"
        )


def refuse_other_kinds(name: str, config: Any) -> None:
    """Raise Unsupported, naming the architecture, for what can be no student at all."""
    known = [*(getattr(config, "architectures", None) or ()), config.model_type]
    if getattr(config, "is_encoder_decoder", False):
        raise Unsupported(
            f"{name} is an encoder-decoder ({known[0]}): a student is a decoder (OPT, GPT-2, "
            f"Llama, Qwen, Gemma ...) or an encoder ({', '.join(ENCODERS)})"
        )
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise Unsupported(
            f"{name}: transformers has no text classifier for {known[0]}, so it can be no student: "
            f"choose a decoder (OPT, GPT-2, Llama, Qwen, Gemma ...) or an encoder "
            f"({', '.join(ENCODERS)})"
        )
    if what := _no_graph(config):
        raise Unsupported(
            f"{name} ({known[0]}) {what}, which cannot be written as a graph for a device, so it "
            "can be no student: choose a dense decoder (OPT, GPT-2, Llama, Qwen, Gemma ...)"
        )


def _no_graph(config: Any) -> str:
    """What of a decoder has no way to a graph, by its configuration; empty where nothing has."""
    said = config.get_text_config().to_dict()
    if said.get("num_experts_per_tok"):
        return "is a mixture of experts"
    layers = [*(said.get("layer_types") or ()), *(said.get("layers_block_type") or ())]
    if any(key.startswith("mamba_") for key in said) or "linear_attention" in layers:
        return "has layers that are no attention"
    return ""


def load_encoder(files: ModelFiles, labels: Sequence[str], seed: int) -> LanguageModel:
    """The encoder's standard classifier over `labels`, float32, with a new head.

    What the checkpoint has of a head is kept where it fits; the rest is drawn with `seed`. The
    pooling is the class's own, so that `pipeline("text-classification")` gives the same logits.
    Raises InputError when weights are missing, or left over, that belong to the encoder itself.
    """
    names = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    torch.manual_seed(seed)
    return files.load(_Classifiers(names), without_head=True)


@dataclass(frozen=True)
class _Classifiers:
    """The auto class with the labels in its options."""

    names: Mapping[str, Any]

    def from_pretrained(self, source: str, **options: Any) -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            source,
            ignore_mismatched_sizes=True,  # a head for other labels is replaced
            **self.names,
            **options,
        )
