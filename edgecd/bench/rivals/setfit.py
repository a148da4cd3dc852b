"""SetFit (Tunstall et al., arXiv 2209.11055): an encoder tuned on pairs of the examples, by its
package, with logistic regression. It is loaded as embeddings are, without the package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals import embeddings
from edgecd.bench.rivals.head import Learned, head_of, labelled_columns, text_of, write_head
from edgecd.errors import InputError, require
from edgecd.files import read_json, write_json
from edgecd.host.hub import resolve_model
from edgecd.tasks.prompts import PromptTemplate

PACKAGE, RUNTIME, PRECISION = "torch", "torch", "fp32"
ENCODER, POOLING = "encoder", "pooling.json"
BATCH = 16
imports = embeddings.imports


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
    """The tuned encoder, and the head."""
    normalise = bool(read_json(folder / POOLING)["normalise"])
    return embeddings.load_from(spec, folder, str(folder / ENCODER), normalise)


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
