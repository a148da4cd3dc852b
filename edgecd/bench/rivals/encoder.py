"""The encoder fine-tuned on the examples alone: its family's standard classifier, all weights.

What few examples need is many passes and a warm-up (Mosbach et al., arXiv 2006.04884).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals.head import Learned, folder_bytes, labelled_columns
from edgecd.bench.systems.base import Fields
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from edgecd.bench.rivals.text_encoder import TextEncoder

PACKAGE, RUNTIME, PRECISION = "torch", "torch", "fp32"
# MiniLM on 12 examples of six labels: 0.42 with a step of 5e-5 and 20 passes, 0.45 with 1e-4, 0.49
# with these, and no more with 3e-4 or 5e-4.
EPOCHS, BATCH, LR, WARMUP, WEIGHT_DECAY, CLIP = 40, 8, 1e-4, 0.1, 0.01, 1.0


@dataclass(frozen=True)
class FineTuned:
    """A `*ForSequenceClassification` of the encoder's family."""

    encoder: TextEncoder

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.encoder.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens of each input; InputError for one that lacks a field."""
        return self.encoder.encode(inputs)

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """The classifier's logits, float32 [inputs, labels]; InputError as `encode`."""
        return self.encoder.run(inputs, lambda output, mask: output.logits)


def train(lesson: Lesson, folder: Path) -> None:
    """Fine-tune, EPOCHS passes in an order and with dropout by the lesson's seed, and save.

    Raises InputError for no encoder.
    """
    import torch

    from edgecd.bench.rivals.text_encoder import encoder_files, text_encoder
    from edgecd.lm.encoders import load_encoder

    template = PromptTemplate(lesson.template, lesson.verbalizer)
    files = encoder_files(lesson.encoder, "auto")
    lm = load_encoder(files, template.labels, lesson.seed)
    encoder, model = text_encoder(lm, template, lesson.max_length), lm.model
    inputs = [fields for fields, _ in lesson.labelled]
    right = torch.tensor(labelled_columns(lesson.labelled, template)).to(model.device)
    torch.manual_seed(lesson.seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARMUP * steps + 1), (steps - step) / steps)
    )
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs)).tolist()
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            batch = encoder.batch([inputs[place] for place in places])
            loss = torch.nn.functional.cross_entropy(model(**batch).logits, right[places])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    kept: Any = model.eval()
    kept.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)


def imports() -> None:
    """What answering takes."""
    importlib.import_module("edgecd.bench.rivals.text_encoder")


def load(spec: Spec, folder: Path) -> Learned:
    """The classifier that was saved."""
    from transformers import AutoModelForSequenceClassification

    from edgecd.bench.rivals.text_encoder import ROWS, encoder_files, text_encoder

    lm = encoder_files(str(folder), spec.provider).load(AutoModelForSequenceClassification)
    encoder = text_encoder(lm, PromptTemplate(spec.template, spec.verbalizer), spec.max_length)
    return Learned(
        FineTuned(encoder), ROWS, encoder.parameters, folder_bytes(folder), lm.model.device.type
    )
