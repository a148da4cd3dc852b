"""TF-IDF of words and of characters in words, with logistic regression: what needs no model."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals.head import (
    Learned,
    folder_bytes,
    labelled_columns,
    read_head,
    text_of,
    write_head,
)
from edgecd.bench.systems.base import Fields
from edgecd.errors import InputError, require
from edgecd.files import read_json, write_json
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.linear import Head, fit_head
from edgecd.tasks.prompts import PromptTemplate

PACKAGE, RUNTIME, PRECISION = "scikit-learn", "scikit-learn", "fp64"
TERMS, IDF = "terms.json", "idf.safetensors"
# Words and pairs of them, and two to four characters in a row, which see endings and misspellings.
# Words of one letter count; letters of scripts without spaces are seen by the characters.
_KINDS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
}


@dataclass(frozen=True)
class TfIdf:
    """Vectorizers of scikit-learn by kind, and a head over the features of all of them."""

    template: PromptTemplate
    vectorizers: dict[str, Any]
    head: Head

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The words of each input by their columns, -1 for those that no example has.

        Raises InputError for an input that lacks a field.
        """
        words = self.vectorizers["words"]
        split, known = words.build_tokenizer(), words.vocabulary_
        texts = [text_of(self.template, fields).lower() for fields in inputs]
        return [Encoded([known.get(word, -1) for word in split(text)], False) for text in texts]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        return self.head.scores(_features(self.vectorizers, self.template, inputs))


def train(lesson: Lesson, folder: Path) -> None:
    """Learn terms, their weights and the head; InputError for examples without any letter."""
    text = require("sklearn.feature_extraction.text", "rivals")
    template = PromptTemplate(lesson.template, lesson.verbalizer)
    inputs = [fields for fields, _ in lesson.labelled]
    vectorizers = {kind: text.TfidfVectorizer(sublinear_tf=True, **_KINDS[kind]) for kind in _KINDS}
    try:
        for one in vectorizers.values():
            one.fit([text_of(template, fields) for fields in inputs])
    except ValueError as bad:  # an empty vocabulary
        raise InputError(f"TF-IDF finds no words in the labelled examples: {bad}") from None
    columns = labelled_columns(lesson.labelled, template)
    features = _features(vectorizers, template, inputs)
    write_head(fit_head(features, columns, len(template.labels)), folder)
    terms = {kind: one.get_feature_names_out().tolist() for kind, one in vectorizers.items()}
    write_json(folder / TERMS, terms)
    from safetensors.numpy import save_file

    save_file({kind: one.idf_ for kind, one in vectorizers.items()}, folder / IDF)


def imports() -> None:
    """What answering takes."""
    for name in ("sklearn.feature_extraction.text", "safetensors.numpy"):
        importlib.import_module(name)


def load(spec: Spec, folder: Path) -> Learned:
    """The vectorizers with the terms that were learned, and the head."""
    from safetensors.numpy import load_file
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms, idf = read_json(folder / TERMS), load_file(folder / IDF)
    vectorizers = {}
    for kind, options in _KINDS.items():
        known = {term: column for column, term in enumerate(terms[kind])}
        vectorizers[kind] = TfidfVectorizer(sublinear_tf=True, vocabulary=known, **options)
        vectorizers[kind].idf_ = idf[kind]
    head = read_head(folder)
    answerer = TfIdf(PromptTemplate(spec.template, spec.verbalizer), vectorizers, head)
    parameters = head.parameters + sum(one.size for one in idf.values())
    return Learned(answerer, 64, parameters, folder_bytes(folder))


def _features(
    vectorizers: dict[str, Any], template: PromptTemplate, inputs: Sequence[Fields]
) -> Any:
    """The terms of each input, sparse [inputs, terms of all kinds]."""
    from scipy.sparse import hstack

    texts = [text_of(template, fields) for fields in inputs]
    return hstack([vectorizers[kind].transform(texts) for kind in _KINDS], format="csr")
