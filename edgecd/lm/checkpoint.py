"""A run's merged checkpoint in PyTorch, as what answers queries. The one loader of such folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging

from edgecd.errors import InputError, first_line
from edgecd.formats.kinds import is_encoder
from edgecd.formats.manifest import TOKENIZER
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.lm.rows import ROWS, classifier_logits
from edgecd.lm.weights import refuse_folder, refuse_lost
from edgecd.tasks.answerer import Fields
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.metrics import finite
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Checkpoint:
    """A merged classifier that answers queries of its template (an `Answerer`).

    Inputs are shortened to `max_length` tokens; a batch holds at most `rows` of them and `tokens`
    with padding (None: any number).
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    template: PromptTemplate
    max_length: int
    rows: int = ROWS
    tokens: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits' columns."""
        return self.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """Token ids of the whole inputs; InputError for an input that lacks a field."""
        return [encode_prompt(self.tokenizer, self.template, x, self.max_length) for x in inputs]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """The classifier's logits, float32 [inputs, labels].

        Raises InputError as `encode`, and for what are no numbers.
        """
        logits = classifier_logits(self.model, self.encode(inputs), self.rows, self.tokens)
        return finite(logits, "the student", "train again with a lower --lr")


def load_checkpoint(
    folder: Path, dtype: Literal["float32", "bfloat16"] = "float32"
) -> PreTrainedModel:
    """The `*ForSequenceClassification` of a folder, in evaluation mode, on the processor.

    Reads safetensors on this machine only. Raises InputError when it cannot be loaded, or its files
    have not exactly the model's weights.
    """
    logging.disable_progress_bar()  # seconds; the caller reports progress
    refuse_folder(str(folder), folder)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as bad:  # transformers and those below it have errors of their own
        raise InputError(f"{folder} cannot be loaded: {first_line(bad)}") from None
    refuse_lost(str(folder), info)
    loaded: PreTrainedModel = model.eval()
    return loaded


def open_checkpoint(
    folder: Path, template: PromptTemplate, max_length: int, device: torch.device
) -> Checkpoint:
    """A checkpoint with its own tokenizer, in float32 on `device`.

    An encoder reads the template's fields alone. Raises InputError as `load_checkpoint`, and for
    labels that are not the template's.
    """
    model = load_checkpoint(folder)
    names = model.config.id2label or {}
    labels = tuple(names.get(column) for column in range(model.config.num_labels))
    if labels != template.labels:
        raise InputError(
            f"{folder}: its labels are {', '.join(map(str, labels))}, and the task's "
            f"{', '.join(template.labels)}: give the task that it was trained for"
        )
    if is_encoder(model.config):
        template = template.without_pattern
    moved: Any = model
    tokenizer = load_tokenizer(folder / TOKENIZER)
    return Checkpoint(moved.to(device), tokenizer, template, max_length)
