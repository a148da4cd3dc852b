"""SetFit (Tunstall et al., arXiv 2209.11055): an encoder tuned on pairs of the examples, by its
package, with logistic regression. It is loaded as embeddings are, without the package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals import embeddings
from edgecd.bench.rivals.head import Learned, labelled_columns, text_of, write_head
from edgecd.bench.systems.base import Fields
from edgecd.errors import InputError, require
from edgecd.host.hub import resolve_model
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.linear import head_of
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from edgecd.tasks.answerer import Answerer

PACKAGE, RUNTIME, PRECISION = "torch", "torch", "fp32"
ENCODER, BATCH = "encoder", 16
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

    Sentences are what the rival `embeddings` makes of the same encoder. Raises InputError for no
    encoder, and for one that the package cannot tune; MissingExtra without the package.
    """
    from edgecd.lm.text_encoder import encoder_files

    encoder_files(lesson.encoder, "auto")
    package, datasets = require("setfit", "rivals"), require("datasets", "train")
    template = PromptTemplate(lesson.template, lesson.verbalizer)
    columns = labelled_columns(lesson.labelled, template)
    examples = {
        "text": [text_of(template, fields) for fields, _ in lesson.labelled],
        "label": columns,
    }
    try:
        model = _tuned(package, datasets.Dataset.from_dict(examples), lesson)
    except Exception as bad:  # the package and those below it have errors of their own
        reason = (str(bad).strip() or type(bad).__name__).splitlines()[0][:300]
        raise InputError(f"SetFit cannot tune {lesson.encoder}: {reason}") from bad
    model.model_body[0].auto_model.save_pretrained(folder / ENCODER)
    model.model_body.tokenizer.save_pretrained(folder / ENCODER)
    write_head(head_of(model.model_head, len(template.labels)), folder)


def load(spec: Spec, folder: Path) -> Learned:
    """The tuned encoder, and the head, asked one text as in training."""
    found = embeddings.load_from(replace(spec, template="{text}"), folder, str(folder / ENCODER))
    template = PromptTemplate(spec.template, spec.verbalizer)
    return replace(found, answerer=OneText(template, found.answerer))


def _tuned(package: ModuleType, examples: Any, lesson: Lesson) -> Any:
    """A SetFitModel of the lesson's encoder, trained on `examples`, text and label."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from sklearn.linear_model import LogisticRegression

    from edgecd.lm.encoders import longest_input
    from edgecd.lm.models import load_model_config

    name = Path(lesson.encoder).expanduser()
    source = str(name) if name.is_dir() else resolve_model(lesson.encoder)
    config = load_model_config(lesson.encoder)
    most = min(lesson.max_length, longest_input(config))
    modules = [
        Transformer(source, max_seq_length=most),
        Pooling(config.hidden_size, "mean"),
        Normalize(),
    ]
    body = SentenceTransformer(modules=modules)
    body.tokenizer.split_special_tokens = True  # "[SEP]" in a text is text
    head = LogisticRegression(max_iter=2000)
    model = package.SetFitModel(model_body=body, model_head=head)
    with tempfile.TemporaryDirectory() as work:
        arguments = package.TrainingArguments(
            output_dir=work, batch_size=BATCH, seed=lesson.seed, report_to="none"
        )
        package.Trainer(model=model, args=arguments, train_dataset=examples).train()
    return model
