"""Sentence embeddings of an encoder as it comes, with logistic regression."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals.head import (
    Learned,
    folder_bytes,
    labelled_columns,
    read_head,
    write_head,
)
from edgecd.bench.systems.base import Fields
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.linear import Head, fit_head
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from edgecd.lm.text_encoder import TextEncoder

PACKAGE, RUNTIME, PRECISION = "torch", "torch", "fp32"


@dataclass(frozen=True)
class Embeddings:
    """An encoder, and a head over the mean of its last states, which has length 1."""

    encoder: TextEncoder
    head: Head

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.encoder.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens of each input; InputError for one that lacks a field."""
        return self.encoder.encode(inputs)

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        from edgecd.lm.text_encoder import sentence_embeddings

        return self.head.scores(sentence_embeddings(self.encoder, inputs))


def train(lesson: Lesson, folder: Path) -> None:
    """Learn the head; the encoder stays as it is, where it is. InputError for no encoder."""
    from edgecd.lm.text_encoder import open_encoder, sentence_embeddings

    template = PromptTemplate(lesson.template, lesson.verbalizer)
    encoder = open_encoder(lesson.encoder, template, lesson.max_length, "auto")
    features = sentence_embeddings(encoder, [fields for fields, _ in lesson.labelled])
    columns = labelled_columns(lesson.labelled, template)
    write_head(fit_head(features, columns, len(template.labels)), folder)


def imports() -> None:
    """What answering takes."""
    importlib.import_module("edgecd.lm.text_encoder")


def load(spec: Spec, folder: Path) -> Learned:
    """The encoder from where it is, and the head."""
    return load_from(spec, folder, spec.system.model)


def load_from(spec: Spec, folder: Path, model: str) -> Learned:
    """The same with an encoder from elsewhere."""
    from edgecd.lm.footprint import model_disk_bytes
    from edgecd.lm.text_encoder import ROWS, open_encoder

    template = PromptTemplate(spec.template, spec.verbalizer)
    encoder, head = open_encoder(model, template, spec.max_length, spec.provider), read_head(folder)
    size = model_disk_bytes(model)
    inside = Path(model).is_relative_to(folder)
    return Learned(
        Embeddings(encoder, head),
        ROWS,
        encoder.parameters + head.parameters,
        folder_bytes(folder) + (0 if inside else size) if size is not None else None,
        encoder.lm.model.device.type,
    )
