"""SetFit (Tunstall et al., arXiv 2209.11055): an encoder tuned on pairs of the examples, by its
package, with logistic regression. It is loaded as embeddings are, without the package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals import embeddings
from edgecd.bench.rivals.head import Learned, head_of, labelled_columns, text_of, write_head
from edgecd.bench.systems.base import Fields
from edgecd.errors import InputError, require
from edgecd.files import read_json, write_json
from edgecd.host.hub import resolve_model
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from edgecd.tasks.answerer import Answerer

PACKAGE, RUNTIME, PRECISION = "torch", "torch", "fp32"
ENCODER, POOLING = "encoder", "pooling.json"
BATCH = 16
imports = embeddings.imports


@dataclass(frozen=True)
class OneText:
    """An answerer that is asked the fields as one text, a line each."""

    template: PromptTemplate
    inner: Answerer

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.inner.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens of each input; InputError for one that lacks a field."""
        return self.inner.encode(self._texts(inputs))

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        return self.inner.logits(self._texts(inputs))

    def _texts(self, inputs: Sequence[Fields]) -> list[Fields]:
        return [{"text": text_of(self.template, fields)} for fields in inputs]


def train(lesson: Lesson, folder: Path) -> None:
    """Tune the encoder as SetFit does by default (one pass over pairs), then learn the head.

    Raises InputError for an encoder whose sentences are not the mean of its states, and
    MissingExtra without the package.
    """
    package, datasets = require("setfit", "rivals"), require("datasets", "train")
    template = PromptTemplate(lesson.template, lesson.verbalizer)
    name = Path(lesson.encoder).expanduser()
    model = package.SetFitModel.from_pretrained(
        str(name) if name.is_dir() else resolve_model(lesson.encoder)
    )
    model.model_body.max_seq_length = min(model.model_body.max_seq_length or 512, lesson.max_length)
    examples = {
        "text": [text_of(template, fields) for fields, _ in lesson.labelled],
        "label": labelled_columns(lesson.labelled, template),
    }
    with tempfile.TemporaryDirectory() as work:
        arguments = package.TrainingArguments(
            output_dir=work, batch_size=BATCH, seed=lesson.seed, report_to="none"
        )
        data = datasets.Dataset.from_dict(examples)
        package.Trainer(model=model, args=arguments, train_dataset=data).train()
    write_json(folder / POOLING, {"normalise": _normalises(model.model_body, lesson.encoder)})
    model.model_body[0].auto_model.save_pretrained(folder / ENCODER)
    model.model_body.tokenizer.save_pretrained(folder / ENCODER)
    write_head(head_of(model.model_head, len(template.labels)), folder)


def load(spec: Spec, folder: Path) -> Learned:
    """The tuned encoder, and the head, asked one text as in training."""
    normalise = bool(read_json(folder / POOLING)["normalise"])
    one_text = replace(spec, template="{text}")
    found = embeddings.load_from(one_text, folder, str(folder / ENCODER), normalise)
    template = PromptTemplate(spec.template, spec.verbalizer)
    return replace(found, answerer=OneText(template, found.answerer))


def _normalises(body: Any, name: str) -> bool:
    """Whether sentences have length 1; InputError unless they are means."""
    kinds = [type(module).__name__ for module in body]
    pooling = body[1].get_config_dict() if len(kinds) > 1 else {}
    mean = pooling.get("pooling_mode") == "mean" or pooling.get("pooling_mode_mean_tokens")
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or (
        not mean
    ):
        raise InputError(
            f"{name}: SetFit's sentences are not the mean of its states ({', '.join(kinds)}): "
            "give another --encoder"
        )
    return "Normalize" in kinds
