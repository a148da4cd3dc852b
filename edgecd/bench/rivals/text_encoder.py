"""A sentence encoder in PyTorch: texts, or pairs of them, in batches of like lengths.

The only module of the rivals that imports PyTorch, in the processes that need it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from edgecd.bench.systems.base import Fields
from edgecd.errors import InputError
from edgecd.formats.families import ENCODERS
from edgecd.lm.models import (
    LanguageModel,
    ModelFiles,
    find_model,
    load_model_config,
    pick_device,
)
from edgecd.tasks.batching import batches
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.prompts import PromptTemplate, value_of

ROWS = 32
# Families that count positions from behind the padding token's.
_PADDED_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")

Answer = Callable[[Any, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TextEncoder:
    """An encoder and the task's form: the first field is a text, the others the second of a pair.

    A text is cut to `max_length` tokens, of a pair the longer one first.
    """

    lm: LanguageModel
    template: PromptTemplate
    max_length: int

    @property
    def parameters(self) -> int:
        """How many numbers the model has."""
        return sum(weights.numel() for weights in self.lm.model.parameters())

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens of each input; InputError for one that lacks a field."""
        whole = self._tokens(inputs, truncation=False)["input_ids"]
        cut = self._tokens(inputs)["input_ids"]
        return [Encoded(ids, len(ids) < len(all_)) for ids, all_ in zip(cut, whole, strict=True)]

    def batch(self, inputs: Sequence[Fields]) -> dict[str, torch.Tensor]:
        """What the model takes, padded: int64 [inputs, longest] each; InputError as `encode`."""
        return self._padded(self._tokens(inputs), range(len(inputs)))

    def run(self, inputs: Sequence[Fields], answer: Answer) -> NDArray[np.float32]:
        """`answer` of the model's output and the mask, [inputs, ...], in the order given.

        Raises InputError as `encode`.
        """
        tokens = self._tokens(inputs)
        found: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for places in batches([len(one) for one in tokens["input_ids"]], ROWS):
                some = self._padded(tokens, places)
                rows = answer(self.lm.model(**some), some["attention_mask"])
                found |= dict(zip(places, rows.float().cpu().numpy(), strict=True))
        return np.array([found[place] for place in range(len(inputs))], np.float32)

    def _tokens(self, inputs: Sequence[Fields], truncation: bool = True) -> Any:
        first, *others = self.template.fields
        texts = [value_of(fields, first) for fields in inputs]
        pairs = ["\n".join(value_of(one, name) for name in others) for one in inputs]
        return self.lm.tokenizer(
            texts, pairs if others else None, truncation=truncation, max_length=self.max_length
        )

    def _padded(self, tokens: Any, places: Sequence[int]) -> dict[str, torch.Tensor]:
        taken = inspect.signature(self.lm.model.forward).parameters
        some = {
            name: [values[place] for place in places]
            for name, values in tokens.items()
            if name in taken and not (name == "token_type_ids" and self._one_kind_of_text)
        }
        padded = self.lm.tokenizer.pad(some, return_tensors="pt")
        return {name: values.to(self.lm.model.device) for name, values in padded.items()}

    @property
    def _one_kind_of_text(self) -> bool:
        return int(getattr(self.lm.model.config, "type_vocab_size", 2)) < 2


def encoder_files(name: str, provider: str) -> ModelFiles:
    """A sentence encoder without its weights, for float32 on the provider's device.

    Raises InputError when it is not there, or of another kind.
    """
    family = str(load_model_config(name).model_type)
    if family not in ENCODERS:
        raise InputError(
            f"{name} is no sentence encoder but a {family}: give one with --encoder, of the "
            f"families {', '.join(ENCODERS)}"
        )
    return find_model(name, pick_device(provider), torch.float32)


def text_encoder(lm: LanguageModel, template: PromptTemplate, max_length: int) -> TextEncoder:
    """The encoder for a task's form; no more tokens than the model has positions for."""
    config = lm.model.config
    start = config.pad_token_id + 1 if config.model_type in _PADDED_POSITIONS else 0
    return TextEncoder(lm, template, min(max_length, lm.max_positions - start))


def open_encoder(
    name: str, template: PromptTemplate, max_length: int, provider: str
) -> TextEncoder:
    """A sentence encoder as it comes, without any head; InputError as `encoder_files`."""
    return text_encoder(encoder_files(name, provider).load(AutoModel), template, max_length)


def sentence_embeddings(
    encoder: TextEncoder, inputs: Sequence[Fields], normalise: bool = True
) -> NDArray[np.float32]:
    """The mean of each input's last states, of length 1 unless told: float32 [inputs, width].

    As sentence-transformers does for MiniLM (Reimers and Gurevych, arXiv 1908.10084).
    """

    def mean(output: Any, mask: torch.Tensor) -> torch.Tensor:
        real = mask[..., None].to(output.last_hidden_state.dtype)
        found = (output.last_hidden_state * real).sum(1) / real.sum(1)
        return torch.nn.functional.normalize(found, dim=-1) if normalise else found

    return encoder.run(inputs, mean)
