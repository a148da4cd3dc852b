"""A sentence encoder in PyTorch, which reads an input as an encoder that is a student does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from edgecd.errors import InputError
from edgecd.formats.kinds import ENCODERS, is_encoder
from edgecd.lm.encoders import longest_input
from edgecd.lm.models import LanguageModel, ModelFiles, find_model, load_model_config, pick_device
from edgecd.lm.rows import classifier_inputs
from edgecd.tasks.answerer import Fields, Progress
from edgecd.tasks.batching import batches
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.prompts import PromptTemplate

ROWS = 32


@dataclass(frozen=True)
class TextEncoder:
    """An encoder, and the task's form: a text, or a pair of texts, of at most `max_length` tokens.

    `template` is one without its pattern.
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
        tokenizer = self.lm.text_tokenizer
        return [encode_prompt(tokenizer, self.template, one, self.max_length) for one in inputs]

    def batch(self, inputs: Sequence[Fields]) -> dict[str, torch.Tensor]:
        """What the model takes, int64 [inputs, longest] each; InputError as `encode`."""
        return classifier_inputs(self.lm.model, self.encode(inputs))


def encoder_files(name: str, provider: str) -> ModelFiles:
    """A sentence encoder without its weights, for float32 on the provider's device.

    Raises InputError when it is not there, or of another kind.
    """
    config = load_model_config(name)
    if not is_encoder(config):
        raise InputError(
            f"{name} is no sentence encoder but a {config.model_type}: give one with --encoder, of "
            f"the families {', '.join(ENCODERS)}"
        )
    return find_model(name, pick_device(provider), torch.float32)


def text_encoder(lm: LanguageModel, template: PromptTemplate, max_length: int) -> TextEncoder:
    """The encoder for a task's form; no more tokens than the model was made for."""
    most = min(max_length, longest_input(lm.model.config))
    return TextEncoder(lm, template.without_pattern, most)


def open_encoder(
    name: str, template: PromptTemplate, max_length: int, provider: str
) -> TextEncoder:
    """A sentence encoder as it comes, without any head; InputError as `encoder_files`."""
    lm = encoder_files(name, provider).load(AutoModel, without_head=True)
    return text_encoder(lm, template, max_length)


@torch.inference_mode()
def sentence_embeddings(
    encoder: TextEncoder,
    inputs: Sequence[Fields],
    progress: Progress = lambda done, total: None,
) -> NDArray[np.float32]:
    """The mean of each input's last states, of length 1: float32 [inputs, width].

    As sentence-transformers does for MiniLM (Reimers and Gurevych, arXiv 1908.10084). Raises
    InputError for an input that lacks a field.
    """
    model: Any = encoder.lm.model
    encoded = encoder.encode(inputs)
    found = np.zeros((len(inputs), model.config.hidden_size), np.float32)
    done = 0
    for places in batches([len(one.ids) for one in encoded], ROWS):
        batch = classifier_inputs(model, [encoded[place] for place in places])
        states = model(**batch).last_hidden_state
        real = batch["attention_mask"][..., None].to(states.dtype)
        mean = (states * real).sum(1) / real.sum(1)
        found[places] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        done += len(places)
        progress(done, len(inputs))
    return found
